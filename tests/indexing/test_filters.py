import datetime
from pathlib import Path

import numpy as np
import pytest
from fakes import HashingEmbedder

from rag_ft.cli.options import parse_where
from rag_ft.errors import UsageError
from rag_ft.indexing.filters import as_filter
from rag_ft.indexing.index import Index

PAGES = {
    "7": '---\nversion: "2.0"\ncreated: 2026-01-02\n---\nThe fox.\n',
    "b": '---\ntitle: "2024"\nversion: 2.0\nnone: null\ndraft: true\n---\nThe dog.\n',
    "c": "---\nversion: 3\ncreated: 2026-01-03\n---\nThe owl.\n",
}


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("docs")
    for name, text in PAGES.items():
        (folder / f"{name}.md").write_text(text)
    made = Index.build(folder, tmp_path_factory.mktemp("i") / "i", embedder=HashingEmbedder(), progress=False)
    return made


def found(index, where):
    by_words = {hit.passage.document_id for hit in index.search("the fox dog owl", 9, mode="bm25", where=where)}
    assert by_words == {
        hit.passage.document_id for hit in index.as_retriever(9, "bm25", where).retrieve("the fox dog owl")
    }
    return "".join(sorted(name[0] for name in by_words))


@pytest.mark.parametrize(
    ("pair", "names"),
    [
        ("version=2.0", "7b"),
        ("version=3", "c"),
        ("title=2024", "b"),
        ("title=7", "7"),
        ("document_id=7.md", "7"),
        ("draft=true", "b"),
        ("draft=1", ""),
        ("none=null", "b"),
        ('version="2.0"', "7"),
        ("created=2026-01-02", "7"),
        ("version=[2.0]", ""),
    ],
)
def test_a_value_of_the_command_line_is_its_text_and_what_it_says_as_json(index, pair, names):
    assert found(index, parse_where([pair])) == names


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ({"created": datetime.date(2026, 1, 2)}, "7"),
        ({"created": (datetime.date(2026, 1, 2), "2026-01-03")}, "7c"),
        ({"document_id": {"b.md"}}, "b"),
        ({"document_id": Path("b.md")}, "b"),
        ({}, "7bc"),
    ],
)
def test_what_metadata_holds_as_text_or_list_is_compared_as_that(index, where, names):
    assert found(index, where) == names
    if where:
        assert len(index.remove(where=where, dry_run=True).documents) == len(names)


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("topic=a", "the filter is 'topic=a': give values by field"),
        ([("topic", "a")], "give values by field"),
        ({3: "a"}, "a field of the filter is 3"),
        ({"a": [object]}, "the filter of 'a' is <class 'object'>: give text"),
        ({"a": np.int64(3)}, "give text, a number"),
    ],
)
def test_what_cannot_be_a_filter_is_one_sentence_everywhere(index, where, says):
    for use in (
        as_filter,
        index.searcher().rows_where,
        lambda one: index.as_retriever(where=one),
        lambda one: index.remove(None, one),
    ):
        with pytest.raises(UsageError, match=says):
            use(where)
