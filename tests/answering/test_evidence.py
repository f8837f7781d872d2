import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_ft.answering.evidence import EvidenceReader, choose_part, decision, part_signs
from rag_ft.answering.reading import ReadRequest
from rag_ft.errors import WeightsError
from rag_ft.metrics.odds import probability_of
from rag_ft.models.cross_encoder import PassageScores
from rag_ft.schema import Passage
from rag_ft.text.spans import Span

TEXT = """\
By default there is none. To avoid this, set one:

    call(timeout=5)

It counts from the call."""


def passage(text=TEXT):
    return Passage(id="p", document_id="d", text=text, start=0, end=len(text))


def scores(text, evidence, relevance=2.0, says=(0.2, 0.7, 0.1)):
    """Scores with one token per character, whose evidence is high in the given words and low elsewhere."""
    start = text.index(evidence)
    inside = [2.0 if start <= i < start + len(evidence) else -2.0 for i in range(len(text))]
    tokens = tuple(Span(i, i + 1) for i in range(len(text)))
    return PassageScores(relevance, np.array(inside, dtype=np.float32), tokens, says)


class CrossEncoderThatKnows:
    """Stands for a cross-encoder: gives the scores that the test says, and records what it reads."""

    def __init__(self, given, record=None):
        self.given = given
        self.record = {"confidence": {"value": 0.6}, "decided_from": 0.75} if record is None else record
        self.read = []

    def score(self, question, passages):
        """The given scores; passages after the first are half as relevant."""
        self.read.append((question, [read.text for read in passages]))
        later = self.given._replace(relevance=self.given.relevance / 2)
        return [self.given, *[later for _ in passages[1:]]]


def read(question, given, threshold=None, text=TEXT):
    request = ReadRequest(question, (passage(text), passage("Tea is at four.")))
    return EvidenceReader(CrossEncoderThatKnows(given)).read(request, threshold)


@pytest.mark.parametrize(
    ("evidence", "part"),
    [
        ("By default there is none.", "By default there is none."),
        ("It counts from the call.", "It counts from the call."),
        ("To avoid this, set one:", "To avoid this, set one:\n\n    call(timeout=5)"),
        ("call(timeout=5)", "call(timeout=5)"),
    ],
)
def test_the_part_is_where_the_evidence_is_with_what_it_introduces(evidence, part):
    chosen = choose_part(passage(), scores(TEXT, evidence))
    assert TEXT[chosen.span.start : chosen.span.end] == part


def test_the_answer_cites_the_first_passage_alone():
    reading = read("How do I avoid it?", scores(TEXT, "It counts from the call."))
    assert (reading.answer, reading.kind, reading.yes) == ("It counts from the call.", "part", None)
    assert reading.cited[0].passage.text == TEXT and reading.cited[0].text == reading.answer
    assert reading.read == (True, True)
    assert reading.completion == '{"answer": ["It counts from the"], "citations": [1]}'
    assert reading.confidence == pytest.approx(0.88, abs=0.01) and not reading.abstained


@pytest.mark.parametrize(
    ("question", "says", "yes"),
    [
        ("Is there a default?", (0.2, 0.7, 0.1), True),
        ("Is there a default?", (0.2, 0.1, 0.7), False),
        ("Is there a default?", (0.2, 0.4, 0.4), None),
        ("Is there a default?", (1.0, 0.0, 0.0), None),
        ("Why is there a default?", (0.2, 0.7, 0.1), None),
        ("Is there one or are there two?", (0.2, 0.7, 0.1), None),
    ],
)
def test_a_question_of_yes_or_no_is_decided_where_the_passage_is_clear(question, says, yes):
    reading = read(question, scores(TEXT, "By default there is none.", says=says))
    assert reading.yes is yes and reading.answer == "By default there is none."


@pytest.mark.parametrize(
    ("text", "evidence", "yes", "answer"),
    [
        ("No. It is off. Set the flag.", "It is off.", False, "No. It is off."),
        ("Yes, since version 2. Set the flag.", "Yes, since version 2.", True, "Yes, since version 2."),
        ("Never mind.\nYes. Set the flag.", "Set the flag.", True, "Yes. Set the flag."),
        ("Yes. It is on.\n\nSet the flag.", "Set the flag.", None, "Set the flag."),
        ("It is off. No more of it.", "No more of it.", None, "No more of it."),
    ],
)
def test_a_paragraph_that_begins_with_yes_or_no_decides_and_is_quoted_from_there(text, evidence, yes, answer):
    reading = read("Is it on?", scores(text, evidence, says=(1.0, 0.0, 0.0)), text=text)
    assert (reading.yes, reading.answer) == (yes, answer)
    assert read("Why is it on?", scores(text, evidence), text=text).yes is None


@pytest.mark.parametrize(("decided_from", "yes"), [(None, None), (0.5, True), (0.7, True), (0.8, True), (0.9, None)])
def test_a_decision_needs_the_recorded_share(decided_from, yes):
    assert decision(scores(TEXT, "call", says=(0.5, 0.42, 0.08)), decided_from) is yes


def test_a_passage_that_hardly_answers_is_declined_and_the_threshold_may_be_given():
    unsure = scores(TEXT, "It counts from the call.", relevance=0.0)
    declined = read("Why?", unsure)
    assert (declined.answer, declined.abstained, declined.cited, declined.yes) == (None, True, (), None)
    assert declined.confidence == declined.answer_confidence == pytest.approx(0.5)
    assert declined.completion == '{"answer": null, "citations": []}'
    assert read("Why?", unsure, threshold=0.4).answer == "It counts from the call."
    assert read("Why?", scores(TEXT, "none", relevance=9.0), threshold=1.0).answer is None


def test_a_passage_without_a_sentence_is_left_to_the_generator():
    assert read("Why?", scores("Is it so?", "Is"), text="Is it so?") is None


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"confidence": {"value": 2}},
        {"confidence": "high"},
        {"confidence": {"value": 0}, "decided_from": 3},
        {"confidence": {"value": 0, "weights": {"relevance": -1}}},
    ],
)
def test_a_record_without_a_calibration_is_refused(record):
    with pytest.raises(WeightsError, match=r"the calibration in the cross-encoder's cross_encoder.json is damaged"):
        EvidenceReader(CrossEncoderThatKnows(scores(TEXT, "none"), record))


WEIGHED = {"confidence": {"value": 0.5, "weights": {"relevance": 0.5, "evidence": 0.25, "margin": 1, "intercept": -2}}}


@pytest.mark.parametrize(
    ("passages", "margin", "counted"),
    [(2, 3.0, 3.0), (1, 3.0, 3.0), (2, None, 1.0), (1, None, 2.0), (2, 0.0, 0.0)],
    ids=["reranked", "one kept of those reranked", "not reranked", "alone", "as good as the next"],
)
def test_the_margin_is_the_rerankings_or_that_of_the_relevance(passages, margin, counted):
    request = ReadRequest("Why?", (passage(), passage("Tea is at four."))[:passages], threshold=0.0, margin=margin)
    given_scores = scores(TEXT, "It counts from the call.", relevance=2.0)
    reading = EvidenceReader(CrossEncoderThatKnows(given_scores, WEIGHED)).read(request, None)
    # Relevance 2, evidence 2: .5 * 2 + .25 * 2 - 2.
    assert reading.answer_confidence == pytest.approx(probability_of(-0.5 + counted))
    assert reading.not_null == pytest.approx(probability_of(2.0))


def test_a_passage_that_is_less_relevant_than_another_or_than_null_has_no_margin():
    below, above = scores(TEXT, "none", relevance=-1.0), scores(TEXT, "none", relevance=4.0)
    part = choose_part(passage(), below)
    assert part_signs(part, below, [above, below], None) == (-1.0, part.evidence, 0.0)
    assert part_signs(part, below, [], None) == (-1.0, part.evidence, 0.0)
    assert part_signs(part, above, [below, below], None).margin == 5.0


def test_the_evidence_of_a_part_is_that_of_its_best_unit():
    chosen = choose_part(passage(), scores(TEXT, "To avoid this, set one:"))
    assert TEXT[chosen.span.start : chosen.span.end].endswith("call(timeout=5)")  # which has none, and belongs to it
    assert chosen.evidence == pytest.approx(2.0)


def test_words_that_the_model_did_not_see_give_no_confidence():
    unseen = scores(TEXT, "none")._replace(evidence=np.zeros(0, dtype=np.float32), tokens=())
    request = ReadRequest("Why?", (passage(),))
    reading = EvidenceReader(CrossEncoderThatKnows(unseen, WEIGHED)).read(request, None)
    assert reading.abstained and 0 <= reading.answer_confidence < 0.01


def test_the_threshold_is_on_the_scale_of_the_weights():
    request = ReadRequest("Why?", (passage(),), margin=0.6)
    reader = EvidenceReader(CrossEncoderThatKnows(scores(TEXT, "By default there is none."), WEIGHED))
    sure = reader.read(request, None)
    assert sure.answer is not None and sure.answer_confidence == pytest.approx(probability_of(0.1))
    assert reader.read(request._replace(margin=0.4), None).answer is None
    assert reader.read(request, 0.53).answer is None and reader.read(request, 0.0).answer is not None
    assert reader.read(request._replace(margin=1e6), 1.0).answer is None


@given(evidence=st.lists(st.floats(-5, 5, width=32), min_size=len(TEXT), max_size=len(TEXT)))
@settings(max_examples=60)
def test_a_part_is_whole_units_whatever_the_evidence(evidence):
    tokens = tuple(Span(i, i + 1) for i in range(len(TEXT)))
    given_scores = PassageScores(1.0, np.array(evidence, dtype=np.float32), tokens, (1.0, 0.0, 0.0))
    chosen = choose_part(passage(), given_scores)
    part = TEXT[chosen.span.start : chosen.span.end]
    assert part == part.strip() and not part.endswith("set one:")
    assert part.startswith(chosen.leads[0].split()[0])
