import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_ft.evaluation.error_budget import BINS, DECISION, bin_of, budget, budget_flow
from rag_ft.evaluation.predictions import CitedPlace, Prediction
from rag_ft.metrics.kinds import is_correct
from rag_ft.metrics.retrieval import Place
from rag_ft.schema import Evidence, Question

GOLD = Place(document_id="d", start=0, end=100)
OTHER = Place(document_id="d", start=100, end=200)
ANSWERABLE = Question(
    id="q",
    question="When?",
    answers=("in 1905",),
    evidence=(Evidence(document_id="d", start=10, end=17, quote="in 1905"),),
)
PART = ANSWERABLE.model_copy(update={"id": "p", "kind": "part", "answers": ("They built it in 1905 by hand",)})
YES = PART.model_copy(update={"id": "y", "yes": True})
NOT = Question(id="n", question="Who?", answerable=False)


def _said(answer, *, cited=(), passages=(GOLD, OTHER), question="q", **more):
    citations = tuple(CitedPlace(passage=place, quote="…", verdict="supported") for place in cited)
    return Prediction(arm="a", question_id=question, answer=answer, citations=citations, passages=passages, **more)


@pytest.mark.parametrize(
    ("prediction", "question", "closed_book", "expected"),
    [
        (_said("1905", cited=[GOLD]), ANSWERABLE, None, "correct and supported"),
        (_said("built it by hand", cited=[GOLD], kind="part"), PART, None, "correct and supported"),
        (_said("1905", cited=[GOLD]), PART, None, "retrieved but ignored"),
        (_said("They built it", cited=[GOLD], kind="part", yes=True), YES, None, "correct and supported"),
        (_said("They built it", cited=[OTHER], kind="part", yes=True), YES, None, "correct, unsupported"),
        (_said("They built it in 1905", cited=[GOLD], kind="part", yes=False), YES, None, "wrong yes or no"),
        (_said("No, they did not", cited=[GOLD]), YES, None, "wrong yes or no"),
        (_said("They built it", cited=[OTHER], kind="part", yes=False), YES, None, "wrong passage cited"),
        (_said("They built it", passages=(OTHER,), kind="part", yes=False), YES, None, "not retrieved"),
        (_said("They built it in 1905 by hand", cited=[GOLD], kind="part"), YES, None, "retrieved but ignored"),
        (_said("They did", cited=[GOLD], yes=False), YES, "Yes.", "known closed-book, lost with context"),
        (_said("They did", cited=[GOLD], yes=False), YES, "They did", "wrong yes or no"),
        (_said(None), YES, None, "abstained wrongly"),
        (_said("1905", cited=[OTHER]), ANSWERABLE, None, "correct, unsupported"),
        (_said("1905", passages=()), ANSWERABLE, None, "correct, unsupported"),
        (_said(None, question="n"), NOT, None, "declined rightly"),
        (_said("a guild", question="n"), NOT, None, "answered what has no answer"),
        (_said("1906", cited=[OTHER], passages=(OTHER,)), ANSWERABLE, None, "not retrieved"),
        (_said(None, passages=(OTHER,)), ANSWERABLE, None, "not retrieved"),
        (_said("1906", cited=[GOLD]), ANSWERABLE, "1905", "known closed-book, lost with context"),
        (_said("1906", cited=[GOLD]), ANSWERABLE, "1806", "retrieved but ignored"),
        (_said("1906", cited=[OTHER]), ANSWERABLE, None, "wrong passage cited"),
        (_said(None), ANSWERABLE, None, "abstained wrongly"),
        (_said(None, complete=False), ANSWERABLE, None, "invalid or incomplete"),
        (_said("1905", parses=False), ANSWERABLE, None, "invalid or incomplete"),
        (_said(None, failed="the server is down", question="n"), NOT, None, "invalid or incomplete"),
    ],
)
def test_each_case_goes_into_its_bin(prediction, question, closed_book, expected):
    assert bin_of(prediction, question, closed_book=closed_book) == expected


def test_another_number_is_a_wrong_answer_however_many_words_it_shares():
    high = ANSWERABLE.model_copy(update={"answers": ("107 metres", "107 m")})
    assert is_correct("107 metres high", high) and is_correct("the 107 m", high)
    assert not is_correct("114 metres", high) and not is_correct("metres", high)
    assert not is_correct(None, high) and is_correct(None, NOT) and not is_correct("x", NOT)


@pytest.mark.parametrize(
    ("answer", "accepted", "right"),
    [("1,000", "1000", True), ("1,000,000 people", "1000000 people", True), ("1,5 m", "15 m", False)],
)
def test_a_number_is_the_same_with_its_thousands_divided_or_not(answer, accepted, right):
    assert is_correct(answer, ANSWERABLE.model_copy(update={"answers": (accepted,)})) is right


replies = st.builds(
    _said,
    st.sampled_from([None, "1905", "1906", "They built it in 1905", "No."]),
    cited=st.sampled_from([(), (GOLD,), (OTHER,)]),
    passages=st.sampled_from([(), (GOLD,), (OTHER,), (OTHER, GOLD)]),
    question=st.sampled_from(["q", "n", "p", "y"]),
    yes=st.sampled_from([None, True, False]),
    parses=st.sampled_from([None, True, False]),
    complete=st.booleans(),
    failed=st.sampled_from(["", "down"]),
)


@given(st.lists(replies, max_size=12))
def test_bins_add_up_to_all_questions(predictions):
    counts = budget(predictions, {"q": ANSWERABLE, "n": NOT, "p": PART, "y": YES})
    assert sum(counts.values()) == len(predictions)
    decides = any(prediction.question_id == "y" for prediction in predictions)
    assert tuple(counts) == tuple(name for name in BINS if decides or name != DECISION)


def test_the_flow_between_two_arms_shows_what_changed():
    before = [_said("1906", cited=[OTHER]), _said("x", question="n")]
    after = [_said(None, question="n"), _said("1905", cited=[GOLD])]
    flow = budget_flow(before, after, {"q": ANSWERABLE, "n": NOT})
    assert [(move.source, move.target, move.questions) for move in flow.moves] == [
        ("wrong passage cited", "correct and supported", 1),
        ("answered what has no answer", "declined rightly", 1),
    ]
    assert (flow.fixed, flow.broken) == (2, 0)
    back = budget_flow(after, before, {"q": ANSWERABLE, "n": NOT})
    assert (back.fixed, back.broken) == (0, 2)
    with pytest.raises(ValueError, match="different questions"):
        budget_flow(before, after[:1], {"q": ANSWERABLE, "n": NOT})


@given(st.lists(st.tuples(replies, replies), min_size=1, max_size=12), st.booleans())
def test_a_flow_adds_up_to_the_budgets_of_both_arms(pairs, known):
    questions = {f"{i}": (ANSWERABLE, PART, YES)[i % 3] for i in range(len(pairs))}
    sides = [
        [pair[side].model_copy(update={"question_id": f"{number}"}) for number, pair in enumerate(pairs)]
        for side in (0, 1)
    ]
    closed = dict.fromkeys(questions, "1905") if known else None
    flow = budget_flow(*sides, questions, (closed, None))
    for side, predictions, heard in (("source", sides[0], closed), ("target", sides[1], None)):
        counts = dict.fromkeys(BINS, 0)
        for move in flow.moves:
            counts[getattr(move, side)] += move.questions
        shown = budget(predictions, questions, heard)
        assert counts == {**dict.fromkeys(BINS, 0), **shown}
