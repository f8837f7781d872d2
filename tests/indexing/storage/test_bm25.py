from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rag_ft.errors import IndexCorruptError
from rag_ft.indexing.storage.bm25 import Bm25Index
from rag_ft.indexing.storage.postings import K1, B
from rag_ft.indexing.storage.words import Words

TEXTS = [
    "The quick brown fox jumps over the lazy dog",
    "Rank 8 adds parameters to the layer",
    "Rank 16 adds more parameters to the layer than rank 8",
    "A dog sleeps",
    "",
    "!!! ...",
]


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("call getCraneLoadById(7) first", "crane load"),
        ("the max_crane_load is set", "max-crane-load"),
        ("a load of 1,024 kg", "1024"),
        ("the cafe\u0301 is open", "café"),
        ("the ﬁle is kept", "file"),
        ("the co\u00adoperation agreement", "cooperation"),
        ("zero\u200bwidth", "zerowidth"),
    ],
)
@pytest.mark.parametrize("rules", [2, 3])
def test_what_is_typed_otherwise_is_found_by_the_present_rules(text, query, rules):
    rankings = Bm25Index.build(["nothing", text], rules).search([query], 2)
    assert [[scored.row for scored in ranking] for ranking in rankings] == ([[1]] if rules == 3 else [[]])


def test_scores_are_lucenes_bm25():
    index = Bm25Index.build(TEXTS)
    lengths = [len(Words().of(text)) for text in TEXTS]
    mean = sum(lengths) / len(lengths)
    idf = math.log(1 + (len(TEXTS) - 2 + 0.5) / (2 + 0.5))
    wanted = [
        idf * count / (count + K1 * (1 - B + B * length / mean)) for count, length in ((1, lengths[0]), (1, lengths[3]))
    ]
    found = index.search(["dogs"], 5)[0]
    assert [hit.row for hit in found] == [3, 0]
    assert [hit.score for hit in found] == pytest.approx([wanted[1], wanted[0]], abs=2e-6)


def test_texts_without_a_shared_word_are_not_found():
    assert Bm25Index.build(TEXTS).search(["zebra", "???", "dog"], 10)[:2] == [[], []]


def test_equal_scores_come_in_row_order_however_many_are_asked_for():
    index = Bm25Index.build(["same words here"] * 50)
    assert [hit.row for hit in index.search(["words"], 3)[0]] == [0, 1, 2]
    assert [hit.row for hit in index.search(["words"], 80)[0]] == list(range(50))


def test_filter_gives_the_best_of_the_allowed_rows():
    index = Bm25Index.build(TEXTS)
    allowed = np.array([0, 2], dtype=np.int64)
    everywhere = index.search(["rank of a dog"], 5)[0]
    assert index.search(["rank of a dog"], 5, allowed)[0] == [hit for hit in everywhere if hit.row in (0, 2)]


@pytest.mark.parametrize("texts", [TEXTS, [], ["", "..."], ["one"]])
@pytest.mark.parametrize("mmap", [True, False])
def test_saved_and_loaded_it_is_the_same(texts, mmap, tmp_path: Path):
    index = Bm25Index.build(texts)
    index.save(tmp_path / "bm25")
    again = Bm25Index.load(tmp_path / "bm25", mmap=mmap)
    assert len(again) == len(texts)
    assert again.equals(index)
    assert again.search(["rank 8 dog one"], 5) == index.search(["rank 8 dog one"], 5)


def test_the_same_texts_give_the_same_bytes(tmp_path: Path):
    for name in "ab":
        Bm25Index.build(TEXTS).save(tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_other_postings_are_not_equal():
    assert not Bm25Index.build(TEXTS).equals(Bm25Index.build(TEXTS[::-1]))
    assert not Bm25Index.build(TEXTS).equals(Bm25Index.build([]))


def test_a_simulated_jax_is_not_started_by_looking_for_words(tmp_path: Path):
    (tmp_path / "jax").mkdir()
    (tmp_path / "jax" / "__init__.py").write_text("raise RuntimeError('a GPU would be taken')")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from rag_ft.indexing.storage.bm25 import Bm25Index;"
        " Bm25Index.build(['one two']); assert 'jax' not in sys.modules;"
        " import importlib.util; assert importlib.util.find_spec('jax')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_pickle_in_place_of_an_array_is_refused(tmp_path: Path):
    Bm25Index.build(TEXTS).save(tmp_path)
    np.save(tmp_path / "data.csc.index.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(IndexCorruptError, match="build the index again"):
        Bm25Index.load(tmp_path, mmap=False)
