from little_evaluation import little_arms

from rag_ft.evaluation.evaluate import evaluate_recipe
from rag_ft.evaluation.recipe import Recipe


def test_what_a_model_knows_by_heart_is_looked_up_for_that_model_alone():
    from rag_ft.evaluation.predictions import Prediction
    from rag_ft.evaluation.report.compute import _closed_book_answers, _model_of

    asked = {"kind": "closed book", "base fingerprint": "b", "adapter": None, "shots": True}
    settings = {
        "by heart": asked,
        "by heart, zero-shot": {**asked, "shots": False},
        "prompted": {**asked, "kind": "reader"},
        "tuned": {**asked, "kind": "reader", "adapter": "a", "adapter fingerprint": "f"},
        "large": {"kind": "chat", "model": "m"},
    }
    replies = {
        name: [Prediction(arm=name, question_id="q", answer=name)] for name in ("by heart", "by heart, zero-shot")
    }
    closed = _closed_book_answers(replies, settings)
    known = {name: closed.get(_model_of(settings[name])) for name in ("prompted", "tuned", "large")}
    assert known == {"prompted": {"q": "by heart"}, "tuned": None, "large": None}


def test_the_depth_of_the_run_is_among_the_cutoffs(prepared, tmp_path):
    index, recipe = prepared
    deep = Recipe.model_validate(recipe.model_dump() | {"k": 4})
    figures = evaluate_recipe(deep, tmp_path, arms=little_arms, index=index).results.retrieval
    assert set(figures) == {"hit@1", "hit@3", "hit@4", "MRR", "nDCG"}
