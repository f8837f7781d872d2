import json

import pytest
from data import little_world
from fakes import HashingEmbedder

from rag_ft.errors import EvaluationError
from rag_ft.evaluation.arms.baselines import FunctionArm, PassageArm
from rag_ft.evaluation.evaluate import evaluate_recipe
from rag_ft.evaluation.predictions import Prediction
from rag_ft.evaluation.recipe import Recipe
from rag_ft.evaluation.report.comparison import changed_answers, compare_page
from rag_ft.indexing.index import Index
from rag_ft.questions.records import read_questions, write_questions
from rag_ft.schema import Question

HEIGHTS = {"Oslo": "100 metres", "Lima": "107 metres"}


def _first(question, passages):
    return next((height for city, height in HEIGHTS.items() if city in question and "high" in question), None)


def _second(question, passages):
    """One better, one worse, one in other words, one that fails; the rest as before."""
    if question == "When was the tower of Cairo built?":
        return "1906"
    if question == "How high is the tower of Oslo?":
        return "<b>a mile</b>"
    if question == "How high is the tower of Lima?":
        return "the 107 metres"
    if question == "Who sold the tower of Quito?":
        raise TimeoutError("no reply")
    return _first(question, passages)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    documents, questions = little_world(4)
    write_questions(questions, folder / "qa.jsonl")
    index = Index.build(documents, folder / "index", embedder=HashingEmbedder())
    arm = [{"name": name, "kind": "passage"} for name in ("mine", "top")]
    fields = {"title": "t", "questions": str(folder / "qa.jsonl"), "documents": str(folder)}
    for name, function in (("a", _first), ("b", _second)):
        for shown in (True, False):
            recipe = Recipe.model_validate(
                {**fields, "primary": {"first": "mine", "second": "top"}, "arm": arm, "show_questions": shown}
            )
            arms = [FunctionArm("mine", function), PassageArm("top")]
            evaluate_recipe(recipe, folder / f"{name}-{shown}", arms=lambda _, __, arms=arms: arms, index=index)
    return folder


def test_the_same_words_with_the_other_decision_are_a_change(tmp_path):
    question = Question(id="q", question="Is it on?", answers=("It is on.",), kind="part", yes=True)
    for name, yes in (("a", True), ("b", False)):
        (tmp_path / name).mkdir()
        write_questions([question], tmp_path / name / "questions.jsonl")
        reply = Prediction(arm="mine", question_id="q", answer="It is on.", kind="part", yes=yes)
        (tmp_path / name / "predictions.jsonl").write_text(reply.model_dump_json(exclude_defaults=True) + "\n")
    (change,) = changed_answers(tmp_path / "a", tmp_path / "b")
    assert change.line == "mine, question q: “Yes: It is on.” → “No: It is on.” (F1 -1.00)"
    assert changed_answers(tmp_path / "a", tmp_path / "a") == []


def test_answers_that_changed_are_found_with_what_the_change_is_worth(runs):
    changes = {change.question_id: change for change in changed_answers(runs / "a-True", runs / "b-True")}
    assert set(changes) == {"Oslo-1", "Lima-1", "Cairo-2", "Quito-3"}
    assert changes["Oslo-1"].gain == -1.0 and changes["Cairo-2"].gain == 1.0 and changes["Lima-1"].gain == 0.0
    assert changes["Quito-3"].gain is None
    assert changes["Cairo-2"].line == "mine, question Cairo-2: no answer → “1906” (F1 +1.00)"
    assert changes["Quito-3"].line.endswith("no answer → failed: TimeoutError: no reply")
    assert changed_answers(runs / "a-True", runs / "a-True") == []


def test_the_same_question_is_found_under_another_id(runs, tmp_path):
    """Ids that moved by one: every id names another question in the second run."""
    import shutil

    shutil.copytree(runs / "a-True", tmp_path / "moved")
    names = [question.id for question in read_questions(runs / "a-True" / "questions.jsonl")]
    moved = dict(zip(names, names[1:] + names[:1], strict=True))
    for file, key in (("questions.jsonl", "id"), ("predictions.jsonl", "question_id")):
        lines = [json.loads(line) for line in (tmp_path / "moved" / file).read_text().splitlines()]
        text = "".join(json.dumps({**line, key: moved[line[key]]}) + "\n" for line in lines)
        (tmp_path / "moved" / file).write_text(text)
    assert changed_answers(runs / "a-True", tmp_path / "moved") == []


def test_the_page_shows_every_change_worse_first_escaped_and_alone(runs, tmp_path):
    page = compare_page(runs / "a-True", runs / "b-True", tmp_path / "out").read_text()
    places = [page.index(text) for text in ("tower of Oslo", "tower of Cairo", "tower of Lima", "tower of Quito")]
    assert places == sorted(places)
    assert "&lt;b&gt;a mile&lt;/b&gt;" in page and "<b>a mile" not in page
    assert "F1 -1.00 · accepted: 100 metres" in page
    assert "<td>1</td><td>1</td><td>2</td>" in page  # worse, better, other words
    assert "default-src 'none'" in page and "<script" not in page and "src=" not in page
    assert "arm &#39;mine&#39;, F1:" in page


def test_a_page_of_equal_runs_says_so(runs, tmp_path):
    page = compare_page(runs / "a-True", runs / "a-True", tmp_path).read_text()
    assert "every figure is the same" in page and "No answer changed" in page


def test_runs_that_keep_no_questions_are_compared_by_id(runs, tmp_path):
    changes = changed_answers(runs / "a-False", runs / "b-False")
    assert len(changes) == 4 and all(change.question is None and change.gain is None for change in changes)
    page = compare_page(runs / "a-False", runs / "b-False", tmp_path).read_text()
    assert "Oslo-1" in page and "How high" not in page
    # One that does is enough.
    assert changed_answers(runs / "a-False", runs / "b-True")[0].question is not None


def test_what_is_not_a_run_is_reported(runs, tmp_path):
    with pytest.raises(EvaluationError, match=r"predictions\.jsonl is missing: give the folder of a run"):
        changed_answers(runs / "a-True", tmp_path)
    with pytest.raises(EvaluationError, match="cannot be read"):
        compare_page(runs / "a-True", tmp_path, tmp_path)
