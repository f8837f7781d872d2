import pytest

from rag_ft.answering.confidence import PartSigns
from rag_ft.answering.evidence import Calibration
from rag_ft.metrics.odds import log_odds
from rag_ft.schema import Evidence, Question
from rag_ft.training.cross_encoder.calibration import calibrate, decides_from
from rag_ft.training.cross_encoder.scoring import Outcome

BEFORE = {
    "confidence": {"value": 0.3, "platt": {"slope": 0.5, "intercept": -1.0}},
    "with_generator": {"weight": 1.0, "confidence": {"value": 0.2, "weights": {"relevance": 0.5, "generator": 0.5}}},
    "decided_from": 0.9,
    "licence": "x",
}


def quoted(own, right, asked="Why?", answerable=True):
    return outcome(own, right, asked, answerable).quoted


def outcome(own, right, asked="Why?", answerable=True, yes=None, yes_share=0.5):
    evidence = (Evidence(document_id="d", start=0, end=1, quote="x"),)
    question = Question(
        id="q",
        question=asked,
        answers=("x",) if answerable else (),
        evidence=evidence,
        kind="part",
        yes=yes,
        answerable=answerable,
    )
    return Outcome(question, 1, float(right), float(right), own, yes_share)


SURE_AND_HALF_RIGHT = [outcome(own, right) for own in (0.9, 0.95) for right in (True, False) * 8]


def test_a_confidence_becomes_how_often_it_is_right():
    chosen = calibrate(SURE_AND_HALF_RIGHT, None)
    confidence = chosen.calibration.confidence
    assert confidence.platt.scaled(0.92) == pytest.approx(0.5, abs=0.05)
    assert confidence.value is None and chosen.calibration.decided_from is None
    assert chosen.chosen_on == {"questions": 32, "right": 16, "unanswerable": 0, "yes_or_no": 0}
    assert chosen.note.startswith("32 held-out questions ask for sentences, 16 of them quoted from the right place:")
    assert chosen.note.endswith("; no threshold")


def test_a_threshold_parts_the_answers_from_what_has_none_on_the_scale():
    null = [outcome(0.97, False, answerable=False) for _ in range(8)]
    confidence = calibrate([outcome(0.99, True) for _ in range(20)] + null, None).calibration.confidence
    assert confidence.platt.scaled(0.97) < confidence.value < confidence.platt.scaled(0.99) < 0.98


def test_without_unanswerable_questions_the_threshold_stays_a_probability_of_being_right():
    chosen = calibrate(SURE_AND_HALF_RIGHT, BEFORE)
    assert chosen.calibration.confidence.value == 0.3 and chosen.calibration.confidence.platt.slope != 0.5
    assert chosen.calibration.decided_from == 0.9 and "threshold as it was" in chosen.note
    assert chosen.calibration.with_generator is None  # which was fitted with the scale before


def test_questions_whose_evidence_was_taken_out_count_a_quarter_as_wrong_and_make_no_threshold():
    taken_out = [outcome(own, False) for own in (0.9, 0.95) for _ in range(16)]
    chosen = calibrate(SURE_AND_HALF_RIGHT, BEFORE, taken_out)
    confidence = chosen.calibration.confidence
    assert confidence.platt.scaled(0.92) == pytest.approx(0.4, abs=0.05)  # 16 of 32 + 32 / 4
    assert confidence.value == 0.3 and chosen.chosen_on["questions"] == 32
    few = SURE_AND_HALF_RIGHT[:12]
    assert calibrate(few, BEFORE, taken_out).calibration == Calibration.model_validate(BEFORE)


def test_the_weights_of_the_generators_opinion_are_scaled_as_a_whole_to_what_is_right_with_it():
    asked = []

    def with_opinion(record):
        asked.append(record)
        return [quoted(own, right) for own in (0.6, 0.65) for right in (True, True, True, False) * 8]

    chosen = calibrate(SURE_AND_HALF_RIGHT, BEFORE, with_opinion=with_opinion)
    assert asked[0]["with_generator"] == Calibration.model_validate(BEFORE).with_generator.model_dump()
    assert asked[0]["confidence"] == chosen.calibration.confidence.model_dump()
    weighed = chosen.calibration.with_generator
    weights = weighed.confidence.weights
    assert weighed.weight == 1 and weights.relevance == pytest.approx(weights.generator) != 0.5
    # Log-odds of .62 by the curve before, which was right in three of four.
    signs = PartSigns(0.49, 0.0, 0.0, 0.49)
    assert weighed.confidence.confidence(signs) == pytest.approx(0.75, abs=0.05)
    assert weighed.confidence.value == 0.2  # no unanswerable question to choose another with
    assert chosen.chosen_on["right_with_generator"] == 48
    assert ". With the generator's opinion 48 are right: scale " in chosen.note


def test_a_threshold_with_the_generators_opinion_parts_its_own_confidences():
    def with_opinion(_record):
        return [quoted(0.9, i > 0) for i in range(20)] + [quoted(0.4, False, answerable=False) for _ in range(8)]

    weighed = calibrate(SURE_AND_HALF_RIGHT, BEFORE, with_opinion=with_opinion).calibration.with_generator.confidence
    sure, unsure = (PartSigns(log_odds(own), 0.0, 0.0, log_odds(own)) for own in (0.9, 0.4))
    assert weighed.confidence(unsure) < weighed.value < weighed.confidence(sure)


@pytest.mark.parametrize("quotes", [[], [quoted(0.9, True)] * 40])
def test_without_enough_said_by_the_generator_its_opinion_is_not_weighed(quotes):
    assert (
        calibrate(SURE_AND_HALF_RIGHT, BEFORE, with_opinion=lambda _record: quotes).calibration.with_generator is None
    )


def test_the_generator_is_not_asked_where_nothing_is_scaled_or_nothing_weighed_it():
    def never(_record):
        pytest.fail("asked")

    unweighed = {name: value for name, value in BEFORE.items() if name != "with_generator"}
    assert calibrate(SURE_AND_HALF_RIGHT, unweighed, with_opinion=never).calibration.with_generator is None
    assert calibrate(SURE_AND_HALF_RIGHT[:12], BEFORE, with_opinion=never).calibration == Calibration.model_validate(
        BEFORE
    )


@pytest.mark.parametrize(
    "outcomes", [SURE_AND_HALF_RIGHT[:12], [outcome(0.9, True)] * 40, [outcome(0.9, True, "Who?")] * 40]
)
def test_too_few_questions_change_nothing(outcomes):
    chosen = calibrate(outcomes, BEFORE)
    assert chosen.calibration == Calibration.model_validate(BEFORE)
    assert "scale and threshold stay as they were" in chosen.note
    assert calibrate(outcomes, None).calibration.confidence.value is None


def decisions(right, wrong, share):
    said = [outcome(0.5, True, yes=True, yes_share=share)] * right
    return said + [outcome(0.5, True, yes=False, yes_share=share)] * wrong


@pytest.mark.parametrize(
    ("said", "least"),
    [
        (decisions(20, 0, 0.9), 0.5),
        (decisions(17, 3, 0.9), 0.5),
        (decisions(16, 4, 0.9), None),
        (decisions(19, 0, 0.9), None),  # too few to say
        (decisions(20, 0, 0.82) + decisions(2, 8, 0.6), 0.65),
    ],
)
def test_yes_or_no_is_decided_from_where_enough_decisions_are_right(said, least):
    assert decides_from(said) == least


def test_a_question_of_facts_is_not_calibrated_on():
    assert calibrate([*SURE_AND_HALF_RIGHT, outcome(0.9, False, "Who?")], None) == calibrate(SURE_AND_HALF_RIGHT, None)
