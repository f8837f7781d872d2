import math
import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from rag_ft.answering.confidence import PartCalibration, PartSigns, PartWeights, PlattScale
from rag_ft.errors import first_problem
from rag_ft.metrics.answers import calibration_error
from rag_ft.metrics.odds import probability_of
from rag_ft.training.scoring import FEWEST, fit_platt

scales = st.builds(PlattScale, slope=st.floats(0.05, 5), intercept=st.floats(-5, 5))
inner = st.floats(0.001, 0.999)


@given(scales, inner, inner)
def test_a_scale_keeps_the_order_and_can_be_undone(scale, one, other):
    assert (scale.scaled(one) <= scale.scaled(other)) == (one <= other) or math.isclose(one, other, rel_tol=1e-9)
    assume(1e-9 < scale.scaled(one) < 1 - 1e-9)
    assert scale.unscaled(scale.scaled(one)) == pytest.approx(one, rel=1e-5)


@given(scales)
def test_never_and_always_stay_what_they_are(scale):
    assert [scale.scaled(end) for end in (0.0, 1.0)] == [scale.unscaled(end) for end in (0.0, 1.0)] == [0.0, 1.0]


@given(inner)
def test_the_plain_scale_changes_nothing(confidence):
    assert PlattScale().scaled(confidence) == PlattScale().unscaled(confidence) == confidence


def drawn(slope, intercept, count, seed=0):
    """Confidences of a reader, and outcomes as likely as a scale of them says."""
    chance = random.Random(seed)
    confidences = [probability_of(chance.gauss(0, 2)) for _ in range(count)]
    scale = PlattScale(slope=slope, intercept=intercept)
    return confidences, [chance.random() < scale.scaled(one) for one in confidences]


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.4, -0.8), (2.0, 1.0)])
def test_the_scale_that_outcomes_were_drawn_from_is_found(slope, intercept):
    found = fit_platt(*drawn(slope, intercept, 20_000))
    assert found.slope == pytest.approx(slope, rel=0.06) and found.intercept == pytest.approx(intercept, abs=0.06)


def test_an_overconfident_reader_is_calibrated_on_questions_that_were_not_fitted():
    scale = fit_platt(*drawn(0.4, -0.8, 200))
    confidences, right = drawn(0.4, -0.8, 2_000, seed=1)
    assert calibration_error(confidences, right) > 0.15
    assert calibration_error([scale.scaled(one) for one in confidences], right) < 0.06


def test_an_outcome_with_a_weight_counts_as_so_many():
    confidences, right = drawn(0.7, -0.4, 60)
    weights = [3.0 if i < 30 else 1.0 for i in range(60)]
    repeated = [*confidences, *confidences[:30] * 2], [*right, *right[:30] * 2]
    assert fit_platt(confidences, right, weights).slope == pytest.approx(fit_platt(*repeated).slope, rel=1e-3)


def test_the_scale_is_finite_where_confidence_parts_right_from_wrong():
    found = fit_platt([0.1] * 20 + [0.9] * 20, [False] * 20 + [True] * 20)
    # Platt's targets: 21/22 and 1/22.
    assert [found.scaled(one) for one in (0.9, 0.1)] == pytest.approx([21 / 22, 1 / 22], abs=1e-3)


def test_a_reader_that_is_surer_of_what_is_wrong_keeps_its_order():
    found = fit_platt([0.1] * 20 + [0.9] * 20, [True] * 20 + [False] * 20)
    assert 0 < found.slope < 0.02 and found.scaled(0.1) < found.scaled(0.9)


@pytest.mark.parametrize(
    "right", [[True] * (FEWEST - 2) + [False], [True] * FEWEST, [False] * FEWEST, []], ids=["few", "yes", "no", "none"]
)
def test_nothing_is_fitted_where_outcomes_cannot_say_anything(right):
    assert fit_platt([0.9] * len(right), right) == PlattScale()


def test_certain_confidences_are_fitted_too():
    found = fit_platt([1.0] * 20 + [0.0] * 20, [True] * 19 + [False] * 20 + [True])
    assert math.isfinite(found.slope) and found.slope > 0


@pytest.mark.parametrize("wrong", [{"slope": 0}, {"slope": -1}, {"intercept": float("nan")}, {"slop": 1}])
def test_no_scale_turns_the_order_round(wrong):
    with pytest.raises(ValidationError):
        PlattScale.model_validate(wrong)


weights = st.floats(0, 5)
signs = st.builds(PartSigns, *[st.floats(-40, 40) | st.just(-math.inf)] * 4)


@given(
    st.fixed_dictionaries(dict.fromkeys(PartSigns._fields, weights)),
    st.floats(-5, 5),
    signs,
    st.sampled_from(PartSigns._fields),
    st.floats(0, 50),
)
def test_no_sign_for_an_answer_lowers_its_confidence(of_signs, intercept, given_signs, name, more):
    assume(sum(of_signs.values()))
    scale = PartWeights(**of_signs, intercept=intercept)
    raised = given_signs._replace(**{name: getattr(given_signs, name) + more})
    assert 0 <= scale.confidence(given_signs) <= scale.confidence(raised) <= 1


def test_each_sign_counts_with_its_weight():
    scale = PartWeights(relevance=0.5, evidence=0.25, margin=2.0, generator=0.75, intercept=-3.0)
    assert scale.confidence(PartSigns(2.0, 4.0, 0.5)) == pytest.approx(0.5)
    assert scale.confidence(PartSigns(2.0, 4.0, 1.5)) == pytest.approx(probability_of(2.0))
    assert scale.confidence(PartSigns(2.0, 4.0, 0.5, -4.0)) == pytest.approx(probability_of(-3.0))


@given(scales, signs)
def test_a_rescaled_curve_gives_the_confidences_of_the_curve_on_the_scale(platt, given_signs):
    curve = PartWeights(relevance=0.5, evidence=0.25, margin=0.5, generator=0.75, intercept=-1.0)
    confidence = curve.confidence(given_signs)
    assume(1e-9 < confidence < 1 - 1e-9)
    assert curve.rescaled(platt).confidence(given_signs) == pytest.approx(platt.scaled(confidence), abs=1e-6)


@given(st.floats(0.01, 5), st.floats(-5, 5), signs)
def test_a_record_with_platts_scale_says_what_it_said(slope, intercept, given_signs):
    assume(abs(given_signs.relevance) < 20)
    platt = PlattScale(slope=slope, intercept=intercept)
    recorded = PartCalibration.model_validate({"value": 0.2, "platt": platt.model_dump()})
    assert recorded.confidence(given_signs) == pytest.approx(platt.scaled(probability_of(given_signs.relevance)))
    assert PartCalibration(value=0.2).confidence(given_signs) == probability_of(given_signs.relevance)


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"weights": {"relevance": 1}, "platt": {"slope": 1}}, "leave one out"),
        ({"weights": {"relevance": -0.1}}, "weights.relevance: Input should be greater than or equal to 0"),
        ({"weights": {"relevance": 1, "margin": -2}}, "weights.margin"),
        ({"weights": {"relevance": 0, "evidence": 0, "margin": 0}}, "weights: all weights are 0"),
        ({"weights": {"relevance": 1, "length": 2}}, "weights.length: Extra inputs"),
        ({"weights": {"relevance": 1, "intercept": math.nan}}, "weights.intercept: Input should be a finite number"),
        ({"weights": [1, 2, 3]}, "weights: Input should be a valid dictionary"),
    ],
)
def test_damaged_weights_are_refused(record, problem):
    with pytest.raises(ValidationError) as refused:
        PartCalibration.model_validate({"value": 0.2, **record})
    assert problem in first_problem(refused.value)
