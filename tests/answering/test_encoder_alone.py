import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_cross_encoder import passage_scores

from rag_ft.answering.decoding.candidates import answer_spans
from rag_ft.answering.encoder_alone import EncoderAlone, best_words
from rag_ft.answering.reading import ReadRequest
from rag_ft.errors import UsageError, WeightsError
from rag_ft.metrics.odds import probability_of
from rag_ft.models.cross_encoder import CrossEncoder
from rag_ft.questions.wording import repeats_question
from rag_ft.schema import Passage
from rag_ft.text.spans import Span

CRANE = "The crane lifts 42 tonnes. It is inspected in May."
TEA = "Tea is at four. The kettle holds two litres."


def passage(text):
    return Passage(id=text[:9], document_id="d", text=text, start=0, end=len(text))


def marking(text, words, odds, relevance=0.0):
    """Scores with one token per character that mark some words with these log-odds, and all else with less."""
    start = text.index(words)
    starts, ends = np.full(len(text), -9.0), np.full(len(text), -9.0)
    starts[start] = ends[start + len(words) - 1] = odds / 2
    tokens = tuple(Span(i, i + 1) for i in range(len(text)))
    return passage_scores(relevance, [-2.0] * len(text), tokens, starts=starts, ends=ends)


class CrossEncoderThatMarks:
    """Stands for a cross-encoder: gives the scores that the test says of each passage."""

    fingerprint = "c"

    def __init__(self, by_text, span_weight=1.0):
        self.by_text = by_text
        self.record = {"confidence": {"value": 0.6}, "span_weight": span_weight}

    def score(self, question, passages):
        return [self.by_text[read.text] for read in passages]


def read(scores, question="How many tonnes?", threshold=None, margins=(), **options):
    request = ReadRequest(question, tuple(map(passage, scores)), margins=margins)
    return EncoderAlone(CrossEncoderThatMarks(scores), threshold, **options).read_batch([request])[0]


def test_the_words_with_the_highest_log_odds_in_any_passage_are_cited_where_they_stand():
    reading = read({TEA: marking(TEA, "four", 1.0), CRANE: marking(CRANE, "42 tonnes", 3.0)})
    assert (reading.answer, reading.kind, reading.abstained) == ("42 tonnes", "span", False)
    assert reading.cited[0].passage.text == CRANE and reading.cited[0].text == "42 tonnes"
    assert reading.completion == '{"answer": "42 tonnes", "citations": [2]}'
    assert reading.confidence == reading.answer_confidence == pytest.approx(probability_of(3.0))
    assert reading.read == (True, True)


@pytest.mark.parametrize(("margin", "answer"), [(1.0, "42 tonnes"), (3.0, "four")])
def test_the_reranking_counts_for_a_passage(margin, answer):
    scores = {TEA: marking(TEA, "four", 1.0), CRANE: marking(CRANE, "42 tonnes", 3.0)}
    assert read(scores, margins=(margin, None)).answer == answer


def test_without_a_reranking_the_relevance_counts():
    scores = {TEA: marking(TEA, "four", 1.0, relevance=5.0), CRANE: marking(CRANE, "42 tonnes", 3.0)}
    assert read(scores).answer == "four"


@pytest.mark.parametrize(
    ("odds", "threshold", "given"), [(0.1, None, True), (-0.1, None, False), (-0.1, 0.0, True), (0.1, 0.9, False)]
)
def test_words_must_be_likelier_than_none_or_reach_the_threshold(odds, threshold, given):
    reading = read({CRANE: marking(CRANE, "May", odds)}, threshold=threshold)
    assert (reading.answer is not None) is given
    assert (reading if given else reading.declined).answer == "May"
    assert reading.confidence == pytest.approx(probability_of(odds if given else -odds))


def test_a_question_of_why_gets_the_sentence_that_the_cross_encoder_chooses():
    text = "It is painted red. Then ships see it at night."
    scores = marking(text, "ships", 3.0, relevance=4.0)
    after = np.arange(len(text)) >= text.index("Then")
    scores = scores._replace(evidence=np.where(after, np.float32(3), np.float32(-3)))
    reading = read({text: scores}, "Why is it painted red?")
    assert (reading.answer, reading.kind) == ("Then ships see it at night.", "part")
    # A threshold is for words; sentences have the record's, on another scale.
    assert read({text: scores}, "Why is it painted red?", threshold=1.0).answer == "Then ships see it at night."
    assert read({text: scores}, "Why is it painted red?", whole_sentences=False).answer == "ships"


def test_words_that_repeat_the_question_are_no_answer():
    scores = {CRANE: marking(CRANE, "crane", 9.0)}
    assert read(scores, "Which crane?").answer != "crane"


def test_without_passages_or_words_nothing_is_answered():
    assert read({}).answer is None and read({}).confidence == 1.0
    unseen = marking(CRANE, "May", 1.0)._replace(tokens=(), starts=np.zeros(0), ends=np.zeros(0))
    reading = read({CRANE: unseen})
    assert (reading.answer, reading.declined, reading.answer_confidence) == (None, None, 0.0)


def test_a_cross_encoder_that_marks_no_words_cannot_answer_alone():
    with pytest.raises(UsageError, match="gives no weight to the words"):
        EncoderAlone(CrossEncoderThatMarks({}, span_weight=0.0))
    broken = CrossEncoderThatMarks({})
    broken.record = {}
    with pytest.raises(WeightsError):
        EncoderAlone(broken)


@given(st.integers(0, 10_000))
def test_the_best_words_are_the_best_of_all_spans_by_brute_force(seed):
    rng = np.random.default_rng(seed)
    tokens = tuple(Span(i, i + 1) for i in range(len(TEA)))
    starts, ends = rng.normal(size=(2, len(TEA)))
    found = best_words("When?", passage(TEA), passage_scores(0.0, [0.0] * len(TEA), tokens, starts=starts, ends=ends))
    repeats = repeats_question("When?")  # little words alone repeat any question
    spans = [span for span in answer_spans(passage(TEA)) if not repeats(TEA[span.start : span.end])]
    by_hand = {span: starts[span.start] + ends[span.end - 1] for span in spans}
    assert found.log_odds == pytest.approx(max(by_hand.values()), abs=1e-5)
    assert by_hand[found.span] == pytest.approx(found.log_odds, abs=1e-5)


@pytest.mark.slow
def test_the_packaged_cross_encoder_answers_alone():
    request = ReadRequest("How many tonnes does the crane lift?", (passage(TEA), passage(CRANE)))
    reading = EncoderAlone(CrossEncoder.from_pretrained()).read_batch([request])[0]
    assert reading.answer == "42 tonnes" and reading.cited[0].passage.text == CRANE
