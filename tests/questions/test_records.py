import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rag_ft.errors import DatasetError
from rag_ft.questions.records import check_evidence, origin_counts, origin_words, read_questions, write_questions
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


def test_evidence_that_moved_is_reported():
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
    parts = ["line 2", "line 3", "'a' twice"]
    assert all(part in problem for part, problem in zip(parts, caught.value.problems, strict=True))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="cannot be read"):
        read_questions(tmp_path / "none.jsonl")


def test_the_development_set_is_read_whole(shared_data):
    questions = read_questions(shared_data / "squad2" / "dev.json")
    assert (len(questions), sum(not question.answerable for question in questions)) == (6078, 3168)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip))
@example("a\u2028b\x85c\x0cd")
def test_records_are_read_back_whatever_characters_they_hold(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("records") / "qa.jsonl"
    written = [Question(id=name, question=text, answers=("x",)) for name in ("a", "b")]
    write_questions(written, path)
    assert read_questions(path) == written


def test_a_file_in_another_encoding_is_refused(tmp_path):
    record = {"id": "a", "question": "Où?", "answers": ["à côté"]}
    (tmp_path / "latin.jsonl").write_bytes(json.dumps(record, ensure_ascii=False).encode("latin-1"))
    with pytest.raises(DatasetError, match="it is not UTF-8"):
        read_questions(tmp_path / "latin.jsonl")
    lines = json.dumps(record, ensure_ascii=False).encode("utf-8") + b"\n" + b'{"id": "b", "question": "\xe9"}'
    (tmp_path / "mixed.jsonl").write_bytes(lines)
    with pytest.raises(DatasetError, match="it is not UTF-8: byte 0xE9 in line 2"):
        read_questions(tmp_path / "mixed.jsonl")


def test_origins_are_counted_unless_people_wrote_everything():
    def record(name, origin):
        return Question(id=name, question="Q?", answerable=False, origin=origin)

    human = [record("a", "human"), record("b", "human")]
    assert origin_counts(human) == {}
    counts = origin_counts([record("c", "feedback"), *human])
    assert counts == {"human": 2, "feedback": 1}
    assert origin_words(counts) == "2 by people, 1 from feedback"


def test_the_origin_is_written_only_where_it_is_not_a_person():
    human = Question(id="a", question="Q?", answerable=False)
    assert "origin" not in human.model_dump_json()
    assert '"origin":"feedback"' in human.model_copy(update={"origin": "feedback"}).model_dump_json()
