import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rag_ft.errors import DatasetError, UsageError
from rag_ft.questions.hub import fetch_hub_questions, read_hub_questions
from rag_ft.questions.records import check_evidence, read_questions, write_questions
from rag_ft.questions.squad import PARAGRAPH_GAP
from rag_ft.schema import Document, Evidence, Question

SQUAD = {
    "version": "v2.0",
    "data": [
        {
            "title": "LoRA",
            "paragraphs": [
                {"context": "First paragraph.", "qas": []},
                {
                    "context": "Rank 16 is usual.",
                    "qas": [
                        {
                            "id": "q1",
                            "question": " Which rank? ",
                            "answers": [{"text": "16", "answer_start": 5}, {"text": "16", "answer_start": 5}],
                            "is_impossible": False,
                        },
                        {
                            "id": "q2",
                            "question": "Which alpha?",
                            "answers": [],
                            "plausible_answers": [{"text": "16", "answer_start": 5}],
                            "is_impossible": True,
                        },
                    ],
                },
            ],
        }
    ],
}


def test_squad_offsets_count_in_the_whole_article(tmp_path):
    path = tmp_path / "squad.json"
    path.write_text(json.dumps(SQUAD))
    first, second = read_questions(path)
    text = PARAGRAPH_GAP.join(p["context"] for p in SQUAD["data"][0]["paragraphs"])
    (evidence,) = first.evidence
    assert text[evidence.start : evidence.end] == "16" == first.answers[0]
    assert (first.question, first.answers, first.answerable) == ("Which rank?", ("16",), True)
    assert (second.answers, second.answerable, second.evidence[0].quote) == ((), False, "16")
    assert check_evidence([first, second], [Document(id="LoRA", text=text)]) == []


def test_records_written_are_read_back(tmp_path):
    question = Question(
        id="a", question="Q?", answers=("x",), evidence=(Evidence(document_id="d", start=0, end=1, quote="x"),)
    )
    write_questions([question], tmp_path / "q.jsonl")
    assert read_questions(tmp_path / "q.jsonl") == [question]


def test_evidence_that_moved_is_told():
    question = Question(
        id="a", question="Q?", answers=("x",), evidence=(Evidence(document_id="d", start=1, end=2, quote="x"),)
    )
    assert "holds 'y' at 1-2" in check_evidence([question], [Document(id="d", text="xy")])[0]
    assert "no document" in check_evidence([question], [])[0]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("q.jsonl", "", "holds no question"),
        ("q.jsonl", "{", "line 1"),
        ("q.jsonl", '{"id": "a", "question": "q", "answers": []}', "no accepted answer"),
        ("q.jsonl", '{"id": "a", "question": "q", "answers": ["x"]}\n' * 2, "twice"),
        ("q.jsonl", '{"id": "a", "question": "q", "answers": ["x"], "typo": 1}', "typo"),
        ("q.json", "[]", "not SQuAD's format"),
        ("q.json", "{", "not SQuAD's format"),
        ("q.json", "[" * 100_000, "not SQuAD's format"),
        ("q.json", '{"data": ' + "9" * 5000 + "}", "not SQuAD's format"),
        ("q.json", json.dumps(SQUAD).replace(" Which rank? ", " "), "at least 1 character"),
        ("q.jsonl", '{"id": "a", "question": " ", "answers": ["x"]}', "blank text"),
        ("q.jsonl", '{"id": "a", "question": "q", "answers": ["x", " "]}', "blank answer"),
        (
            "q.jsonl",
            '{"id": "a", "question": "q", "answers": ["x"], "evidence":'
            ' [{"document_id": "d", "start": 5, "end": 2, "quote": "x"}]}',
            "before its start",
        ),
        ("q.json", json.dumps(SQUAD).replace('"answer_start": 5', '"answer_start": 6'), "answer_start"),
    ],
)
def test_a_broken_file_is_refused_in_one_sentence(tmp_path, name, content, says):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(DatasetError) as caught:
        read_questions(path)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_every_wrong_record_of_a_file_is_named(tmp_path):
    good = '{"id": "a", "question": "q", "answers": ["x"]}'
    (tmp_path / "q.jsonl").write_text("\n".join([good, "{", '{"id": "b", "question": "q", "answers": []}', good, good]))
    with pytest.raises(DatasetError, match=r"line 2: .*\(2 more are wrong: rag-ft data check names them\)$") as caught:
        read_questions(tmp_path / "q.jsonl")
    places = ["line 2", "line 3", "'a' twice"]
    assert all(place in problem for place, problem in zip(places, caught.value.problems, strict=True))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="cannot be read"):
        read_questions(tmp_path / "none.jsonl")


def test_the_development_set_is_read_whole(shared_data):
    questions = read_questions(shared_data / "squad2" / "dev.json")
    assert (len(questions), sum(not one.answerable for one in questions)) == (6078, 3168)


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
    assert [one.text for one in documents] == ["Oslo is old.\n\nIt has a tower."]
    assert [one.answerable for one in questions] == [True, True, False]
    assert questions[2].evidence[0].quote == "Oslo is old."  # so that a split by document knows its side
    assert check_evidence(questions, documents) == []


def test_contexts_without_a_title_are_documents_each_once(tmp_path):
    rows = [
        {"id": one, "context": context, "question": "Is it?", "answers": {"text": ["old"], "answer_start": [place]}}
        for one, context, place in (("a", "Oslo is old.", 8), ("b", "So old.", 3), ("c", "Oslo is old.", 8))
    ]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    documents, questions = read_hub_questions(str(tmp_path))
    assert [one.text for one in documents] == ["Oslo is old.", "So old."]
    assert questions[0].evidence[0].document_id == questions[2].evidence[0].document_id
    assert check_evidence(questions, documents) == []


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip))
@example("a\u2028b\x85c\x0cd")
def test_records_are_read_back_whatever_characters_they_hold(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("records") / "qa.jsonl"
    written = [Question(id=name, question=text, answers=("x",)) for name in ("a", "b")]
    write_questions(written, path)
    assert read_questions(path) == written


def test_a_fetched_data_set_is_read_back_as_documents_and_records(tmp_path):
    from rag_ft.indexing.corpus import read_corpus

    answers = {"text": ["old – so old"], "answer_start": [8]}
    row = {"id": "a", "title": "Old_Oslo", "context": "Oslo is old – so old.", "question": "Is it?", "answers": answers}
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text(json.dumps(row) + "\n")
    found = fetch_hub_questions(str(tmp_path / "set"), tmp_path / "out")
    documents, questions = list(read_corpus(found.documents)), read_questions(found.questions)
    assert (found.document_count, found.question_count) == (1, 1)
    assert [(one.id, one.title) for one in documents] == [("Old_Oslo", "Old Oslo")]
    assert check_evidence(questions, documents) == []


def test_a_file_in_another_encoding_is_refused(tmp_path):
    record = {"id": "a", "question": "Où?", "answers": ["à côté"]}
    (tmp_path / "latin.jsonl").write_bytes(json.dumps(record, ensure_ascii=False).encode("latin-1"))
    with pytest.raises(DatasetError, match="it is not UTF-8"):
        read_questions(tmp_path / "latin.jsonl")
    lines = json.dumps(record, ensure_ascii=False).encode("utf-8") + b"\n" + b'{"id": "b", "question": "\xe9"}'
    (tmp_path / "mixed.jsonl").write_bytes(lines)
    with pytest.raises(DatasetError, match="it is not UTF-8: byte 0xE9 in line 2"):
        read_questions(tmp_path / "mixed.jsonl")


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
    ("change", "said"),
    [
        ({"answers": {"text": ["old"], "answer_start": [-4]}}, "row 1 "),
        ({"answers": {"text": ["old"], "answer_start": [3]}}, "stands at 3"),
        ({"answers": {"text": ["old", "Oslo"], "answer_start": [8]}}, "row 1 "),
        ({"answers": {"text": [" "], "answer_start": [4]}}, "blank answer"),
        ({"context": None}, "row 1 "),
        ({"question": None}, "row 1 "),
        ({"id": "a"}, "'a' twice"),
    ],
)
def test_a_bad_row_of_a_hub_data_set_is_one_sentence(tmp_path, change, said):
    rows = [GOOD_ROW, {**GOOD_ROW, "id": "b", **change}]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DatasetError) as caught:
        read_hub_questions(str(tmp_path))
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "no JSON at all\n"])
def test_a_hub_data_set_that_cannot_be_read_is_one_sentence(tmp_path, content):
    (tmp_path / "train.jsonl").write_text(content)
    with pytest.raises(DatasetError, match="cannot be loaded"):
        read_hub_questions(str(tmp_path))


def test_a_place_that_can_be_no_folder_is_told(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text(json.dumps(GOOD_ROW) + "\n")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be a folder"):
        fetch_hub_questions(str(tmp_path / "set"), tmp_path / "file")


def test_articles_of_one_title_keep_their_questions(tmp_path):
    article = SQUAD["data"][0]
    renamed = json.dumps([{**article, "title": title} for title in ("A-3", "A", "A")])
    text = f'{{"data": {renamed}}}'
    from rag_ft.questions.squad import parse_squad

    assert [name for name, _ in parse_squad(text)] == ["A-3", "A", "A-3-3"]
