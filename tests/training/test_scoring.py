import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_ft.answering.confidence import PlattScale
from rag_ft.errors import DatasetError
from rag_ft.schema import Question
from rag_ft.training.scoring import AlwaysAnswered, _spread

SHARES = st.floats(0, 1)


@pytest.mark.parametrize("most", [1, 3, 7, 12, 40])
def test_of_many_questions_some_of_each_kind_are_asked(most):
    """Every second one is unanswerable: each other one alone would be of one kind."""
    questions = [
        Question(id=f"q{i}", question="Q?", answers=("a",) if i % 2 else (), answerable=bool(i % 2)) for i in range(24)
    ]
    asked = _spread(questions, most)
    assert [question.id for question in questions if question in asked] == [question.id for question in asked]
    assert len(asked) == (24 if most >= 24 else max(2, 2 * (most // 2)))
    assert sum(question.answerable for question in asked) * 2 == len(asked)


@given(st.lists(st.tuples(SHARES, SHARES), min_size=1, max_size=20), st.lists(SHARES, min_size=1, max_size=20), SHARES)
def test_the_figures_at_a_threshold_are_those_of_answers_that_are_sure_enough(answered, null, threshold):
    score = AlwaysAnswered(tuple(answered), tuple(null)).score(threshold)
    kept = [f1 if confidence >= threshold else 0.0 for confidence, f1 in answered]
    assert score.answerable_f1 == pytest.approx(sum(kept) / len(answered))
    assert score.must_answer_f1 == pytest.approx(sum(f1 for _, f1 in answered) / len(answered))
    assert score.null_recognised == pytest.approx(sum(confidence < threshold for confidence in null) / len(null))
    assert (score.questions, score.answerable) == (len(answered) + len(null), len(answered))
    assert f"threshold {threshold:.3f}: on {score.questions} questions," in score.line()


@given(
    st.lists(st.tuples(st.floats(0.01, 0.99), SHARES), min_size=1, max_size=12),
    st.lists(st.floats(0.01, 0.99), min_size=1, max_size=12),
    st.builds(PlattScale, slope=st.floats(0.1, 3), intercept=st.floats(-2, 2)),
)
def test_what_the_best_threshold_keeps_does_not_hang_on_the_scale(answered, null, scale):
    plain, scaled = (AlwaysAnswered(tuple(answered), tuple(null), fitted) for fitted in (PlattScale(), scale))
    before, after = plain.score(plain.best()), scaled.score(scaled.best())
    assert after.threshold == pytest.approx(scale.scaled(before.threshold), abs=1e-12) and after.platt == scale
    if all(
        abs(confidence - before.threshold) > 1e-9 for confidence in (*null, *(confidence for confidence, _ in answered))
    ):
        assert (after.answerable_f1, after.null_recognised) == (before.answerable_f1, before.null_recognised)


def test_a_threshold_means_something_only_where_both_kinds_were_there_and_something_was_right():
    both = AlwaysAnswered(((0.9, 1.0),), (0.1,))
    assert both.score(both.best()).weighed
    assert not AlwaysAnswered(((0.9, 1.0),), ()).score(0.0).weighed
    assert not AlwaysAnswered(((0.9, 0.0),), (0.1,)).score(0.0).weighed


def test_too_few_unanswerable_questions_to_be_sure_of_a_share_are_told():
    few = AlwaysAnswered(((0.9, 1.0),), (0.1, 0.2))
    assert few.recognising(0.5, margin=False) == pytest.approx(0.15)
    with pytest.raises(DatasetError, match="2 unanswerable questions are too few"):
        few.recognising(0.65, margin=True)
