import pytest
from data import little_world

from rag_ft.errors import EvaluationError
from rag_ft.evaluation.recipe import Recipe
from rag_ft.evaluation.selection import choose_questions, development_questions


def _recipe(**more):
    arm = [{"name": "top", "kind": "passage"}, {"name": "any", "kind": "passage", "pick": "random"}]
    fields = {"title": "t", "questions": "q", "documents": "d", "primary": {"first": "top", "second": "any"}}
    return Recipe.model_validate({**fields, "arm": arm, **more})


def test_questions_are_chosen_by_document_split_and_sample():
    _, questions = little_world()
    assert choose_questions(_recipe(), questions, frozenset()) == questions
    oslo = choose_questions(_recipe(only=("Oslo.txt",)), questions, frozenset())
    assert [question.id for question in oslo] == ["Oslo-1", "Oslo-2", "Oslo-3"]
    held = choose_questions(_recipe(split="held out"), questions, frozenset({"Oslo.txt", "Lima.txt"}))
    assert len(held) == len(questions) - 6 and not any(question.id.startswith(("Oslo", "Lima")) for question in held)
    few = choose_questions(_recipe(sample=5, seed=1), questions, frozenset())
    assert few == choose_questions(_recipe(sample=5, seed=1), questions, frozenset()) and len(few) == 5
    assert [question for question in questions if question in few] == few


def test_a_question_set_that_matches_nothing_is_reported():
    _, questions = little_world()
    with pytest.raises(EvaluationError, match="none of 24 questions is about Rome"):
        choose_questions(_recipe(only=("Rome.txt",)), questions, frozenset())
    everything = frozenset(piece.document_id for question in questions for piece in question.evidence)
    with pytest.raises(EvaluationError, match="was trained on the documents of all 24 questions"):
        choose_questions(_recipe(split="held out"), questions, everything)


def _cities(questions):
    return {question.id.split("-")[0] for question in questions}


def test_development_questions_are_about_documents_that_are_not_judged():
    _, questions = little_world()
    recipe = _recipe(development={"questions": 6, "share": 0.4})
    apart, judged = (ask(recipe, questions, frozenset()) for ask in (development_questions, choose_questions))
    assert len(apart) == 6 and len(judged) == 15  # three of eight documents are kept apart
    assert not _cities(apart) & _cities(judged)
    assert development_questions(recipe, questions, frozenset()) == apart
    other = recipe.model_copy(update={"seed": 1})
    assert _cities(choose_questions(other, questions, frozenset())) != _cities(judged)
    # A smaller sample is judged on the same documents.
    few = recipe.limited(2)
    assert _cities(choose_questions(few, questions, frozenset())) <= _cities(judged)
    assert len(development_questions(few, questions, frozenset())) == 2
    assert development_questions(_recipe(), questions, frozenset()) == []


def test_development_documents_are_named_or_those_outside_only():
    _, questions = little_world()
    named = _recipe(development={"documents": ["Oslo.txt"]})
    assert _cities(development_questions(named, questions, frozenset())) == {"Oslo"}
    assert "Oslo" not in _cities(choose_questions(named, questions, frozenset()))
    outside = _recipe(only=("Oslo.txt",), development={"questions": 100})
    assert len(development_questions(outside, questions, frozenset())) == 21
    assert _cities(choose_questions(outside, questions, frozenset())) == {"Oslo"}
    held = _recipe(only=("Oslo.txt",), split="held out", development={"questions": 100})
    assert "Lima" not in _cities(development_questions(held, questions, frozenset({"Lima.txt"})))


def test_a_question_about_a_document_of_either_side_is_on_neither():
    _, questions = little_world(2)
    both = questions[0].model_copy(update={"id": "Both-1", "evidence": questions[0].evidence + questions[3].evidence})
    recipe = _recipe(development={"documents": ["Oslo.txt"]})
    for ask in (choose_questions, development_questions):
        assert "Both" not in _cities(ask(recipe, [*questions, both], frozenset()))


def test_a_development_split_that_cannot_be_is_reported():
    _, questions = little_world(1)
    with pytest.raises(EvaluationError, match="about one document"):
        development_questions(_recipe(development={}), questions, frozenset())
    with pytest.raises(EvaluationError, match="is about development documents alone"):
        development_questions(_recipe(development={"documents": ["Rome.txt"]}), questions, frozenset())
    with pytest.raises(EvaluationError, match="name fewer documents"):
        choose_questions(_recipe(development={"documents": ["Oslo.txt"]}), questions, frozenset())
    with pytest.raises(ValueError, match=r"'Oslo\.txt' is in both"):
        _recipe(only=("Oslo.txt",), development={"documents": ["Oslo.txt"]})
