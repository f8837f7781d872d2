import json
import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_ft.answering.confidence import (
    KindCalibration,
    PlattScale,
    TrainedThreshold,
    threshold_record,
    trained_threshold,
)
from rag_ft.errors import WeightsError
from rag_ft.metrics.thresholds import best_threshold, harmonic_mean, recognising_threshold

shares = st.floats(0, 1)


def worth_and_error(answered, null, threshold):
    """The harmonic mean and its standard error, the latter from the numerical gradient of the former."""
    kept = [f1 if confidence >= threshold else 0.0 for confidence, f1 in answered]
    recognised = [float(one < threshold) for one in null]
    f1, share = statistics.fmean(kept), statistics.fmean(recognised)
    if not f1 or not share:
        return 0.0, 0.0
    step = 1e-6
    worth = harmonic_mean(f1, share)
    by_f1 = (harmonic_mean(f1 + step, share) - worth) / step
    by_share = (harmonic_mean(f1, share + step) - worth) / step
    variance = by_f1**2 * statistics.pvariance(kept) / len(kept)
    variance += by_share**2 * statistics.pvariance(recognised) / len(recognised)
    return worth, math.sqrt(variance)


hundredths = st.integers(0, 100).map(lambda one: one / 100)


@given(st.lists(st.tuples(hundredths, shares), min_size=1, max_size=8), st.lists(hundredths, min_size=1, max_size=8))
def test_no_other_threshold_is_worth_more_by_over_a_standard_error(answered, null):
    found = worth_and_error(answered, null, best_threshold(answered, null))[0]
    # Confidences are hundredths: these part them in every way.
    best, error = max(worth_and_error(answered, null, number / 100 - 0.005) for number in range(102))
    assert found >= best - error - 1e-4


def test_the_threshold_is_the_middle_of_what_cannot_be_told_from_the_best():
    """One question of each kind is misplaced, so that every threshold between .3 and .7 is worth about the same."""
    answered = [(0.3, 1.0), *((0.7 + number / 100, 1.0) for number in range(20))]
    null = [0.7, *(0.3 - number / 100 for number in range(20))]
    assert best_threshold(answered, null) == pytest.approx(0.5, abs=0.03)


def test_where_no_answer_is_right_the_threshold_is_zero():
    assert best_threshold([(0.3, 0.0), (0.9, 0.0)], [0.2]) == 0.0


def test_the_lowest_threshold_that_recognises_a_share_allows_for_sampling():
    null = [number / 1000 for number in range(1000)]
    # Wilson's one-sided 95% lower bound of .523 in 1,000 is .4970, of .526 it is .5000.
    assert recognising_threshold(null, 0.5) == pytest.approx(0.526, abs=0.001)
    few = null[::100]
    assert recognising_threshold(few, 0.5) == pytest.approx(0.75, abs=0.01)
    assert recognising_threshold(few, 0.9) is None and recognising_threshold([], 0.5) is None
    assert recognising_threshold(few, 0.9, margin=False) == pytest.approx(0.85)
    assert recognising_threshold(few, 0.5, margin=False) == pytest.approx(0.45)


def test_without_unanswerable_questions_the_threshold_is_zero():
    assert best_threshold([(0.3, 1.0)], []) == 0.0


def test_the_harmonic_mean_of_a_case_worked_by_hand():
    assert harmonic_mean(0.5, 0.25) == 2 * 0.125 / 0.75 and harmonic_mean(0.0, 1.0) == 0.0


def test_a_threshold_counts_for_the_way_of_answering_that_it_was_chosen_for():
    scale = PlattScale(slope=0.5, intercept=-1)
    record = {"threshold": threshold_record(0.4, "separate", scale)}
    assert trained_threshold(record, "quote", "separate") == TrainedThreshold(0.4, scale)
    nothing = TrainedThreshold(None, PlattScale())
    assert trained_threshold(record, "quote", "joint") == trained_threshold(record, "schema", "separate") == nothing
    assert trained_threshold({}, "quote", "separate") == nothing


def test_a_record_from_before_there_were_scales_has_the_plain_one():
    record = {"threshold": threshold_record(0.4, "separate")}
    del record["threshold"]["platt"]
    assert trained_threshold(record, "quote", "separate") == TrainedThreshold(0.4, PlattScale())


KINDS = {"part": KindCalibration(value=0.3, platt=PlattScale(slope=0.5)), "yes/no": KindCalibration(value=0.6)}


def test_kinds_of_answers_with_their_own_threshold_are_recorded_and_read_again():
    record = json.loads(json.dumps({"threshold": threshold_record(0.4, "separate", kinds=KINDS)}))
    assert trained_threshold(record, "quote", "separate") == TrainedThreshold(0.4, PlattScale(), KINDS)
    assert trained_threshold(record, "quote", "joint").kinds == {}
    assert "kinds" not in threshold_record(0.4, "separate")


@pytest.mark.parametrize("damaged", [{"par": {"value": 0.3}}, {"part": {"value": 2}}, {"part": {}}, {"part": 1}, [1]])
def test_a_damaged_threshold_of_a_kind_is_an_error_that_says_what_to_do(damaged):
    record = {"threshold": {**threshold_record(0.4, "separate"), "kinds": damaged}}
    with pytest.raises(WeightsError, match=r"damaged scale of confidences \(.*rag-ft adapter calibrate"):
        trained_threshold(record, "quote", "separate")


@pytest.mark.parametrize("damaged", [{"slope": -1, "intercept": 0}, {"slope": "steep"}, [1, 2], None])
def test_a_damaged_scale_is_an_error_that_says_what_to_do(damaged):
    record = {"threshold": {**threshold_record(0.4, "separate"), "platt": damaged}}
    with pytest.raises(WeightsError, match=r"damaged scale of confidences \(.*rag-ft adapter calibrate"):
        trained_threshold(record, "quote", "separate")


def test_a_threshold_for_what_was_once_called_confidence_is_left_aside_and_said():
    record = {"threshold": {"value": 0.1, "mode": "quote", "reading": "separate"}}
    with pytest.warns(UserWarning, match="rag-ft adapter calibrate"):
        assert trained_threshold(record, "quote", "separate").value is None
