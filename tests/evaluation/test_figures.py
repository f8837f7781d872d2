import pytest

from rag_ft.evaluation.figures import Figure, arm_figures, contrasts, main_document
from rag_ft.evaluation.predictions import CitedPlace, Prediction
from rag_ft.metrics.retrieval import Place
from rag_ft.schema import Evidence, Question

GOLD, OTHER = Place(document_id="d0", start=0, end=50), Place(document_id="d0", start=50, end=99)


def _questions(count=6):
    questions = {}
    for i in range(count):
        evidence = (Evidence(document_id=f"d{i // 2}", start=3, end=7, quote="1905"),)
        if i % 3 == 2:
            questions[f"q{i}"] = Question(id=f"q{i}", question="?", answerable=False, evidence=evidence)
        else:
            questions[f"q{i}"] = Question(id=f"q{i}", question="?", answers=("1905",), evidence=evidence)
    return questions


def _said(arm, name, answer, **more):
    cited = (CitedPlace(passage=GOLD, quote="…", verdict="supported"),) if answer else ()
    return Prediction(arm=arm, question_id=name, answer=answer, citations=cited, passages=(GOLD, OTHER), **more)


def test_figures_of_a_case_counted_by_hand():
    """Four answerable: right, right but with a word too many, wrong, declined. Two unanswerable: declined, answered."""
    questions = _questions()
    replies = ["1905", "in 1905", None, "1906", None, "x"]
    predictions = [
        _said("a", name, answer, confidence=0.5 + 0.08 * place)
        for place, (name, answer) in enumerate(zip(questions, replies, strict=True))
    ]
    figures = arm_figures(predictions, questions)
    assert figures.figures["f1"].mean == pytest.approx((1 + 2 / 3 + 1 + 0 + 0 + 0) / 6)
    assert figures.figures["f1_answerable"].mean == pytest.approx((1 + 2 / 3 + 0 + 0) / 4)
    assert figures.figures["exact_match_answerable"].mean == pytest.approx(1 / 4)
    assert (figures.abstention_precision, figures.abstention_recall) == (0.5, 0.5)
    assert figures.figures["f1"].documents == 3 and figures.figures["f1"].questions == 6
    assert sum(figures.budget.values()) == 6
    assert figures.figures["verbatim"].mean == 1.0 and "parses" not in figures.figures
    assert 0 < figures.risk_area < 1 and figures.risk[-1][0] == 1.0
    assert figures.calibration_error is not None


def test_figures_of_each_kind_counted_by_hand():
    """Two parts, three questions of yes or no, and one of the same kind as parts that has no answer."""
    evidence = (Evidence(document_id="d0", start=10, end=30, quote="x" * 20),)
    fields = {"question": "?", "evidence": evidence, "answers": ("one two three four",), "kind": "part"}
    questions = {f"p{i}": Question(id=f"p{i}", **fields) for i in range(2)}
    questions |= {f"y{i}": Question(id=f"y{i}", **fields, yes=i < 2) for i in range(3)}
    questions["n"] = Question(id="n", question="?", evidence=evidence, answerable=False, kind="part")

    def said(name, answer, start=10, **more):
        cited = CitedPlace(passage=GOLD, quote="…", verdict="supported", start=start, end=start + 5)
        citations = () if answer is None else (cited,)
        return Prediction(arm="a", question_id=name, answer=answer, citations=citations, passages=(GOLD,), **more)

    predictions = [
        said("p0", "one two x y z w", confidence=0.9, kind="part"),
        said("p1", None, confidence=0.2),
        said("n", "one", confidence=0.4, start=30),
        said("y0", "one two three four", confidence=0.6, kind="part", yes=False),
        said("y1", "x", confidence=0.8, start=31, kind="part", yes=True),
        said("y2", "one two three four", confidence=0.1, kind="part"),
    ]
    figures = arm_figures(predictions, questions)
    assert set(figures.kinds) == {"part", "yes/no"}
    part, decision = figures.kinds["part"], figures.kinds["yes/no"]
    assert {name: figure.mean for name, figure in part.figures.items()} == pytest.approx(
        {"right": 0.0, "precision": 2 / 6, "recall": 2 / 8, "f1_answerable": 0.4 / 2, "cited_part": 1 / 2}
    )
    assert (part.questions, part.answerable, part.figures["precision"].questions) == (3, 2, 1)
    assert {name: figure.mean for name, figure in decision.figures.items()} == pytest.approx(
        {"right": 1 / 3, "accuracy": 1 / 2, "decided": 2 / 3, "cited_part": 2 / 3}
    )
    # By confidence: right, wrong, undecided; two of three are the least that are half.
    assert [number for point in decision.risk[:3] for number in point] == pytest.approx(
        [1 / 3, 0, 2 / 3, 1 / 2, 1, 2 / 3]
    )
    assert decision.surest_half == 0.5
    assert figures.figures["f1"].mean == pytest.approx((0.4 + 0 + 0 + 0 + 1 + 0) / 6)
    assert figures.budget["wrong yes or no"] == 1
    assert "kinds" not in arm_figures([_said("a", "q0", "1905")], _questions()).model_dump()


def test_failures_are_counted_with_their_reasons_and_never_scored():
    questions = _questions()
    predictions = [_said("a", name, "1905") for name in list(questions)[:4]]
    predictions += [_said("a", name, None, failed="the server is down") for name in list(questions)[4:]]
    figures = arm_figures(predictions, questions)
    assert (figures.replied, figures.failed, figures.failures) == (4, 2, {"the server is down": 2})
    assert figures.figures["f1"].questions == 4
    assert figures.budget["invalid or incomplete"] == 2
    alone = arm_figures(predictions[4:], questions)
    assert alone.figures == {} and alone.risk_area is None


def test_an_answer_cut_at_its_limit_is_not_a_null_that_was_right():
    questions = {"n": Question(id="n", question="?", answerable=False)}
    assert arm_figures([_said("a", "n", None, complete=False)], questions).figures["f1"].mean == 0.0
    assert arm_figures([_said("a", "n", None, parses=False)], questions).figures["f1"].mean == 0.0
    assert arm_figures([_said("a", "n", None, parses=False)], questions).abstention_recall == 0.0
    assert arm_figures([_said("a", "n", None)], questions).figures["f1"].mean == 1.0


def test_contrasts_are_paired_over_common_replies_and_corrected_together():
    questions = _questions(30)
    good = [_said("good", name, "1905" if question.answerable else None) for name, question in questions.items()]
    bad = [_said("bad", name, "1906") for name in questions]
    half = [_said("half", name, "1906") for name in list(questions)[:15]]
    half += [_said("half", name, None, failed="down") for name in list(questions)[15:]]
    by_pair = {
        (contrast.first, contrast.second): contrast
        for contrast in contrasts({"good": good, "bad": bad, "half": half}, questions)
    }
    assert by_pair["good", "bad"].difference.mean == 1.0
    assert by_pair["good", "bad"].p_holm >= by_pair["good", "bad"].p and by_pair["good", "bad"].p_holm < 0.05
    assert by_pair["good", "half"].difference.questions == 15
    assert by_pair["bad", "half"].difference.mean == 0.0 and by_pair["bad", "half"].p == 1.0
    between = Figure(mean=0.25, low=0.125, high=0.5, questions=9, documents=3)
    turned = by_pair["good", "half"].model_copy(update={"difference": between}).turned()
    assert (turned.first, turned.second) == ("half", "good")
    assert (turned.difference.mean, turned.difference.low, turned.difference.high) == (-0.25, -0.5, -0.125)
    assert turned.turned().difference == between
    with pytest.raises(ValueError, match="not known"):
        contrasts({"good": good}, questions, "bleu")


def test_one_question_and_no_answerable_ones_have_figures_without_intervals():
    questions = {"n": Question(id="n", question="?", answerable=False)}
    figures = arm_figures([_said("a", "n", None)], questions)
    assert figures.figures["f1"].mean == 1.0 and figures.figures["f1"].low is None
    assert "f1_answerable" not in figures.figures
    assert main_document(questions["n"]) == "question n"
