import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_cross_encoder import passage_scores

from rag_ft.answering.evidence import Candidate, EvidenceReader, best_candidate, choose_part, decision
from rag_ft.answering.opinions import Opinion
from rag_ft.answering.reading import ReadRequest
from rag_ft.errors import WeightsError
from rag_ft.metrics.odds import probability_of
from rag_ft.schema import Passage
from rag_ft.text.spans import Span

TEXT = """\
By default there is none. To avoid this, set one:

    call(timeout=5)

It counts from the call."""


DEFAULT = "By default there is none."


def passage(text=TEXT):
    return Passage(id="p", document_id="d", text=text, start=0, end=len(text))


def scores(text, evidence, relevance=2.0, says=(0.2, 0.7, 0.1)):
    """Scores with one token per character, whose evidence is high in the given words and low elsewhere."""
    start = text.index(evidence)
    inside = [2.0 if start <= i < start + len(evidence) else -2.0 for i in range(len(text))]
    tokens = tuple(Span(i, i + 1) for i in range(len(text)))
    return passage_scores(relevance, np.array(inside, dtype=np.float32), tokens, says)


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
    request = ReadRequest(question, (passage(text), passage("Tea is at four.")), threshold)
    return EvidenceReader(CrossEncoderThatKnows(given)).read_batch([request])[0]


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
    given = read("Why?", unsure, threshold=0.4)
    assert given.answer == "It counts from the call." and given.declined is None
    assert declined.declined == given  # what would have been given, and what it cost
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
        {"confidence": {"value": 0}, "with_generator": {"weight": 0, "confidence": {"value": 0}}},
        {"confidence": {"value": 0}, "with_generator": {"weight": 1}},
    ],
)
def test_a_record_without_a_calibration_is_refused(record):
    with pytest.raises(WeightsError, match=r"the calibration in the cross-encoder's cross_encoder.json is damaged"):
        EvidenceReader(CrossEncoderThatKnows(scores(TEXT, "none"), record))


WEIGHED = {"confidence": {"value": 0.5, "weights": {"relevance": 0.5, "evidence": 0.25, "margin": 1, "intercept": -2}}}


@pytest.mark.parametrize(
    ("passages", "margins", "counted"),
    [(2, (3.0, None), 3.0), (1, (3.0,), 3.0), (2, (None, None), 1.0), (1, (), 2.0), (2, (0.0, 1.0), 0.0)],
    ids=["reranked", "one kept of those reranked", "not reranked", "alone", "as good as the next"],
)
def test_the_margin_is_the_rerankings_or_that_of_the_relevance(passages, margins, counted):
    request = ReadRequest("Why?", (passage(), passage("Tea is at four."))[:passages], 0.0, margins)
    given_scores = scores(TEXT, "It counts from the call.", relevance=2.0)
    (reading,) = EvidenceReader(CrossEncoderThatKnows(given_scores, WEIGHED)).read_batch([request])
    # Relevance 2, evidence 2: .5 * 2 + .25 * 2 - 2.
    assert reading.answer_confidence == pytest.approx(probability_of(-0.5 + counted))
    assert reading.not_null == pytest.approx(probability_of(2.0))


def best(relevances, margins=(), said=(), weight=1.0, parts=True):
    """Position and margin of the best of some passages."""
    given = [scores(TEXT, "none", relevance=relevance) for relevance in relevances]
    candidates = [Candidate(passage(), own, choose_part(passage(), own)) for own in given]
    if parts is not True:
        candidates = [one if i in parts else one._replace(part=None) for i, one in enumerate(candidates)]
    found = best_candidate(candidates, margins, Opinion(tuple(said)), weight)
    return None if found is None else (found.position, found.signs.margin)


def test_a_passage_that_is_less_relevant_than_another_or_than_null_has_no_margin():
    assert best([-1.0, 4.0, -1.0]) == (0, 0.0)
    assert best([-1.0]) == (0, 0.0)
    assert best([4.0, -1.0, -1.0]) == (0, 5.0)


def test_what_the_generator_says_can_put_the_part_of_a_later_passage_first():
    assert best([0.0] * 3, (2.0, 1.0, 9.0), [0.0, 2.5, 0.0]) == (1, 0.5)
    assert best([0.0] * 3, (2.0, 1.0, 9.0), [0.0, 5.0, 0.0], weight=0.5) == (1, 0.5)
    assert best([0.0] * 3, (2.0, 1.0, 9.0), [0.0, 1.5, 3.25]) == (2, 0.25)
    assert best([0.0] * 3, (2.0, 1.0, None), [0.0, 1.5, 0.0]) == (0, 0.5)
    assert best([0.0] * 2, (2.0, None), [0.0, 2.0]) == (0, 0.0)  # as good as the next: the first stays
    assert best([1.0, 3.0], (), [2.5, 0.0]) == (0, 0.5)  # not reranked: by the relevance
    assert best([1.0], (2.0,), [5.0]) == (0, 2.0)  # alone: over what was not given


def test_a_passage_without_a_part_is_not_chosen_and_counts_in_the_margin():
    assert best([0.0] * 3, (2.0, 1.0, 9.0), [1.5, 0.0], parts={1, 2}) == (1, 0.0)
    assert best([0.0] * 3, (2.0, 1.0, 9.0), [3.0, 0.0], parts={1, 2}) == (1, 1.0)
    assert best([0.0] * 3, (2.0, 1.0, 9.0), parts={1, 2}) is None  # not asked: the first or none
    assert best([0.0] * 3, (2.0, 1.0, 9.0), parts=()) is None


class OpinionsThatAreGiven:
    """Stands for a generator: says the same of every request."""

    def __init__(self, *log_odds):
        self.asked = []
        self.opinion = Opinion(log_odds, 100)

    def of(self, requests):
        self.asked.append([(request.question, [read.text for read in request.passages]) for request in requests])
        return [self.opinion] * len(requests)


WITH_GENERATOR = {
    **WEIGHED,
    "with_generator": {
        "weight": 0.5,
        "confidence": {"value": 0.3, "weights": {"relevance": 0.5, "margin": 1, "generator": 0.25, "intercept": -2}},
    },
}


def test_the_generators_word_counts_in_the_choice_of_the_passage_and_in_the_confidence():
    tea = passage("Tea is at four.")
    request = ReadRequest("Why?", (tea, passage()), margins=(1.0, None))
    knows = CrossEncoderThatKnows(scores(TEXT, "It counts from the call.", relevance=2.0), WITH_GENERATOR)
    (reading,) = EvidenceReader(knows, OpinionsThatAreGiven(0.0, 4.0)).read_batch([request])
    assert reading.cited[0].passage is request.passages[1]
    assert reading.completion.endswith('"citations": [2]}')
    # Half of the given relevance for a passage after the first; .5 * 4 - 1 before the next one; 4 by the generator.
    assert reading.answer_confidence == pytest.approx(probability_of(0.5 * 1.0 + 1.0 + 0.25 * 4.0 - 2.0))
    assert reading.prompt_tokens == 2 * len(TEXT) + 100  # as many tokens are given for the second passage
    assert EvidenceReader(knows, OpinionsThatAreGiven(0.0, 1.9)).read_batch([request])[0].cited == ()


def test_the_generator_is_asked_once_and_only_of_questions_that_ask_for_sentences():
    knows = CrossEncoderThatKnows(scores(TEXT, DEFAULT), WITH_GENERATOR)
    asked = OpinionsThatAreGiven(1.0)
    questions = ["Why?", "Who is it?", "How do I call it?"]
    requests = [ReadRequest(question, (passage(),)) for question in questions]
    readings = EvidenceReader(knows, asked).read_batch([*requests, ReadRequest("Why?", ())])
    assert [reading is None for reading in readings] == [False, True, False, True]
    assert asked.asked == [[("Why?", [DEFAULT]), ("How do I call it?", [DEFAULT])]]


def test_a_record_that_does_not_weigh_the_generator_does_not_ask_it():
    asked = OpinionsThatAreGiven(1.0)
    reader = EvidenceReader(CrossEncoderThatKnows(scores(TEXT, "none"), WEIGHED), asked)
    assert reader.read_batch([ReadRequest("Why?", (passage(),))])[0] is not None
    assert (asked.asked, reader.threshold) == ([], 0.5)
    weighs = CrossEncoderThatKnows(scores(TEXT, "none"), WITH_GENERATOR)
    assert EvidenceReader(weighs).threshold == 0.5 and EvidenceReader(weighs, asked).threshold == 0.3


def test_the_evidence_of_a_part_is_that_of_its_best_unit():
    chosen = choose_part(passage(), scores(TEXT, "To avoid this, set one:"))
    assert TEXT[chosen.span.start : chosen.span.end].endswith("call(timeout=5)")  # which has none, and belongs to it
    assert chosen.evidence == pytest.approx(2.0)


def test_words_that_the_model_did_not_see_give_no_confidence():
    unseen = scores(TEXT, "none")._replace(evidence=np.zeros(0, dtype=np.float32), tokens=())
    request = ReadRequest("Why?", (passage(),))
    (reading,) = EvidenceReader(CrossEncoderThatKnows(unseen, WEIGHED)).read_batch([request])
    assert reading.abstained and 0 <= reading.answer_confidence < 0.01


def test_the_threshold_is_on_the_scale_of_the_weights():
    request = ReadRequest("Why?", (passage(),), margins=(0.6,))
    reader = EvidenceReader(CrossEncoderThatKnows(scores(TEXT, "By default there is none."), WEIGHED))
    lower, lowest, highest = (request._replace(threshold=threshold) for threshold in (0.53, 0.0, 1.0))
    sure, *others = reader.read_batch(
        [request, request._replace(margins=(0.4,)), lower, lowest, highest._replace(margins=(1e6,))]
    )
    assert sure.answer is not None and sure.answer_confidence == pytest.approx(probability_of(0.1))
    assert [other.answer is not None for other in others] == [False, False, True, False]


@given(evidence=st.lists(st.floats(-5, 5, width=32), min_size=len(TEXT), max_size=len(TEXT)))
@settings(max_examples=60)
def test_a_part_is_whole_units_whatever_the_evidence(evidence):
    tokens = tuple(Span(i, i + 1) for i in range(len(TEXT)))
    given_scores = passage_scores(1.0, np.array(evidence, dtype=np.float32), tokens, (1.0, 0.0, 0.0))
    chosen = choose_part(passage(), given_scores)
    part = TEXT[chosen.span.start : chosen.span.end]
    assert part == part.strip() and not part.endswith("set one:")
    assert part.startswith(chosen.leads[0].split()[0])
