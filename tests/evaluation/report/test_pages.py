import os
import re
from pathlib import Path

import pytest
from data import little_world
from little_evaluation import asking, little_answer, little_arms

from rag_ft.errors import EvaluationError
from rag_ft.evaluation.arms.baselines import FunctionArm, PassageArm
from rag_ft.evaluation.evaluate import evaluate_recipe
from rag_ft.evaluation.report.pages import html, markdown
from rag_ft.evaluation.report.results import read_results


def test_the_page_is_whole_escaped_and_asks_nobody_for_anything(prepared, tmp_path):
    index, recipe = prepared
    evaluate_recipe(recipe, tmp_path, arms=little_arms, index=index)
    page = (tmp_path / "report.html").read_text()
    assert "Little &lt;b&gt;world&lt;/b&gt;" in page and "<b>world" not in page
    assert "<script" not in page and "src=" not in page and "url(" not in page.replace("url(#", "")
    assert page.count("<svg") >= 3 and "default-src 'none'" in page
    assert "<mark>" in page
    text = (tmp_path / "report.md").read_text()
    assert "| reads |" in text and "## Where the questions go" in text


def test_a_report_without_texts_holds_no_question(prepared, tmp_path):
    index, recipe = prepared
    evaluate_recipe(recipe.model_copy(update={"show_questions": False}), tmp_path, arms=little_arms, index=index)
    assert "How high is the tower" not in (tmp_path / "report.html").read_text()
    assert not (tmp_path / "questions.jsonl").exists()


def test_prices_give_a_cost_and_when_the_training_has_paid_for_itself(prepared, tmp_path):
    from rag_ft.evaluation.advice import break_even
    from rag_ft.evaluation.recipe import Price, Prices

    index, recipe = prepared

    class Priced:
        def __init__(self, name, kind, adapter, tokens):
            self.name, self.settings, self.tokens = name, {"kind": kind, "adapter": adapter}, tokens

        def reply(self, cases):
            predictions = PassageArm(self.name).reply(cases)
            taken = {"prompt_tokens": self.tokens, "completion_tokens": 10, "seconds": 1.8}
            return [prediction.model_copy(update=taken) for prediction in predictions]

    arms = [Priced("reads", "reader", "a", 300), Priced("top", "chat", None, 300)]
    prices = Prices(
        currency="EUR",
        training=30.0,
        arms={"top": Price(prompt_million=10, completion_million=100), "*": Price(prompt_million=1, watts=100)},
    )
    report = evaluate_recipe(
        recipe.model_copy(update={"prices": prices}), tmp_path, arms=lambda recipe, index: arms, index=index
    )
    assert report.speed["top"].cost_per_thousand == pytest.approx(1000 * (300 * 10 + 10 * 100) / 1e6)
    assert report.speed["reads"].cost_per_thousand == pytest.approx(0.3)
    # 1,000 questions of 1.8 s are half an hour, at 100 W; what somebody else's server draws is not known.
    assert report.speed["reads"].energy_per_thousand == pytest.approx(50)
    assert report.speed["top"].energy_per_thousand is None
    assert report.speed["reads"].tokens_per_second == pytest.approx(310 / 1.8, abs=0.1)
    assert (report.speed["reads"].seconds_p50, report.speed["reads"].seconds_p95) == (1.8, 1.8)
    assert 10e6 < report.speed["reads"].memory_bytes < 100e9
    row = "| reads | 1.80 | 1.80 | 172 | "
    text = (tmp_path / "report.md").read_text()
    assert row in text and " | 50.0 | 0.30 |" in text and "Energy is an estimate" in text
    page = (tmp_path / "report.html").read_text()
    assert "<td>50.0</td><td>0.30</td>" in page and "Wh per 1,000, estimated" in page
    assert "pays for itself after 8,108 answers: “reads” costs 0.30 per 1,000" in page and "EUR per 1,000" in page
    assert "cost_per_thousand" not in (tmp_path / "results.json").read_text()
    assert break_even(30, 0.3, 4.0) == pytest.approx(8108.1, rel=1e-4) and break_even(30, 4.0, 0.3) is None


def test_without_prices_the_energy_is_estimated_at_the_documented_watts(prepared, tmp_path):
    from rag_ft.evaluation.recipe import WATTS

    index, recipe = prepared
    report = evaluate_recipe(recipe, tmp_path, arms=little_arms, index=index)
    speed = report.speed["reads"]
    assert WATTS == 65 and speed.cost_per_thousand is None
    assert speed.energy_per_thousand == pytest.approx(
        1000 * WATTS / 3600 * sum(prediction.seconds for prediction in report.predictions["reads"]) / 24,
        rel=1e-3,
        abs=1e-4,
    )


def test_what_tuning_taught_is_drawn_with_a_table_beside_it(prepared, tmp_path):
    index, recipe = prepared

    class Reads:
        def __init__(self, name, adapter, function):
            self.name, self.settings = name, {"kind": "reader", "adapter": adapter, "gold first": False}
            self.arm = FunctionArm(name, function)

        def reply(self, cases):
            return self.arm.reply(cases)

    def wrong(question, passages):
        return little_answer(question, passages) if "Oslo" in question else "x"

    arms = [Reads("top", None, wrong), Reads("reads", "a", little_answer)]
    report = evaluate_recipe(recipe, tmp_path, arms=lambda recipe, index: arms, index=index)
    flow = report.results.flow
    assert (flow.before, flow.after) == ("top", "reads")
    assert sum(move.questions for move in flow.moves) == 24 and flow.fixed == 21 and flow.broken == 0
    page, text = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    assert "21 fixed, 0 broken" in page and "21 fixed, 0 broken" in text
    assert "<td>answered what has no answer</td><td>declined rightly</td><td>7</td>" in page
    assert "| answered what has no answer | declined rightly | 7 |" in text
    assert read_results(tmp_path) == report.results


def test_arms_that_give_whole_sentences_are_named(prepared, tmp_path):
    index, recipe = prepared
    report = evaluate_recipe(recipe, tmp_path, arms=little_arms, index=index)
    assert "whole sentences" not in markdown(report)
    settings = {name: dict(known) for name, known in report.results.settings.items()}
    settings["reads"]["whole sentences"] = True
    whole = report.model_copy(update={"results": report.results.model_copy(update={"settings": settings})})
    for page in (markdown(whole), html(whole)):
        assert "give lists to their end: “reads”. The answers of other readers are the words that these chose." in page


@pytest.mark.parametrize("answerable", [True, False])
def test_questions_of_one_kind_only_have_a_report_with_what_there_is(prepared, tmp_path, answerable):
    index, recipe = prepared
    some = [question for question in little_world()[1] if question.answerable is answerable]
    report = evaluate_recipe(asking(recipe, tmp_path, some), tmp_path / "out", arms=little_arms, index=index)
    reads = report.results.arms[0]
    assert ("f1_answerable" in reads.figures) is answerable
    assert (reads.abstention_recall is None) is answerable
    row = next(line for line in (tmp_path / "out" / "report.md").read_text().splitlines() if "| reads |" in line)
    assert " – |" in row
    assert not re.search(r"\bnan\b", (tmp_path / "out" / "report.html").read_text(), re.IGNORECASE)
    assert "NaN" not in (tmp_path / "out" / "results.json").read_text()
    assert read_results(tmp_path / "out") == report.results


def test_one_question_has_a_report_without_intervals_that_cannot_tell(prepared, tmp_path):
    index, recipe = prepared
    report = evaluate_recipe(
        asking(recipe, tmp_path, little_world()[1][:1]), tmp_path / "out", arms=little_arms, index=index
    )
    assert report.results.questions == 1 and report.results.arms[0].figures["f1"].low is None
    assert report.results.advice.choice == "cannot tell"
    assert report.results.primary.detectable is None
    assert "No difference was shown; with so few documents" in (tmp_path / "out" / "report.md").read_text()
    assert "NaN" not in (tmp_path / "out" / "results.json").read_text()  # which is not JSON
    assert read_results(tmp_path / "out") == report.results


def test_gpu_memory_has_a_column_where_there_is_a_gpu(prepared, tmp_path):

    index, recipe = prepared
    report = evaluate_recipe(recipe, tmp_path, arms=little_arms, index=index)
    assert "GPU memory" not in markdown(report)
    on_gpu = {
        name: speed.model_copy(update={"device_memory_bytes": 3_000_000_000 if name == "reads" else None})
        for name, speed in report.speed.items()
    }
    moved = report.model_copy(update={"speed": on_gpu})
    assert "| GPU memory, MB |" in markdown(moved) and " | 3,000 | " in markdown(moved)
    assert "<th>GPU memory, MB</th>" in html(moved)


@pytest.mark.parametrize("renamed", range(5))
def test_a_kill_while_the_report_is_replaced_leaves_no_mixture(prepared, tmp_path, monkeypatch, renamed):
    """The former report, or files without results.json; the same command then writes the new one."""
    index, recipe = prepared
    evaluate_recipe(recipe, tmp_path, arms=little_arms, index=index)
    names = ("results.json", "report.html", "report.md", "speed.json", "questions.jsonl")
    before = {name: (tmp_path / name).read_bytes() for name in names}
    other = recipe.model_copy(update={"title": "Another title"})
    replace, done = os.replace, []

    def killed(source, target):
        if Path(target).name in names:
            if len(done) == renamed:
                raise KeyboardInterrupt
            done.append(target)
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            evaluate_recipe(other, tmp_path, arms=little_arms, index=index)
    now = {name: (tmp_path / name).read_bytes() for name in names if (tmp_path / name).exists()}
    assert now == before or "results.json" not in now
    evaluate_recipe(other, tmp_path, arms=little_arms, index=index)
    assert read_results(tmp_path).title == "Another title" and "Another title" in (tmp_path / "report.html").read_text()


def test_questions_that_may_not_be_shown_any_more_are_taken_away(prepared, tmp_path):
    index, recipe = prepared
    evaluate_recipe(recipe, tmp_path, arms=little_arms, index=index)
    assert (tmp_path / "questions.jsonl").is_file()
    evaluate_recipe(recipe.model_copy(update={"show_questions": False}), tmp_path, arms=little_arms, index=index)
    assert not (tmp_path / "questions.jsonl").exists()


def test_a_saved_report_takes_the_place_of_an_earlier_run_and_of_nothing_else(prepared, tmp_path):
    index, recipe = prepared
    earlier = recipe.model_copy(update={"faithfulness": True})
    evaluate_recipe(earlier, tmp_path / "saved", arms=little_arms, index=index)
    assert (tmp_path / "saved" / "swapped" / "predictions.jsonl").is_file()
    report = evaluate_recipe(recipe, arms=little_arms, index=index, limit=5)
    report.save(tmp_path / "saved")
    assert not (tmp_path / "saved" / "swapped" / "predictions.jsonl").exists()
    assert read_results(tmp_path / "saved").questions == 5
    assert evaluate_recipe(recipe, tmp_path / "saved", arms=little_arms, index=index, limit=5).results == report.results
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "predictions.jsonl").write_text("mine")
    with pytest.raises(EvaluationError, match=r"has no run\.json beside it"):
        report.save(tmp_path / "theirs")
    assert {path.name for path in (tmp_path / "theirs").iterdir()} == {"predictions.jsonl"}
