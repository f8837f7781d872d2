import json
import os

import pytest
from langchain_core.documents import Document as LangchainDocument
from read_documents import read, reasons

from rag_ft.indexing.corpus import read_corpus
from rag_ft.indexing.formats import ReadLimits
from rag_ft.schema import Document


def test_json_lines_have_ids_titles_and_metadata(tmp_path):
    (tmp_path / "a.jsonl").write_text(
        '{"id": "x", "text": "One.", "title": "T", "url": "http://u", "year": 3}\n\n{"page_content": "Two."}\n'
        '{"id": 0, "text": "Three."}\n{"id": "", "text": "Four."}\n'
    )
    documents, contents = read(tmp_path / "a.jsonl")
    assert contents.failures == []
    assert list(documents) == ["x", "a.jsonl:3", "0", "a.jsonl:5"]
    first = documents["x"]
    assert (first.title, first.source, first.metadata) == ("T", "http://u", {"year": 3})


def test_squad_articles_become_documents(tmp_path):
    content = {"data": [{"title": "A_b", "paragraphs": [{"context": "One."}, {"context": "Two."}]}] * 2}
    (tmp_path / "a.json").write_text(json.dumps(content))
    documents, _ = read(tmp_path / "a.json")
    assert list(documents) == ["A_b", "A_b-2"]
    assert (documents["A_b"].text, documents["A_b"].title) == ("One.\n\nTwo.", "A b")


def test_names_pipes_and_depths_that_no_reader_takes_are_failures_of_their_own(tmp_path):
    (tmp_path / "good.txt").write_text("A good text.")
    with open(os.fsencode(tmp_path) + b"/m\xfcller.md", "wb") as file:
        file.write(b"Text.")
    for name in ("p.jsonl", "p.txt", "p.json"):
        os.mkfifo(tmp_path / name)

    def nested(depth):
        return '{"text": "t", "x": ' + "[" * depth + "]" * depth + "}\n"

    (tmp_path / "deep.jsonl").write_text(nested(300) + nested(700) + nested(100_000) + nested(9))
    (tmp_path / "deep.md").write_text("---\nx: " + "[" * 150 + "]" * 150 + "\n---\nText.\n")
    documents, contents = read(tmp_path)
    assert {"good.txt", "deep.jsonl:4"} <= set(documents)
    told = {os.path.basename(failure.source): failure.reason for failure in contents.failures}
    assert told.pop("m\\udcfcller.md") == "has a name that is not UTF-8: rename it"
    for name in ("p.jsonl", "p.txt", "p.json"):
        assert told.pop(name) == "is not an ordinary file"
    assert told == {f"deep.jsonl:{line}": "is nested too deeply" for line in (1, 2, 3)}
    deep = json.loads(nested(400))["x"]
    documents, contents = read(
        [LangchainDocument(page_content="x", id="i", metadata={"x": deep}), Document(id="a", text="x")]
    )
    assert [*documents] == ["a"] and reasons(contents) == ["is nested too deeply"]


def test_one_line_that_is_not_utf_8_does_not_lose_the_others(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "One."}\n{"text": "caf\xe9"}\n{"text": "Three."}\n')
    documents, contents = read(tmp_path / "a.jsonl")
    assert [*documents] == ["a.jsonl:1", "a.jsonl:3"] and reasons(contents) == ["is not UTF-8"]
    (tmp_path / "a.jsonl").write_text('{"text": "One."}\n' * 9, encoding="utf-16")
    assert reasons(read(tmp_path / "a.jsonl")[1]) == ["is not UTF-8 but UTF-16: save it as UTF-8"]


def test_files_that_are_not_documents(tmp_path):
    (tmp_path / "q.jsonl").write_text('{"id": "1", "question": "Q?", "answers": ["x"]}\n')
    (tmp_path / "package.json").write_text("{}")
    documents, contents = read(tmp_path)
    assert (documents, contents.failures) == ({}, [])
    assert len(contents.skipped) == 2
    (tmp_path / "x.png").write_bytes(b"x")
    assert "of a kind that is not read" in reasons(read(tmp_path / "x.png")[1])[0]
    assert "SQuAD" in reasons(read(tmp_path / "package.json")[1])[0]


def test_a_file_larger_than_a_lowered_limit_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("more than three")
    assert "more than the" in reasons(read(tmp_path, limits=ReadLimits(file_bytes=3))[1])[0]


@pytest.mark.parametrize(("name", "better"), [("a.doc", ".docx"), ("a.XLS", ".xlsx"), ("a.ppt", ".pptx")])
def test_a_binary_format_is_named_with_the_one_to_save_it_as(tmp_path, name, better):
    (tmp_path / name).write_bytes(b"\xd0\xcf\x11\xe0")
    (tmp_path / "a.txt").write_text("Text.")
    contents = read_corpus(tmp_path).read_all()
    assert [document.id for document in contents.documents] == ["a.txt"]
    (failure,) = contents.failures
    assert failure.reason == f"is a binary {name[1:].lower()}, which is not read: save it as {better}"
