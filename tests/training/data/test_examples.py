import pytest
from data import little_world

from rag_ft.errors import DatasetError
from rag_ft.questions.split import documents_of, split_by_document
from rag_ft.schema import Evidence
from rag_ft.training.data.examples import ExampleConfig, left_out, make_examples

_, QUESTIONS = little_world()


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
    assert {example.record_id for example in apart.examples} == {question.id for question in split.train}


def test_separate_examples_have_gold_and_hard_negatives(world):
    index, questions = world
    example_set = make_examples(questions, index, ExampleConfig(negatives=1.0))
    by_id = {question.id: question for question in questions}
    for example in example_set.examples:
        (passage,) = example.passages
        record = by_id[example.record_id]
        if example.answer is not None:
            assert example.answer in passage.text and example.answer in record.answers and example.numbers == (1,)
        else:
            assert not any(answer in passage.text for answer in record.answers)
            assert example.numbers == ()
    answered = [example for example in example_set.examples if example.answer is not None]
    assert len(answered) == sum(question.answerable for question in questions)
    assert sum(
        example.answer is None and by_id[example.record_id].answerable for example in example_set.examples
    ) == len(answered)


def test_joint_examples_hold_gold_with_the_given_probability(world):
    index, questions = world
    config = ExampleConfig(reading="joint", passages=3, gold_probability=0.5)
    many = [
        question.model_copy(update={"id": f"{question.id}-{n}"})
        for n in range(20)
        for question in questions
        if question.answerable
    ]
    example_set = make_examples(many, index, config)
    by_id = {question.id: question for question in many}
    answered = 0
    for example in example_set.examples:
        assert len(example.passages) == 3
        holding = [
            n for n, passage in enumerate(example.passages, 1) if by_id[example.record_id].answers[0] in passage.text
        ]
        if example.answer is None:
            assert not holding
        else:
            answered += 1
            assert example.numbers == tuple(holding)
    assert answered / len(example_set.examples) == pytest.approx(0.5, abs=0.1)
    positions = {example.numbers for example in example_set.examples if example.numbers}
    assert positions == {(1,), (2,), (3,)}


def test_equal_seeds_give_equal_examples_and_others_differ(world):
    index, questions = world
    assert make_examples(questions, index, ExampleConfig()) == make_examples(questions, index, ExampleConfig())
    assert make_examples(questions, index, ExampleConfig(negatives=0.5, seed=1)).examples != (
        make_examples(questions, index, ExampleConfig(negatives=0.5, seed=2)).examples
    )


def test_the_share_of_unanswerable_questions_is_limited(world):
    index, questions = world
    example_set = make_examples(questions, index, ExampleConfig(unanswerable_share=0.2, negatives=0))
    assert example_set.questions == 16 + 4


def test_records_that_the_index_cannot_serve_are_dropped_with_their_reason(world):
    index, questions = world
    elsewhere = Evidence(document_id="Rome.txt", start=0, end=3, quote="Tom")
    odd = [
        questions[0].model_copy(update={"id": "a", "evidence": (elsewhere,)}),
        questions[0].model_copy(update={"id": "b", "answers": ("a mile",)}),
        questions[0].model_copy(update={"id": "c", "evidence": ()}),
    ]
    example_set = make_examples([*questions, *odd], index, ExampleConfig())
    assert example_set.dropped == {
        "a": "the index lacks the document of its evidence",
        "b": "no accepted answer stands in its evidence, word for word",
        "c": "answerable, but without evidence",
    }
    assert (example_set.questions, example_set.documents) == (len(questions), documents_of(questions))
    assert left_out([*questions, *odd], index) == example_set.dropped
    with pytest.raises(DatasetError, match=r"record a: the index lacks the document"):
        make_examples(odd[:1], index, ExampleConfig())
