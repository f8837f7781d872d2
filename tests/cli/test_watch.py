"""`rag-ft index watch` as a process: what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import run_main
from fakes import HashingEmbedder
from watched import wait_until

from rag_ft.errors import IndexStoreError
from rag_ft.indexing.index import Index

EMBEDDER = HashingEmbedder()

_START = """
import sys, time
sys.path.insert(0, sys.argv.pop(1))
from fakes import HashingEmbedder
import rag_ft.indexing.embedding as embedding
class Slow(HashingEmbedder):
    def encode_passages(self, texts):
        time.sleep({pause} if any("Changed" in text for text in texts) else 0)
        return super().encode_passages(texts)
embedding.load_embedder = lambda name, **settings: Slow()
from rag_ft.cli import main
main()
"""
"""The command with an embedder that needs no model."""


class Watch:
    """A process that watches."""

    def __init__(self, folder: Path, *arguments: str, pause: float = 0.0) -> None:
        self.index = folder.parent / "index"
        self.lines: list[str] = []
        self._out = (folder.parent / "out").open("w+")
        self._err = (folder.parent / "err").open("w+")
        tests = str(Path(__file__).parent.parent)
        command = [sys.executable, "-c", _START.format(pause=pause), tests]
        command += ["index", "watch", str(folder), str(self.index), *arguments]
        self.process = subprocess.Popen(command, stdout=self._out, stderr=self._err, stdin=subprocess.DEVNULL)

    @property
    def printed(self) -> list[str]:
        return Path(self._out.name).read_text().splitlines()

    @property
    def noted(self) -> str:
        return Path(self._err.name).read_text()

    def wait_for_lines(self, count: int) -> list[str]:
        def come() -> bool:
            assert self.process.poll() is None, self.noted
            return len(self.printed) >= count

        wait_until(come)
        return self.printed

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._out.close()
        self._err.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    for i in range(3):
        (tmp_path / "docs" / f"{i}.md").write_text(f"The text of number {i}.\n")
    return tmp_path / "docs"


@pytest.fixture
def start(folder: Path) -> Iterator:
    watches = []

    def run(*arguments: str, **options: float) -> Watch:
        watches.append(Watch(folder, *arguments, **options))
        return watches[-1]

    yield run
    for watch in watches:
        watch.close()


def test_each_build_is_a_line_and_ctrl_c_ends_it_with_0(folder, start):
    watch = start("--max-tokens", "40")
    assert watch.wait_for_lines(1)[0].startswith("3 documents added, ")
    (folder / "1.md").write_text("Changed.\n")
    (folder / "2.md").unlink()
    assert watch.wait_for_lines(2)[1].startswith("1 document changed, 1 removed, ")
    assert watch.end(signal.SIGINT) == 0
    assert watch.noted == f"watching {folder}: Ctrl-C ends the watch\n"
    index = Index.load(watch.index, embedder=EMBEDDER)
    assert [*index.documents()] == ["0.md", "1.md"] and index.manifest.chunking["max_tokens"] == 40


def test_json_is_a_line_per_build_with_its_whole_report(folder, start):
    watch = start("--json")
    report = json.loads(watch.wait_for_lines(1)[0])
    assert report["added"] == ["0.md", "1.md", "2.md"]
    assert watch.end(signal.SIGTERM) == 0
    assert len(watch.printed) == 1 and watch.noted == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ended_in_the_middle_of_a_build_it_exits_with_0_and_the_index_is_as_before(folder, start, number):
    Index.build(folder, folder.parent / "index", embedder=EMBEDDER, progress=False)
    before = Index.load(folder.parent / "index", embedder=EMBEDDER).fingerprint
    (folder / "1.md").write_text("Changed.\n")
    watch = start(pause=30)
    wait_until(lambda: len([*(watch.index / "generations").iterdir()]) == 2)
    assert watch.end(number) == 0
    assert watch.printed == []
    index = Index.load(watch.index, embedder=EMBEDDER, verify="full")
    assert index.fingerprint == before and len([*(watch.index / "generations").iterdir()]) == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_killed_at_any_moment_the_index_opens_and_the_next_watch_completes_it(folder, start):
    chance = random.Random(3)
    path = folder.parent / "index"
    for attempt in range(4):
        for i in range(40):
            (folder / f"{attempt}-{i}.md").write_text(f"Text {i} of attempt {attempt}.\n")
        watch = start()
        wait_until(lambda: (path / ".lock").exists() and (path / "generations").is_dir())
        time.sleep(chance.uniform(0.0, 1.0))
        watch.end(signal.SIGKILL)
        try:
            Index.load(path, embedder=EMBEDDER, verify="full")
        except IndexStoreError:
            assert not (path / "manifest.json").exists()
    last = start()
    last.wait_for_lines(1)
    assert last.end(signal.SIGTERM) == 0
    index = Index.load(path, embedder=EMBEDDER, verify="full")
    fresh = Index.build(folder, folder.parent / "fresh", embedder=EMBEDDER, progress=False)
    assert index.verify().ok and index.fingerprint == fresh.fingerprint


def test_what_is_wrong_is_said_in_one_sentence_before_any_work(folder, tmp_path, monkeypatch):
    nothing = run_main("index", "watch", tmp_path / "nothing", tmp_path / "index")
    assert (nothing.returncode, nothing.stderr) == (
        1,
        f"error: there is nothing at {tmp_path / 'nothing'}: give a folder with documents\n",
    )
    file = run_main("index", "watch", folder / "1.md", tmp_path / "index")
    assert file.returncode == 2 and "is a file: give a folder to watch" in file.stderr
    taken = run_main("index", "watch", folder, folder)
    assert taken.returncode == 2 and "holds other files" in taken.stderr
    tokens = run_main("index", "watch", folder, tmp_path / "index", "--max-tokens", "2")
    assert tokens.returncode == 2 and "--max-tokens is 2" in tokens.stderr
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    missing = run_main("index", "watch", folder, tmp_path / "index")
    assert missing.stderr == "error: watching a folder needs the extra 'watch': pip install 'rag-ft[watch]'\n"
