import pytest

from rag_ft.metrics.items import ItemScore, item_scores


def test_exact_items_are_counted_over_all_questions_alike():
    scores = item_scores([["Tigris", "the Nile"], ["salt"]], [["Tigris", "Euphrates"], ["Salt", "iron", "tin"]])
    assert scores.exact == ItemScore(2 / 3, 2 / 5)
    assert scores.exact.f1 == pytest.approx(0.5)


def test_partial_items_count_by_the_text_that_they_share_with_the_closest():
    """By MultiSpanQA's script on the same normalised items: overlap 4 of 9 and 4 of 4."""
    scores = item_scores([["salt mine"]], [["salt", "iron"]])
    assert scores.exact == ItemScore(0, 0) and scores.exact.f1 == 0
    assert scores.partial.precision == pytest.approx(4 / 9)
    # "iron" shares one letter with "salt mine".
    assert scores.partial.recall == pytest.approx((4 / 4 + 1 / 4) / 2)


def test_repeated_items_count_once_and_case_and_articles_do_not_count():
    assert item_scores([["The Nile", "nile."]], [["Nile"]]).exact == ItemScore(1, 1)


@pytest.mark.parametrize(
    ("given", "accepted", "score"), [([], [], 1.0), ([], ["Nile"], 0.0), (["Nile"], [], 0.0), ([""], ["Nile"], 0.0)]
)
def test_giving_nothing_is_right_where_nothing_is_accepted(given, accepted, score):
    scores = item_scores([given], [accepted])
    assert scores.exact == scores.partial == ItemScore(score, score)


def test_no_questions_have_no_score():
    assert item_scores([], []).exact == ItemScore(0, 0)
