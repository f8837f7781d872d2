"""A folder or a file at an address that fsspec reads (`s3://`, `gs://`, `hf://`, ...): listed, and fetched one by one.

Credentials are the file system's own: environment variables and files such as `~/.aws/credentials`, never an option.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from rag_ft.errors import CorpusError, RagFtError, UsageError, first_line
from rag_ft.extras import require_extra
from rag_ft.indexing.access import RULES_FILE
from rag_ft.indexing.formats.extracted import Unreadable
from rag_ft.indexing.parsing.input import check_size
from rag_ft.indexing.parsing.worker import Worker
from rag_ft.indexing.sources.events import CorpusEvent, ReadDocument, SkippedFile, corpus_failure, skipped_file
from rag_ft.indexing.sources.file import CANNOT_BE_OPENED, LINES, READABLE, FileState, SourceFile
from rag_ft.indexing.sources.folder import OFFICE_LOCK
from rag_ft.indexing.storage.folder import MARK

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*(::[a-z][a-z0-9+.-]*)*://", re.IGNORECASE)
_LOCAL = "file://"
_OF_ONE_PROCESS = ("memory://",)
_VERSIONS = ("ETag", "etag", "md5Hash", "generation", "blob_id", "mtime", "LastModified", "last_modified", "updated")
"""What file systems call that which changes with a file."""


def is_address(source: object) -> bool:
    """Whether this names files by an address, and not by a path."""
    return isinstance(source, str) and _ADDRESS.match(source) is not None


def local_path(source: str | Path) -> Path | None:
    """The path of a source on this machine, also of `file://`; None for an address elsewhere. Raises UsageError."""
    if not is_address(source):
        return Path(source).expanduser()
    address = str(source)
    if not address.lower().startswith(_LOCAL):
        return None
    path = address[len(_LOCAL) :].removeprefix("localhost")
    if not path.startswith("/"):
        raise UsageError(f"the address {address} names no absolute path: write {_LOCAL}/folder, or the path alone")
    return Path(path)


def check_seen_by_workers(address: str) -> None:
    """Raise UsageError for an address that other processes do not see."""
    if address.startswith(_OF_ONE_PROCESS):
        raise UsageError(f"{address} is in the memory of this process, where no worker sees it: leave the engine out")


@dataclass(frozen=True)
class RemoteFile:
    """A file at an address, not fetched yet."""

    root: str
    """Address of the whole source."""
    path: str
    """Where it is in the file system of `root`."""
    source: str
    """Its own address."""
    name: str
    """Path relative to the root, with forward slashes; for a single file its own name."""
    required: bool
    """True if it is a failure, rather than a skipped file, when it holds no documents."""
    source_code: bool
    """Whether it is read if it is source code."""
    version: str
    """What the file system says of its version."""
    size: int
    """Bytes, as listed."""
    place: Path
    """Where its rules of access are looked for (`RemoteFolder.mirror`); there is no such file."""

    def state(self) -> FileState:
        """What changes with the file and with how it is read, without fetching it."""
        return FileState(
            json.dumps([self.source, self.name, self.required, self.source_code, self.version, self.size]), self.size
        )

    def events(
        self, worker: Worker, read: Callable[[SourceFile, Worker], Iterator[CorpusEvent]] = SourceFile.events
    ) -> Iterator[CorpusEvent]:
        """Fetch the file and read it. Raises CorpusError where the whole source cannot be reached any more."""
        suffix = PurePosixPath(self.name).suffix.lower()
        try:
            if suffix != LINES:
                check_size(self.size, worker.limits.file_bytes)
            with self.fetched() if suffix in READABLE else nullcontext(Path(self.name)) as local:
                file = SourceFile(local, self.name, self.required, self.source_code, self.source)
                for event in read(file, worker):
                    yield event._replace(path=self.place) if isinstance(event, ReadDocument) else event
        except (Unreadable, FileNotFoundError) as error:
            reason = f"{CANNOT_BE_OPENED} (it is gone)" if isinstance(error, FileNotFoundError) else str(error)
            yield corpus_failure(self.source, reason, self.name)

    @contextmanager
    def fetched(self) -> Iterator[Path]:
        """A copy of the file on this machine. Raises FileNotFoundError, CorpusError."""
        with tempfile.TemporaryDirectory() as folder:
            local = Path(folder) / PurePosixPath(self.name).name
            _fetch(self.root, self.path, local)
            yield local


def _fetch(root: str, path: str, local: Path) -> None:
    """Copy a file here. Raises FileNotFoundError if it alone is gone, CorpusError."""
    files, base = _opened(root)
    with _reaching(root):
        try:
            files.get_file(path, str(local))
        except FileNotFoundError:
            files.invalidate_cache()
            if not files.exists(base):
                raise CorpusError(
                    f"{root} has vanished while it was read: bring it back, then run the same command again"
                ) from None
            raise


class _Opened(NamedTuple):
    files: Any
    """A file system of fsspec."""
    path: str


def _opened(address: str) -> _Opened:
    """The file system of an address, and the path in it. Raises MissingExtraError, UsageError, CorpusError."""
    require_extra("remote", f"reading from {address.partition('://')[0]}://", "fsspec")
    from fsspec.core import url_to_fs
    from fsspec.registry import known_implementations

    protocol = address.partition("://")[0].lower()
    if protocol in ("s3", "s3a"):
        require_extra("remote", f"reading from {protocol}://")
    if "@" in urlsplit(address).netloc and ":" in urlsplit(address).netloc.rpartition("@")[0]:
        raise UsageError(
            "the address of the documents holds a password, which would be kept with each document: leave it out, and"
            " give it to the file system by its own settings"
        )
    try:
        return _Opened(*url_to_fs(address))
    except (ImportError, ValueError) as error:
        hint = known_implementations.get(protocol, {}).get(
            "err", "give a path, or an address such as s3://BUCKET/FOLDER"
        )
        raise UsageError(f"files at {protocol}:// cannot be read here ({first_line(error)}): {hint}") from error
    except Exception as error:  # what a file system raises for settings that are wrong
        raise _unreachable(address, error) from error


@contextmanager
def _reaching(address: str) -> Iterator[None]:
    """Turn what a file system raises into a CorpusError, but for a file that is not there."""
    try:
        yield
    except (FileNotFoundError, RagFtError):
        raise
    except Exception as error:  # each file system raises others
        raise _unreachable(address, error) from error


def _unreachable(address: str, error: Exception) -> CorpusError:
    return CorpusError(
        f"{address} cannot be read ({type(error).__name__}: {first_line(error)}): check the address, the credentials"
        " and the network, then run the same command again"
    )


class RemoteFolder:
    """The files at an address, in the order in which those of a folder are read. Raises CorpusError, UsageError."""

    def __init__(self, address: str, *, known: Set[str], source_code: bool) -> None:
        self.address = address.rstrip("/")
        self._known = known
        self._source_code = source_code
        self.mirror = Path(tempfile.mkdtemp(prefix="rag-ft-"))
        """A folder with the source's rules of access, each where it stands in the source."""
        weakref.finalize(self, shutil.rmtree, self.mirror, True)
        files, self._base = _opened(self.address)
        with _reaching(self.address):
            try:
                self._found = self._listed(files)
            except FileNotFoundError:
                self._found = {}
        if not self._found:
            raise CorpusError(f"there is nothing at {self.address}: give the address of a folder or file of documents")
        self._shown = files.unstrip_protocol
        self._fetch_rules()

    def _listed(self, files: Any) -> dict[str, dict[str, Any]]:
        """What the file system says of each file, by its name in the source."""
        files.invalidate_cache()
        found = files.find(self._base, detail=True)
        base = self._base.rstrip("/")
        if list(found) == [base]:
            return {PurePosixPath(base).name: {**found[base], "path": base}}
        return {
            path.removeprefix(base).lstrip("/"): {**entry, "path": path}
            for path, entry in found.items()
            if entry["type"] == "file" and not path.endswith("/")
        }

    def _fetch_rules(self) -> None:
        for name, entry in self._found.items():
            if PurePosixPath(name).name == RULES_FILE:
                local = self.mirror / name
                if not local.resolve().is_relative_to(self.mirror.resolve()):
                    raise CorpusError(f"{self.address} holds the name {name!r}, which leads out of it: rename it")
                local.parent.mkdir(parents=True, exist_ok=True)
                _fetch(self.address, entry["path"], local)

    def __iter__(self) -> Iterator[RemoteFile | SkippedFile]:
        indexes = {str(PurePosixPath(name).parent) for name in self._found if PurePosixPath(name).name == MARK}
        told: set[str] = set()
        for name in sorted(self._found, key=_in_order):
            above = [str(folder) for folder in reversed(PurePosixPath(name).parents)][1:]
            left_out = next(
                ((part, _why_left_out(part, indexes)) for part in [*above, name] if _why_left_out(part, indexes)), None
            )
            if left_out is None:
                if PurePosixPath(name).name != RULES_FILE:
                    yield self._file(name)
            elif left_out[0] not in told:
                told.add(left_out[0])
                yield skipped_file(f"{self.address}/{left_out[0]}", left_out[1])

    def _file(self, name: str) -> RemoteFile:
        entry = self._found[name]
        version = json.dumps({key: str(entry[key]) for key in _VERSIONS if entry.get(key)})
        source = str(self._shown(entry["path"]))
        return RemoteFile(
            root=self.address,
            path=entry["path"],
            source=source,
            name=name,
            required=len(self._found) == 1 or not self._known.isdisjoint((name, source)),
            source_code=self._source_code or len(self._found) == 1,
            # without a version nobody knows whether the file has changed
            version=version if version != "{}" else secrets.token_hex(8),
            size=int(entry.get("size") or 0),
            place=self.mirror / name,
        )


def _in_order(name: str) -> list[tuple[int, str]]:
    """Sorts as folders are walked: the files of a folder, then its folders."""
    *folders, file = name.split("/")
    return [*((1, folder) for folder in folders), (0, file)]


def _why_left_out(name: str, indexes: Set[str]) -> str:
    """Say why a file or folder is not read; empty if it is."""
    last = PurePosixPath(name).name
    if name in indexes:
        return "is an index"
    if last.startswith("."):
        return "is hidden"
    return "is an office program's mark of an open document" if last.startswith(OFFICE_LOCK) else ""
