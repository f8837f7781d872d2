"""Attacks on the folder of an index: kills, flipped bytes, damaged journals, mended manifests, full and foreign disks.

    python benchmarks/attacks/index.py                    # everything, at the counts of the defaults
    python benchmarks/attacks/index.py --only kills --kills 600 --seed 2

No model is used: words are hashed. Full disks need root, for a file system in memory of some kilobytes. Exit status 1
if anything failed.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import gc
import io
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # what is forked has one thread only
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1]), str(HERE.parents[1] / "tests")]

import numpy as np  # noqa: E402
from fakes import HashingEmbedder  # noqa: E402
from table import Tally, show  # noqa: E402
from tqdm import tqdm  # noqa: E402

import rag_ft.indexing.building.builder as build_module  # noqa: E402
import rag_ft.indexing.building.copying as copying_module  # noqa: E402
import rag_ft.indexing.building.writer as writer_module  # noqa: E402
from rag_ft.errors import IndexMissingError, IndexStoreError, UsageError  # noqa: E402
from rag_ft.indexing.chunking import ChunkingConfig  # noqa: E402
from rag_ft.indexing.index import Index  # noqa: E402
from rag_ft.indexing.storage.folder import FORMAT, MARK, content_checksum  # noqa: E402
from rag_ft.schema import Document  # noqa: E402

CHUNKING = ChunkingConfig(max_tokens=24)
BLOCK_PASSAGES = 4
"""Several blocks of a journal in builds of this size."""
QUERIES = ["paragraph 2 of 7", "word3 version 1", "title 4"]


def documents(count: int, version: int = 0) -> list[Document]:
    return [
        Document(
            id=f"doc{number:02d}.md",
            title=f"Title {number}",
            text="\n\n".join(f"Paragraph {part} of {number}, version {version}, on word{part}." for part in range(4)),
        )
        for number in range(count)
    ]


def build(path: Path, count: int, version: int = 0, kind: str = "auto") -> Index:
    return Index.build(
        documents(count, version), path, embedder=HashingEmbedder(), chunking=CHUNKING, kind=kind, progress=False
    )


def load(path: Path, verify: str = "full") -> Index:
    return Index.load(path, embedder=HashingEmbedder(), verify=verify)


def state(index: Index) -> tuple[Any, ...]:
    """All that a user can see of an index, for comparison."""
    return (
        index.fingerprint,
        tuple(index.passages()),
        tuple(index.document(name) for name in index.documents()),
        str(index.as_retriever(9, "dense").retrieve_batch(QUERIES)),
        str(index.as_retriever(9, "bm25").retrieve_batch(QUERIES)),
    )


def tree(*roots: Path) -> dict[str, str | bytes]:
    """What lies below some folders, byte for byte; links as links."""
    found: dict[str, str | bytes] = {}
    for root in roots:
        for path in [root, *sorted(root.rglob("*"))] if root.is_dir() and not root.is_symlink() else [root]:
            found[str(path)] = (
                f"-> {os.readlink(path)}"
                if path.is_symlink()
                else "folder"
                if path.is_dir()
                else path.read_bytes()
                if path.is_file()
                else "other"
            )
    return found


def leftovers(path: Path, foreign: set[Path] = frozenset()) -> list[str]:
    """What an index's folder holds beside a committed index, its mark and its lock."""
    generation = (
        json.loads((path / "manifest.json").read_bytes())["generation"] if (path / "manifest.json").exists() else ""
    )
    expected = {path / name for name in (".lock", MARK, "manifest.json", "generations", f"generations/{generation}")}
    beside = [*path.iterdir(), *(path / "generations").glob("*")]
    return sorted(str(entry.relative_to(path)) for entry in beside if entry not in expected and entry not in foreign)


# Fault injection: every change of the file system below a folder is an event that can be stopped at.

_EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod"}
_watch: dict[str, Any] = {"folder": None, "count": 0, "at": None, "do": None, "hooked": False}


def _event() -> None:
    number = _watch["count"]
    _watch["count"] += 1
    if number == _watch["at"]:
        _watch["do"]()


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    folder = _watch["folder"]
    if folder is None or event not in _EVENTS:
        return
    path = arguments[0]
    if not isinstance(path, str | bytes | os.PathLike) or not os.fspath(os.path.abspath(path)).startswith(folder):
        return
    if event == "open" and not (
        (isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"))
        or (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    ):
        return
    _event()


_fsync = os.fsync


def _counted_fsync(handle: int) -> None:
    if _watch["folder"] is not None:
        _event()
    _fsync(handle)


@contextlib.contextmanager
def events(folder: Path, at: int | None = None, do: Callable[[], None] | None = None) -> Iterator[dict[str, Any]]:
    """Count the changes below a folder, and do something before that of number `at`."""
    if not _watch["hooked"]:  # a hook cannot be taken off again
        sys.addaudithook(_hook)
    os.fsync = _counted_fsync
    _watch.update(folder=str(folder), count=0, at=at, do=do, hooked=True)
    try:
        yield _watch
    finally:
        _watch.update(folder=None)
        os.fsync = _fsync


# Commands that change an index, each on a folder made anew.


class Command:
    """A command with the state before it, the state after it, and the folder they are copied from."""

    def __init__(self, name: str, work: Path, run: Callable[[Path], object], before: Callable[[Path], object] | None):
        self.name, self.run = name, run
        self.before_folder = work / f"{name}-before" if before else None
        self.before = None
        if before:
            before(self.before_folder)
            self.before = state(load(self.before_folder))
        self.place(work / f"{name}-after")
        run(work / f"{name}-after")
        self.after = state(load(work / f"{name}-after"))

    def place(self, path: Path) -> None:
        """Put the state before the command at a path."""
        shutil.rmtree(path, ignore_errors=True)
        if self.before_folder:
            shutil.copytree(self.before_folder, path, symlinks=True)


def commands(work: Path) -> list[Command]:
    source = build(work / "source", 9, 1)

    def add(path: Path) -> None:
        load(path).add(documents(12, 1)[4:], progress=False)

    def removed(path: Path) -> None:
        with contextlib.suppress(UsageError):  # they are gone already: what is left of them goes all the same
            load(path).remove(["doc01.md", "doc03.md"])

    return [
        Command("first build", work, lambda path: build(path, 10, 1), None),
        Command("build", work, lambda path: build(path, 10, 1), lambda path: build(path, 6)),
        Command("build of another kind", work, lambda path: build(path, 9, 0, "ivf-pq"), lambda path: build(path, 8)),
        Command("add", work, add, lambda path: build(path, 6)),
        Command("remove", work, removed, lambda path: build(path, 6)),
        Command("first save", work, source.save, None),
        Command("save", work, source.save, lambda path: build(path, 6)),
    ]


def put_foreign(path: Path) -> set[Path]:
    """Files of a user in an index's folder, which nothing may touch; the link leads outside."""
    path.mkdir(exist_ok=True)
    outside = path.parent / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "thesis.txt").write_text("mine")
    (path / "generations" / "2024").mkdir(parents=True)
    (path / "generations" / "2024" / "photo.jpg").write_bytes(b"\xff\xd8mine")
    (path / "generations" / "notes.txt").write_text("mine")
    (path / "generations" / "0123456789abcdef").symlink_to(outside, target_is_directory=True)
    (path / "thesis.txt").write_text("mine")
    inside = path / "generations"
    return {path / "thesis.txt", inside / "2024", inside / "notes.txt", inside / "0123456789abcdef"}


def after_a_stop(command: Command, path: Path, foreign: set[Path], outside: dict[str, Any]) -> str:
    """What is wrong after a command was stopped, and after it was given again; empty where nothing is."""
    try:
        seen = state(load(path))
    except IndexMissingError:
        seen = None
    if seen not in (command.before, command.after):
        return "neither the former index nor the new one"
    command.run(path)
    if state(load(path)) != command.after:
        return "the repeated command does not end as the uninterrupted one"
    if not load(path).verify().ok:
        return "the repeated command's index does not verify"
    if left := leftovers(path, foreign):
        return f"left behind: {left}"
    if foreign and tree(*foreign, path.parent / "outside") != outside:
        return "a user's file was changed"
    return ""


def attack_kills(work: Path, chance: random.Random, count: int, only: str = "") -> list[Tally]:
    """SIGKILL before every change of the file system in turn, and at random moments."""
    tallies = []
    for command in commands(work):
        if only and command.name != only:
            continue
        path = work / "killed" / "index"
        path.parent.mkdir(exist_ok=True)
        command.place(path)
        with events(path) as watch:
            started = time.monotonic()
            command.run(path)
            lasts = time.monotonic() - started
        points = watch["count"]
        at_points, at_random = Tally(f"kill: {command.name}, {points} points"), Tally(f"kill: {command.name}, random")
        wanted = max(2, count // 14)
        chosen = [points * number // wanted for number in range(wanted)] if points > wanted else list(range(points))
        for tally, moments in ((at_points, chosen), (at_random, [chance.uniform(0, lasts) for _ in range(wanted)])):
            for moment in moments:
                command.place(path)
                # A folder of a user's is no index: only where there is one may others' files stand in it.
                foreign = put_foreign(path) if command.before_folder else set()
                outside = tree(*foreign, path.parent / "outside") if foreign else {}
                _run_and_kill(command, path, moment)
                problem = after_a_stop(command, path, foreign, outside)
                tally.failed(f"at {moment}: {problem}") if problem else tally.held()
        tallies += [at_points, at_random]
    return tallies


def _run_and_kill(command: Command, path: Path, moment: float) -> None:
    """Run a command in a process of its own, killed before a change of that number (int) or after seconds (float)."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            at = moment if isinstance(moment, int) else None
            with events(path, at, lambda: os.kill(os.getpid(), signal.SIGKILL)):
                command.run(path)
        os._exit(0)
    if isinstance(moment, float):
        time.sleep(moment)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def attack_flips(work: Path, chance: random.Random, count: int) -> list[Tally]:
    """One byte changed anywhere: the index is refused, or is what it was."""
    tally = Tally("flipped byte")
    sound = {kind: work / f"sound-{kind}" for kind in ("flat", "hnsw", "ivf-pq")}
    states = {kind: state(build(path, 6, kind=kind)) for kind, path in sound.items()}
    for number in range(count):
        kind = chance.choice(list(sound))
        file = chance.choice(
            [path for path in sorted(sound[kind].rglob("*")) if path.is_file() and path.stat().st_size]
        )
        before = file.read_bytes()
        content = bytearray(before)
        content[chance.randrange(len(content))] ^= chance.randrange(1, 256)
        file.write_bytes(content)
        try:
            if state(load(sound[kind], ("full", "quick")[number % 2])) != states[kind]:
                tally.failed(f"{file}: another index")
            else:
                tally.held()
        except IndexStoreError:
            tally.held()
        except Exception as error:
            tally.failed(f"{file}: {error!r}")
        file.write_bytes(before)
    return [tally]


# Journals

JOURNAL_DAMAGES: dict[str, Callable[[Path, bytes, random.Random], object]] = {
    "flipped": lambda path, content, chance: path.write_bytes(_flip(content, chance)),
    "header flipped": lambda path, content, chance: path.write_bytes(_flip(content[:150], chance) + content[150:]),
    "truncated": lambda path, content, chance: path.write_bytes(content[: chance.randrange(len(content))]),
    "longer": lambda path, content, chance: path.write_bytes(content + chance.randbytes(chance.randrange(1, 999))),
    "garbage": lambda path, content, chance: path.write_bytes(chance.randbytes(chance.randrange(1, 4000))),
    "empty": lambda path, content, chance: path.write_bytes(b""),
    "pickle": lambda path, content, chance: path.write_bytes(pickle.dumps({"key": [1, 2]})),
    "pickle in npy": lambda path, content, chance: np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True),
    "deep header": lambda path, content, chance: path.write_bytes(_npy("(" * 60_000)),
    "unclosed header": lambda path, content, chance: path.write_bytes(_npy("{'descr': [('key'")),
    "no header": lambda path, content, chance: path.write_bytes(_npy("\x00" * 100)),
    "huge shape": lambda path, content, chance: path.write_bytes(
        _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999,), }")
    ),
    "negative shape": lambda path, content, chance: path.write_bytes(
        _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }")
    ),
    "zip": lambda path, content, chance: path.write_bytes(_zip()),
    "other version": lambda path, content, chance: path.write_bytes(content[:6] + b"\x09\x00" + content[8:]),
    "a folder": lambda path, content, chance: (path.unlink(), path.mkdir(), (path / "mine.txt").write_text("mine")),
    "a link": lambda path, content, chance: (path.unlink(), path.symlink_to(path.parents[3] / "outside.npy")),
    "a pipe": lambda path, content, chance: (path.unlink(), os.mkfifo(path)),
    "another's name": lambda path, content, chance: path.rename(path.with_name(f"block-000000-{'0' * 32}.npy")),
    "no vectors": lambda path, content, chance: path.write_bytes(content[:192]),
}


def _npy(header: str) -> bytes:
    return b"\x93NUMPY\x02\x00" + len(header).to_bytes(4, "little") + header.encode() + bytes(64)


def _zip() -> bytes:
    archive = io.BytesIO()
    np.savez(archive, a=np.zeros(3))
    return archive.getvalue()


def _flip(content: bytes, chance: random.Random) -> bytes:
    flipped = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 8))):
        flipped[chance.randrange(len(flipped))] ^= chance.randrange(1, 256)
    return bytes(flipped)


def make_journal(path: Path) -> None:
    """What a build leaves that was ended after some blocks."""
    embed, calls = HashingEmbedder.encode_passages, iter(range(3))

    class Ended(HashingEmbedder):
        def encode_passages(self, texts: Any) -> Any:
            if next(calls, None) is None:
                raise KeyboardInterrupt
            return embed(self, texts)

    with contextlib.suppress(KeyboardInterrupt):
        Index.build(documents(12), path, embedder=Ended(), chunking=CHUNKING, progress=False)
    assert len([*path.glob(".journal/*/*.npy")]) == 3


def attack_journals(work: Path, chance: random.Random, count: int) -> list[Tally]:
    """A damaged journal: the next build succeeds, and its index is that of a build without one."""
    tally = Tally("damaged journal")
    clean = state(build(work / "clean", 12))
    make_journal(work / "journal")
    (work / "journals").mkdir()
    outside = work / "journals" / "outside.npy"
    outside.write_bytes(b"mine")
    names = list(JOURNAL_DAMAGES)
    for number in range(count):
        path = work / "journals" / "index"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(work / "journal", path)
        blocks = sorted(path.glob(".journal/*/*.npy"))
        name = names[number % len(names)]
        try:
            for block in chance.sample(blocks, chance.randint(1, 3 if name != "another's name" else 1)):
                JOURNAL_DAMAGES[name](block, block.read_bytes(), chance)
            same = state(build(path, 12)) == clean and load(path).verify().ok
            if not same or outside.read_bytes() != b"mine":
                tally.failed(f"{name}: another index")
            elif name == "a folder" and not [*path.glob(".journal/*/*/mine.txt")]:
                tally.failed(f"{name}: a user's file is gone")
            else:
                tally.held()
        except BaseException as error:
            tally.failed(f"{name}: {error!r}")
    return [tally]


# Manifests

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, -3, 3, 2**31, 2**63, 10**30, 0.5, -0.5, 1e308, "", "2", "../../data", "/etc", "C:\\x",
    "\x1b[31m", "\ud800", "x" * 5000, [], {}, [[]], {"a": 1}, [None], "flat", "hnsw", "ivf-pq", "auto", float("nan"),
]  # fmt: skip
DEEP = "[" * 90_000


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every value of a JSON value."""
    if path:
        yield path
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


def mutate(content: dict[str, Any], chance: random.Random) -> str:
    """Change one thing of a manifest; what was done."""
    path = chance.choice([place for place in places(content) if place != ("checksum",)])
    parent: Any = content
    for key in path[:-1]:
        parent = parent[key]
    way = chance.choice(("value", "value", "value", "value", "gone", "more", "renamed", "number"))
    if way == "gone":
        del parent[path[-1]]
    elif way == "more" and isinstance(parent, dict):
        parent[chance.choice(["extra", "../x", "/etc/passwd", "C:\\x", ""])] = chance.choice([parent[path[-1]], 1])
    elif way == "renamed" and isinstance(parent, dict):
        parent[chance.choice(["../../outside/thesis.txt", "/etc/passwd", "C:x", "bm25/../x"])] = parent.pop(path[-1])
    elif way == "number" and isinstance(parent[path[-1]], int | float):
        parent[path[-1]] += chance.choice([-1, 1, 1000, -(10**6), 0.5])
    else:
        parent[path[-1]] = chance.choice(VALUES)
    return f"{way} at {'.'.join(map(str, path))}: {str(parent.get(path[-1]) if isinstance(parent, dict) else '')[:60]}"


def use_all(path: Path, copy: Path) -> None:
    """All that can be done with an index; raises what it raises."""
    index = load(path, "quick")
    state(index)
    index.verify()
    index.save(copy)
    index.add(documents(8, 2)[6:], progress=False)
    index.remove(next(iter(index.documents())))
    Index.load(path, verify="none")
    build(path, 7)


def attack_mutations(work: Path, chance: random.Random, count: int) -> list[Tally]:
    """A manifest changed in one place, its checksum mended: one class of error, and nothing outside is touched."""
    tally, rows = Tally("mended manifest"), Tally("mended line, array or setting")
    room = work / "room"
    sound = {kind: build(work / f"mend-{kind}", 6, kind=kind).path for kind in ("flat", "hnsw", "ivf-pq")}
    for number in range(count + count // 4):
        kind = chance.choice(list(sound))
        shutil.rmtree(room, ignore_errors=True)
        for name in ("data", "a/outside"):
            (room / name).mkdir(parents=True)
            (room / name / "thesis.txt").write_text("mine")
        path = room / "a" / "index"
        shutil.copytree(sound[kind], path)
        content = json.loads((path / "manifest.json").read_bytes())
        if number < count:
            done, current = mutate(content, chance), tally
        else:
            done, current = mend_file(path, content, chance), rows
        content["checksum"] = content_checksum(content)
        (path / "manifest.json").write_text(json.dumps(content))
        before = tree(room / "data", room / "a" / "outside")
        try:
            use_all(path, room / "a" / "copy")
            problem = ""
        except IndexStoreError:
            problem = ""
        except BaseException as error:
            problem = repr(error)
        if tree(room / "data", room / "a" / "outside") != before or {*os.listdir(room)} != {"data", "a"}:
            problem = "something outside was touched"
        try:  # and it can be built again, unless it says that it is of a newer format
            if not problem and type(content.get("format")) is int and content["format"] <= FORMAT:
                build(path, 6, kind=kind)
        except BaseException as error:
            problem = f"built again: {error!r}"
        current.failed(f"{kind}: {done}: {problem}") if problem else current.held()
    return [tally, rows]


def mend_file(path: Path, manifest: dict[str, Any], chance: random.Random) -> str:
    """Change the content of a file that is JSON or an array, and mend its size and checksum in the manifest."""
    import hashlib

    name = chance.choice([name for name in manifest["files"] if not name.endswith(".faiss")])
    file = path / "generations" / manifest["generation"] / name
    if name.endswith(".npy"):
        array = np.load(file)
        ways: list[Callable[[], Any]] = [
            lambda: array[:-1],
            lambda: array.astype(np.float64),
            lambda: array.reshape(-1, 1, 1),
            lambda: array[..., None],
            lambda: array[::-1].copy(),
            lambda: np.zeros_like(array),
            lambda: np.full_like(array, 200),
        ]
        way = chance.randrange(len(ways))
        np.save(file, ways[way]())
    else:
        one_value = not name.endswith(".jsonl")
        lines = [file.read_bytes()] if one_value else file.read_bytes().split(b"\n")
        number = 0 if one_value else chance.randrange(len(lines) - 1)
        way = chance.randrange(8)
        line: Any = lines[number]
        if way == 0:
            line = DEEP.encode()
        elif way == 1:
            line = b"\xff\xfe"
        elif way == 2:
            line = line[:-2]
        elif way == 3:
            line = b"9" * 5000
        elif way == 4:
            line = b"null"
        else:
            content = json.loads(line)
            if isinstance(content, dict):
                mutate(content, chance)
            elif content:
                content[0] = chance.choice(VALUES)
            line = json.dumps(content).encode()
        lines[number] = line
        data = b"\n".join(lines)
        file.write_bytes(data)
        # So that the lines themselves are reached: the starts are mended too.
        starts = file.with_suffix(".offsets.npy")
        if starts.exists():
            np.save(starts, np.cumsum([0, *(len(line) + 1 for line in data.split(b"\n")[:-1])], dtype=np.int64))
            _enter(manifest, starts, f"{name.removesuffix('.jsonl')}.offsets.npy", hashlib.sha256)
    _enter(manifest, file, name, hashlib.sha256)
    return f"{name}, way {way}"


def _enter(manifest: dict[str, Any], file: Path, name: str, digest: Callable[[bytes], Any]) -> None:
    manifest["files"][name] = {"size": file.stat().st_size, "sha256": digest(file.read_bytes()).hexdigest()}


# Full disks


def attack_disks(work: Path, chance: random.Random, step: int) -> list[Tally]:
    """No space at each change of the file system, and at each amount of free space in steps of some bytes."""
    tallies = []
    known = commands(work)
    for command in known:
        tally = Tally(f"disk full: {command.name}, each change")
        path = work / "disk" / "index"
        path.parent.mkdir(exist_ok=True)
        command.place(path)
        with events(path) as watch:
            command.run(path)
        for number in range(0, watch["count"], max(1, step // 8192)):
            command.place(path)
            with events(path, number, _no_space):
                problem = _run_out(command, path)
            _note(tally, number, problem or after_a_stop(command, path, set(), {}))
        tallies.append(tally)
    if os.geteuid() != 0:
        print("skipped: full file systems, which need root")
        return tallies
    with tempfile.TemporaryDirectory() as mount:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", mount], check=True)
        try:
            for command in known:
                tallies += [_fill(command, Path(mount), step, checked) for checked in (True, False)]
        finally:
            gc.collect()
            subprocess.run(["umount", "--lazy", mount], check=True)  # an index that is open holds on to it
    return tallies


def _fill(command: Command, mount: Path, step: int, checked: bool) -> Tally:
    """Let a command run out of space after every `step` bytes; `checked`: it asks for the free space before."""
    tally = Tally(f"disk full: {command.name}, {'known' if checked else 'noticed'}")
    path, filler = mount / "index", mount / "filler"
    command.place(path)
    before = shutil.disk_usage(mount).used
    command.run(path)
    # A command needs room for two states and its journal.
    needed = 2 * max(step, shutil.disk_usage(mount).used - before) + 120_000
    for free in range(0, needed, step):
        command.place(path)
        filler.write_bytes(b"")
        with filler.open("wb") as file, contextlib.suppress(OSError):
            file.write(b"\0" * max(0, shutil.disk_usage(mount).free - free))
        modules = (writer_module, copying_module)
        kept = [module.require_space for module in modules]
        if not checked:  # as if another process took the space meanwhile
            for module in modules:
                module.require_space = lambda *_, **__: None
        try:
            problem = _run_out(command, path)
        finally:
            for module, function in zip(modules, kept, strict=True):
                module.require_space = function
            filler.unlink()
        _note(tally, free, problem or after_a_stop(command, path, set(), {}))
        if problem is None:
            break
    return tally


def _no_space() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _run_out(command: Command, path: Path) -> str | None:
    """Run a command that finds no space; what is wrong with how it says so and with what it leaves. None: it went."""
    try:
        command.run(path)
        return None
    except IndexStoreError as error:
        said = str(error)
    except BaseException as error:
        return repr(error)
    if not any(words in said for words in ("full", "free space", "is written, but")):
        return f"it says {said}"
    if "\n" in said or said.count("[Errno") > 0:
        return f"it says {said}"
    with contextlib.suppress(IndexMissingError):
        if state(load(path)) == command.after:
            return ""  # only what comes after the commit did not go, and the next command does that
    left = [name for name in leftovers(path) if name != ".journal"] if path.exists() else []
    return f"left behind: {left}" if left else ""


def _note(tally: Tally, point: object, problem: str) -> None:
    tally.failed(f"at {point}: {problem}") if problem else tally.held()


# Foreign folders

MINE = "mine"


def _user(path: Path, content: str = MINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def _index(path: Path) -> str:
    """An index, and the name of its generation."""
    return build(path, 5).manifest.generation


def _old_index(path: Path) -> str:
    name = _index(path)
    (path / MARK).unlink()
    return name


def _edit(path: Path, **fields: Any) -> None:
    content = json.loads((path / "manifest.json").read_bytes()) | fields
    content["checksum"] = content_checksum(content)
    (path / "manifest.json").write_text(json.dumps(content))


def _link(path: Path, target: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target, target_is_directory=target.is_dir())
    return path


HEX = "0123456789abcdef"


def layouts() -> dict[str, Callable[[Path, Path], list[Path]]]:
    """By name: what makes a folder (and things outside of it), and says which paths in it are a user's."""

    def made(*steps: Callable[[Path, Path], Path | None]) -> Callable[[Path, Path], list[Path]]:
        def make(index: Path, outside: Path) -> list[Path]:
            return [path for path in [step(index, outside) for step in steps] if path is not None]

        return make

    def in_index(*steps: Callable[[Path, Path], Path | None]) -> Callable[[Path, Path], list[Path]]:
        return made(lambda index, outside: _index(index) and None, *steps)

    def in_old(*steps: Callable[[Path, Path], Path | None]) -> Callable[[Path, Path], list[Path]]:
        return made(lambda index, outside: _old_index(index) and None, *steps)

    def at(name: str, content: str = MINE) -> Callable[[Path, Path], Path]:
        return lambda index, outside: _user(index / name, content)

    def link(name: str, target: str = "") -> Callable[[Path, Path], Path]:
        return lambda index, outside: _link(index / name, outside / target if target else outside)

    def damaged(index: Path, outside: Path) -> None:
        (index / "manifest.json").write_bytes((index / "manifest.json").read_bytes()[:-40])

    def edited(**fields: Any) -> Callable[[Path, Path], None]:
        return lambda index, outside: _edit(index, **fields)

    def moved_away(index: Path, outside: Path) -> Path:
        (index / "generations").rename(outside / "generations")
        return _link(index / "generations", outside / "generations")

    def manifest_link(index: Path, outside: Path) -> Path:
        (index / "manifest.json").rename(outside / "manifest.json")
        return _link(index / "manifest.json", outside / "manifest.json")

    def copied(name: str) -> Callable[[Path, Path], None]:
        def copy(index: Path, outside: Path) -> None:
            generation = next(path for path in (index / "generations").iterdir() if path.is_dir())
            shutil.copytree(generation, index / "generations" / name)

        return copy

    def in_generation(name: str) -> Callable[[Path, Path], Path]:
        return lambda index, outside: _user(next((index / "generations").iterdir()) / name)

    def staged(index: Path, outside: Path) -> None:
        _user(index / "generations" / HEX / "staged-documents.tmp", "text")

    web = '{"name": "site", "short_name": "site"}'
    return {
        "a file": made(at("notes.txt")),
        "a file and a folder generations": made(at("notes.txt"), at("generations/notes.txt")),
        "generations with a file": made(at("generations/notes.txt")),
        "generations with a folder": made(at("generations/2024/photo.jpg")),
        "generations with a folder of a generation's name": made(at(f"generations/{HEX}/photo.jpg")),
        "generations with a folder of an upper-case name": made(at("generations/0123456789ABCDEF/table.jsonl")),
        "generations with an empty folder": made(
            lambda index, outside: (index / "generations" / "empty").mkdir(parents=True) or index / "generations/empty"
        ),
        "generations is a link": made(link("generations")),
        "generations is a file": made(at("generations")),
        "a generation is a link": made(link(f"generations/{HEX}")),
        ".journal with a folder": made(at(".journal/2024/photo.jpg")),
        ".journal with a folder of a journal's name": made(at(f".journal/{HEX}/photo.jpg")),
        ".journal with a file of a user": made(at(".journal/monday.txt")),
        ".journal is a link": made(link(".journal")),
        "a manifest of another program": made(at("manifest.json", web)),
        "a manifest of another program and generations": made(at("manifest.json", web), at("generations/1/a.txt")),
        "a manifest that is no JSON": made(at("manifest.json", "mine")),
        "a lock of another program": made(at(".lock", "pid 1")),
        "the lock is a link": made(link(".lock", "thesis.txt")),
        "the mark is a link": made(link(MARK, "thesis.txt"), at("notes.txt")),
        "the mark is another's": made(at(MARK), at("notes.txt")),
        "the folder is a file": lambda index, outside: [_user(index)],
        "an index, a file in generations": in_index(at("generations/notes.txt")),
        "an index, a folder in generations": in_index(at("generations/2024/photo.jpg"), at("thesis.txt")),
        "an index, a generation is a link": in_index(link(f"generations/{HEX}")),
        "an index, generations is a link": in_index(moved_away),
        "an index, .journal is a link": in_index(link(".journal")),
        "an index, a part of the journal is a link": in_index(link(f".journal/{HEX}")),
        "an index, a file in the journal": in_index(at(f".journal/{HEX}/photo.jpg"), at(".journal/mine/x")),
        "an index, a file in a part of the journal": in_index(link(f".journal/{HEX}/linked")),
        "an index, the manifest is a link": in_index(manifest_link),
        "an index, a file in its generation": in_index(in_generation("photo.jpg"), in_generation("bm25/photo.jpg")),
        "an index, a file in a left generation": in_index(copied(HEX), at(f"generations/{HEX}/photo.jpg")),
        "an index, a link in a left generation": in_index(copied(HEX), link(f"generations/{HEX}/linked")),
        "an index, words of a left generation are a link": in_index(link(f"generations/{HEX}/bm25")),
        "an index, an unfinished manifest is a link": in_index(link(".manifest-abc123.tmp", "thesis.txt")),
        "an index, an unfinished manifest is a folder": in_index(at(".manifest.json.partial-1-ab/photo.jpg")),
        "an index, its manifest leads outside": in_index(edited(generation="../../outside")),
        "an index, its manifest leads to the root": in_index(edited(generation="/tmp/outside")),
        "an index, its files lead outside": in_index(edited(files={"../../../outside/thesis.txt": {}})),
        "an old index, damaged, a file": in_old(damaged, at("notes.txt"), at("generations/notes.txt")),
        "an old index, damaged, another's files in its generation": in_old(damaged, in_generation("photo.jpg")),
        "an old killed first build and a file": made(staged, at("notes.txt")),
        "an old killed first build and another's generation": made(staged, at("generations/1111111111111111/a.jpg")),
    }  # fmt: skip


CHANGES: dict[str, Callable[[Path, Path], object]] = {
    "build": lambda path, work: build(path, 7, 1),
    "save": lambda path, work: build(work / "source", 4).save(path),
    "add": lambda path, work: load(path).add(documents(9)[7:], progress=False),
    "remove": lambda path, work: load(path).remove("doc01.md"),
}


def attack_layout(
    work: Path,
    make: Callable[[Path, Path], list[Path]],
    reached_by_a_link: bool = False,
    changes: Sequence[str] = tuple(CHANGES),
) -> str:
    """Build into a folder, add to it, remove from it and save into it: what is wrong with a user's files afterwards."""
    for name in changes:
        room = work / "room"
        shutil.rmtree(room, ignore_errors=True)
        outside = room / "outside"
        _user(outside / "thesis.txt")
        _user(outside / HEX / "deep" / "thesis.txt")
        index = room / "a" / "index"
        index.parent.mkdir()
        users = make(index, outside)
        path = _link(room / "way", index) if reached_by_a_link and index.is_dir() else index
        before, names = tree(outside, *users), {*os.listdir(room)}
        try:
            CHANGES[name](path, work)
        except (IndexStoreError, UsageError):
            pass
        except BaseException as error:
            return f"{name}: {error!r}"
        if tree(outside, *users) != before or {*os.listdir(room)} != names or [*index.parent.iterdir()] != [index]:
            return f"{name}: a user's file was changed"
    return ""


def attack_foreign(work: Path) -> list[Tally]:
    """Folders that are no index, or hold others' files, or links: afterwards they are what they were."""
    plain, linked = Tally("foreign folder"), Tally("foreign folder, reached by a link")
    for name, make in layouts().items():
        for tally, by_link in ((plain, False), (linked, True)):
            problem = attack_layout(work, make, by_link)
            tally.failed(f"{name}: {problem}") if problem else tally.held()
    return [plain, linked]


def main() -> int:
    assert isinstance(sys.stdout, io.TextIOWrapper)
    sys.stdout.reconfigure(errors="backslashreplace")
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", choices=["kills", "flips", "journals", "mutations", "disks", "foreign"])
    parser.add_argument("--kills", type=int, default=360)
    parser.add_argument("--flips", type=int, default=300)
    parser.add_argument("--journals", type=int, default=200)
    parser.add_argument("--mutations", type=int, default=400)
    parser.add_argument("--step", type=int, default=8192, help="bytes between two amounts of free space")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    import logging

    logging.disable(logging.WARNING)
    build_module.BLOCK_PASSAGES = BLOCK_PASSAGES
    # A process that is killed with tqdm's lock, which forked ones share, would stop all others.
    tqdm.monitor_interval = 0
    tqdm.set_lock(threading.RLock())
    tallies: list[Tally] = []
    # In memory where there is such a place: what is killed is a process, not the machine.
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        os.environ["RAG_FT_HOME"] = folder
        for name, attack in (
            ("kills", lambda work, chance: attack_kills(work, chance, options.kills)),
            ("flips", lambda work, chance: attack_flips(work, chance, options.flips)),
            ("journals", lambda work, chance: attack_journals(work, chance, options.journals)),
            ("mutations", lambda work, chance: attack_mutations(work, chance, options.mutations)),
            ("disks", lambda work, chance: attack_disks(work, chance, options.step)),
            ("foreign", lambda work, chance: attack_foreign(work)),
        ):
            if options.only in (None, name):
                work = Path(folder) / name
                work.mkdir()
                tallies += attack(work, random.Random(f"{options.seed} {name}"))
    return show(tallies)


if __name__ == "__main__":
    sys.exit(main())
