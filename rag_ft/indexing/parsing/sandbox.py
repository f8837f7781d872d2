"""Rights that a reading process gives up before its first file: files, network, new programs, unlimited memory.

A parser that a hostile file takes over can then do little more than give a wrong text. Linux offers most of this
(namespaces, Landlock, seccomp) if the kernel and the container allow it; other systems offer only process limits.
Nothing here raises: `restrict` returns what was possible.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct
import sys
from collections.abc import Callable

KEPT_FROM_FILES = "files"
"""Only files of Python and its libraries can be opened, and only for reading."""
KEPT_FROM_NETWORK = "network"
"""No socket can be created."""
KEPT_FROM_MEMORY = "memory"
"""The system refuses more memory than allowed."""

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 1, 38, 22, 2
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446  # the same number on every processor
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_ACCESS_BITS = {1: 13, 2: 14, 3: 15, 4: 15}
"""Number of file rights in each version of Landlock; 16 from version 5 on."""
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
_OPEN_FILES = 64
_SIGKILL = 9

# For `platform.machine()`: the audit number of the processor, and its numbers of socket and io_uring_setup.
_PROCESSORS = {"x86_64": (0xC000003E, 41, 425), "aarch64": (0xC00000B7, 198, 425)}


def end_with_parent(parent: int) -> None:
    """Make the system end this process when the thread that started it ends."""
    if sys.platform == "linux":
        _prctl(_PR_SET_PDEATHSIG, _SIGKILL)
        if os.getppid() != parent:  # the parent ended before the call
            os._exit(1)


def restrict(memory_bytes: int) -> tuple[str, ...]:
    """Give up what reading a document does not need, and return what the process is kept from."""
    kept_from = []
    steps: list[tuple[str, Callable[[], bool]]] = [(KEPT_FROM_MEMORY, lambda: _limit_process(memory_bytes))]
    if sys.platform == "linux":
        # The namespace first: a process that has used Landlock may not make one.
        steps = [("", _leave_network), *steps, (KEPT_FROM_FILES, _leave_files), (KEPT_FROM_NETWORK, _refuse_sockets)]
    for name, step in steps:
        try:
            done = step()
        except (OSError, ValueError, AttributeError, ImportError):  # not on this platform, or not allowed here
            done = False
        if done and name:
            kept_from.append(name)
    return tuple(kept_from)


def limit_seconds(seconds: float) -> None:
    """Limit processor time from now on; the parent limits wall time, this limit works without it too."""
    try:
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        soft = int(used.ru_utime + used.ru_stime + seconds) + 2
        resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    except (ImportError, OSError, ValueError):
        pass


def peak_bytes() -> int:
    """Peak memory of this process; 0 if the platform does not report it."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, *values: int) -> int:
    filled = (*values, 0, 0, 0, 0)[:4]
    return int(_libc().prctl(option, *(ctypes.c_ulong(value) for value in filled)))


def _limit_process(memory_bytes: int) -> bool:
    import resource

    for kind, most in ((resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, _OPEN_FILES)):
        with contextlib.suppress(OSError, ValueError):  # a lower limit is set already
            resource.setrlimit(kind, (most, most))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    return sys.platform == "linux"  # macOS accepts the limit but does not enforce it


def _leave_network() -> bool:
    """Enter a new namespace, which has no network, and drop the rights that come with it at once."""
    libc = _libc()
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return False
    header, rights = struct.pack("<Ii", 0x20080522, 0), bytes(24)
    return bool(libc.capset(header, rights) == 0)


def _leave_files() -> bool:
    libc = _libc()
    version = libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    files = (1 << _ACCESS_BITS.get(version, 16)) - 1
    network, scopes = (3 if version >= 4 else 0), (3 if version >= 6 else 0)
    rules = struct.pack("<QQQ", files, network, scopes)[: 24 if version >= 6 else 16 if version >= 4 else 8]
    ruleset = libc.syscall(_LANDLOCK_CREATE, rules, ctypes.c_size_t(len(rules)), 0)
    if ruleset < 0:
        return False
    try:
        for path in _own_paths():
            _allow_reading(libc, ruleset, path)
        return _prctl(_PR_SET_NO_NEW_PRIVS, 1) == 0 and libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0) == 0
    finally:
        os.close(ruleset)


def _allow_reading(libc: ctypes.CDLL, ruleset: int, path: str) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # not on this system
        return
    try:
        rights = _READ_FILE | _READ_DIR if os.path.isdir(path) else _READ_FILE
        libc.syscall(_LANDLOCK_ADD, ruleset, 1, struct.pack("<Qi", rights, handle), 0)
    finally:
        os.close(handle)


def _own_paths() -> list[str]:
    """Paths of modules and libraries, which are loaded when a format first needs them."""
    import rag_ft

    installed = [sys.prefix, sys.base_prefix, sys.exec_prefix]
    paths = [
        path
        for path in sys.path
        if os.path.basename(path) in ("site-packages", "dist-packages")
        or any(prefix not in ("", os.sep) and path.startswith(prefix + os.sep) for prefix in installed)
    ]
    # Of a checkout on the path, which may hold documents, only the package itself.
    return [*paths, *rag_ft.__path__, *_LIBRARIES]


def _refuse_sockets() -> bool:
    """Filter system calls: Landlock does not restrict datagrams or Unix sockets."""
    numbers = _PROCESSORS.get(platform.machine())
    if numbers is None:
        return False
    audit, *refused = numbers
    # Load the architecture, then the number of the call; refuse 32-bit calls too.
    filters = [(0x20, 0, 0, 4), (0x15, 1, 0, audit), (0x06, 0, 0, 0x80000000), (0x20, 0, 0, 0)]
    filters += [(0x35, 0, 1, 0x40000000), (0x06, 0, 0, 0x00050001)]
    for system_call in refused:
        filters += [(0x15, 0, 1, system_call), (0x06, 0, 0, 0x00050001)]  # EPERM
    filters += [(0x06, 0, 0, 0x7FFF0000)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *instruction) for instruction in filters))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filters", ctypes.c_void_p)]

    described = Program(len(filters), ctypes.addressof(program))
    if _prctl(_PR_SET_NO_NEW_PRIVS, 1) != 0:
        return False
    return _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(described)) == 0
