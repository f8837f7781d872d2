import pytest
from data import little_world
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_ft.errors import DatasetError
from rag_ft.questions.split import documents_of, split_by_document
from rag_ft.schema import Question

_, QUESTIONS = little_world()


@given(st.floats(0.02, 0.5), st.integers(0, 50))
@settings(max_examples=60, deadline=None)
def test_no_document_stands_on_both_sides_and_no_question_is_lost(share, seed):
    split = split_by_document(QUESTIONS, share, seed)
    sides = [{question.evidence[0].document_id for question in side} for side in split]
    assert not sides[0] & sides[1] and sides[0] and sides[1]
    assert sorted(question.id for side in split for question in side) == sorted(question.id for question in QUESTIONS)
    assert split == split_by_document(QUESTIONS, share, seed)


def test_documents_that_share_a_question_stay_together():
    both = Question(
        id="both",
        question="Which tower is higher?",
        answers=("Lima",),
        evidence=(*QUESTIONS[0].evidence, *QUESTIONS[3].evidence),
    )
    for seed in range(20):
        split = split_by_document([*QUESTIONS, both], 0.2, seed)
        held = {piece.document_id for record in split.held_out for piece in record.evidence}
        train = {piece.document_id for record in split.train for piece in record.evidence}
        assert not held & train


def test_of_questions_without_evidence_the_same_share_is_held_out():
    unplaced = [
        question.model_copy(update={"evidence": ()}) if not question.answerable else question for question in QUESTIONS
    ]
    split = split_by_document(unplaced, 0.25, 0)
    without = [sum(not question.evidence for question in side) for side in split]
    assert without == [6, 2]
    assert split == split_by_document(unplaced, 0.25, 0)


def test_one_document_cannot_be_split():
    with pytest.raises(DatasetError, match=r"3 question records have evidence in 1 document.*another document"):
        split_by_document(QUESTIONS[:3], 0.2, 0)


def test_the_documents_of_questions_are_those_of_their_evidence():
    assert documents_of(QUESTIONS[:4]) == {"Oslo.txt", "Lima.txt"}
    assert documents_of([QUESTIONS[0].model_copy(update={"evidence": ()})]) == frozenset()
