import math

from hypothesis import given
from hypothesis import strategies as st

from rag_ft.metrics.retrieval import Place, retrieval_metrics
from rag_ft.schema import Evidence, Question


def _place(number):
    return Place(document_id="d", start=10 * number, end=10 * number + 10)


def _question(name, number):
    evidence = (Evidence(document_id="d", start=10 * number + 2, end=10 * number + 5, quote="abc"),)
    return Question(id=name, question="?", answers=("abc",), evidence=evidence)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=10, unique=True), st.integers(0, 9))
def test_values_are_those_of_the_first_relevant_rank(ranking, gold):
    found = retrieval_metrics({"q": [_place(one) for one in ranking]}, {"q": _question("q", gold)})
    rank = ranking.index(gold) + 1 if gold in ranking else None
    assert found["MRR"]["q"] == (1 / rank if rank else 0.0)
    assert math.isclose(found["nDCG"]["q"], 1 / math.log2(rank + 1) if rank else 0.0, rel_tol=1e-6)
    for k in (1, 3, 5, 10):
        if k <= len(ranking):
            assert found[f"hit@{k}"]["q"] == float(rank is not None and rank <= k)


def test_a_part_that_no_passage_holds_is_shown_by_those_that_share_half_of_it_or_lie_half_within_it():
    evidence = (Evidence(document_id="d", start=100, end=200, quote="x" * 100),)
    part = Question(id="q", question="?", answers=("x",), evidence=evidence, kind="part")
    places = {(100, 200): True, (150, 400): True, (151, 400): False, (190, 210): True, (191, 211): False}
    for (start, end), shown in places.items():
        assert Place(document_id="d", start=start, end=end).shows(part) is shown
        assert not Place(document_id="e", start=start, end=end).shows(part)
    span = part.model_copy(update={"kind": "span"})
    assert [Place(document_id="d", start=start, end=200).shows(span) for start in (100, 150)] == [True, False]
    ranking = [Place(document_id="d", start=300, end=400), Place(document_id="d", start=150, end=300)]
    assert retrieval_metrics({"q": ranking}, {"q": part})["MRR"] == {"q": 0.5}
    assert retrieval_metrics({"q": ranking}, {"q": span})["MRR"] == {"q": 0.0}


def test_questions_without_evidence_or_answer_are_not_scored():
    questions = {
        "a": _question("a", 0),
        "b": Question(id="b", question="?", answers=("x",)),
        "c": Question(id="c", question="?", answerable=False),
        "d": _question("d", 5),
    }
    found = retrieval_metrics({"a": [_place(0)], "b": [_place(1)], "c": [_place(2)], "d": []}, questions)
    assert found["MRR"] == {"a": 1.0, "d": 0.0}
    assert retrieval_metrics({"b": [_place(1)]}, questions) == {}
