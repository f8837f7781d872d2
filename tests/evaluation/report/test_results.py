"""A report that an earlier version wrote, in `report_before/`: read, drawn again, compared."""

import json
import shutil
from pathlib import Path

import pytest
from little_evaluation import little_arms
from pydantic import TypeAdapter

from rag_ft.errors import EvaluationError
from rag_ft.evaluation.arms.baselines import FunctionArm, PassageArm
from rag_ft.evaluation.evaluate import evaluate_recipe
from rag_ft.evaluation.report.comparison import changed_answers, compare_page
from rag_ft.evaluation.report.pages import Report
from rag_ft.evaluation.report.results import check_run_folder, differences, read_results
from rag_ft.evaluation.resources import Speed
from rag_ft.evaluation.runner import read_memory, read_predictions, retrieve_cases, run_fingerprint
from rag_ft.questions.records import read_questions

BEFORE = Path(__file__).resolve().parent.parent / "report_before"


@pytest.fixture(scope="module")
def rebuilt():
    """The report from its stored files alone."""
    results = read_results(BEFORE)
    predictions = {arm.name: [] for arm in results.arms}
    for prediction in read_predictions(BEFORE / "predictions.jsonl"):
        predictions[prediction.arm].append(prediction)
    speed = TypeAdapter(dict[str, Speed]).validate_json((BEFORE / "speed.json").read_bytes())
    questions = read_questions(BEFORE / "questions.jsonl")
    return Report(results=results, speed=speed, questions=questions, predictions=predictions)


def test_results_of_an_earlier_version_keep_every_key_and_value():
    stored = json.loads((BEFORE / "results.json").read_text())
    assert read_results(BEFORE).model_dump(mode="json") == stored
    assert stored["flow"]["moves"] and stored["learning_curve"]["points"] and stored["robustness"]
    assert stored["development"] and stored["faithfulness"] and stored["arms"][-1]["failures"]
    assert set(read_memory(BEFORE)) == {arm["name"] for arm in stored["arms"]}


def test_a_report_of_an_earlier_version_is_drawn_again(rebuilt, tmp_path):
    page = rebuilt.save(tmp_path / "again").read_text()
    assert page.count("<svg") == 8 and "10 fixed, 0 broken" in page and "<th>F1 on answerable</th>" in page
    assert "<image" not in page and "data:" not in page  # which the page's security policy blocks
    text = (tmp_path / "again" / "report.md").read_text()
    assert "“large” failed on 3 questions, which have no score: TimeoutError: no reply in 30 s" in text
    assert read_results(tmp_path / "again") == rebuilt.results
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == [
        "questions.jsonl",
        "report.html",
        "report.md",
        "results.json",
        "speed.json",
    ]


def test_a_report_of_an_earlier_version_is_compared_and_may_be_replaced(tmp_path):
    shutil.copytree(BEFORE, tmp_path / "later")
    check_run_folder(tmp_path / "later")
    lines = (tmp_path / "later" / "predictions.jsonl").read_text().replace('"answer":"1900"', '"answer":"1901"')
    (tmp_path / "later" / "predictions.jsonl").write_text(lines)
    stored = json.loads((BEFORE / "results.json").read_text())
    stored["arms"][0]["abstention_recall"] = 0.25
    (tmp_path / "later" / "results.json").write_text(json.dumps(stored))
    assert differences(read_results(BEFORE), read_results(tmp_path / "later")) == [
        "arm 'alone', abstention recall: 0.0000 → 0.2500"
    ]
    assert changed_answers(BEFORE, BEFORE) == []
    assert "alone" in compare_page(BEFORE, tmp_path / "later", tmp_path / "page").read_text()


def test_a_run_of_an_earlier_version_resumes(world):
    """The fingerprint that an earlier version gave to these arms and questions."""
    index, questions = world
    arms = [PassageArm("top"), PassageArm("any", pick="random")]
    cases = retrieve_cases(questions, index.as_retriever(k=3))
    assert run_fingerprint(arms, cases) == "79b51a2a7a54bbba7891d6622b350de06768affcef09de33664a01914bf044f7"


def test_what_does_not_hold_results_is_reported(tmp_path):
    with pytest.raises(EvaluationError, match="cannot be read"):
        read_results(tmp_path)
    (tmp_path / "results.json").write_text(json.dumps({"title": "x"}))
    with pytest.raises(EvaluationError, match="does not hold the results of an evaluation"):
        read_results(tmp_path)


def test_two_runs_are_compared_figure_by_figure(prepared, tmp_path):
    index, recipe = prepared
    evaluate_recipe(recipe, tmp_path / "a", arms=little_arms, index=index)

    def others(recipe, index):
        return [FunctionArm("reads", lambda question, passages: None), *little_arms(recipe, index)[1:]]

    evaluate_recipe(recipe, tmp_path / "b", arms=others, index=index)
    lines = differences(read_results(tmp_path / "a"), read_results(tmp_path / "b"))
    assert any(line.startswith(("arm 'reads', F1: 0.9", "arm 'reads', F1: 1.0")) for line in lines)
    assert not any("'top'" in line for line in lines)
    assert differences(read_results(tmp_path / "a"), read_results(tmp_path / "a")) == []
