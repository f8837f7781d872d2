"""Changes of an index with a graph or lists: what is written is what a build from scratch would write, or as good."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from fakes import HashingEmbedder
from hypothesis import given, settings
from hypothesis import strategies as st
from small_indexes import CHUNKING, build

from rag_ft.indexing.index import Index
from rag_ft.indexing.storage.postings import CountedPostings, count_words
from rag_ft.indexing.storage.store import IndexStore, open_generation
from rag_ft.schema import Document

NAMES = [f"{number:02}.md" for number in range(30)]


def varied(name: str, version: int = 0) -> Document:
    """A document of words drawn by its name and version: no two passages are equally near a query."""
    chance = random.Random(f"{name} {version}")
    paragraphs = [" ".join(f"w{chance.randrange(300)}" for _ in range(16)) + "." for _ in range(4)]
    return Document(id=name, text="\n\n".join(paragraphs), title=f"w{chance.randrange(300)}")


def generation_of(index: Index):
    return open_generation(IndexStore(index.path), verify="full")


def assert_as_built_from_scratch(index: Index, path: Path) -> None:
    """Equal passages, words and vectors; equal exact searches; nine in ten of the ten nearest found."""
    documents = [index.document(name) for name in index.documents()]
    fresh = build(documents, path, kind="flat")
    assert [*index.passages()] == [*fresh.passages()] and index.fingerprint == fresh.fingerprint
    mine, wanted = generation_of(index), generation_of(fresh)
    assert mine.bm25.equals(wanted.bm25) and wanted.bm25.equals(mine.bm25)
    assert np.array_equal(mine.vectors.vectors, wanted.vectors.vectors)
    assert np.array_equal(mine.text_keys, wanted.text_keys) and np.array_equal(mine.keys, wanted.keys)
    chance = random.Random(1)
    asked = [" ".join(f"w{chance.randrange(300)}" for _ in range(9)) for _ in range(20)]
    queries = HashingEmbedder().encode_query(asked)
    exact = wanted.vectors.search(queries, 10)
    assert mine.vectors.search(queries, 10, np.arange(len(mine))) == exact
    found = mine.vectors.search(queries, 10)
    good = [len({*ranking} & {*best}) for ranking, best in zip(found, exact, strict=True)]
    assert sum(good) >= 0.9 * sum(map(len, exact))
    assert index.verify().ok


@pytest.mark.parametrize("kind", ["hnsw", "ivf-pq"])
@given(st.data())
@settings(max_examples=6, deadline=None)
def test_after_additions_removals_and_replacements_in_any_order(kind, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("any")
    index = build([varied(name) for name in NAMES[:15]], folder / "index", kind=kind)
    for version in range(1, 4):
        present = [*index.documents()]
        names = data.draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
        if data.draw(st.booleans()) and len(present) > len(names):
            names = [name for name in names if name in present] or present[:1]
            index.remove(names)
            assert not {*names} & {*index.documents()}
        else:
            index.add([varied(name, version) for name in names], progress=False)
            assert index.manifest.recall_at_10 >= 0.95
    assert_as_built_from_scratch(index, folder / "fresh")


def test_the_recall_of_the_last_build_stays_known_after_changes(path):
    index = build([varied(name) for name in NAMES[:20]], path, kind="hnsw")
    reached = index.manifest.recall_at_10
    assert index.manifest.recall_when_built is None
    index.add([varied(NAMES[20])], progress=False)
    index.remove([NAMES[3]])
    assert index.manifest.recall_when_built == reached
    index.add([varied(NAMES[21])], progress=False)
    assert Index.load(path, embedder=HashingEmbedder()).manifest.recall_when_built == reached


def test_a_change_adds_to_the_graph_and_counts_only_new_words(path, monkeypatch):
    index = build([varied(name) for name in NAMES], path, kind="hnsw")
    monkeypatch.setattr("rag_ft.indexing.storage.changing.build_vectors", None)
    counted: list[str] = []

    def count(texts: Iterable[str], rules: int) -> CountedPostings:
        new = [*texts]
        counted.extend(new)
        return count_words(new, rules)

    monkeypatch.setattr("rag_ft.indexing.building.writer.count_words", count)
    index.add([varied("05a.md")], progress=False)
    assert len(counted) == len(index.passages_of("05a.md"))
    index.remove(["07.md"])
    assert len(counted) == len(index.passages_of("05a.md")) and index.verify().ok


@pytest.mark.parametrize("kind", ["hnsw", "ivf-pq"])
def test_a_removed_vector_and_its_words_are_in_no_file(path, kind):
    index = build([varied(name) for name in NAMES], path, kind=kind)
    generation = generation_of(index)
    position = generation.position_of["07.md"]
    rows = range(int(generation.firsts[position]), int(generation.firsts[position + 1]))
    gone = [generation.vectors.vectors[row].tobytes() for row in rows]
    index.remove(["07.md"])
    generation = generation_of(index)
    others = {vector.tobytes() for vector in generation.vectors.vectors}
    for file in path.rglob("*"):
        data = file.read_bytes() if file.is_file() else b""
        assert not [vector for vector in gone if vector in data and vector not in others], file
        assert b'"07"' not in data, file
    assert index.verify(absent="07.md").ok


def test_an_index_without_counts_is_changed_too(path, monkeypatch):
    index = build([varied(name) for name in NAMES], path, kind="hnsw")
    generation = index._generation
    generation.bm25.counts = None
    monkeypatch.setattr("rag_ft.indexing.building.changes.open_generation", lambda *_, **__: generation)
    index.add([varied("05a.md")], progress=False)
    monkeypatch.undo()
    assert index.manifest.words_counted and index.verify().ok


KILLED = """
import os, signal, sys
import rag_ft.indexing.building.writer as writer
from small_indexes import document
from fakes import HashingEmbedder
from rag_ft.indexing.index import Index
def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(writer, sys.argv[2], killed)
index = Index.load(sys.argv[1], embedder=HashingEmbedder())
index.add([document("new.md")], progress=False)
"""


@pytest.mark.parametrize("where", ["write_vectors", "seal"])
def test_an_addition_killed_midway_leaves_the_former_state_whole(path, where):
    before = build([varied(name) for name in NAMES[:8]], path, kind="hnsw")
    tests = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), *sys.path])}
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), where], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    index = Index.load(path, embedder=HashingEmbedder(), verify="full")
    assert [*index.documents()] == NAMES[:8] and index.fingerprint == before.fingerprint
    assert index.search("w1 w2 w3", 3) == before.search("w1 w2 w3", 3)
    index.add([varied("new.md")], progress=False)
    assert len([*index.documents()]) == 9 and index.verify().ok
    assert index.chunking == CHUNKING
