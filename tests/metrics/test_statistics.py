import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_ft.metrics.statistics import compare, detectable_before, holm, mcnemar, mean_interval

scores = st.lists(st.floats(0, 1), min_size=1, max_size=30)


def _simulated(chooser, documents, true):
    """Questions of documents that differ in difficulty, right or wrong, of unequal number."""
    counts = chooser.integers(5, 15, documents)
    chances = np.clip(true + chooser.normal(0, 0.12, documents), 0, 1)
    right = [
        float(chooser.random() < chance) for chance, count in zip(chances, counts, strict=True) for _ in range(count)
    ]
    return right, [name for name, count in enumerate(counts) for _ in range(count)]


def test_intervals_cover_the_truth_in_93_to_97_of_100_simulated_data_sets():
    chooser = np.random.default_rng(7)
    true, covered = 0.6, 0
    for _ in range(1000):
        interval = mean_interval(*_simulated(chooser, 30, true), resamples=500)
        covered += interval.low <= true <= interval.high
    assert 930 <= covered <= 970


@pytest.mark.parametrize("documents", [4, 15])
def test_documents_whose_questions_stand_or_fall_together_widen_the_interval(documents):
    """Ten questions a document, all right or all wrong: as good as one question each."""
    chooser = np.random.default_rng(7)
    covered, blind = 0, 0
    names = np.repeat(np.arange(documents), 10)
    for _ in range(300):
        right = np.repeat(chooser.normal(0.5, 0.2, documents).clip(0, 1), 10)
        interval = mean_interval(right, names, resamples=300)
        covered += interval.low <= 0.5 <= interval.high
        ignorant = mean_interval(right, resamples=300)
        blind += ignorant.low <= 0.5 <= ignorant.high
    assert covered > 0.91 * 300
    assert blind < 0.65 * 300


def test_false_alarms_of_the_permutation_test_are_as_rare_as_stated():
    chooser = np.random.default_rng(3)
    alarms = 0
    for _ in range(400):
        documents = np.repeat(np.arange(20), 5)
        first, second = chooser.random(100), chooser.random(100)
        alarms += compare(first, second, documents, resamples=400).p < 0.05
    assert 8 <= alarms <= 34  # 20 expected; three standard deviations are 13


@pytest.mark.parametrize("documents", [3, 4, 9])
def test_false_alarms_are_rare_too_where_questions_of_few_documents_go_together(documents):
    chooser = np.random.default_rng(4)
    alarms = 0
    for _ in range(300):
        names = np.repeat(np.arange(documents), 40)
        shifts = np.repeat(chooser.normal(0, 0.1, documents), 40)
        alarms += compare(0.5 + shifts + chooser.normal(0, 0.4, len(names)), np.full(len(names), 0.5), names).p < 0.05
    assert alarms <= 28  # 15 expected; three standard deviations are 12


def test_a_difference_the_size_of_the_detectable_one_is_found_in_about_80_of_100():
    chooser = np.random.default_rng(5)
    found, runs = 0, 200
    noise = chooser.normal(0, 0.3, (runs, 120))
    detectable = compare(0.5 + noise[0], np.full(120, 0.5), resamples=100).detectable
    for one in noise:
        found += compare(0.5 + detectable + one, np.full(120, 0.5), resamples=400).p < 0.05
    assert 0.70 < found / runs < 0.92


@given(scores, st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_intervals_hold_the_mean_and_repeat_exactly(values, seed):
    interval = mean_interval(values, resamples=200, seed=seed)
    assert interval == mean_interval(values, resamples=200, seed=seed)
    assert interval.questions == len(values)
    if interval.known:
        assert interval.low - 1e-9 <= interval.mean <= interval.high + 1e-9
    else:
        assert len(values) < 2


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=40))
@settings(max_examples=30, deadline=None)
def test_an_arm_does_not_differ_from_itself(values):
    found = compare(values, values, resamples=100)
    assert found.difference.mean == 0.0 and found.difference.low < 0.0 < found.difference.high
    assert found.p == 1.0 and found.p_mcnemar == 1.0


def test_one_document_has_no_interval_and_equal_scores_are_not_certain():
    one = mean_interval([0.0, 1.0], ["a", "a"])
    assert one == (0.5, None, None, 2, 1) and not one.known
    alone = compare([0.0, 1.0], [1.0, 1.0], ["a", "a"])
    assert alone.detectable is None and alone.p == 1.0
    three = mean_interval([1.0, 1.0, 1.0])
    assert three.high == 1.0 and three.low == pytest.approx(0.025 ** (1 / 3))  # the chance of three such is then 2.5%
    assert 0.07 < mean_interval([0.0] * 50, [number // 2 for number in range(50)]).high < 0.08
    assert 0.05 < mean_interval([0.0] * 300, [number // 75 for number in range(300)]).high < 0.06
    assert compare([1.0] * 12, [0.5] * 12).detectable is None


def test_an_interval_is_never_narrower_than_that_of_independent_questions():
    """Documents that happen to have equal means, which hides how much questions differ."""
    scores = [0.0, 1.0] * 50
    interval = mean_interval(scores, [number // 10 for number in range(100)])
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * np.std(scores, ddof=1) / 10, rel=1e-3)


def test_sparse_scores_of_few_documents_have_an_interval_that_can_be_true():
    """Five of fifty questions score at all, three in the same two documents: bootstrap-t alone ends at .68."""
    scores = np.zeros(50)
    scores[[14, 19, 32, 47, 48]] = 0.1, 0.1, 1.0, 1.0, 1.0
    interval = mean_interval(scores, [number * 22 // 50 for number in range(50)])
    assert 0.12 < interval.high < 0.2


def test_mcnemar_is_the_exact_binomial_test():
    first, second = [1] * 9 + [0] * 1 + [1] * 20, [0] * 9 + [1] * 1 + [1] * 20
    assert mcnemar(first, second) == pytest.approx(2 * (1 + 10) / 2**10)  # at most 1 of 10 heads, both sides


def test_holm_adjusts_step_by_step():
    """Worked by hand: .01 x 3, .02 x 2, .04 x 1, never falling."""
    assert holm({"b": 0.02, "a": 0.01, "c": 0.04}) == pytest.approx({"b": 0.04, "a": 0.03, "c": 0.04})
    assert holm({"a": 0.5, "b": 0.6}) == {"a": 1.0, "b": 1.0}


def test_few_documents_are_not_flipped_and_it_is_said():
    few = compare([1.0] * 8, [0.0] * 8, [0, 0, 1, 1, 2, 2, 3, 3])
    assert few.flipped == "nothing" and few.p == 0.125  # all four on one side: 1 in 8, both sides counted
    many = compare([1.0] * 12, [0.0] * 12)
    assert many.flipped == "documents"


def test_more_questions_show_smaller_differences_and_one_document_fewer():
    assert detectable_before(400, 40) < detectable_before(100, 10)
    assert detectable_before(100, 100) == pytest.approx(2.8016 * 0.5 / 10, rel=1e-3)
    assert detectable_before(100, 4) > detectable_before(100, 50)


@pytest.mark.parametrize(
    ("first", "second", "documents", "words"),
    [
        ([], [], None, "no scores"),
        ([1.0], [1.0, 0.0], None, "cannot be paired"),
        ([math.nan, 1.0], [1.0, 1.0], None, "score 0 is not finite"),
        ([1.0, 1.0], [1.0, 1.0], ["a"], "1 documents"),
    ],
)
def test_scores_that_cannot_be_compared_are_refused(first, second, documents, words):
    with pytest.raises(ValueError, match=words):
        compare(first, second, documents)


def test_a_few_right_answers_among_many_have_an_interval_that_says_something():
    """One of 100 right: most draws of 25 documents have none of it, and no error of their own to divide by."""
    interval = mean_interval([1.0] + [0.0] * 99, [number // 4 for number in range(100)])
    assert interval.low == 0.0 and 0.01 < interval.high < 0.05
