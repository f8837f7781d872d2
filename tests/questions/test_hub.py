import json

import pytest

from rag_ft.errors import DatasetError, UsageError
from rag_ft.questions.hub import fetch_hub_questions, read_hub_questions
from rag_ft.questions.records import check_evidence, read_questions


def test_a_hub_data_set_in_squads_columns_becomes_documents_and_records(tmp_path):
    """A local folder stands for the hub, which the tests cannot reach."""
    rows = [
        {
            "id": "a",
            "title": "Oslo",
            "context": "Oslo is old.",
            "question": "Is it?",
            "answers": {"text": ["old"], "answer_start": [8]},
        },
        {
            "id": "b",
            "title": "Oslo",
            "context": "It has a tower.",
            "question": "What?",
            "answers": {"text": ["a tower"], "answer_start": [7]},
        },
        {
            "id": "c",
            "title": "Oslo",
            "context": "Oslo is old.",
            "question": "Who?",
            "answers": {"text": [], "answer_start": []},
        },
    ]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    documents, questions = read_hub_questions(str(tmp_path))
    assert [document.text for document in documents] == ["Oslo is old.\n\nIt has a tower."]
    assert [question.answerable for question in questions] == [True, True, False]
    assert questions[2].evidence[0].quote == "Oslo is old."  # so that a split by document knows its side
    assert check_evidence(questions, documents) == []


def test_contexts_without_a_title_are_documents_each_once(tmp_path):
    rows = [
        {"id": row_id, "context": context, "question": "Is it?", "answers": {"text": ["old"], "answer_start": [start]}}
        for row_id, context, start in (("a", "Oslo is old.", 8), ("b", "So old.", 3), ("c", "Oslo is old.", 8))
    ]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    documents, questions = read_hub_questions(str(tmp_path))
    assert [document.text for document in documents] == ["Oslo is old.", "So old."]
    assert questions[0].evidence[0].document_id == questions[2].evidence[0].document_id
    assert check_evidence(questions, documents) == []


def test_a_fetched_data_set_is_read_back_as_documents_and_records(tmp_path):
    from rag_ft.indexing.corpus import read_corpus

    answers = {"text": ["old – so old"], "answer_start": [8]}
    row = {"id": "a", "title": "Old_Oslo", "context": "Oslo is old – so old.", "question": "Is it?", "answers": answers}
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text(json.dumps(row) + "\n")
    fetched = fetch_hub_questions(str(tmp_path / "set"), tmp_path / "out")
    documents, questions = list(read_corpus(fetched.documents)), read_questions(fetched.questions)
    assert (fetched.document_count, fetched.question_count) == (1, 1)
    assert [(document.id, document.title) for document in documents] == [("Old_Oslo", "Old Oslo")]
    assert check_evidence(questions, documents) == []


def test_a_hub_data_set_with_other_columns_is_refused(tmp_path):
    (tmp_path / "train.jsonl").write_text(json.dumps({"text": "x"}) + "\n")
    with pytest.raises(DatasetError, match=r"no column 'context' \(it has text\)"):
        read_hub_questions(str(tmp_path))


GOOD_ROW = {
    "id": "a",
    "title": "Oslo",
    "context": "Oslo is old.",
    "question": "Is it?",
    "answers": {"text": ["old"], "answer_start": [8]},
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answers": {"text": ["old"], "answer_start": [-4]}}, "row 1 "),
        ({"answers": {"text": ["old"], "answer_start": [3]}}, "holds 'o i' at 3"),
        ({"answers": {"text": ["old", "Oslo"], "answer_start": [8]}}, "row 1 "),
        ({"answers": {"text": [" "], "answer_start": [4]}}, "blank answer"),
        ({"context": None}, "row 1 "),
        ({"question": None}, "row 1 "),
        ({"id": "a"}, "'a' twice"),
    ],
)
def test_a_bad_row_of_a_hub_data_set_is_one_sentence(tmp_path, change, message):
    rows = [GOOD_ROW, {**GOOD_ROW, "id": "b", **change}]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DatasetError) as caught:
        read_hub_questions(str(tmp_path))
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "no JSON at all\n"])
def test_a_hub_data_set_that_cannot_be_read_is_one_sentence(tmp_path, content):
    (tmp_path / "train.jsonl").write_text(content)
    with pytest.raises(DatasetError, match="cannot be loaded"):
        read_hub_questions(str(tmp_path))


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text(json.dumps(GOOD_ROW) + "\n")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be made"):
        fetch_hub_questions(str(tmp_path / "set"), tmp_path / "file")
