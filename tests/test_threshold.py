import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_ft.threshold import best_threshold, harmonic_mean, threshold_record, trained_threshold

shares = st.floats(0, 1)


@given(st.lists(st.tuples(shares, shares), min_size=1, max_size=8), st.lists(shares, min_size=1, max_size=8))
def test_no_other_threshold_is_worth_more(answered, null):
    def worth(threshold):
        f1 = sum(one for confidence, one in answered if confidence >= threshold) / len(answered)
        recognised = sum(one < threshold for one in null) / len(null)
        return 2 * f1 * recognised / (f1 + recognised) if f1 and recognised else 0.0

    best = worth(best_threshold(answered, null))
    # Between neighbours that differ in their last digits the middle is one of them.
    for one in (0.0, *(number / 20 for number in range(1, 20))):
        assert best >= worth(one) - 1e-9 or any(abs(one - confidence) < 1e-6 for confidence, _ in answered)


def test_without_unanswerable_questions_the_threshold_is_zero():
    assert best_threshold([(0.3, 1.0)], []) == 0.0


def test_the_harmonic_mean_of_a_case_worked_by_hand():
    assert harmonic_mean(0.5, 0.25) == 2 * 0.125 / 0.75 and harmonic_mean(0.0, 1.0) == 0.0


def test_a_threshold_counts_for_the_way_of_answering_that_it_was_chosen_for():
    record = {"threshold": threshold_record(0.4, "separate")}
    assert trained_threshold(record, "quote", "separate") == 0.4
    assert trained_threshold(record, "quote", "joint") is trained_threshold(record, "schema", "separate") is None
    assert trained_threshold({}, "quote", "separate") is None


def test_a_threshold_for_what_was_once_called_confidence_is_left_aside_and_said():
    record = {"threshold": {"value": 0.1, "mode": "quote", "reading": "separate"}}
    with pytest.warns(UserWarning, match="rag-ft adapter calibrate"):
        assert trained_threshold(record, "quote", "separate") is None
