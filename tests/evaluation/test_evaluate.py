import gc
import random
from pathlib import Path

import pytest
from data import little_world
from little_evaluation import asking, little_answer, little_arms

from rag_ft.errors import EvaluationError, UsageError
from rag_ft.evaluation.arms.baselines import FunctionArm, PassageArm
from rag_ft.evaluation.evaluate import evaluate, evaluate_recipe
from rag_ft.evaluation.recipe import Recipe
from rag_ft.evaluation.report.results import read_results
from rag_ft.questions.records import read_questions, write_questions


def test_an_evaluation_ends_with_results_a_report_and_a_line_for_every_reply(prepared, tmp_path, caplog):
    index, recipe = prepared
    caplog.set_level("INFO", "rag_ft.evaluation")
    report = evaluate_recipe(recipe, tmp_path, arms=little_arms, index=index)
    assert {path.name for path in tmp_path.iterdir()} == {
        "memory.json",
        "predictions.jsonl",
        "questions.jsonl",
        "report.html",
        "report.md",
        "results.json",
        "run.json",
        "speed.json",
    }
    results = read_results(tmp_path)
    assert results == report.results
    assert results.arms[0].figures["f1"].mean > 0.9 > results.arms[1].figures["f1"].mean
    assert results.primary.first == "reads" and results.primary.p < 0.05
    turned = recipe.model_copy(
        update={"primary": recipe.primary.model_copy(update={"first": "top", "second": "reads"})}
    )
    declared = evaluate_recipe(turned, tmp_path / "turned", arms=little_arms, index=index).results.primary
    assert declared.first == "top" and declared.difference.mean == -results.primary.difference.mean
    assert results.questions == 24 and results.documents == 8
    assert "24 of 24 questions about 8 documents; differences under 0." in caplog.messages[0]
    assert results.retrieval["hit@1"] > 0.9
    assert str(Path(recipe.questions).parent) not in (tmp_path / "results.json").read_text()


def test_results_repeat_to_the_byte_and_a_second_call_asks_nothing(prepared, tmp_path):
    index, recipe = prepared
    evaluate_recipe(recipe, tmp_path / "a", arms=little_arms, index=index)
    evaluate_recipe(recipe, tmp_path / "b", arms=little_arms, index=index)
    first = (tmp_path / "a" / "results.json").read_bytes()
    assert first == (tmp_path / "b" / "results.json").read_bytes()
    lines = (tmp_path / "a" / "predictions.jsonl").read_text()
    evaluate_recipe(recipe, tmp_path / "a", arms=little_arms, index=index)
    assert (tmp_path / "a" / "predictions.jsonl").read_text() == lines
    assert (tmp_path / "a" / "results.json").read_bytes() == first


def test_a_limit_asks_fewer_and_says_what_will_not_show(prepared, tmp_path, caplog):
    index, recipe = prepared
    caplog.set_level("INFO", "rag_ft.evaluation")
    report = evaluate_recipe(recipe, tmp_path, arms=little_arms, index=index, limit=5)
    assert report.results.questions == 5 and report.results.left_out == 19
    assert (
        report.results.detectable
        > evaluate_recipe(recipe, tmp_path / "all", arms=little_arms, index=index).results.detectable
    )
    assert caplog.messages[0].startswith("5 of 24 questions")


def test_an_arm_that_fails_is_in_the_report_with_its_reason(prepared, tmp_path):
    index, recipe = prepared

    def broken(question, passages):
        raise TimeoutError("no reply in 30 s")

    report = evaluate_recipe(
        recipe,
        tmp_path,
        arms=lambda recipe, index: [FunctionArm("reads", broken), *little_arms(recipe, index)[1:]],
        index=index,
    )
    assert report.results.arms[0].failed == 24 and report.results.primary is None
    assert "TimeoutError: no reply in 30 s" in (tmp_path / "report.html").read_text()


def test_a_learning_curve_is_measured_advised_on_and_drawn(prepared, tmp_path):
    """Adapters that read ever more of the questions, the last ones all but a quarter."""
    index, recipe = prepared
    arm = [{"name": "reads", "kind": "reader"}, {"name": "top", "kind": "passage"}]
    curve = {"adapter": [{"records": records, "adapter": f"/somewhere/{records}"} for records in (10, 20, 40, 80)]}
    recipe = Recipe.model_validate({**recipe.model_dump(), "arm": arm, "learning_curve": curve})
    asked = []

    def sized(records):
        def reads(question, passages):
            asked.append(records)
            chance = random.Random(f"{question} {records}").random()
            return little_answer(question, passages) if chance < 1 - 3 * records**-0.5 + 0.1 else "x"

        return FunctionArm(f"{records} records", reads)

    def curved(recipe, index):
        return ((records, sized(records)) for records in (10, 20, 40, 80))

    given = {
        "arms": lambda recipe, index: [little_arms(recipe, index)[0], PassageArm("top")],
        "curve": curved,
        "index": index,
    }
    report = evaluate_recipe(recipe, tmp_path, **given)
    curve = report.results.learning_curve
    assert [point.records for point in curve.points] == [10, 20, 40, 80] and len(curve.doublings) == 3
    f1 = [point.f1.mean for point in curve.points]
    assert f1[0] < f1[-1] and curve.points[0].f1.questions == 24
    assert "Doubling the 80 records is expected to change F1 by" in report.results.advice.reasons[-1]
    page, text = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    assert "Would more records help?" in page and "<td>160</td>" in page
    assert f"| 80 | {f1[-1]:.3f} [" in text and "| 640 | " in text
    assert "/somewhere" not in (tmp_path / "results.json").read_text()
    count = len(asked)
    assert evaluate_recipe(recipe, tmp_path, **given).results == report.results and len(asked) == count


def test_a_folder_without_a_curve_is_reported_before_anything_is_asked(prepared, tmp_path):
    index, recipe = prepared
    arm = [*recipe.model_dump()["arm"], {"name": "tuned", "kind": "reader"}]
    curved = Recipe.model_validate(
        {**recipe.model_dump(), "arm": arm, "learning_curve": {"folder": str(tmp_path), "arm": "tuned"}}
    )
    with pytest.raises(EvaluationError, match="holds no learning curve"):
        evaluate_recipe(curved, tmp_path / "out", arms=little_arms, index=index)
    assert not (tmp_path / "out" / "predictions.jsonl").exists()


def test_an_arm_that_is_handed_the_gold_passage_is_not_asked_with_swapped_answers(prepared, tmp_path):
    index, recipe = prepared

    class Handed(FunctionArm):
        perfect = index

    def arms(recipe, index):
        return [*little_arms(recipe, index), Handed("handed", little_answer)]

    recipe = asking(recipe, tmp_path, little_world()[1])
    studies = evaluate_recipe(recipe, tmp_path / "out", arms=arms, index=index).results.faithfulness
    assert studies and "handed" not in studies


def test_an_arm_that_fails_half_way_leaves_a_report_that_says_so(prepared, tmp_path):
    index, recipe = prepared

    class HalfWay:
        name, settings, calls = "reads", {"kind": "reader", "adapter": "a"}, 0

        def reply(self, cases):
            self.calls += 1
            if self.calls == 2:
                raise MemoryError("no memory left")
            return FunctionArm("reads", little_answer).reply(cases)

    report = evaluate_recipe(
        recipe, tmp_path, arms=lambda recipe, index: [HalfWay(), *little_arms(recipe, index)[1:]], index=index
    )
    reads, *others = report.results.arms
    assert (reads.replied, reads.failed) == (16, 8) and not any(arm.failed for arm in others)
    assert report.results.primary.difference.questions == 16  # those that both replied to
    note = "“reads” failed on 8 questions, which have no score: MemoryError: no memory left"
    assert note in (tmp_path / "report.md").read_text() and note in (tmp_path / "report.html").read_text()


def test_a_document_that_no_question_is_about_cannot_be_asked_for(prepared, tmp_path):
    index, recipe = prepared
    for changes in ({"only": ("Oslo.txt", "Osol.txt")}, {"development": {"documents": ("Osol.txt",)}}):
        typo = Recipe.model_validate(recipe.model_dump() | changes)
        with pytest.raises(EvaluationError, match=r"is about Osol\.txt: correct '"):
            evaluate_recipe(typo, tmp_path, arms=little_arms, index=index)


def test_the_folder_of_another_recipe_is_refused(prepared, tmp_path):
    index, recipe = prepared
    evaluate_recipe(recipe, tmp_path, arms=little_arms, index=index)
    before = (tmp_path / "results.json").read_bytes()
    with pytest.raises(EvaluationError, match="predictions of another run"):
        evaluate_recipe(recipe, tmp_path, arms=little_arms, index=index, limit=5)
    assert (tmp_path / "results.json").read_bytes() == before


@pytest.mark.parametrize("name", ["report.html", "report.md", "results.json", "speed.json", "run.json", "memory.json"])
def test_a_file_of_somebody_else_is_named_and_not_written_over(prepared, tmp_path, name):
    index, recipe = prepared
    (tmp_path / name).write_text('{"mine": 1}')
    with pytest.raises(EvaluationError, match=rf"{name} "):
        evaluate_recipe(recipe, tmp_path, arms=little_arms, index=index)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: '{"mine": 1}'}


@pytest.mark.parametrize("name", ["report.html", "predictions.jsonl", "swapped"])
def test_a_link_where_an_evaluation_writes_is_refused(prepared, tmp_path, name):
    index, recipe = prepared
    (tmp_path / "theirs").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).symlink_to(tmp_path / "theirs")
    with pytest.raises(EvaluationError, match=name):
        evaluate_recipe(recipe, tmp_path / "out", arms=little_arms, index=index)
    assert not list((tmp_path / "theirs").iterdir())


FAIR_ARMS = [
    "prompted zero-shot, no passages",
    "prompted, no passages",
    "best sentence of the top passage",
    "prompted zero-shot, with passages",
    "prompted, with passages",
    "tuned, no passages",
    "tuned, with passages",
    "tuned, with passages and cross-encoder",
    "cross-encoder alone",
    "tuned, gold passage first",
    "whole top passage",
    "a random retrieved passage",
]


def test_questions_an_index_and_an_adapter_are_enough(prepared, tmp_path, tiny_llama_dir):
    from tiny_adapters import make_adapter

    index, recipe = prepared
    adapter = make_adapter(tmp_path / "adapter", tiny_llama_dir, seed=1, threshold=0.5)
    given = {"adapter": adapter, "reader": str(tiny_llama_dir), "limit": 4}
    report = evaluate(recipe.questions, index, **given)
    results = report.results
    assert [arm.name for arm in results.arms] == FAIR_ARMS
    assert {results.primary.first, results.primary.second} == {"tuned, with passages", "prompted, with passages"}
    # Its own threshold may have been chosen on the questions that are asked.
    assert set(results.development) == {
        name for name in FAIR_ARMS if name.startswith(("prompted", "tuned", "cross-encoder"))
    }
    assert results.questions == 4 and results.recipe["split"] == "held out"

    scratch = report.run.path
    report.save(tmp_path / "saved")
    parts = {str(path.parent.relative_to(tmp_path / "saved")) for path in tmp_path.glob("saved/**/predictions.jsonl")}
    assert parts == {".", "development"} and (tmp_path / "saved" / "run.json").is_file()
    assert read_results(tmp_path / "saved") == results
    del report
    gc.collect()
    assert not scratch.exists()

    asked = []
    again = evaluate(recipe.questions, index, output=tmp_path / "saved", on_progress=asked.append, **given)
    assert not asked and again.results == results and (tmp_path / "saved").is_dir()


def test_an_adapter_is_a_folder_or_what_train_reader_returns(prepared, monkeypatch):
    import importlib
    from types import SimpleNamespace

    module = importlib.import_module("rag_ft.evaluation.evaluate")
    index, recipe = prepared
    seen = []
    monkeypatch.setattr(module, "evaluate_recipe", lambda recipe, output, **given: seen.append(recipe))
    for adapter in (None, "adapters/mine", Path("adapters/mine"), SimpleNamespace(path=Path("adapters/mine"))):
        evaluate(recipe.questions, index, adapter=adapter, seed=3)
    packaged, *mine = seen
    assert packaged.split_adapter == "packaged" and packaged.arm[6].threshold is None and packaged.seed == 3
    assert mine[0] == mine[1] == mine[2] and mine[0].split_adapter == str(Path("adapters/mine").resolve())
    assert mine[0].arm[6].threshold == "development"


def test_a_recipe_is_run_as_it_is_written(prepared, tmp_path, monkeypatch):
    import importlib

    module = importlib.import_module("rag_ft.evaluation.evaluate")
    _, recipe = prepared
    seen = []
    monkeypatch.setattr(module, "evaluate_recipe", lambda recipe, output, **given: seen.append((recipe, output, given)))
    evaluate(recipe, tmp_path, limit=3)
    evaluate("evals/mine.toml", output="evals/mine")
    evaluate("evals/mine.toml")
    assert seen[0] == (recipe, tmp_path, {"limit": 3, "on_progress": None})
    assert [call[:2] for call in seen[1:]] == [("evals/mine.toml", "evals/mine"), ("evals/mine.toml", None)]


def test_what_a_call_cannot_mean_is_refused(prepared, tmp_path):
    index, recipe = prepared
    for given in ({"adapter": "adapters/mine"}, {"seed": 1}, {"reader": "some/base"}):
        with pytest.raises(UsageError, match="a recipe has its own documents, adapter, reader, feedback and seed"):
            evaluate(recipe, tmp_path, **given)
    with pytest.raises(UsageError, match="a recipe has its own documents"):
        evaluate("mine.toml", index)
    with pytest.raises(UsageError, match=r"qa\.jsonl needs the index that its questions are about"):
        evaluate("qa.jsonl")
    with pytest.raises(UsageError, match="the comparison needs an adapter"):
        evaluate("qa.jsonl", index, adapter="none")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_handbook_is_evaluated_with_the_packaged_adapter_in_one_call(tmp_path, handbook_index):
    from rag_ft.environment import handbook_questions_path

    report = evaluate(handbook_questions_path(), handbook_index, limit=4)
    assert [arm.name for arm in report.results.arms] == FAIR_ARMS and report.results.questions == 4
    assert not any(arm.failed for arm in report.results.arms) and report.results.leaks == {}
    # The packaged adapter comes with a threshold of its own.
    assert set(report.results.development) == {*FAIR_ARMS[:2], *FAIR_ARMS[3:6], "cross-encoder alone"}
    page = report.save(tmp_path / "saved")
    assert page.is_file() and (tmp_path / "saved" / "predictions.jsonl").is_file()


def test_questions_that_people_did_not_write_are_never_mixed_in_unsaid(prepared, tmp_path, caplog):
    index, recipe = prepared
    caplog.set_level("INFO", "rag_ft.evaluation")
    records = read_questions(recipe.questions)
    given = [records[0].model_copy(update={"origin": "feedback"}), *records[1:]]
    write_questions(given, tmp_path / "mixed.jsonl")
    mixed = recipe.model_copy(update={"questions": str(tmp_path / "mixed.jsonl")})
    report = evaluate_recipe(mixed, tmp_path / "run", arms=little_arms, index=index)
    assert report.results.origins == {"human": 23, "feedback": 1}
    assert "origins of the questions: 23 by people, 1 from feedback" in caplog.messages
    said = "People did not write all of the questions that are judged: 23 by people, 1 from feedback."
    for name in ("report.md", "report.html"):
        assert said in (tmp_path / "run" / name).read_text()
    assert (
        "origins" not in evaluate_recipe(recipe, tmp_path / "own", arms=little_arms, index=index).results.model_dump()
    )


def test_feedback_beside_an_index_is_asked_with_the_questions_or_instead_of_them(prepared, tmp_path, caplog):
    from fakes import HashingEmbedder

    from rag_ft.indexing.index import Index
    from rag_ft.schema import Evidence

    index, recipe = prepared
    caplog.set_level("INFO", "rag_ft.evaluation")
    asked_of = Index.build(little_world()[0], tmp_path / "used", embedder=HashingEmbedder(), progress=False)
    for quote, question in (
        ("100 metres", "What height has the tower of Oslo?"),
        ("1900", "Since when does it stand?"),
    ):
        start = asked_of.document("Oslo.txt").text.index(quote)
        place = Evidence(document_id="Oslo.txt", start=start, end=start + len(quote), quote=quote)
        asked_of.add_feedback(question, "right", place)
    asked_of.add_feedback("Who likes it?", "wrong", place)
    exported = asked_of.feedback_questions().records[0]
    write_questions([*read_questions(recipe.questions), exported], tmp_path / "qa.jsonl")
    both = recipe.model_copy(update={"questions": str(tmp_path / "qa.jsonl"), "feedback": str(asked_of.path)})
    report = evaluate_recipe(both, tmp_path / "both", arms=little_arms, index=index)
    assert report.results.origins == {"human": 24, "feedback": 2}  # the exported one comes once
    assert "feedback: 2 question records: 2 with an answer, 0 without" in caplog.messages
    assert any("1 kept apart" in message for message in caplog.messages)
    assert report.results.recipe["feedback"] == "used"
    reads = report.results.arms[0].origins
    assert {origin: figures.questions for origin, figures in reads.items()} == {"human": 24, "feedback": 2}
    assert reads["human"].figures["right"].mean > reads["feedback"].figures["right"].mean
    for name in ("report.md", "report.html"):
        page = (tmp_path / "both" / name).read_text()
        assert "By origin of the questions" in page and "2 questions from feedback (2 answerable)" in page
    assert read_results(tmp_path / "both") == report.results
    only = both.model_copy(update={"questions": ""})
    alone = evaluate_recipe(only, tmp_path / "only", arms=little_arms, index=index)
    assert alone.results.origins == {"feedback": 2} and alone.results.questions == 2


def test_an_index_without_feedback_and_no_questions_is_an_error(prepared, tmp_path):
    index, recipe = prepared
    empty = recipe.model_copy(update={"questions": "", "feedback": str(index.path)})
    with pytest.raises(EvaluationError, match="gives no question record"):
        evaluate_recipe(empty, tmp_path / "run", arms=little_arms, index=index)


def test_feedback_is_not_given_beside_a_recipe(tmp_path):
    with pytest.raises(UsageError, match="a recipe has its own"):
        evaluate("recipe.toml", tmp_path, feedback=True)
