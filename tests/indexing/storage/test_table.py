from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from rag_ft.indexing.storage.lines import LinesWriter, json_line
from rag_ft.indexing.storage.table import (
    TableRow,
    passage_row,
    passage_texts,
    read_table,
    stored_passage,
    text_key,
    text_keys,
    words_of_passages,
)
from rag_ft.schema import Location, Passage

RULES = 1


def row(name: str, passages: int, **fields) -> TableRow:
    return TableRow(name, "0" * 16, f"Title of {name}", f"{name}.md", {"team": "sales"}, passages, **fields)


def passage(of: TableRow, start: int, text: str, **fields) -> Passage:
    end = start + len(text)
    given = {"title": of.title, "source": of.source, "metadata": of.metadata} | fields
    return Passage(id=f"{of.id}#{start}-{end}", document_id=of.id, text=text, start=start, end=end, **given)


TABLE = [row("a", 2), row("b", 0), row("c", 1)]
CELLS = (Location(start=0, label="sheet Plan, B2:C2", cells=(2, 0, 1, 4, 0, 2)),)
PASSAGES = [
    passage(TABLE[0], 0, "The crane lifts 42 tonnes.", headings=("Crane",), page=3),
    passage(TABLE[0], 30, "| a | b |", title="", kind="table", locations=CELLS),
    passage(TABLE[2], 7, "Tea is at four."),
]


def written(tmp_path):
    """The file of `PASSAGES`."""
    titles = {document.id: document.title for document in TABLE}
    lines = [json_line(passage_row(one, titles[one.document_id])) for one in PASSAGES]
    writer = LinesWriter(tmp_path / "passages.jsonl")
    writer.write(b"".join(lines), [len(line) for line in lines])
    writer.close()
    return tmp_path / "passages.jsonl"


def test_a_passage_comes_back_with_what_the_table_says_of_its_document():
    for one in PASSAGES:
        document = next(document for document in TABLE if document.id == one.document_id)
        content = json.loads(json_line(passage_row(one, document.title)))
        assert "source" not in content and "metadata" not in content
        assert stored_passage(document, content) == one


def test_texts_of_some_passages_are_those_among_all(tmp_path):
    path = written(tmp_path)
    texts, words = ([*read(path, TABLE, RULES)] for read in (passage_texts, words_of_passages))
    assert len(texts) == len(words) == 3
    assert all(one.text in text for one, text in zip(PASSAGES, texts, strict=True))
    assert [*passage_texts(path, TABLE, RULES, [0, 2])] == [texts[0], texts[2]]
    assert [*words_of_passages(path, TABLE, RULES, [1])] == [words[1]]
    assert text_keys(path, TABLE).tolist() == [text_key(one.text) for one in PASSAGES]
    assert text_keys(path, TABLE, [2]).tolist() == [text_key(PASSAGES[2].text)]


@given(st.lists(st.text(alphabet="abc", min_size=1), min_size=1), st.sampled_from([" ", "\n", "\t  "]))
def test_a_key_of_a_text_knows_words_and_not_white_space(words, between):
    key = text_key(" ".join(words))
    assert text_key(between.join(words)) == text_key(f" {between.join(words)}\n") == key
    assert text_key(" ".join([*words, "d"])) != key


def test_a_table_is_read_as_it_was_written(tmp_path):
    rows = [*TABLE, row("d", 1, file="d.zip", blocks="b" * 16, places=9, original="c" * 64)]
    (tmp_path / "table.jsonl").write_bytes(b"".join(json_line(one.to_json()) for one in rows))
    assert read_table(tmp_path / "table.jsonl") == rows
