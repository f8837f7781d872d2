"""Files written whole or not at all, removed only where this program made them; full disks in one sentence.

Every writer and every remover of the program uses this module. A killed process leaves files named
`.NAME.partial-PID-RANDOM`; the next writer of NAME removes them once that process is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rag_ft.errors import RagFtError, UsageError

RESULT = "result"
"""Name of the file or folder inside a `staged` folder that replaces the target."""
BEFORE = "before"
"""Name of the former target inside a `staged` folder."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
# numpy's tofile and FAISS report a short write without errno; safetensors and torch use their own wording.
_FULL_WORDS = re.compile(
    r"no space left|disk quota exceeded|not enough space|\d+ requested and \d+ written|os error 28\b|os error 122\b",
    re.IGNORECASE,
)


@contextlib.contextmanager
def locked(path: Path, busy: Exception, timeout_s: float = 0) -> Iterator[None]:
    """Hold a lock file, which no other thread or process then holds. Raises `busy` if one keeps it, OSError."""
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(timeout=timeout_s)
    except Timeout as error:
        raise busy from error
    try:
        yield
    finally:
        lock.release()


def fsync(path: Path) -> None:
    """Flush a file, or a folder's list of names, to disk. Raises OSError."""
    if os.name == "nt" and path.is_dir():  # Windows has no handle for a folder
        return
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(path: Path, mode: int | None = None) -> None:
    """Flush a file, or a folder with everything in it, to disk. Raises OSError.

    `mode`: permissions to set on files first; folders then get 755. None leaves permissions alone.
    """
    for entry in [path, *path.rglob("*")]:
        if entry.is_symlink():
            continue
        if mode is not None:
            entry.chmod(0o755 if entry.is_dir() else mode)
        fsync(entry)


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o644) -> Iterator[Path]:
    """Yield a temporary name beside `path` to write to; after the block that file replaces `path`, durably.

    If the block raises or is interrupted, `path` is unchanged and the temporary file is removed. Raises OSError.
    """
    clear_partial(path)
    work = path.with_name(_partial_prefix(path) + secrets.token_hex(4))
    try:
        yield work
        sync_tree(work, mode)  # safetensors makes files that only their owner can read
        os.replace(work, path)
    finally:
        work.unlink(missing_ok=True)
    fsync(path.parent)


def write_atomic(path: Path, content: str | bytes, mode: int = 0o644) -> None:
    """Write a whole file, text as UTF-8: after a crash `path` holds the old content or the new. Raises OSError."""
    with replacing(path, mode) as work:
        work.touch(mode)  # before anything is written to it
        work.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


@contextlib.contextmanager
def replacing_together(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Yield temporary names beside files of one folder; after the block the temporary files replace them all.

    Readers look for the first file: it is removed before the others are replaced and written last. A killed process
    therefore leaves the old files, the new ones, or no first file, but never a mixture that looks complete. If the
    block raises, the files are unchanged. Raises OSError.
    """
    for path in paths:
        clear_partial(path)
    works = [path.with_name(_partial_prefix(path) + secrets.token_hex(4)) for path in paths]
    try:
        yield works
        for work in works:
            sync_tree(work, 0o644)
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


def append_whole(path: Path, content: str, *, new_line: bool = False) -> None:
    """Append lines to a file, durably; if the disk is full, the file is unchanged. Raises OSError.

    `new_line`: end the last line first where a killed writer left it unfinished. Several writers take turns, except on
    Windows and on file systems without locks.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags, 0o644)
    try:
        _take_turns(handle)  # until the file is closed: another's line must not be cut off with ours
        before = os.fstat(handle).st_size
        if new_line and before:
            os.lseek(handle, before - 1, os.SEEK_SET)
            if os.read(handle, 1) != b"\n":
                content = "\n" + content
        remaining = memoryview(content.encode("utf-8"))
        try:
            while remaining:
                remaining = remaining[os.write(handle, remaining) :]
            os.fsync(handle)
        except BaseException:
            with contextlib.suppress(OSError):
                os.ftruncate(handle, before)
            raise
    finally:
        os.close(handle)


def _take_turns(handle: int) -> None:
    """Wait until no other writer holds the file."""
    if sys.platform != "win32":
        import fcntl

        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)


@contextlib.contextmanager
def staged(
    target: Path,
    *,
    overwrite: bool,
    foreign: Callable[[Path], Path | None],
    error: type[RagFtError],
    elsewhere: str = "",
) -> Iterator[Path]:
    """Yield a hidden folder beside `target`; its `result` (a file or a folder) becomes `target` after the block.

    If the block raises or is interrupted, nothing is left behind and `target` is unchanged. `overwrite` allows
    replacing an existing target, unless `foreign(target)` returns a path at or below it that this program did not
    write: a user's files are never replaced, nor is the target of a link. On Linux the swap is one step; elsewhere a
    kill between two renames leaves no target until the next writer restores the old one. Raises UsageError, and
    `error` for whatever the file system refuses, with `elsewhere` as the way to another place.
    """
    _check_target(target, overwrite, foreign)
    work: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        clear_partial(target)
        work = Path(tempfile.mkdtemp(dir=target.parent, prefix=_partial_prefix(target)))
        yield work
        result = work / RESULT
        sync_tree(result, 0o644)
        _check_target(target, overwrite, foreign)  # the block may have taken hours
        _put_in_place(result, target, work / BEFORE)
    except Exception as reason:
        if is_disk_full(reason):
            kept = f"no part of {target.name} was kept" + (f"; {elsewhere}" if elsewhere else "")
            raise error(disk_full(target.parent, kept)) from reason
        if isinstance(reason, OSError):
            hint = f" ({elsewhere})" if elsewhere else ""
            raise error(
                f"{target} cannot be written ({reason.strerror or reason}): choose another path{hint}"
            ) from reason
        raise
    finally:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)


def _put_in_place(result: Path, target: Path, before: Path) -> None:
    """Rename `result` to `target`; an existing `target` moves to where `result` was, or to `before`."""
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


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step; False where the platform or the file system cannot."""
    if sys.platform != "linux":
        return False
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2  # glibc from 2.28 on, musl from 1.2.4 on
    except (OSError, AttributeError):
        return False
    status = rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), ctypes.c_uint(_RENAME_EXCHANGE))
    return bool(status == 0)


def _check_target(target: Path, overwrite: bool, foreign: Callable[[Path], Path | None]) -> None:
    if target.is_symlink():
        raise UsageError(f"{target} is a link, and its target is not replaced: give the path it points to")
    if not target.exists():
        return
    if not overwrite:
        raise UsageError(f"{target} already exists: choose another path, or overwrite it (--overwrite)")
    unknown = foreign(target)
    if unknown is not None:
        kind = "a folder" if target.is_dir() else "a file"
        what = f"is {kind} that" if unknown == target else f"holds {unknown.relative_to(target)}, which"
        raise UsageError(f"{target} {what} rag_ft did not write, so it is not replaced: choose another path")


_PARTIAL = r"\..+\.partial-\d+-[0-9a-z_]+"


def foreign_file(folder: Path, names: re.Pattern[str]) -> Path | None:
    """The first entry of a folder that is not a plain file with one of these names; None if there is none."""
    for path in sorted(folder.iterdir()):
        known = names.fullmatch(path.name) or re.fullmatch(_PARTIAL, path.name)
        if not known or not is_plain_file(path):
            return path
    return None


def _partial_prefix(path: Path) -> str:
    return f".{path.name}.partial-{os.getpid()}-"


def partials(path: Path) -> list[Path]:
    """Temporary files and folders beside `path`, of running or killed writers."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.partial-\d+-[0-9a-z_]+")
    if not path.parent.is_dir():
        return []
    return [leftover for leftover in path.parent.iterdir() if pattern.fullmatch(leftover.name)]


def clear_partial(path: Path) -> None:
    """Remove what killed writers of `path` left beside it; files of running processes stay.

    A process killed between the two renames of `staged` leaves the old folder in its hidden one: it is moved back.
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
    """Whether `path` is a folder itself, not a link to one."""
    try:
        status = path.lstat()
    except OSError:
        return False
    # A Windows junction is a link in all but name.
    return stat.S_ISDIR(status.st_mode) and not bool(getattr(path, "is_junction", lambda: False)())


def is_plain_file(path: Path) -> bool:
    """Whether `path` is a regular file itself, not a link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def remove_tree(folder: Path, *, inside: Path, ignore_errors: bool = False) -> None:
    """Delete a folder that this program made below `inside`, without following links.

    `inside` is the folder the user gave; it may itself be a link. A link in place of the folder, or of one on the way
    to it, is left alone and raises UsageError. A missing folder is not an error. Raises OSError.
    """
    steps = folder.relative_to(inside).parts
    if not steps or ".." in steps:
        raise UsageError(f"{folder} is not below {inside}, so it is not removed: give a folder inside it")
    here = inside
    for step in steps:
        here = here / step
        if not os.path.lexists(here):
            return
        if not is_real_folder(here):
            raise UsageError(f"{here} is a link or a file where rag_ft keeps a folder: move it away, then try again")
    shutil.rmtree(folder, ignore_errors=ignore_errors)


def is_disk_full(error: BaseException) -> bool:
    """Whether an error of any library means that the disk is full."""
    seen: set[int] = set()
    reason: BaseException | None = error
    while reason is not None and id(reason) not in seen:
        seen.add(id(reason))
        if isinstance(reason, OSError) and reason.errno in _FULL:
            return True
        # An errno of another kind decides; only errors without one (shutil.Error, libraries) are judged by their text.
        if not (isinstance(reason, OSError) and reason.errno) and _FULL_WORDS.search(str(reason)):
            return True
        reason = reason.__cause__ or reason.__context__
    return False


def disk_full(folder: Path, kept: str = "") -> str:
    """The message for a full disk; `kept` says what became of the work so far."""
    return f"the disk of {folder} is full: free some space and run the same command again" + (
        f" ({kept})" if kept else ""
    )


@contextlib.contextmanager
def full_disk_as(error: type[RagFtError], folder: Path, kept: str = "") -> Iterator[None]:
    """Within the block, a full disk raises `error` with `disk_full`'s message; a RagFtError passes unchanged."""
    try:
        yield
    except RagFtError:
        raise
    except Exception as reason:
        if is_disk_full(reason):
            raise error(disk_full(folder, kept)) from reason
        raise


def free_bytes(folder: Path) -> int:
    """Free bytes on the disk of `folder`, which need not exist yet. Raises OSError."""
    existing = folder.absolute()
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    return shutil.disk_usage(existing).free


def require_space(folder: Path, needed: int, *, error: type[RagFtError], kept: str = "") -> None:
    """Raise `error` if fewer than `needed` bytes are free: to be called before anything large is written."""
    free = free_bytes(folder)
    if free < needed:
        raise error(
            f"{folder} needs {needed / 1e6:,.0f} MB of free space, and its disk has {free / 1e6:,.0f} MB:"
            " free some space, or choose a folder on another disk" + (f" ({kept})" if kept else "")
        )
