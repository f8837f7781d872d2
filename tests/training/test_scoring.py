import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_ft.answering.confidence import PLAIN, KindCalibration, PlattScale
from rag_ft.answering.reading import Reading
from rag_ft.errors import DatasetError
from rag_ft.metrics.thresholds import best_threshold
from rag_ft.schema import Question
from rag_ft.training.scoring import FEWEST, FEWEST_OF_EACH, AlwaysAnswered, fit_platt, judged_answers, spread_questions

SHARES = st.floats(0, 1)


@pytest.mark.parametrize("most", [1, 3, 7, 12, 40])
def test_of_many_questions_some_of_each_kind_are_asked(most):
    """Every second one is unanswerable: each other one alone would be of one kind."""
    questions = [
        Question(id=f"q{i}", question="Q?", answers=("a",) if i % 2 else (), answerable=bool(i % 2)) for i in range(24)
    ]
    asked = spread_questions(questions, most)
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


SPAN = Question(id="s", question="When?", answers=("1905",))
PART = Question(id="p", question="How?", answers=("Turn it on, then wait.",), kind="part")
YES = PART.model_copy(update={"id": "y", "yes": True})
NULL = Question(id="n", question="Who?", answerable=False)
KINDS = {"span": ("span", None), "part": ("part", None), "yes/no": ("part", True)}


def _read(kind, answer, confidence, yes=None):
    """A reading with abstention off."""
    own_kind, decided = KINDS[kind]
    return Reading(
        answer=answer,
        kind=own_kind,
        yes=decided if yes is None else yes,
        cited=(),
        confidence=confidence,
        answer_confidence=confidence,
        not_null=confidence,
        abstained=False,
        complete=True,
        completion="",
        read=(True,),
        prompt_tokens=1,
        completion_tokens=1,
    )


def _pairs(kind, question, right, count=24):
    """Answers of a kind: right above a confidence of `right`, half of the others to questions without an answer."""
    pairs = []
    for i in range(count):
        confidence = (i + 0.5) / count
        if confidence >= right:
            pairs.append((_read(kind, question.answers[0], confidence), question))
        else:
            pairs.append((_read(kind, "x", confidence), NULL if i % 2 else question))
    return pairs


def test_each_kind_with_answers_enough_has_a_threshold_and_a_scale_of_its_own():
    spans, parts = _pairs("span", SPAN, 0.3, 60), _pairs("part", PART, 0.8, 60)
    answers = judged_answers([*spans, *parts, *_pairs("yes/no", YES, 0.5, FEWEST - 1)])
    score = answers.chosen()
    assert set(score.kinds) == {"span", "part"}
    raw = {}
    for kind, pairs in (("span", spans), ("part", parts)):
        alone = judged_answers(pairs)
        outcomes = [reading.answer != "x" for reading, _ in pairs]
        assert score.kinds[kind].platt == alone.scale == fit_platt([reading.not_null for reading, _ in pairs], outcomes)
        raw[kind] = alone.scale.unscaled(score.kinds[kind].value)
        assert raw[kind] == pytest.approx(best_threshold(alone.answered, alone.null))
    assert raw["span"] < raw["part"]
    # Together they decline more rightly than the common threshold does.
    assert score.worth > answers.score(score.threshold).worth
    assert score.line().startswith(f"threshold {score.threshold:.3f} (span {score.kinds['span'].value:.3f}, part 0.")


def test_answers_of_one_kind_have_no_kinds_and_the_figures_of_before():
    answers = judged_answers(_pairs("span", SPAN, 0.4))
    assert answers.kinds == {} and answers.chosen() == answers.score(answers.best())
    assert "kinds" not in answers.chosen().model_dump()
    assert judged_answers([]).chosen().questions == 0


@pytest.mark.parametrize("unanswerable", [0, FEWEST_OF_EACH - 1])
def test_a_kind_with_too_few_unanswerable_questions_has_the_common_threshold_on_its_own_scale(unanswerable):
    parts = [(reading, NULL if i < unanswerable else PART) for i, (reading, _) in enumerate(_pairs("part", PART, 0.6))]
    answers = judged_answers([*_pairs("span", SPAN, 0.3), *parts])
    score = answers.chosen()
    own = score.kinds["part"]
    assert own.platt == answers.kinds["part"].scale != answers.scale
    assert own.platt.unscaled(own.value) == pytest.approx(answers.scale.unscaled(score.threshold))


def test_a_kind_whose_answers_are_all_right_keeps_the_common_scale():
    answers = judged_answers([*_pairs("span", SPAN, 0.3), *_pairs("part", PART, 0.0)])
    assert answers.kinds["part"].scale == answers.scale != PLAIN


def test_a_share_to_recognise_is_reached_in_each_kind():
    answers = judged_answers([*_pairs("span", SPAN, 0.7, 60), *_pairs("part", PART, 0.7, 60)])
    score = answers.chosen(0.5, margin=False)
    for kind, own in score.kinds.items():
        declined = [not own.gives(confidence) for confidence in answers.kinds[kind].null]
        assert sum(declined) / len(declined) >= 0.5
    assert score.null_recognised >= 0.5


def test_the_wrong_decision_is_no_right_answer_to_choose_by():
    right, wrong = (judged_answers([(_read("yes/no", PART.answers[0], 0.9, yes), YES)]) for yes in (True, False))
    assert (right.answered, wrong.answered) == (((0.9, 1.0),), ((0.9, 0.0),))


confidences = st.lists(st.tuples(SHARES, SHARES), max_size=6).map(tuple)
judged = st.tuples(confidences, st.lists(SHARES, max_size=6).map(tuple)).map(lambda pair: AlwaysAnswered(*pair))


@given(judged, judged, SHARES, SHARES)
def test_figures_by_kind_are_those_of_each_kind_at_its_own_threshold(spans, parts, common, own):
    scale = PlattScale(slope=0.5, intercept=0.25)
    whole = AlwaysAnswered(
        (*spans.answered, *parts.answered), (*spans.null, *parts.null), kinds={"span": spans, "part": parts}
    )
    score = whole.score(common, {"part": KindCalibration(value=own, platt=scale)})
    kept = [f1 * (confidence >= common) for confidence, f1 in spans.answered]
    kept += [f1 * (scale.scaled(confidence) >= own) for confidence, f1 in parts.answered]
    declined = [confidence < common for confidence in spans.null]
    declined += [scale.scaled(confidence) < own for confidence in parts.null]
    assert score.answerable_f1 == (pytest.approx(sum(kept) / len(kept)) if kept else None)
    assert score.null_recognised == (pytest.approx(sum(declined) / len(declined)) if declined else None)
