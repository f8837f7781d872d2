import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_ft.metrics.answers import (
    abstention,
    accuracy_at,
    calibration_error,
    exact_match,
    normalise,
    risk_coverage,
    token_f1,
    word_overlap,
)


def test_normalisation_follows_the_squad_script():
    assert normalise("The  Cat's, (a) hat!") == "cats hat"
    assert normalise("an answer") == "answer"


def test_exact_match_takes_any_accepted_answer():
    assert exact_match("the Normans", ["Vikings", "Normans."]) == 1.0
    assert exact_match("Norman", ["Normans"]) == 0.0


def test_null_is_right_exactly_where_nothing_is_accepted():
    assert exact_match(None, []) == token_f1(None, []) == 1.0
    assert exact_match(None, ["x"]) == token_f1(None, ["x"]) == 0.0
    assert exact_match("x", []) == token_f1("x", []) == 0.0


def test_f1_counts_repeated_tokens():
    # 2 shared of 3 given and 2 accepted: precision 2/3, recall 1
    assert token_f1("x y y", ["x y"]) == pytest.approx(0.8)
    assert token_f1("y y", ["y"]) == pytest.approx(2 / 3)
    assert token_f1("10th and 11th centuries", ["in the 10th and 11th centuries", "10th"]) == pytest.approx(8 / 9)


def test_precision_and_recall_count_repeated_words_against_the_best_accepted_answer():
    # 2 shared of 3 given and 4 accepted, after the article is gone
    assert word_overlap("The x y y!", ["x y w v"]) == pytest.approx((2 / 3, 2 / 4, 4 / 7))
    assert word_overlap("x y", ["z", "x y w", "x"]) == pytest.approx((1.0, 2 / 3, 0.8))
    assert word_overlap(None, ["x"]) == word_overlap("x", []) == word_overlap("x", ["y"]) == (0.0, 0.0, 0.0)


@given(st.text("abc ", max_size=12), st.lists(st.text("abc ", min_size=1, max_size=12), min_size=1, max_size=3))
def test_f1_lies_between_precision_and_recall(answer, accepted):
    overlap = word_overlap(answer, accepted)
    low, high = sorted(overlap[:2])
    assert low - 1e-9 <= overlap.f1 <= high + 1e-9 and overlap.f1 == token_f1(answer, accepted)
    turned = word_overlap(accepted[0], [answer])
    assert (turned.recall, turned.precision) == word_overlap(answer, accepted[:1])[:2]


def test_accuracy_at_a_coverage_is_that_of_the_surest_answers():
    points, _ = risk_coverage([0.9, 0.8, 0.2, 0.1], [1, 0, 1, 1])
    assert [accuracy_at(points, coverage) for coverage in (0.25, 0.5, 0.51, 1.0)] == pytest.approx(
        [1.0, 0.5, 2 / 3, 0.75]
    )


def test_abstention_counts_as_a_classifier_does():
    assert abstention([True, True, False, False], [False, True, False, True]) == (0.5, 0.5)
    assert abstention([False], [True]) == (None, None)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20))
def test_risk_falls_on_the_mean_at_full_coverage_and_ties_have_no_order(pairs):
    confidence, scores = zip(*pairs, strict=True)
    points, area = risk_coverage(confidence, scores)
    assert points[-1].coverage == 1.0
    assert math.isclose(points[-1].risk, 1 - sum(scores) / len(scores), abs_tol=1e-9)
    assert [one.coverage for one in points] == sorted(one.coverage for one in points)
    again, same = risk_coverage(confidence[::-1], scores[::-1])
    assert math.isclose(area, same, abs_tol=1e-9) and len(again) == len(points)


def test_a_sure_arm_that_is_right_has_the_smaller_area():
    """Worked by hand: risks 0, 0, 1/3, 2/4 against 1, 1, 2/3, 2/4."""
    good = risk_coverage([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0])[1]
    bad = risk_coverage([0.1, 0.2, 0.8, 0.9], [1, 1, 0, 0])[1]
    assert math.isclose(good, (0 + 0 + 1 / 3 + 1 / 2) / 4) and math.isclose(bad, (1 + 1 + 2 / 3 + 1 / 2) / 4)


def test_calibration_error_is_the_gap_between_saying_and_being_right():
    assert calibration_error([0.5] * 10, [True, False] * 5, bins=1) == 0.0
    assert math.isclose(calibration_error([0.9] * 10, [False] * 10), 0.9)
    assert math.isclose(calibration_error([1.0, 1.0, 0.0, 0.0], [True, False, False, False], bins=2), 0.25)


words = st.lists(st.sampled_from(["red", "fox", "1905", "oslo", "ran", "u.s", "don't"]), min_size=1, max_size=6)
noise = st.sampled_from(["", "The ", "a ", "AN  ", '"', "(", "- "])


@given(words, words, st.lists(noise, min_size=12, max_size=12), st.booleans())
@settings(max_examples=200, deadline=None)
def test_scores_are_the_definitions_on_200_constructed_cases(answer, accepted, marks, upper):
    """Clean tokens have scores by the formula of SQuAD 2.0's evaluation: F1 is twice the shared tokens, counted with
    repeats, over both lengths. Case, punctuation, articles and white space put around them must change nothing.
    """
    shared = sum(min(answer.count(word), accepted.count(word)) for word in set(answer))
    expected = 2 * shared / (len(answer) + len(accepted))
    dressed = [mark + word + ("," if mark else "") for mark, word in zip(marks[: len(answer)], answer, strict=True)]
    text = ("  ".join(dressed).upper() if upper else " ".join(dressed)) + "."
    clean = " ".join(accepted)
    assert math.isclose(token_f1(text, [clean]), expected, abs_tol=1e-9)
    assert exact_match(text, [clean]) == float(answer == accepted)
    assert token_f1(text, ["something else entirely", clean]) >= expected - 1e-9
