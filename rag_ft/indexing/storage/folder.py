"""What is an index's own in a folder: told by what this program wrote, never by a name alone.

A folder is an index if it holds the mark or a manifest with its own checksum. One from before the mark whose manifest
is damaged, or was never written, is known by its generations. Only what has a name, a kind and a place that this
program gives is ever removed, and no link is followed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rag_ft.errors import UsageError
from rag_ft.files import is_real_folder, partials, remove_tree, write_atomic

FORMAT = 2
"""Version of the files on disk; a reader refuses a higher one. 1 knew no `TableRow.file`, and is read."""

MANIFEST = "manifest.json"
MARK = ".rag-ft-index"
LOCK = ".lock"
GENERATIONS = "generations"
JOURNAL = ".journal"

VECTORS = "vectors.faiss"
RAW_VECTORS = "vectors.npy"
KEYS = "keys.npy"
PASSAGES = "passages.jsonl"
DOCUMENTS = "documents.jsonl"
TABLE = "table.jsonl"
BM25 = "bm25"
SENTINELS = "sentinels.json"
SENTINEL_VECTORS = "sentinels.npy"
STAGED_DOCUMENTS = "staged-documents.tmp"
STAGED_PASSAGES = "staged-passages.tmp"
BM25_EMPTY = "empty.json"
BM25_FILES = (
    "data.csc.index.npy",
    "indices.csc.index.npy",
    "indptr.csc.index.npy",
    "vocab.index.json",
    "params.index.json",
)

MANIFEST_BYTES = 1_000_000
"""More than any manifest has: what is larger was not written here, and is not read."""

_MARK_START = "rag_ft index."
_MARK_TEXT = (
    f"{_MARK_START} This folder is rag_ft's: it replaces manifest.json here, and removes what it wrote itself"
    " under generations and .journal, and nothing else.\n"
)
_NAME = re.compile(r"[0-9a-f]{16}")
_OLD_UNFINISHED = re.compile(r"\.manifest-[0-9a-z_]+\.tmp")


class _Own(NamedTuple):
    """Paths inside a folder that this program gives to what it writes there."""

    files: re.Pattern[str]
    folders: re.Pattern[str]


def offsets_path(path: Path) -> Path:
    """Where the line starts of a JSON Lines file are kept."""
    return path.with_suffix(".offsets.npy")


def _one_of(*names: str) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, names)))


LINES_FILES = tuple(name for lines in (PASSAGES, DOCUMENTS) for name in (lines, str(offsets_path(Path(lines)))))
_GENERATION = _Own(
    _one_of(
        *LINES_FILES,
        TABLE,
        KEYS,
        VECTORS,
        RAW_VECTORS,
        SENTINELS,
        SENTINEL_VECTORS,
        STAGED_DOCUMENTS,
        STAGED_PASSAGES,
        *(f"{BM25}/{name}" for name in (BM25_EMPTY, *BM25_FILES)),
    ),
    _one_of(BM25),
)
BLOCK_NAME = re.compile(r"block-\d{6,}-([0-9a-f]{32})\.npy")
BLOCK_UNFINISHED = re.compile(r"block-[0-9a-f]{8}\.tmp")
_JOURNAL = _Own(
    re.compile(rf"{_NAME.pattern}/(?:{BLOCK_NAME.pattern}|{BLOCK_UNFINISHED.pattern})"),
    _NAME,
)


def is_name(name: str) -> bool:
    """Whether this program names generations, and an embedder's part of the journal, like that."""
    return _NAME.fullmatch(name) is not None


def is_generation(folder: Path) -> bool:
    """Whether a folder under generations/ has a generation's name, and is a folder itself and no link to one."""
    return is_name(folder.name) and is_real_folder(folder)


def content_checksum(content: dict[str, Any]) -> str:
    """Hex SHA-256 of a manifest's fields without `checksum`, as canonical JSON."""
    rest = {key: value for key, value in content.items() if key != "checksum"}
    canonical = json.dumps(rest, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def is_marked(folder: Path) -> bool:
    """Whether the folder holds the mark that a writer sets before anything else."""
    path = folder / MARK
    try:
        if path.is_symlink() or not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(len(_MARK_START)) == _MARK_START.encode()
    except OSError:
        return False


def mark(folder: Path) -> None:
    """Set the mark. Raises OSError."""
    if not is_marked(folder):
        write_atomic(folder / MARK, _MARK_TEXT)


def holds_index(folder: Path) -> bool:
    """Whether a folder is an index: sound, damaged or unfinished. Nothing is created, no error is raised."""
    with contextlib.suppress(OSError):
        return is_marked(folder) or _manifest_of(folder) is True or _has_generation(folder)
    return False


def check_may_write(folder: Path) -> None:
    """Raise UsageError unless the folder is an index, or is empty or absent, and what is in it leads nowhere else.

    To be asked before anything is written there. Raises OSError.
    """
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file: give a folder for the index")
    ours = is_marked(folder) or _manifest_of(folder) is True
    if not ours:
        foreign = _foreign_at_top(folder)
        # An index from before the mark, whose manifest is damaged or was never written, may have others' files in it.
        if foreign is not None and not (_manifest_of(folder) is None and _has_generation(folder)):
            raise UsageError(
                f"{folder} holds other files ({foreign.relative_to(folder)}): give a new or empty folder for the index"
            )
    for name in (GENERATIONS, JOURNAL):
        if os.path.lexists(folder / name) and not is_real_folder(folder / name):
            raise UsageError(f"{folder / name} is a link or a file where rag_ft keeps a folder: {_MOVE}")
    for name in (MANIFEST, MARK, LOCK):
        path = folder / name
        if os.path.lexists(path) and (path.is_symlink() or not path.is_file()):
            raise UsageError(f"{path} is a link or a folder where rag_ft keeps a file: {_MOVE}")
    lock = folder / LOCK  # taking it empties it
    if lock.is_file() and lock.stat().st_size and not ours:
        raise UsageError(f"{lock} is not empty, and so not rag_ft's: {_MOVE}")


_MOVE = "move it away, and try again"


def _manifest_of(folder: Path) -> bool | None:
    """True: a manifest of ours. False: another program's file of that name. None: there is none, or it is damaged."""
    path = folder / MANIFEST
    try:
        if not path.is_file():
            return False if os.path.lexists(path) else None
        if path.stat().st_size > MANIFEST_BYTES:
            return False
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict) or not {"generation", "checksum", "format"} <= content.keys():
            return False
        # A newer version may reckon its checksum otherwise.
        newer = type(content["format"]) is int and content["format"] > FORMAT
        return True if newer or content["checksum"] == content_checksum(content) else None
    except Exception:  # whatever bytes that are no manifest raise
        return None


def _has_generation(folder: Path) -> bool:
    """Whether there is a generation with files of ours, and with nothing else."""
    generations = folder / GENERATIONS
    if not is_real_folder(generations):
        return False
    return any(
        is_generation(path) and not _foreign_in(path, _GENERATION) and any(path.iterdir())
        for path in generations.iterdir()
    )


def _foreign_at_top(folder: Path) -> Path | None:
    """The first thing in an unmarked folder that a killed first build cannot have left."""
    expected = {LOCK, *(path.name for name in (MARK, MANIFEST) for path in partials(folder / name))}
    for path in sorted(folder.iterdir()):
        if path.name == GENERATIONS and is_real_folder(path):
            for inner in sorted(path.iterdir()):
                if not is_generation(inner):
                    return inner
                if foreign := _foreign_in(inner, _GENERATION):
                    return foreign[0]
        elif path.name == JOURNAL and is_real_folder(path):
            if foreign := _foreign_in(path, _JOURNAL):
                return foreign[0]
        elif path.name not in expected and not _OLD_UNFINISHED.fullmatch(path.name):
            return path
    return None


def _foreign_in(folder: Path, own: _Own) -> list[Path]:
    """What this program did not write in a folder of its own; links are not followed. Raises OSError."""
    return sorted(path for path, ours in _walk(folder, own) if not ours)


def foreign_in_index(folder: Path) -> list[Path]:
    """What stands where this program keeps generations and the journal and is not its own. Raises OSError."""
    return [path for path, ours in _walk_index(folder) if not ours]


def own_in_index(folder: Path) -> list[Path]:
    """The files of generations and journal that this program wrote, sound or left behind. Raises OSError."""
    return [path for path, ours in _walk_index(folder) if ours and not is_real_folder(path)]


def _walk_index(folder: Path) -> Iterator[tuple[Path, bool]]:
    generations, journal = folder / GENERATIONS, folder / JOURNAL
    for path in sorted(generations.iterdir()) if is_real_folder(generations) else ():
        if is_generation(path):
            yield from _walk(path, _GENERATION)
        else:
            yield path, False
    if is_real_folder(journal):
        yield from _walk(journal, _JOURNAL)


def remove_generation(folder: Path, *, inside: Path) -> None:
    """Remove of a generation all that this program wrote; what else is in it stays, and so do others' folders.

    A file that a reader on Windows holds open stays until the next time. Raises OSError, UsageError.
    """
    if is_generation(folder):
        _remove_own(folder, inside, _GENERATION)


def remove_journal(folder: Path, *, inside: Path, keep: str = "") -> None:
    """Remove all that this program wrote of a journal, but for the part named `keep`. Raises OSError, UsageError."""
    if not is_real_folder(folder):
        return
    if not keep:
        _remove_own(folder, inside, _JOURNAL)
        return
    for path in folder.iterdir():
        if path.name != keep and is_generation(path):
            _remove_own(path, inside, _Own(re.compile(rf"{BLOCK_NAME.pattern}|{BLOCK_UNFINISHED.pattern}"), _NOTHING))


_NOTHING = re.compile(r"(?!)")


def _remove_own(folder: Path, inside: Path, own: _Own) -> None:
    contents = list(_walk(folder, own))
    if all(ours for _, ours in contents):
        remove_tree(folder, inside=inside, ignore_errors=os.name == "nt")
        return
    for path, ours in contents:
        if ours and not is_real_folder(path):
            path.unlink(missing_ok=True)
    for path in [*(path for path, ours in reversed(contents) if ours and is_real_folder(path)), folder]:
        with contextlib.suppress(OSError):  # others' files are in it
            path.rmdir()


def _walk(folder: Path, own: _Own, inner: str = "") -> Iterator[tuple[Path, bool]]:
    """What is in a folder of ours, with whether it is; a folder comes before what is in it, others' are not entered."""
    for path in sorted(folder.iterdir()):
        name = inner + path.name
        real = is_real_folder(path)
        ours = (own.folders if real else own.files).fullmatch(name) is not None
        yield path, ours
        if ours and real:
            yield from _walk(path, own, f"{name}/")


def unfinished_manifests(folder: Path) -> list[Path]:
    """What killed writers left of a manifest or a mark; only the holder of the lock may call them that."""
    if not folder.is_dir():
        return []
    named = [*partials(folder / MANIFEST), *partials(folder / MARK)]
    named += [path for path in folder.iterdir() if _OLD_UNFINISHED.fullmatch(path.name)]
    return [path for path in named if path.is_file() and not path.is_symlink()]
