"""Files written whole or not at all, removed only where this program made them; full disks in one sentence.

Every writer and every remover of the program comes through here. What a killed process leaves behind is named
`.NAME.partial-PID-RANDOM`, and the next writer of NAME removes it once that process is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rag_ft import environment
from rag_ft.errors import RagFtError, UsageError

RESULT = "result"
"""Name in a `staged` folder of the file or folder that takes the target's place."""
BEFORE = "before"
"""Name in a `staged` folder of what stood in the target's place."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
# numpy's tofile and FAISS report a short write without errno, safetensors and torch in words of their own.
_FULL_WORDS = re.compile(
    r"no space left|disk quota exceeded|not enough space|\d+ requested and \d+ written|os error 28\b|os error 122\b",
    re.IGNORECASE,
)


def fsync(path: Path) -> None:
    """Make a file, or a folder's list of names, durable. Raises OSError."""
    if os.name == "nt" and path.is_dir():  # Windows has no handle on a folder
        return
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Make every file and folder under a folder durable, and the folder itself. Raises OSError."""
    for path in folder.rglob("*"):
        if not path.is_symlink():
            fsync(path)
    fsync(folder)


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o644) -> Iterator[Path]:
    """A name beside `path` to write a file to; after the block that file is durable and has taken the place of `path`.

    If the block raises, or is interrupted, `path` is as before and nothing is left beside it. Raises OSError.
    """
    clear_partial(path)
    work = path.with_name(_partial_prefix(path) + secrets.token_hex(4))
    try:
        yield work
        work.chmod(mode)  # safetensors makes files that only their owner can read
        fsync(work)
        os.replace(work, path)
    finally:
        work.unlink(missing_ok=True)
    fsync(path.parent)


def write_atomic(path: Path, content: str | bytes, mode: int = 0o644) -> None:
    """Write a whole file: after a crash there is the former one or the new one. Text as UTF-8. Raises OSError."""
    with replacing(path, mode) as work:
        work.touch(mode)  # before it holds anything
        work.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


@contextlib.contextmanager
def replacing_together(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Names beside files of one folder to write to; after the block all of these take the files' places.

    The first of the files is what a reader looks for: it goes before the others are replaced and comes back last, so
    that a killed process leaves the former files, the new ones, or files without the first one, and never a mixture
    that could be taken for whole. If the block raises, the files are as before. Raises OSError.
    """
    for path in paths:
        clear_partial(path)
    works = [path.with_name(_partial_prefix(path) + secrets.token_hex(4)) for path in paths]
    try:
        yield works
        for work in works:
            work.chmod(0o644)
            fsync(work)
        folder = paths[0].parent
        if paths[0].exists():
            paths[0].unlink()
            fsync(folder)
        for work, path in zip(works[1:], paths[1:], strict=True):
            os.replace(work, path)
        fsync(folder)
        os.replace(works[0], paths[0])
        fsync(folder)
    finally:
        for work in works:
            work.unlink(missing_ok=True)


def append_whole(path: Path, content: str) -> None:
    """Add lines to a file, durable when this returns; where they do not fit the file is as before. Raises OSError."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags, 0o644)
    try:
        before = os.fstat(handle).st_size
        left = memoryview(content.encode("utf-8"))
        try:
            while left:
                left = left[os.write(handle, left) :]
            os.fsync(handle)
        except BaseException:
            with contextlib.suppress(OSError):
                os.ftruncate(handle, before)
            raise
    finally:
        os.close(handle)


@contextlib.contextmanager
def staged(
    target: Path,
    *,
    overwrite: bool,
    foreign: Callable[[Path], Path | None],
    error: type[RagFtError],
    elsewhere: str = "",
) -> Iterator[Path]:
    """A hidden folder beside `target`; what the block leaves in its `result` (a file or a folder) becomes `target`.

    If the block raises, or is interrupted, nothing is left and `target` is as before. `overwrite` replaces what is
    there if `foreign`, asked for the first thing at or below it that this program did not write, knows of none: nothing
    of the user's is ever replaced, nor what a link leads to. On Linux the target changes in one step; elsewhere a kill
    between two renames leaves none until the next writer brings the former one back. Raises UsageError; `error` for
    what the file system refuses, with `elsewhere` as the way to another place.
    """
    _check_target(target, overwrite, foreign)
    work: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        clear_partial(target)
        work = Path(tempfile.mkdtemp(dir=target.parent, prefix=_partial_prefix(target)))
        yield work
        result = work / RESULT
        for path in [result, *result.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
            fsync(path)
        _check_target(target, overwrite, foreign)  # the block may have taken hours
        _put_in_place(result, target, work / BEFORE)
    except Exception as reason:
        if is_disk_full(reason):
            kept = f"nothing is left of {target.name}" + (f"; {elsewhere}" if elsewhere else "")
            raise error(disk_full(target.parent, kept)) from reason
        if isinstance(reason, OSError):
            hint = f" ({elsewhere})" if elsewhere else ""
            raise error(
                f"{target} cannot be written ({reason.strerror or reason}): give another place{hint}"
            ) from reason
        raise
    finally:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)


def _put_in_place(result: Path, target: Path, before: Path) -> None:
    """Rename `result` to `target`; a former `target` goes to where `result` was, or to `before`."""
    if target.is_file() and result.is_file():
        os.replace(result, target)
    elif not target.exists():
        os.rename(result, target)
    elif not _exchange(result, target):
        os.rename(target, before)
        try:
            os.rename(result, target)
        except BaseException:
            if not target.exists():
                os.rename(before, target)
            raise
    fsync(target.parent)


_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def _exchange(one: Path, other: Path) -> bool:
    """Whether two names could be exchanged in one step: on Linux, where the file system can."""
    if sys.platform != "linux":
        return False
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2  # glibc from 2.28 on, musl from 1.2.4 on
    except (OSError, AttributeError):
        return False
    done = rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), ctypes.c_uint(_RENAME_EXCHANGE))
    return bool(done == 0)


def _check_target(target: Path, overwrite: bool, foreign: Callable[[Path], Path | None]) -> None:
    if target.is_symlink():
        raise UsageError(f"{target} is a link, and what it leads to is not replaced: give the place itself")
    if not target.exists():
        return
    if not overwrite:
        raise UsageError(f"{target} is there already: give another place, or overwrite it (--overwrite)")
    theirs = foreign(target)
    if theirs is not None:
        kind = "a folder" if target.is_dir() else "a file"
        what = f"is {kind} that" if theirs == target else f"holds {theirs.relative_to(target)}, which"
        raise UsageError(f"{target} {what} rag_ft did not write, and is not replaced: give another place")


_PARTIAL = r"\..+\.partial-\d+-[0-9a-z_]+"


def foreign_file(folder: Path, names: re.Pattern[str]) -> Path | None:
    """The first thing in a folder that is no plain file of such a name; None where there is none."""
    for path in sorted(folder.iterdir()):
        known = names.fullmatch(path.name) or re.fullmatch(_PARTIAL, path.name)
        if not known or not is_plain_file(path):
            return path
    return None


def _partial_prefix(path: Path) -> str:
    return f".{path.name}.partial-{os.getpid()}-"


def partials(path: Path) -> list[Path]:
    """What unfinished or killed writers of `path` have beside it."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.partial-\d+-[0-9a-z_]+")
    if not path.parent.is_dir():
        return []
    return [leftover for leftover in path.parent.iterdir() if pattern.fullmatch(leftover.name)]


def clear_partial(path: Path) -> None:
    """Remove what killed processes left of `path`; what a living process is writing stays.

    A process killed between the two renames of `staged` has left the former folder in its hidden one: it comes back.
    """
    import psutil

    for leftover in partials(path):
        if psutil.pid_exists(int(leftover.name.removeprefix(f".{path.name}.partial-").partition("-")[0])):
            continue
        if is_real_folder(leftover):
            if (leftover / BEFORE).exists() and not path.exists():
                os.rename(leftover / BEFORE, path)
            shutil.rmtree(leftover, ignore_errors=True)
        elif is_plain_file(leftover):
            leftover.unlink(missing_ok=True)


def is_real_folder(path: Path) -> bool:
    """Whether there is a folder at `path` itself, and not a link to one."""
    try:
        status = path.lstat()
    except OSError:
        return False
    # A junction of Windows is a link in all but name.
    return stat.S_ISDIR(status.st_mode) and not bool(getattr(path, "is_junction", lambda: False)())


def is_plain_file(path: Path) -> bool:
    """Whether there is a file at `path` itself, and not a link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def remove_tree(folder: Path, *, inside: Path, ignore_errors: bool = False) -> None:
    """Delete a folder that this program made below `inside`; no link is followed.

    `inside` is the folder the user gave, which may itself be reached by a link. A link in place of the folder, or of
    one between, is left alone together with what it leads to: UsageError. No folder at all is no error. Raises OSError.
    """
    steps = folder.relative_to(inside).parts
    if not steps or ".." in steps:
        raise UsageError(f"{folder} does not lie below {inside}, and is not removed")
    here = inside
    for step in steps:
        here = here / step
        if not os.path.lexists(here):
            return
        if not is_real_folder(here):
            raise UsageError(f"{here} is a link or a file where rag_ft keeps a folder: move it away, and try again")
    shutil.rmtree(folder, ignore_errors=ignore_errors)


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, of whatever library, says that there is no space left on the disk."""
    seen: set[int] = set()
    reason: BaseException | None = error
    while reason is not None and id(reason) not in seen:
        seen.add(id(reason))
        if isinstance(reason, OSError) and reason.errno in _FULL:
            return True
        # A short write that has an errno of its own is what that says; shutil.Error lists its reasons as text.
        if not (isinstance(reason, OSError) and reason.errno) and _FULL_WORDS.search(str(reason)):
            return True
        reason = reason.__cause__ or reason.__context__
    return False


def disk_full(folder: Path, kept: str = "") -> str:
    """The one sentence for a full disk; `kept` says what became of the work so far."""
    return f"the disk of {folder} is full: free some space and run the same command again" + (
        f" ({kept})" if kept else ""
    )


@contextlib.contextmanager
def full_disk_as(error: type[RagFtError], folder: Path, kept: str = "") -> Iterator[None]:
    """Inside, a full disk raises `error` with the one sentence, unless it is told already."""
    try:
        yield
    except RagFtError:
        raise
    except Exception as reason:
        if is_disk_full(reason):
            raise error(disk_full(folder, kept)) from reason
        raise


def free_bytes(folder: Path) -> int:
    """Bytes that can still be written where `folder` is, or will be. Raises OSError."""
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    return shutil.disk_usage(there).free


def require_space(folder: Path, needed: int, *, error: type[RagFtError], kept: str = "") -> None:
    """Raise `error` where less than `needed` bytes are free, before anything large is written."""
    free = free_bytes(folder)
    if free < needed:
        raise error(
            f"{folder} needs {needed / 1e6:,.0f} MB of free space, and its disk has {free / 1e6:,.0f} MB:"
            " free some space, or give a folder on another disk" + (f" ({kept})" if kept else "")
        )


logger = logging.getLogger(__name__)


REMEMBER_FROM_BYTES = 8 * 1024 * 1024
"""Smaller files are hashed every time: it takes milliseconds, and then no edit can go unnoticed."""


def sha256_of(path: Path, *, fresh: bool = False) -> str:
    """Hex SHA-256 of a file.

    A large file whose path, size, modification time and change time are those of an earlier call is not read
    again, unless `fresh`. The memory is `checksums.json` in `environment.home()`; where that folder cannot be
    written, every call reads the file. Raises OSError when the file cannot be read.
    """
    status = path.stat()
    if status.st_size < REMEMBER_FROM_BYTES:
        return _read_and_hash(path)
    key = str(path.absolute())
    # The change time catches an edit that keeps size and modification time (`touch -r`, `rsync -t`).
    stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    if not fresh:
        known = _load().get(key)
        if isinstance(known, list) and len(known) == 4 and known[:3] == stamp:
            return str(known[3])
    digest = _read_and_hash(path)
    _remember(key, [*stamp, digest])
    return digest


def _read_and_hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(4 * 1024 * 1024):
            digest.update(block)
    return digest.hexdigest()


def _memory_path() -> Path:
    return environment.home() / "checksums.json"


def _load() -> dict[str, object]:
    try:
        loaded = json.loads(_memory_path().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _remember(key: str, value: list[object]) -> None:
    """Two processes that write at once may lose one entry: the price is reading one file again."""
    memory = {name: entry for name, entry in _load().items() if os.path.exists(name)}
    memory[key] = value
    path = _memory_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(memory, indent=1) + "\n")
    except OSError as error:
        logger.debug("checksums are not remembered: %s", error)
