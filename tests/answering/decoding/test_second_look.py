import math

import pytest
from tiny_reader import PASSAGES, QUESTIONS, null_probability, passage, tiny_reader

from rag_ft.errors import PromptTooLongError

SENTENCES = {
    "a": ["The quick brown fox jumps over the lazy dog.", "It was 3.5 metres, near the river."],
    "b": ["Rank sixteen adds parameters to the layer (about 131,072).", 'She said "the lazy dog" twice.'],
    "c": ["An adapter is small.", "The river bank is near the quick brown fox."],
}


def log_odds(probability):
    return math.log(probability / (1 - probability))


@pytest.mark.parametrize("threshold", [0.0, 1.0])
@pytest.mark.parametrize("question", QUESTIONS)
def test_confidence_is_of_not_null_in_the_answering_passage_and_in_the_sentence_alone(loaded, question, threshold):
    subject = tiny_reader(loaded, reading="separate", threshold=threshold)
    result = subject.read(question, PASSAGES)
    (cited,) = tiny_reader(loaded, reading="separate", threshold=0.0).read(question, PASSAGES).cited
    (alone,) = [
        cited.passage.model_copy(update={"text": sentence})
        for sentence in SENTENCES[cited.passage.document_id]
        if cited.passage.text.index(sentence) <= cited.span.start < cited.passage.text.index(sentence) + len(sentence)
    ]
    nulls = [null_probability(subject, question, [read]) for read in (cited.passage, alone)]
    mean = sum(log_odds(1 - null) for null in nulls) / 2
    assert log_odds(result.answer_confidence) == pytest.approx(mean, abs=1e-3)
    assert result.confidence == pytest.approx(
        result.answer_confidence if threshold == 0 else 1 - result.answer_confidence, abs=1e-9
    )
    prompts = [*([read] for read in PASSAGES), [alone]]
    assert result.prompt_tokens == sum(
        len(subject.prompts.build(question, prompt, subject.budget)) for prompt in prompts
    )


@pytest.mark.parametrize(("reading", "passages"), [("joint", PASSAGES), ("separate", [passage("The only sentence.")])])
def test_a_sentence_is_not_read_again_where_it_is_all_that_was_read_or_passages_share_a_prompt(
    loaded, reading, passages
):
    subject = tiny_reader(loaded, reading=reading)
    result = subject.read(QUESTIONS[0], passages)
    wanted = 1 - null_probability(subject, QUESTIONS[0], passages)
    assert result.answer_confidence == pytest.approx(wanted, abs=1e-5)
    assert result.prompt_tokens == len(subject.prompts.build(QUESTIONS[0], passages, subject.budget))


def test_a_sentence_that_takes_more_tokens_than_there_is_room_is_not_read_again_by_a_false_prompt(loaded, monkeypatch):
    subject = tiny_reader(loaded, reading="separate")
    build = subject.prompts.build

    def built(question, passages, budget):
        if passages[0] not in PASSAGES:
            raise PromptTooLongError("too long")
        return build(question, passages, budget)

    monkeypatch.setattr(subject.prompts, "build", built)
    result = subject.read(QUESTIONS[0], PASSAGES)
    wanted = 1 - null_probability(subject, QUESTIONS[0], [result.cited[0].passage])
    assert result.answer_confidence == pytest.approx(wanted, abs=1e-5)
