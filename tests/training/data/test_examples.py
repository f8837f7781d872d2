import pytest
from data import little_world
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_ft.errors import DatasetError
from rag_ft.questions.split import documents_of, split_by_document
from rag_ft.schema import Evidence, Question
from rag_ft.training.data.examples import ExampleConfig, left_out, make_examples

_, QUESTIONS = little_world()


@given(st.floats(0.02, 0.5), st.integers(0, 50))
@settings(max_examples=60, deadline=None)
def test_no_document_stands_on_both_sides_and_no_question_is_lost(share, seed):
    split = split_by_document(QUESTIONS, share, seed)
    sides = [{one.evidence[0].document_id for one in side} for side in split]
    assert not sides[0] & sides[1] and sides[0] and sides[1]
    assert sorted(one.id for side in split for one in side) == sorted(one.id for one in QUESTIONS)
    assert split == split_by_document(QUESTIONS, share, seed)


@pytest.mark.parametrize("reading", ["separate", "joint"])
def test_no_passage_of_a_document_that_is_held_out_stands_in_a_prompt_that_is_trained_on(world, reading):
    index, questions = world
    split = split_by_document(questions, 0.3, 0)
    config = ExampleConfig(negatives=3.0, reading=reading)
    held_out = make_examples(split.held_out, index, config)

    def met(examples):
        return {passage.document_id for example in examples for passage in example.passages}

    assert met(make_examples(split.train, index, config).examples) & held_out.documents
    apart = make_examples(split.train, index, config, apart=held_out.documents)
    assert not met(apart.examples) & held_out.documents
    assert {one.record_id for one in apart.examples} == {one.id for one in split.train}


def test_documents_that_share_a_question_stay_together():
    both = Question(
        id="both",
        question="Which tower is higher?",
        answers=("Lima",),
        evidence=(*QUESTIONS[0].evidence, *QUESTIONS[3].evidence),
    )
    for seed in range(20):
        split = split_by_document([*QUESTIONS, both], 0.2, seed)
        held = {one.document_id for record in split.held_out for one in record.evidence}
        train = {one.document_id for record in split.train for one in record.evidence}
        assert not held & train


def test_of_questions_without_evidence_the_same_share_is_held_out():
    homeless = [one.model_copy(update={"evidence": ()}) if not one.answerable else one for one in QUESTIONS]
    split = split_by_document(homeless, 0.25, 0)
    without = [sum(not one.evidence for one in side) for side in split]
    assert without == [6, 2]
    assert split == split_by_document(homeless, 0.25, 0)


def test_one_document_cannot_be_split():
    with pytest.raises(DatasetError, match=r"3 question records have evidence in 1 document.*another document"):
        split_by_document(QUESTIONS[:3], 0.2, 0)


def test_separate_examples_have_gold_and_hard_negatives(world):
    index, questions = world
    made = make_examples(questions, index, ExampleConfig(negatives=1.0))
    by_id = {one.id: one for one in questions}
    for example in made.examples:
        (passage,) = example.passages
        record = by_id[example.record_id]
        if example.answer is not None:
            assert example.answer in passage.text and example.answer in record.answers and example.numbers == (1,)
        else:
            assert not any(answer in passage.text for answer in record.answers)
            assert example.numbers == ()
    answered = [one for one in made.examples if one.answer is not None]
    assert len(answered) == sum(one.answerable for one in questions)
    assert sum(one.answer is None and by_id[one.record_id].answerable for one in made.examples) == len(answered)


def test_joint_examples_hold_gold_with_the_given_probability(world):
    index, questions = world
    config = ExampleConfig(reading="joint", passages=3, gold_probability=0.5)
    many = [one.model_copy(update={"id": f"{one.id}-{n}"}) for n in range(20) for one in questions if one.answerable]
    made = make_examples(many, index, config)
    by_id = {one.id: one for one in many}
    answered = 0
    for example in made.examples:
        assert len(example.passages) == 3
        holding = [n for n, one in enumerate(example.passages, 1) if by_id[example.record_id].answers[0] in one.text]
        if example.answer is None:
            assert not holding
        else:
            answered += 1
            assert example.numbers == tuple(holding)
    assert answered / len(made.examples) == pytest.approx(0.5, abs=0.1)
    places = {example.numbers for example in made.examples if example.numbers}
    assert places == {(1,), (2,), (3,)}


def test_equal_seeds_give_equal_examples_and_others_differ(world):
    index, questions = world
    assert make_examples(questions, index, ExampleConfig()) == make_examples(questions, index, ExampleConfig())
    assert make_examples(questions, index, ExampleConfig(negatives=0.5, seed=1)).examples != (
        make_examples(questions, index, ExampleConfig(negatives=0.5, seed=2)).examples
    )


def test_the_share_of_unanswerable_questions_is_limited(world):
    index, questions = world
    made = make_examples(questions, index, ExampleConfig(unanswerable_share=0.2, negatives=0))
    assert made.questions == 16 + 4


def test_records_that_the_index_cannot_serve_are_dropped_with_their_reason(world):
    index, questions = world
    elsewhere = Evidence(document_id="Rome.txt", start=0, end=3, quote="Tom")
    odd = [
        questions[0].model_copy(update={"id": "a", "evidence": (elsewhere,)}),
        questions[0].model_copy(update={"id": "b", "answers": ("a mile",)}),
        questions[0].model_copy(update={"id": "c", "evidence": ()}),
    ]
    made = make_examples([*questions, *odd], index, ExampleConfig())
    assert made.dropped == {
        "a": "the index lacks the document of its evidence",
        "b": "no accepted answer stands in its evidence, word for word",
        "c": "answerable, but without evidence",
    }
    assert (made.questions, made.documents) == (len(questions), documents_of(questions))
    assert left_out([*questions, *odd], index) == made.dropped
    with pytest.raises(DatasetError, match=r"record a: the index lacks the document"):
        make_examples(odd[:1], index, ExampleConfig())
