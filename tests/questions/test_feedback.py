"""Question records that follow from what people said of answers."""

import pytest

from rag_ft.questions.feedback import Feedback, feedback_id, feedback_records
from rag_ft.schema import Evidence, Question

QUESTION = "How high is the tower?"
ANSWER = Evidence(document_id="Oslo.txt", start=3, end=13, quote="100 metres")


def place(quote: str, document: str = "Oslo.txt", start: int = 3) -> Evidence:
    return Evidence(document_id=document, start=start, end=start + len(quote), quote=quote)


def vote(verdict: str, quote: str = "100 metres", by: str = "anna", question: str = QUESTION, **fields) -> Feedback:
    evidence = place(quote)
    answered = fields.get("answered", True)
    name = feedback_id(question, (), evidence, answered=answered, by=by)
    return Feedback(id=name, question=question, verdict=verdict, evidence=evidence, by=by, **fields)


def test_right_better_and_null_each_give_a_record_of_origin_feedback():
    entries = [
        vote("right"),
        vote("better", better=place("107 metres"), question="How high is it?"),
        vote("no_answer", question="Who sold it?"),
        vote("right", answered=False, question="Who bought it?"),
    ]
    made = feedback_records(entries)
    assert [(record.question, record.answers, record.answerable) for record in made.records] == [
        (QUESTION, ("100 metres",), True),
        ("How high is it?", ("107 metres",), True),
        ("Who sold it?", (), False),
        ("Who bought it?", (), False),
    ]
    assert {record.origin for record in made.records} == {"feedback"}
    assert all(record.evidence for record in made.records)
    assert (made.wrong, made.disputed) == ((), ())
    assert all(Question.model_validate_json(record.model_dump_json()) == record for record in made.records)


def test_wrong_alone_gives_no_record_until_somebody_gives_the_answer():
    assert feedback_records([vote("wrong")]).wrong == (vote("wrong"),)
    made = feedback_records([vote("wrong"), vote("better", "90 metres", "bert", better=place("107 metres"))])
    assert [record.answers for record in made.records] == [("107 metres",)]
    assert not made.wrong and not made.disputed


def test_several_right_answers_are_one_record():
    (record,) = feedback_records([vote("right"), vote("right", "100 m", "bert")]).records
    assert record.answers == ("100 metres", "100 m")
    assert [piece.quote for piece in record.evidence] == ["100 metres", "100 m"]


@pytest.mark.parametrize(
    "other",
    [
        vote("wrong", by="bert"),
        vote("no_answer", by="bert"),
        vote("right", by="bert", answered=False),
    ],
)
def test_who_contradicts_makes_both_disputed(other):
    made = feedback_records([vote("right"), other])
    assert made.records == ()
    assert set(made.disputed) == {vote("right"), other}
    assert "contradict" in " ".join(made.lines())


def test_an_answer_that_nobody_disputes_stays_beside_one_that_is_disputed():
    made = feedback_records([vote("right"), vote("wrong", by="bert"), vote("right", "100 m", "bert")])
    assert [record.answers for record in made.records] == [("100 m",)]
    assert len(made.disputed) == 2


def test_yes_against_no_is_disputed_and_kinds_are_records_of_their_own():
    says = [vote("right", by=by, kind="part", yes=yes) for by, yes in (("anna", True), ("bert", False))]
    assert feedback_records(says).records == ()
    made = feedback_records([vote("right"), vote("right", "It is 100 metres high.", "bert", kind="part")])
    assert [record.kind for record in made.records] == ["span", "part"]
    assert len({record.id for record in made.records}) == 2


def test_the_id_of_a_vote_is_that_of_giver_question_and_answer_wherever_it_stands():
    def name(question=QUESTION, history=(), evidence=ANSWER, answered=True, by="anna"):
        return feedback_id(question, history, evidence, answered=answered, by=by)

    assert name() == name(evidence=place("100 metres", start=50))
    others = [
        name(question="?"),
        name(history=("Which tower?",)),
        name(evidence=place("100")),
        name(evidence=place("100 metres", "Lima.txt")),
        name(answered=False),
        name(by="bert"),
    ]
    assert len({name(), *others}) == 7
