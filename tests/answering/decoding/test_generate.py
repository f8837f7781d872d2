import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_reader import PASSAGES, QUESTIONS, tiny_reader

from rag_ft.answering import completion
from rag_ft.answering.decoding.generate import Generated, answer_closed
from rag_ft.answering.reading import ReadRequest


def test_free_text_is_parsed_strictly_and_never_passed_off(loaded):
    for result in tiny_reader(loaded, mode="free").read_batch([ReadRequest(q, PASSAGES) for q in QUESTIONS]):
        if not result.complete:  # a random model writes no JSON
            assert (result.answer, result.abstained, result.cited) == (None, False, ())
            assert result.completion != ""


def test_an_answer_cut_at_the_token_limit_is_incomplete(loaded):
    subject = tiny_reader(loaded, mode="schema", reading="joint", max_answer_tokens=1)
    incomplete = 0
    for question in QUESTIONS:
        result = subject.read(question, PASSAGES)
        cut = completion.parse(result.completion, 3).answer
        if not result.complete:
            incomplete += 1
            assert (result.answer, result.abstained, result.cited) == (None, False, ())
            assert len(subject.prompts.body_ids([cut])[0]) <= 1
    assert incomplete > 0


def test_sampling_repeats_with_its_seed(loaded):
    def sample(seed):
        return tiny_reader(loaded, mode="schema", reading="joint", temperature=1.5, seed=seed).read("What?", PASSAGES)

    assert sample(1).completion == sample(1).completion
    assert len({sample(seed).completion for seed in range(4)}) > 1


@settings(deadline=None, max_examples=100)
@given(st.text(st.sampled_from('a"\\ é日{}[]:,')), st.integers(0, 80))
def test_the_answer_is_closed_exactly_when_its_string_is(answer, cut):
    text = completion.render(answer or "x", (1,))
    whole = completion.HEAD + completion.OPEN + completion.escape(answer or "x") + '"'
    assert answer_closed(text[:cut]) == (cut >= len(whole))


@pytest.fixture
def decode_as(loaded, monkeypatch):
    """Stand in for the decoding by completions that the random model would never write."""

    def install(*texts: str, logprob: float) -> None:
        def generate(*given, **more):
            yield from ()
            tokens = [loaded.tokenizer.encode(text, add_special_tokens=False) for text in texts]
            return [Generated(ids, [logprob / len(ids)] * len(ids), True) for ids in tokens]

        monkeypatch.setattr("rag_ft.answering.decoding.generate.generate", generate)

    return install


@pytest.mark.parametrize(("text", "answer"), [(completion.render("fox", (2,)), "fox"), (completion.render(None), None)])
def test_what_free_text_says_counts_with_its_own_probability_by_false_decoding(loaded, decode_as, text, answer):
    decode_as(text, logprob=-0.5)
    subject = tiny_reader(loaded, mode="free", reading="joint", threshold=None)
    result = subject.read("Q?", PASSAGES)
    assert (result.answer, result.abstained, result.complete, result.completion) == (answer, answer is None, True, text)
    assert math.exp(-0.5) < result.confidence < 0.9  # the tokens after the closing quote do not count
    if answer:
        assert [cited.passage for cited in result.cited] == [PASSAGES[1]]
        subject.threshold = 0.9
        assert subject.read("Q?", PASSAGES).abstained


def test_free_texts_of_separate_passages_compete_by_false_decoding(loaded, decode_as):
    decode_as(completion.render(None), completion.render("fox", (1,)), "no JSON", logprob=-0.5)
    subject = tiny_reader(loaded, mode="free", threshold=None)
    result = subject.read("Q?", PASSAGES)
    assert (result.answer, result.complete) == ("fox", True)
    assert 0 < result.confidence < 1
