from rag_ft.evaluation.advice import STANDING, advise, more_records, role_of
from rag_ft.evaluation.figures import Figure, arm_figures, contrasts
from rag_ft.evaluation.predictions import CitedPlace, Prediction
from rag_ft.evaluation.studies.learning_curve import Doubling, Expected, LearningCurve, MeasuredPoint
from rag_ft.metrics.retrieval import Place
from rag_ft.schema import Evidence, Question

SETTINGS = {
    "asked": {"kind": "closed book", "adapter": None},
    "sentence": {"kind": "sentence"},
    "prompted": {"kind": "reader", "adapter": None, "gold first": False},
    "recites": {"kind": "closed book", "adapter": "a"},
    "tuned": {"kind": "reader", "adapter": "a", "gold first": False},
    "perfect": {"kind": "reader", "adapter": "a", "gold first": True},
    "passage": {"kind": "passage"},
    "large": {"kind": "chat"},
    "beside": {"kind": "reader", "adapter": "a", "gold first": False, "cross-encoder": "f"},
    "alone": {"kind": "cross-encoder", "cross-encoder": "f"},
    "another alone": {"kind": "cross-encoder", "cross-encoder": "g"},
    "alone in sentences": {"kind": "cross-encoder", "cross-encoder": "f", "whole sentences": True},
}
ANSWERED_WRONGLY = {"answered_what_has_no_answer": 5}


def _questions(count=40):
    return {
        f"q{i}": Question(
            id=f"q{i}",
            question="?",
            answers=("1905",),
            evidence=(Evidence(document_id=f"d{i}", start=3, end=7, quote="1905"),),
        )
        for i in range(count)
    }


def _arm(name, questions, right, declined=0):
    predictions = []
    for place, question in enumerate(questions):
        answer = "1905" if place < right else None if place < right + declined else "1906"
        gold = Place(document_id=f"d{place}", start=0, end=50)
        cited = (CitedPlace(passage=gold, quote="…", verdict="supported"),) if answer else ()
        passages = () if SETTINGS[name]["kind"] == "closed book" else (gold,)
        predictions.append(
            Prediction(arm=name, question_id=question, answer=answer, citations=cited, passages=passages)
        )
    return predictions


def _advice(**right):
    questions = _questions()
    arms = {}
    for name, value in right.items():
        count, declined = value if isinstance(value, tuple) else (value, 0)
        arms[name] = _arm(name, questions, count, declined)
    figures = [arm_figures(predictions, questions) for predictions in arms.values()]
    return advise(figures, SETTINGS, contrasts(arms, questions))


def test_roles_follow_from_settings():
    assert [role_of(settings) for settings in SETTINGS.values()] == [
        "prompt",
        "retrieve",
        "retrieve and prompt",
        "tune",
        "both",
        "both, perfect retrieval",
        None,
        None,
        "both",
        None,
        None,
        None,
    ]


def test_a_clear_winner_is_the_advice_with_its_figures():
    advice = _advice(asked=2, sentence=10, prompted=14, recites=3, tuned=34)
    assert advice.choice == "both"
    assert "“tuned” has F1 0.850" in advice.reasons[0] and "Holm's p" in advice.reasons[0]
    assert advice.standing == STANDING


def test_retrieval_without_tuning_can_win():
    assert _advice(asked=2, prompted=34, tuned=12).choice == "retrieve"
    assert _advice(asked=34, prompted=4, tuned=12).choice == "prompt"
    assert _advice(asked=3, recites=36, tuned=12).choice == "tune"


def test_close_arms_cannot_be_told_apart_and_the_detectable_difference_is_said():
    advice = _advice(prompted=20, tuned=21)
    assert advice.choice == "cannot tell"
    assert "cannot tell “both” from “retrieve and prompt”" in advice.reasons[0]
    assert "could have shown a difference of" in advice.reasons[0]


def test_the_loss_is_split_between_retriever_and_reader():
    retriever = _advice(prompted=5, tuned=14, perfect=36).reasons[1]
    assert retriever.endswith("work on the retriever next.") and "would gain 0.550 F1;" in retriever
    reader = _advice(prompted=5, tuned=14, perfect=15).reasons[1]
    assert reader.endswith("work on the reader next.") and "(not distinguishable from zero)" in reader


def test_perfect_retrieval_is_compared_with_the_reader_that_is_otherwise_the_same():
    reasons = _advice(prompted=5, tuned=14, beside=36, perfect=16).reasons
    (work,) = [reason for reason in reasons if "perfect retrieval" in reason]
    assert work.startswith("With perfect retrieval “tuned” would gain 0.050 F1")
    assert not any("perfect retrieval" in reason for reason in _advice(prompted=5, beside=36, perfect=16).reasons)


def _with_budget(**counts):
    """The last reason for a tuned reader with so many questions in its bins."""
    questions = _questions()
    figures = [arm_figures(_arm("tuned", questions, 20), questions)]
    budget = dict.fromkeys(figures[0].budget, 0) | {name.replace("_", " "): count for name, count in counts.items()}
    return advise([figures[0].model_copy(update={"budget": budget})], SETTINGS, []).reasons[-1]


def test_each_kind_of_mistake_is_weighed_on_the_questions_that_it_can_be_made_on():
    lower = _with_budget(correct_and_supported=50, abstained_wrongly=40, declined_rightly=55, **ANSWERED_WRONGLY)
    assert "declines too often: it declined 44% of answerable" in lower and "answered 8% of unanswerable" in lower
    assert lower.endswith("Lower its threshold; choose it on other questions than these.")
    raised = _with_budget(correct_and_supported=90, abstained_wrongly=2, declined_rightly=3, **ANSWERED_WRONGLY)
    assert "answers too often" in raised and "Raise its threshold" in raised
    # Many more questions with an answer than without: as counts these look lopsided, as shares they are alike.
    even = _with_budget(
        correct_and_supported=37, abstained_wrongly=5, declined_rightly=7, answered_what_has_no_answer=1
    )
    assert "threshold" not in even


def test_a_better_model_beside_the_reader_is_never_passed_over():
    advice = _advice(prompted=4, tuned=20, large=36)
    assert advice.choice == "both"
    assert (
        "“large” has F1 0.900" in advice.reasons[1]
        and "ahead of “tuned”: it does not use this reader" in advice.reasons[1]
    )
    assert not any("large" in reason for reason in _advice(prompted=4, tuned=20, large=9).reasons)


def test_a_generator_that_is_not_better_than_the_cross_encoder_beside_it_is_told_first():
    advice = _advice(prompted=4, beside=20, alone=21)
    assert "“alone” has F1 0.525" in advice.reasons[0] and "The generator brings -0.025 [" in advice.reasons[0]
    assert advice.reasons[0].endswith("it is not shown to be better than the cross-encoder alone.")
    assert "Holm's p" in advice.reasons[1] and advice.choice == "both"
    better = _advice(prompted=4, beside=34, alone=12)
    assert "Holm's p" in better.reasons[0]
    assert "The generator brings +0.550 [" in better.reasons[1] and "not shown" not in better.reasons[1]


def test_a_generator_is_compared_with_the_cross_encoder_that_helps_it_alone():
    for name, arms in (("tuned", ("alone",)), ("beside", ("another alone",)), ("beside", ("alone in sentences",))):
        reasons = _advice(prompted=4, **{name: 20, arms[0]: 36}).reasons
        assert not any("The generator brings" in reason for reason in reasons)
        assert f"“{arms[0]}” has F1 0.900" in reasons[1] and f"ahead of “{name}”" in reasons[1]


def test_arms_that_are_not_chosen_from_do_not_make_the_advice_blinder():
    questions = _questions(12)
    arms = {"prompted": _arm("prompted", questions, 1), "tuned": _arm("tuned", questions, 11)}
    settings = dict(SETTINGS)
    for i in range(12):
        name = f"other {i}"
        settings[name] = SETTINGS["passage"]
        arms[name] = [prediction.model_copy(update={"arm": name}) for prediction in _arm("tuned", questions, 6)]
    pairs = contrasts(arms, questions)
    between = next(pair for pair in pairs if {pair.first, pair.second} == {"prompted", "tuned"})
    assert between.p_holm > 0.05  # among all pairs of fourteen arms
    assert (
        advise([arm_figures(predictions, questions) for predictions in arms.values()], settings, pairs).choice == "both"
    )


def test_what_would_have_shown_is_never_less_than_what_was_seen():
    said = _advice(prompted=20, tuned=21)
    assert "these questions could have shown a difference of 0." in said.reasons[0]
    questions = _questions(4)
    pairs = contrasts({"prompted": _arm("prompted", questions, 0), "tuned": _arm("tuned", questions, 3)}, questions)
    assert pairs[0].detectable > abs(pairs[0].difference.mean) or "could have shown" not in pairs[0].would_have_shown


def test_one_way_of_answering_is_no_choice():
    assert _advice(tuned=20).choice == "cannot tell"


def _curve(*gains, sizes=4, spread=0.005):
    """Four adapters up to 400 records at an F1 of .6, and doublings that bring the gains given."""
    points = tuple(
        MeasuredPoint(records=50 * 2**step, f1=Figure(mean=0.5, low=0.4, high=0.6, questions=90, documents=9))
        for step in range(sizes)
    )
    doublings, f1 = [], 0.6
    for step, gain in enumerate(gains):
        f1 += gain
        expected = Expected(records=800 * 2**step, f1=f1, low=f1 - 0.02, high=f1 + 0.02)
        doublings.append(Doubling(expected=expected, gain=gain, low=gain - spread, high=gain + spread))
    return LearningCurve(points=points, worth=0.01, doublings=tuple(doublings))


def test_records_are_worth_labelling_while_a_doubling_brings_enough():
    said = more_records(_curve(0.04, 0.02, 0.008))
    assert said.startswith(
        "Doubling the 400 records is expected to change F1 by +0.040 [+0.035, +0.045], from 0.600 to 0.6"
    )
    assert "Label about 1,200 more: 1,600 records are expected to give F1 0.660 [0.640, 0.680]" in said
    assert "the next doubling would bring +0.008 [+0.003, +0.013], under 0.01" in said
    unsure = more_records(_curve(0.04, 0.02, 0.02, spread=0.03))
    assert "Label about 400 more" in unsure and "would bring +0.020 [-0.010, +0.050], which may be nothing" in unsure
    assert "Label about 2,800 more" in more_records(_curve(0.04, 0.03, 0.02))
    assert "beyond that the curve is a guess" in more_records(_curve(0.04, 0.03, 0.02))


def test_records_that_bring_too_little_or_harm_are_not_worth_labelling():
    assert more_records(_curve(0.006, 0.004, 0.003)).endswith("must bring: more records are not worth labelling.")
    assert "make it worse" in more_records(_curve(-0.03, -0.02, -0.01))


def test_a_curve_that_cannot_tell_says_so():
    spans = more_records(_curve(0.02, 0.01, 0.01, spread=0.03))
    assert (
        spans.endswith("the data cannot tell whether more records are worth labelling.") and "[-0.010, +0.050]" in spans
    )
    assert more_records(_curve(sizes=3)).startswith("The learning curve has 3 sizes, and extrapolating needs 4")
    assert "only one document" in more_records(_curve(sizes=4))
    questions = _questions()
    arms = {name: _arm(name, questions, 20) for name in ("prompted", "tuned")}
    figures = [arm_figures(predictions, questions) for predictions in arms.values()]
    assert advise(figures, SETTINGS, contrasts(arms, questions), _curve(sizes=3)).reasons[-1] == more_records(
        _curve(sizes=3)
    )
