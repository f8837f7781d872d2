"""Which files in a folder belong to an index: recognised by what this program wrote, never by a name alone.

A folder is an index if it holds the mark, or a manifest with a valid checksum. An older index without a mark, whose
manifest is damaged or was never written, is recognised by its generations. Only files with a name, kind and location
that this program gives are ever removed, and links are not followed.
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

FORMAT = 6
"""Version of the files on disk; a higher one is refused.

Version 1, without `TableRow.file`, 2, without `TEXT_KEYS`, kinds of passages, blocks of documents and
`TableRow.conservation`, 3, without `PLACES`, 4, without `EmbedderEntry.arithmetic`, and 5, without `BM25_COUNTS`, are
read.
"""

MANIFEST = "manifest.json"
MARK = ".rag-ft-index"
LOCK = ".lock"
GENERATIONS = "generations"
JOURNAL = ".journal"
ORIGINALS = "originals"
FEEDBACK = "feedback.jsonl"
FEEDBACK_LOCK = ".feedback.lock"
SHARDS = "shards.json"
"""In a folder of shards (`rag_ft.indexing.shards`), which is not an index itself: the list of them."""

VECTORS = "vectors.faiss"
RAW_VECTORS = "vectors.npy"
KEYS = "keys.npy"
TEXT_KEYS = "text-keys.npy"
PASSAGES = "passages.jsonl"
DOCUMENTS = "documents.jsonl"
TABLE = "table.jsonl"
PLACES = "places.bin"
BM25 = "bm25"
SENTINELS = "sentinels.json"
SENTINEL_VECTORS = "sentinels.npy"
STAGED_DOCUMENTS = "staged-documents.tmp"
STAGED_PASSAGES = "staged-passages.tmp"
STAGED_PLACES = "staged-places.tmp"
BM25_EMPTY = "empty.json"
BM25_FILES = (
    "data.csc.index.npy",
    "indices.csc.index.npy",
    "indptr.csc.index.npy",
    "vocab.index.json",
    "params.index.json",
)
BM25_COUNTS = ("times.npy", "lengths.npy")

MANIFEST_BYTES = 1_000_000
"""Larger than any manifest: a larger file was not written by this program and is not read."""

_MARK_START = "rag_ft index."
_MARK_TEXT = (
    f"{_MARK_START} This folder is rag_ft's: it replaces manifest.json here, and removes what it wrote itself"
    " under generations and .journal, and nothing else.\n"
)
_NAME = re.compile(r"[0-9a-f]{16}")
_OLD_UNFINISHED = re.compile(r"\.manifest-[0-9a-z_]+\.tmp")


class _OwnPaths(NamedTuple):
    """Relative paths of what this program writes in a folder."""

    files: re.Pattern[str]
    folders: re.Pattern[str]


def offsets_path(path: Path) -> Path:
    """Path of the file with the line starts of a JSON Lines file."""
    return path.with_suffix(".offsets.npy")


def _one_of(*names: str) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, names)))


LINES_FILES = tuple(name for lines in (PASSAGES, DOCUMENTS) for name in (lines, str(offsets_path(Path(lines)))))
_GENERATION = _OwnPaths(
    _one_of(
        *LINES_FILES,
        TABLE,
        PLACES,
        KEYS,
        TEXT_KEYS,
        VECTORS,
        RAW_VECTORS,
        SENTINELS,
        SENTINEL_VECTORS,
        STAGED_DOCUMENTS,
        STAGED_PASSAGES,
        STAGED_PLACES,
        *(f"{BM25}/{name}" for name in (BM25_EMPTY, *BM25_FILES, *BM25_COUNTS)),
    ),
    _one_of(BM25),
)
BLOCK_NAME = re.compile(r"block-\d{6,}-([0-9a-f]{32})\.npy")
BLOCK_UNFINISHED = re.compile(r"block-[0-9a-f]{8}\.tmp")
READ_NAME = re.compile(r"read-([0-9a-f]{32})-([0-9a-f]{32})\.jsonl")
"""Documents of a block of files (`indexing.distributed`), by what decides them and by their checksum."""
READ_UNFINISHED = re.compile(r"read-[0-9a-f]{8}\.tmp")
_PART_OF_JOURNAL = re.compile(
    "|".join(name.pattern for name in (BLOCK_NAME, BLOCK_UNFINISHED, READ_NAME, READ_UNFINISHED))
)
_JOURNAL = _OwnPaths(re.compile(rf"{_NAME.pattern}/(?:{_PART_OF_JOURNAL.pattern})"), _NAME)


_ORIGINAL = re.compile(r"[0-9a-f]{64}")
_UNFINISHED_ORIGINAL = re.compile(rf"{_ORIGINAL.pattern}\.[0-9a-f]{{8}}\.tmp")
_ORIGINALS = _OwnPaths(re.compile(rf"{_ORIGINAL.pattern}|{_UNFINISHED_ORIGINAL.pattern}"), re.compile(r"(?!)"))


def is_original(name: str) -> bool:
    """Whether this is a name that this program gives to a kept original."""
    return _ORIGINAL.fullmatch(name) is not None


def is_unfinished_original(name: str) -> bool:
    """Whether this is a name that this program gives to an original while it is copied."""
    return _UNFINISHED_ORIGINAL.fullmatch(name) is not None


def is_name(name: str) -> bool:
    """Whether this is a name that this program gives to a generation or to an embedder's part of the journal."""
    return _NAME.fullmatch(name) is not None


def is_generation(folder: Path) -> bool:
    """Whether a folder has a generation's name and is a real folder, not a link to one."""
    return is_name(folder.name) and is_real_folder(folder)


def content_checksum(content: dict[str, Any]) -> str:
    """Hex SHA-256 of a manifest's fields without `checksum`, as canonical JSON."""
    rest = {key: value for key, value in content.items() if key != "checksum"}
    canonical = json.dumps(rest, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def is_marked(folder: Path) -> bool:
    """Whether the folder holds the mark, which a writer sets before anything else."""
    path = folder / MARK
    try:
        if path.is_symlink() or not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(len(_MARK_START)) == _MARK_START.encode()
    except OSError:
        return False


def mark(folder: Path) -> None:
    """Mark the folder as an index. Raises OSError."""
    if not is_marked(folder):
        write_atomic(folder / MARK, _MARK_TEXT)


def holds_index(folder: Path) -> bool:
    """Whether a folder is an index: sound, damaged or unfinished. Creates nothing and raises nothing."""
    with contextlib.suppress(OSError):
        return is_marked(folder) or _manifest_of(folder) is True or _has_generation(folder)
    return False


def holds_shards(folder: Path) -> bool:
    """Whether a folder has a list of shards."""
    return os.path.lexists(folder / SHARDS)


def is_of_shards(folder: Path) -> str:
    """The message where an ordinary index is needed and a folder of shards was given."""
    return (
        f"{folder} holds a list of shards and not an index of its own: give one of the shards ('rag-ft index shards"
        f" list {folder}' names them)"
    )


def check_may_write(folder: Path) -> None:
    """Raise UsageError unless the folder is an index without links out of it, or is empty or absent.

    To be called before anything is written there. Raises OSError.
    """
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file: give a folder for the index")
    if holds_shards(folder):
        raise UsageError(is_of_shards(folder))
    ours = is_marked(folder) or _manifest_of(folder) is True
    if not ours:
        foreign = _foreign_at_top(folder)
        # An older index without a mark, whose manifest is damaged or missing, may contain a user's files.
        if foreign is not None and not (_manifest_of(folder) is None and _has_generation(folder)):
            raise UsageError(
                f"{folder} holds other files ({foreign.relative_to(folder)}): give a new or empty folder for the index"
            )
    for name in (GENERATIONS, JOURNAL, ORIGINALS):
        if os.path.lexists(folder / name) and not is_real_folder(folder / name):
            raise UsageError(f"{folder / name} is a link or a file where rag_ft keeps a folder: {_MOVE}")
    for name in (MANIFEST, MARK, LOCK, FEEDBACK, FEEDBACK_LOCK):
        path = folder / name
        if os.path.lexists(path) and (path.is_symlink() or not path.is_file()):
            raise UsageError(f"{path} is a link or a folder where rag_ft keeps a file: {_MOVE}")
    lock = folder / LOCK  # acquiring it empties it
    if lock.is_file() and lock.stat().st_size and not ours:
        raise UsageError(f"{lock} is not empty, so rag_ft did not write it: {_MOVE}")


_MOVE = "move it away, then try again"


def _manifest_of(folder: Path) -> bool | None:
    """True for a manifest of ours, False for another program's file of that name, None if missing or damaged."""
    path = folder / MANIFEST
    try:
        if not path.is_file():
            return False if os.path.lexists(path) else None
        if path.stat().st_size > MANIFEST_BYTES:
            return False
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict) or not {"generation", "checksum", "format"} <= content.keys():
            return False
        # A newer version may compute its checksum in another way.
        newer = type(content["format"]) is int and content["format"] > FORMAT
        return True if newer or content["checksum"] == content_checksum(content) else None
    except Exception:  # whatever bytes that are not a manifest raise
        return None


def _has_generation(folder: Path) -> bool:
    """Whether there is a generation that holds files of ours and nothing else."""
    generations = folder / GENERATIONS
    if not is_real_folder(generations):
        return False
    return any(
        is_generation(path) and not _foreign_in(path, _GENERATION) and any(path.iterdir())
        for path in generations.iterdir()
    )


def _foreign_at_top(folder: Path) -> Path | None:
    """The first entry of an unmarked folder that a killed first build cannot have left."""
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


def _foreign_in(folder: Path, paths: _OwnPaths) -> list[Path]:
    """Entries of a folder of ours that this program did not write; links are not followed. Raises OSError."""
    return sorted(path for path, ours in _walk(folder, paths) if not ours)


def foreign_in_index(folder: Path) -> list[Path]:
    """Entries among generations, journal and originals that this program did not write. Raises OSError."""
    return [path for path, ours in _walk_index(folder) if not ours]


def own_in_index(folder: Path) -> list[Path]:
    """Files of generations, journal and originals that this program wrote, in use or left behind. Raises OSError."""
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
    if is_real_folder(folder / ORIGINALS):
        yield from _walk(folder / ORIGINALS, _ORIGINALS)


def remove_generation(folder: Path, *, inside: Path) -> None:
    """Remove everything in a generation that this program wrote; anything else in it stays.

    On Windows a file that a reader holds open stays until the next removal. Raises OSError, UsageError.
    """
    if is_generation(folder):
        _remove_own(folder, inside, _GENERATION)


def remove_journal(folder: Path, *, inside: Path, keep: str = "") -> None:
    """Remove everything in a journal that this program wrote, except the part `keep`. Raises OSError, UsageError."""
    if not is_real_folder(folder):
        return
    if not keep:
        _remove_own(folder, inside, _JOURNAL)
        return
    for path in folder.iterdir():
        if path.name != keep and is_generation(path):
            _remove_own(path, inside, _OwnPaths(_PART_OF_JOURNAL, _NOTHING))


_NOTHING = re.compile(r"(?!)")


def _remove_own(folder: Path, inside: Path, paths: _OwnPaths) -> None:
    contents = list(_walk(folder, paths))
    if all(ours for _, ours in contents):
        remove_tree(folder, inside=inside, ignore_errors=os.name == "nt")
        return
    for path, ours in contents:
        if ours and not is_real_folder(path):
            path.unlink(missing_ok=True)
    for path in [*(path for path, ours in reversed(contents) if ours and is_real_folder(path)), folder]:
        with contextlib.suppress(OSError):  # it holds files of others
            path.rmdir()


def _walk(folder: Path, paths: _OwnPaths, inner: str = "") -> Iterator[tuple[Path, bool]]:
    """Yield each entry below a folder of ours, and whether it is ours; folders come first, foreign ones stay closed."""
    for path in sorted(folder.iterdir()):
        name = inner + path.name
        real = is_real_folder(path)
        ours = (paths.folders if real else paths.files).fullmatch(name) is not None
        yield path, ours
        if ours and real:
            yield from _walk(path, paths, f"{name}/")


def unfinished_manifests(folder: Path) -> list[Path]:
    """Unfinished manifests and marks; only the holder of the lock knows that their writers were killed."""
    if not folder.is_dir():
        return []
    named = [*partials(folder / MANIFEST), *partials(folder / MARK)]
    named += [path for path in folder.iterdir() if _OLD_UNFINISHED.fullmatch(path.name)]
    return [path for path in named if path.is_file() and not path.is_symlink()]
