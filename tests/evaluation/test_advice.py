from rag_ft.evaluation.advice import STANDING, advise, more_records, role_of
from rag_ft.evaluation.figures import Figure, arm_figures, contrasts
from rag_ft.evaluation.predictions import CitedPlace, Prediction
from rag_ft.evaluation.studies.learning_curve import CurvePoint, Doubling, Expected, LearningCurve
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
}
ANSWERED_WRONGLY = {"answered_what_has_no_answer": 5}


def _questions(count=40):
    return {
        f"q{number}": Question(
            id=f"q{number}",
            question="?",
            answers=("1905",),
            evidence=(Evidence(document_id=f"d{number}", start=3, end=7, quote="1905"),),
        )
        for number in range(count)
    }


def _arm(name, questions, right, declined=0):
    made = []
    for place, question in enumerate(questions):
        answer = "1905" if place < right else None if place < right + declined else "1906"
        gold = Place(document_id=f"d{place}", start=0, end=50)
        cited = (CitedPlace(passage=gold, quote="…", verdict="supported"),) if answer else ()
        passages = () if SETTINGS[name]["kind"] == "closed book" else (gold,)
        made.append(Prediction(arm=name, question_id=question, answer=answer, citations=cited, passages=passages))
    return made


def _advice(**right):
    questions = _questions()
    arms = {}
    for name, value in right.items():
        count, declined = value if isinstance(value, tuple) else (value, 0)
        arms[name] = _arm(name, questions, count, declined)
    figures = [arm_figures(made, questions) for made in arms.values()]
    return advise(figures, SETTINGS, contrasts(arms, questions))


def test_roles_follow_from_settings():
    assert [role_of(one) for one in SETTINGS.values()] == [
        "prompt",
        "retrieve",
        "retrieve and prompt",
        "tune",
        "both",
        "both, perfect retrieval",
        None,
        None,
    ]


def test_a_clear_winner_is_the_advice_with_its_figures():
    found = _advice(asked=2, sentence=10, prompted=14, recites=3, tuned=34)
    assert found.choice == "both"
    assert "“tuned” has F1 0.850" in found.reasons[0] and "Holm's p" in found.reasons[0]
    assert found.standing == STANDING


def test_retrieval_without_tuning_can_win():
    assert _advice(asked=2, prompted=34, tuned=12).choice == "retrieve"
    assert _advice(asked=34, prompted=4, tuned=12).choice == "prompt"
    assert _advice(asked=3, recites=36, tuned=12).choice == "tune"


def test_close_arms_cannot_be_told_apart_and_the_detectable_difference_is_said():
    found = _advice(prompted=20, tuned=21)
    assert found.choice == "cannot tell"
    assert "cannot tell “both” from “retrieve and prompt”" in found.reasons[0]
    assert "would have shown a difference of" in found.reasons[0]


def test_the_loss_is_split_between_retriever_and_reader():
    retriever = _advice(prompted=5, tuned=14, perfect=36).reasons[1]
    assert retriever.endswith("work on the retriever next.") and "win back 0.550" in retriever
    reader = _advice(prompted=5, tuned=14, perfect=15).reasons[1]
    assert reader.endswith("work on the reader next.") and "cannot be told from zero" in reader


def _with_budget(**counts):
    """The last reason for a tuned reader with so many questions in its bins."""
    questions = _questions()
    figures = [arm_figures(_arm("tuned", questions, 20), questions)]
    budget = dict.fromkeys(figures[0].budget, 0) | {name.replace("_", " "): count for name, count in counts.items()}
    return advise([figures[0].model_copy(update={"budget": budget})], SETTINGS, []).reasons[-1]


def test_each_kind_of_mistake_is_weighed_on_the_questions_that_it_can_be_made_on():
    lower = _with_budget(correct_and_supported=50, abstained_wrongly=40, declined_rightly=55, **ANSWERED_WRONGLY)
    assert "declines too much (44% of what has an answer" in lower and "8% of what has none" in lower
    assert lower.endswith("lower its threshold, chosen on other questions than these.")
    raised = _with_budget(correct_and_supported=90, abstained_wrongly=2, declined_rightly=3, **ANSWERED_WRONGLY)
    assert "answers too much" in raised and "raise its threshold" in raised
    # Many more questions with an answer than without: as counts these look lopsided, as shares they are alike.
    even = _with_budget(
        correct_and_supported=37, abstained_wrongly=5, declined_rightly=7, answered_what_has_no_answer=1
    )
    assert "threshold" not in even


def test_a_better_model_beside_the_reader_is_never_passed_over():
    found = _advice(prompted=4, tuned=20, large=36)
    assert found.choice == "both"
    assert "“large” has F1 0.900" in found.reasons[1] and "is ahead of “tuned”" in found.reasons[1]
    assert not any("large" in reason for reason in _advice(prompted=4, tuned=20, large=9).reasons)


def test_arms_that_are_not_chosen_from_do_not_make_the_advice_blinder():
    questions = _questions(12)
    arms = {"prompted": _arm("prompted", questions, 1), "tuned": _arm("tuned", questions, 11)}
    settings = dict(SETTINGS)
    for number in range(12):
        name = f"other {number}"
        settings[name] = SETTINGS["passage"]
        arms[name] = [one.model_copy(update={"arm": name}) for one in _arm("tuned", questions, 6)]
    pairs = contrasts(arms, questions)
    between = next(one for one in pairs if {one.first, one.second} == {"prompted", "tuned"})
    assert between.p_holm > 0.05  # among all pairs of fourteen arms
    assert advise([arm_figures(made, questions) for made in arms.values()], settings, pairs).choice == "both"


def test_what_would_have_shown_is_never_less_than_what_was_seen():
    said = _advice(prompted=20, tuned=21)
    assert "these questions would have shown a difference of 0." in said.reasons[0]
    questions = _questions(4)
    pairs = contrasts({"prompted": _arm("prompted", questions, 0), "tuned": _arm("tuned", questions, 3)}, questions)
    assert pairs[0].detectable > abs(pairs[0].difference.mean) or "would have shown" not in pairs[0].would_have_shown


def test_one_way_of_answering_is_no_choice():
    assert _advice(tuned=20).choice == "cannot tell"


def _curve(*gains, sizes=4, spread=0.005):
    """Four adapters up to 400 records at an F1 of .6, and doublings that bring the gains given."""
    points = tuple(
        CurvePoint(records=50 * 2**step, f1=Figure(mean=0.5, low=0.4, high=0.6, questions=90, documents=9))
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
        "Twice the 400 records are expected to change F1 by +0.040 [+0.035, +0.045], from 0.600 to 0.6"
    )
    assert "Label some 1,200 more: with 1,600 records F1 0.660 [0.640, 0.680] is expected" in said
    assert "the doubling after that would bring +0.008 [+0.003, +0.013], less than 0.01" in said
    unsure = more_records(_curve(0.04, 0.02, 0.02, spread=0.03))
    assert "Label some 400 more" in unsure and "would bring +0.020 [-0.010, +0.050], or nothing at all" in unsure
    assert "Label some 2,800 more" in more_records(_curve(0.04, 0.03, 0.02))
    assert "the curve is not trusted further than that" in more_records(_curve(0.04, 0.03, 0.02))


def test_records_that_bring_too_little_or_harm_are_not_worth_labelling():
    assert more_records(_curve(0.006, 0.004, 0.003)).endswith("has to bring: more records are not worth labelling.")
    assert "make it worse" in more_records(_curve(-0.03, -0.02, -0.01))


def test_a_curve_that_cannot_tell_says_so():
    spans = more_records(_curve(0.02, 0.01, 0.01, spread=0.03))
    assert (
        spans.endswith("the data cannot tell whether more records are worth labelling.") and "[-0.010, +0.050]" in spans
    )
    assert more_records(_curve(sizes=3)).startswith("The learning curve has 3 sizes, and 4 are needed")
    assert "one document alone" in more_records(_curve(sizes=4))
    questions = _questions()
    arms = {name: _arm(name, questions, 20) for name in ("prompted", "tuned")}
    figures = [arm_figures(made, questions) for made in arms.values()]
    assert advise(figures, SETTINGS, contrasts(arms, questions), _curve(sizes=3)).reasons[-1] == more_records(
        _curve(sizes=3)
    )
