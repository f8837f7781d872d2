"""Writers of one index in a database: killed, and at the same time."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from databases import DATABASES
from fakes import HashingEmbedder
from small_indexes import CHUNKING, DOCUMENTS, build, document

from rag_ft.indexing.databases.index import DatabaseIndex
from rag_ft.indexing.index import Index

TESTS = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("crash.py")
KILLS = 10
"""In each database; one more update is not killed, to know how long it takes."""


def start(*arguments: object, **variables: str) -> subprocess.Popen[str]:
    paths = [str(TESTS.parent), str(TESTS), str(SCRIPT.parent)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"} | variables
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def create(documents: object, address: str) -> DatabaseIndex:
    return DatabaseIndex.create(documents, address, embedder=HashingEmbedder(), chunking=CHUNKING, progress=False)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("kind", DATABASES)
def test_a_killed_update_ends_like_one_that_was_not(
    kind: str, new_address: Callable[[str], str], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    from crash import documents

    address = new_address(kind)
    index = create(documents(0), address)
    chance = random.Random(0)
    state, longest = index.fingerprint, 0.0
    killed = 0
    for version in range(1, KILLS + 2):
        process = start(address, "build", version)
        assert process.stdout is not None and process.stdout.readline() == "started\n"
        if longest:
            time.sleep(chance.uniform(0, longest))
            process.kill()
            killed += process.wait() != 0
        else:  # once in full, to know how long it takes
            started = time.monotonic()
            process.wait()
            longest = time.monotonic() - started
        process.stdout.close()
        # All of the former state or all of the new one, never a mixture.
        new = build(documents(version), path.with_name(f"v{version}"))
        index = index.newest()
        assert index.fingerprint in (state, new.fingerprint)
        assert index.verify().ok
        state = create(documents(version), address).fingerprint
        assert state == new.fingerprint
        assert [*index.newest().passages()] == [*new.passages()]
    assert killed >= KILLS // 3


@pytest.mark.parametrize("kind", DATABASES)
@pytest.mark.timeout(600)
def test_two_processes_that_add_lose_nothing_and_write_nothing_twice(
    kind: str, new_address: Callable[[str], str], path: Path
) -> None:
    address = new_address(kind)
    index = create(DOCUMENTS, address)
    # Each with a home of its own, as on two machines: what they share is the database.
    processes = [start(address, name, 4, RAG_FT_HOME=str(path.with_name(name))) for name in ("left", "right")]
    for process in processes:
        output, _ = process.communicate()
        assert process.returncode == 0 and output.endswith("ended\n")
    added = [f"{name}-{i}.md" for name in ("left", "right") for i in range(4)]
    index = index.newest()
    wanted = build([*DOCUMENTS, *map(document, added)], path)
    assert index.fingerprint == wanted.fingerprint
    assert [*index.passages()] == [*wanted.passages()] and index.verify().ok


@pytest.mark.parametrize("kind", DATABASES)
def test_a_build_that_failed_does_not_embed_again(kind: str, new_address: Callable[[str], str]) -> None:
    class Stops(HashingEmbedder):
        def encode_passages(self, texts):
            if self.passages_encoded:
                raise KeyboardInterrupt
            return super().encode_passages(texts)

    address = new_address(kind)
    import rag_ft.indexing.building.builder as builder

    before, builder.BLOCK_PASSAGES = builder.BLOCK_PASSAGES, 8
    try:
        with pytest.raises(KeyboardInterrupt):
            DatabaseIndex.create(DOCUMENTS, address, embedder=Stops(), chunking=CHUNKING, progress=False)
    finally:
        builder.BLOCK_PASSAGES = before
    embedder = HashingEmbedder()
    index = DatabaseIndex.create(DOCUMENTS, address, embedder=embedder, chunking=CHUNKING, progress=False)
    assert index.build_report is not None and index.build_report.passages_embedded == 24 - 8
    assert Index.load(address, embedder=embedder).verify().ok
