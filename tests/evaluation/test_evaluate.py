import json
import os
import random
import re
from pathlib import Path

import pytest
from data import little_world
from fakes import HashingEmbedder

from rag_ft.errors import EvaluationError
from rag_ft.evaluation.arms.baselines import FunctionArm, PassageArm, SentenceArm
from rag_ft.evaluation.evaluate import evaluate
from rag_ft.evaluation.recipe import Recipe
from rag_ft.evaluation.report.pages import markdown
from rag_ft.evaluation.report.results import differences, read_results
from rag_ft.indexing.index import Index
from rag_ft.questions.records import write_questions


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Index, recipe and arms over the little world: one arm knows the form of its answers."""
    folder = tmp_path_factory.mktemp("judge")
    documents, questions = little_world()
    write_questions(questions, folder / "qa.jsonl")
    index = Index.build(documents, folder / "index", embedder=HashingEmbedder())
    arm = [{"name": name, "kind": "passage"} for name in ("reads", "top", "sentence")]
    recipe = Recipe.model_validate(
        {
            "title": "Little <b>world</b>",
            "questions": str(folder / "qa.jsonl"),
            "documents": str(folder),
            "primary": {"first": "reads", "second": "top"},
            "arm": arm,
        }
    )
    return index, recipe


def _reads(question, passages):
    words = passages[0].text.split()
    if "high" in question:
        return " ".join(words[5:7])
    return next(word for word in words if word.startswith("19")) if "built" in question else None


def _arms(recipe, index):
    return [FunctionArm("reads", _reads), PassageArm("top"), SentenceArm("sentence", index.embedder)]


def test_an_evaluation_ends_with_results_a_report_and_a_line_for_every_reply(made, tmp_path):
    index, recipe = made
    said = []
    report = evaluate(recipe, tmp_path, arms=_arms, index=index, say=said.append)
    assert {one.name for one in tmp_path.iterdir()} == {
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
    declared = evaluate(turned, tmp_path / "turned", arms=_arms, index=index).results.primary
    assert declared.first == "top" and declared.difference.mean == -results.primary.difference.mean
    assert results.questions == 24 and results.documents == 8
    assert "24 of 24 questions about 8 documents; differences under 0." in said[0]
    assert results.retrieval["hit@1"] > 0.9
    assert str(Path(recipe.questions).parent) not in (tmp_path / "results.json").read_text()


def test_the_page_is_whole_escaped_and_asks_nobody_for_anything(made, tmp_path):
    index, recipe = made
    evaluate(recipe, tmp_path, arms=_arms, index=index)
    page = (tmp_path / "report.html").read_text()
    assert "Little &lt;b&gt;world&lt;/b&gt;" in page and "<b>world" not in page
    assert "<script" not in page and "src=" not in page and "url(" not in page.replace("url(#", "")
    assert page.count("<svg") >= 3 and "default-src 'none'" in page
    assert "<mark>" in page
    text = (tmp_path / "report.md").read_text()
    assert "| reads |" in text and "## Where the questions go" in text


def test_a_report_without_texts_holds_no_question(made, tmp_path):
    index, recipe = made
    evaluate(recipe.model_copy(update={"show_questions": False}), tmp_path, arms=_arms, index=index)
    assert "How high is the tower" not in (tmp_path / "report.html").read_text()
    assert not (tmp_path / "questions.jsonl").exists()


def test_results_repeat_to_the_byte_and_a_second_call_asks_nothing(made, tmp_path):
    index, recipe = made
    evaluate(recipe, tmp_path / "a", arms=_arms, index=index)
    evaluate(recipe, tmp_path / "b", arms=_arms, index=index)
    first = (tmp_path / "a" / "results.json").read_bytes()
    assert first == (tmp_path / "b" / "results.json").read_bytes()
    lines = (tmp_path / "a" / "predictions.jsonl").read_text()
    evaluate(recipe, tmp_path / "a", arms=_arms, index=index)
    assert (tmp_path / "a" / "predictions.jsonl").read_text() == lines
    assert (tmp_path / "a" / "results.json").read_bytes() == first


def test_a_limit_asks_fewer_and_says_what_will_not_show(made, tmp_path):
    index, recipe = made
    said = []
    report = evaluate(recipe, tmp_path, arms=_arms, index=index, limit=5, say=said.append)
    assert report.results.questions == 5 and report.results.left_out == 19
    assert report.results.detectable > evaluate(recipe, tmp_path / "all", arms=_arms, index=index).results.detectable
    assert said[0].startswith("5 of 24 questions")


def test_two_runs_are_compared_figure_by_figure(made, tmp_path):
    index, recipe = made
    evaluate(recipe, tmp_path / "a", arms=_arms, index=index)

    def others(recipe, index):
        return [FunctionArm("reads", lambda question, passages: None), *_arms(recipe, index)[1:]]

    evaluate(recipe, tmp_path / "b", arms=others, index=index)
    found = differences(read_results(tmp_path / "a"), read_results(tmp_path / "b"))
    assert any(line.startswith(("arm 'reads', f1: 0.9", "arm 'reads', f1: 1.0")) for line in found)
    assert not any("'top'" in line for line in found)
    assert differences(read_results(tmp_path / "a"), read_results(tmp_path / "a")) == []


def test_an_arm_that_fails_is_in_the_report_with_its_reason(made, tmp_path):
    index, recipe = made

    def broken(question, passages):
        raise TimeoutError("no reply in 30 s")

    report = evaluate(
        recipe,
        tmp_path,
        arms=lambda recipe, index: [FunctionArm("reads", broken), *_arms(recipe, index)[1:]],
        index=index,
    )
    assert report.results.arms[0].failed == 24 and report.results.primary is None
    assert "TimeoutError: no reply in 30 s" in (tmp_path / "report.html").read_text()


def test_results_that_are_none_are_told(tmp_path):
    with pytest.raises(EvaluationError, match="cannot be read"):
        read_results(tmp_path)
    (tmp_path / "results.json").write_text(json.dumps({"title": "x"}))
    with pytest.raises(EvaluationError, match="not an evaluation's results"):
        read_results(tmp_path)


def test_prices_give_a_cost_and_when_the_training_has_paid_for_itself(made, tmp_path):
    from rag_ft.evaluation.advice import break_even
    from rag_ft.evaluation.recipe import Price, Prices

    index, recipe = made

    class Priced:
        def __init__(self, name, kind, adapter, tokens):
            self.name, self.settings, self.tokens = name, {"kind": kind, "adapter": adapter}, tokens

        def reply(self, asked):
            made = PassageArm(self.name).reply(asked)
            taken = {"prompt_tokens": self.tokens, "completion_tokens": 10, "seconds": 1.8}
            return [one.model_copy(update=taken) for one in made]

    arms = [Priced("reads", "reader", "a", 300), Priced("top", "chat", None, 300)]
    prices = Prices(
        currency="EUR",
        training=30.0,
        arms={"top": Price(prompt_million=10, completion_million=100), "*": Price(prompt_million=1, watts=100)},
    )
    report = evaluate(
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
    assert "<td>50.0</td><td>0.30</td>" in page and "Wh a thousand, estimated" in page
    assert "after 8,108 answers (0.30 against 4.00 a thousand)" in page and "EUR a thousand" in page
    assert "cost" not in (tmp_path / "results.json").read_text()
    assert break_even(30, 0.3, 4.0) == pytest.approx(8108.1, rel=1e-4) and break_even(30, 4.0, 0.3) is None


def test_without_prices_the_energy_is_estimated_at_the_documented_watts(made, tmp_path):
    from rag_ft.evaluation.recipe import WATTS

    index, recipe = made
    report = evaluate(recipe, tmp_path, arms=_arms, index=index)
    speed = report.speed["reads"]
    assert WATTS == 65 and speed.cost_per_thousand is None
    assert speed.energy_per_thousand == pytest.approx(
        1000 * WATTS / 3600 * sum(one.seconds for one in report.predictions["reads"]) / 24, rel=1e-3, abs=1e-4
    )


def test_what_tuning_taught_is_drawn_with_a_table_beside_it(made, tmp_path):
    index, recipe = made

    class Reads:
        def __init__(self, name, adapter, function):
            self.name, self.settings = name, {"kind": "reader", "adapter": adapter, "gold first": False}
            self.arm = FunctionArm(name, function)

        def reply(self, asked):
            return self.arm.reply(asked)

    def wrong(question, passages):
        return _reads(question, passages) if "Oslo" in question else "x"

    arms = [Reads("top", None, wrong), Reads("reads", "a", _reads)]
    report = evaluate(recipe, tmp_path, arms=lambda recipe, index: arms, index=index)
    found = report.results.flow
    assert (found.before, found.after) == ("top", "reads")
    assert sum(one.questions for one in found.moves) == 24 and found.righted == 21 and found.spoilt == 0
    page, text = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    assert "21 put right, 0 spoilt" in page and "21 put right, 0 spoilt" in text
    assert "<td>answered what has no answer</td><td>declined rightly</td><td>7</td>" in page
    assert "| answered what has no answer | declined rightly | 7 |" in text
    assert read_results(tmp_path) == report.results


def test_a_learning_curve_is_measured_advised_on_and_drawn(made, tmp_path):
    """Adapters that read ever more of the questions, the last ones all but a quarter."""
    index, recipe = made
    arm = [{"name": "reads", "kind": "reader"}, {"name": "top", "kind": "passage"}]
    curve = {"adapter": [{"records": records, "adapter": f"/somewhere/{records}"} for records in (10, 20, 40, 80)]}
    recipe = Recipe.model_validate({**recipe.model_dump(), "arm": arm, "learning_curve": curve})
    asked = []

    def sized(records):
        def reads(question, passages):
            asked.append(records)
            chance = random.Random(f"{question} {records}").random()
            return _reads(question, passages) if chance < 1 - 3 * records**-0.5 + 0.1 else "x"

        return FunctionArm(f"{records} records", reads)

    def curved(recipe, index):
        return ((records, sized(records)) for records in (10, 20, 40, 80))

    given = {
        "arms": lambda recipe, index: [_arms(recipe, index)[0], PassageArm("top")],
        "curve": curved,
        "index": index,
    }
    report = evaluate(recipe, tmp_path, **given)
    found = report.results.learning_curve
    assert [point.records for point in found.points] == [10, 20, 40, 80] and len(found.doublings) == 3
    f1 = [point.f1.mean for point in found.points]
    assert f1[0] < f1[-1] and found.points[0].f1.questions == 24
    assert "Twice the 80 records are expected to change F1 by" in report.results.advice.reasons[-1]
    page, text = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    assert "Would more records help?" in page and "<td>160</td>" in page
    assert f"| 80 | {f1[-1]:.3f} [" in text and "| 640 | " in text
    assert "/somewhere" not in (tmp_path / "results.json").read_text()
    count = len(asked)
    assert evaluate(recipe, tmp_path, **given).results == report.results and len(asked) == count


def test_a_folder_without_a_curve_is_told_before_anything_is_asked(made, tmp_path):
    index, recipe = made
    arm = [*recipe.model_dump()["arm"], {"name": "tuned", "kind": "reader"}]
    curved = Recipe.model_validate(
        {**recipe.model_dump(), "arm": arm, "learning_curve": {"folder": str(tmp_path), "arm": "tuned"}}
    )
    with pytest.raises(EvaluationError, match="holds no learning curve"):
        evaluate(curved, tmp_path / "out", arms=_arms, index=index)
    assert not (tmp_path / "out" / "predictions.jsonl").exists()


def _asking(recipe, tmp_path, questions):
    write_questions(questions, tmp_path / "some.jsonl")
    return recipe.model_copy(update={"questions": str(tmp_path / "some.jsonl"), "faithfulness": True})


@pytest.mark.parametrize("answerable", [True, False])
def test_questions_of_one_kind_only_have_a_report_with_what_there_is(made, tmp_path, answerable):
    index, recipe = made
    some = [one for one in little_world()[1] if one.answerable is answerable]
    report = evaluate(_asking(recipe, tmp_path, some), tmp_path / "out", arms=_arms, index=index)
    reads = report.results.arms[0]
    assert ("f1_answerable" in reads.figures) is answerable
    assert (reads.abstention_recall is None) is answerable
    row = next(line for line in (tmp_path / "out" / "report.md").read_text().splitlines() if "| reads |" in line)
    assert " – |" in row
    assert not re.search(r"\bnan\b", (tmp_path / "out" / "report.html").read_text(), re.IGNORECASE)
    assert "NaN" not in (tmp_path / "out" / "results.json").read_text()
    assert read_results(tmp_path / "out") == report.results


def test_an_arm_that_is_handed_the_gold_passage_is_not_asked_with_swapped_answers(made, tmp_path):
    index, recipe = made

    class Handed(FunctionArm):
        perfect = index

    def arms(recipe, index):
        return [*_arms(recipe, index), Handed("handed", _reads)]

    recipe = _asking(recipe, tmp_path, little_world()[1])
    told = evaluate(recipe, tmp_path / "out", arms=arms, index=index).results.faithfulness
    assert told and "handed" not in told


def test_one_question_has_a_report_without_intervals_that_cannot_tell(made, tmp_path):
    index, recipe = made
    report = evaluate(_asking(recipe, tmp_path, little_world()[1][:1]), tmp_path / "out", arms=_arms, index=index)
    assert report.results.questions == 1 and report.results.arms[0].figures["f1"].low is None
    assert report.results.advice.choice == "cannot tell"
    assert report.results.primary.detectable is None
    assert "no difference shown; questions about so few documents" in (tmp_path / "out" / "report.md").read_text()
    assert "NaN" not in (tmp_path / "out" / "results.json").read_text()  # which is not JSON
    assert read_results(tmp_path / "out") == report.results


def test_an_arm_that_fails_half_way_leaves_a_report_that_says_so(made, tmp_path):
    index, recipe = made

    class HalfWay:
        name, settings, calls = "reads", {"kind": "reader", "adapter": "a"}, 0

        def reply(self, asked):
            self.calls += 1
            if self.calls == 2:
                raise MemoryError("no memory left")
            return FunctionArm("reads", _reads).reply(asked)

    report = evaluate(recipe, tmp_path, arms=lambda recipe, index: [HalfWay(), *_arms(recipe, index)[1:]], index=index)
    reads, *others = report.results.arms
    assert (reads.replied, reads.failed) == (16, 8) and not any(arm.failed for arm in others)
    assert report.results.primary.difference.questions == 16  # those that both replied to
    said = "“reads” failed on 8 questions, which have no score: MemoryError: no memory left"
    assert said in (tmp_path / "report.md").read_text() and said in (tmp_path / "report.html").read_text()


def test_questions_about_other_documents_than_the_index_has_are_told(made, tmp_path):
    index, recipe = made
    questions = little_world()[1]

    def moved(one):
        return one.model_copy(
            update={"evidence": tuple(e.model_copy(update={"document_id": "Rome.txt"}) for e in one.evidence)}
        )

    some = _asking(recipe, tmp_path, [moved(one) for one in questions[:3]] + questions[3:])
    report = evaluate(some, tmp_path / "some", arms=_arms, index=index)
    assert report.results.foreign == 3
    assert "3 questions are about documents that the index does not have" in (tmp_path / "some/report.md").read_text()
    none = _asking(recipe, tmp_path, [moved(one) for one in questions])
    with pytest.raises(
        EvaluationError, match=r"none of the 24 questions is about a document of the index.*'Rome\.txt'"
    ):
        evaluate(none, tmp_path / "none", arms=_arms, index=index)


def test_documents_that_were_edited_since_the_questions_were_written_stop_the_run(made, tmp_path):
    documents, _ = little_world()
    edited = [one.model_copy(update={"text": "Preface. " + one.text}) for one in documents]
    index = Index.build(edited, tmp_path / "index", embedder=HashingEmbedder())
    with pytest.raises(
        EvaluationError, match=r"24 pieces of evidence are not where the questions say \(question Oslo-"
    ):
        evaluate(made[1], tmp_path / "out", arms=_arms, index=index)
    assert not (tmp_path / "out" / "predictions.jsonl").exists()


def test_a_document_that_no_question_is_about_cannot_be_asked_for(made, tmp_path):
    index, recipe = made
    for changes in ({"only": ("Oslo.txt", "Osol.txt")}, {"development": {"documents": ("Osol.txt",)}}):
        typo = Recipe.model_validate(recipe.model_dump() | changes)
        with pytest.raises(EvaluationError, match=r"is about Osol\.txt: correct '"):
            evaluate(typo, tmp_path, arms=_arms, index=index)


def test_the_depth_of_the_run_is_among_the_cutoffs(made, tmp_path):
    index, recipe = made
    deep = Recipe.model_validate(recipe.model_dump() | {"k": 4})
    found = evaluate(deep, tmp_path, arms=_arms, index=index).results.retrieval
    assert set(found) == {"hit@1", "hit@3", "hit@4", "MRR", "nDCG"}


def test_what_a_model_knows_by_heart_is_looked_up_for_that_model_alone():
    from rag_ft.evaluation.evaluate import _closed_book, _model_of
    from rag_ft.evaluation.predictions import Prediction

    asked = {"kind": "closed book", "base fingerprint": "b", "adapter": None, "shots": True}
    settings = {
        "by heart": asked,
        "by heart, zero-shot": {**asked, "shots": False},
        "prompted": {**asked, "kind": "reader"},
        "tuned": {**asked, "kind": "reader", "adapter": "a", "adapter fingerprint": "f"},
        "large": {"kind": "chat", "model": "m"},
    }
    said = {name: [Prediction(arm=name, question_id="q", answer=name)] for name in ("by heart", "by heart, zero-shot")}
    closed = _closed_book(said, settings)
    found = {name: closed.get(_model_of(settings[name])) for name in ("prompted", "tuned", "large")}
    assert found == {"prompted": {"q": "by heart"}, "tuned": None, "large": None}


def test_questions_that_an_adapter_was_chosen_on_are_counted_and_told(made, tmp_path):
    from types import SimpleNamespace

    from rag_ft.evaluation.evaluate import _chosen_on

    (tmp_path / "tuning.json").write_text(json.dumps({"data": {"held_out": ["Oslo.txt"]}}))
    loaded = SimpleNamespace(adapter=None, weights=SimpleNamespace(path=tmp_path))
    arm = SimpleNamespace(name="tuned", reader=SimpleNamespace(loaded=loaded))
    questions = little_world()[1]
    about = sum(any(one.document_id == "Oslo.txt" for one in question.evidence) for question in questions)
    assert about and _chosen_on([arm, PassageArm("top")], questions) == {"tuned": about}
    index, recipe = made
    report = evaluate(recipe, tmp_path / "out", arms=_arms, index=index)
    results = report.results.model_copy(update={"chosen_on": {"reads": about}})
    notes = markdown(report.model_copy(update={"results": results}))
    assert f"{about} questions are about documents that the adapter of “reads” was held out on" in notes


def test_the_folder_of_another_recipe_is_refused(made, tmp_path):
    index, recipe = made
    evaluate(recipe, tmp_path, arms=_arms, index=index)
    before = (tmp_path / "results.json").read_bytes()
    with pytest.raises(EvaluationError, match="predictions of another run"):
        evaluate(recipe, tmp_path, arms=_arms, index=index, limit=5)
    assert (tmp_path / "results.json").read_bytes() == before


def test_gpu_memory_has_a_column_where_there_is_a_gpu(made, tmp_path):
    from rag_ft.evaluation.report.pages import html, markdown

    index, recipe = made
    report = evaluate(recipe, tmp_path, arms=_arms, index=index)
    assert "GPU memory" not in markdown(report)
    on_gpu = {
        name: one.model_copy(update={"device_memory_bytes": 3_000_000_000 if name == "reads" else None})
        for name, one in report.speed.items()
    }
    moved = report.model_copy(update={"speed": on_gpu})
    assert "| GPU memory, MB |" in markdown(moved) and " | 3,000 | " in markdown(moved)
    assert "<th>GPU memory, MB</th>" in html(moved)


def test_questions_that_a_merged_reader_was_tuned_on_are_counted_as_those_of_an_adapter_are(
    made, tmp_path, tiny_llama_dir
):
    from types import SimpleNamespace

    from rag_ft.evaluation.evaluate import _leaks

    index, _ = made
    _, questions = little_world()
    prints = [index.document_fingerprint("Oslo.txt")[:16]]
    (tmp_path / "tuning.json").write_text(json.dumps({"data": {"document_fingerprints": prints}}))
    merged = SimpleNamespace(adapter=None, weights=SimpleNamespace(path=tmp_path))
    untuned = SimpleNamespace(adapter=None, weights=SimpleNamespace(path=tiny_llama_dir))
    arms = [
        SimpleNamespace(name=name, reader=SimpleNamespace(loaded=loaded))
        for name, loaded in (("merged", merged), ("untuned", untuned))
    ]
    about = sum(any(one.document_id == "Oslo.txt" for one in question.evidence) for question in questions)
    assert about and _leaks(arms, questions, index) == {"merged": about}


@pytest.mark.parametrize("name", ["report.html", "report.md", "results.json", "speed.json", "run.json", "memory.json"])
def test_a_file_of_somebody_else_is_named_and_not_written_over(made, tmp_path, name):
    index, recipe = made
    (tmp_path / name).write_text('{"mine": 1}')
    with pytest.raises(EvaluationError, match=rf"{name} "):
        evaluate(recipe, tmp_path, arms=_arms, index=index)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: '{"mine": 1}'}


@pytest.mark.parametrize("name", ["report.html", "predictions.jsonl", "swapped"])
def test_a_link_where_an_evaluation_writes_is_refused(made, tmp_path, name):
    index, recipe = made
    (tmp_path / "theirs").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).symlink_to(tmp_path / "theirs")
    with pytest.raises(EvaluationError, match=name):
        evaluate(recipe, tmp_path / "out", arms=_arms, index=index)
    assert not list((tmp_path / "theirs").iterdir())


@pytest.mark.parametrize("renamed", range(5))
def test_a_kill_while_the_report_is_replaced_leaves_no_mixture(made, tmp_path, monkeypatch, renamed):
    """The former report, or files without results.json; the same command then writes the new one."""
    index, recipe = made
    evaluate(recipe, tmp_path, arms=_arms, index=index)
    names = ("results.json", "report.html", "report.md", "speed.json", "questions.jsonl")
    before = {name: (tmp_path / name).read_bytes() for name in names}
    other = recipe.model_copy(update={"title": "Another title"})
    replace, done = os.replace, []

    def killed(one, two):
        if Path(two).name in names:
            if len(done) == renamed:
                raise KeyboardInterrupt
            done.append(two)
        replace(one, two)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            evaluate(other, tmp_path, arms=_arms, index=index)
    now = {name: (tmp_path / name).read_bytes() for name in names if (tmp_path / name).exists()}
    assert now == before or "results.json" not in now
    evaluate(other, tmp_path, arms=_arms, index=index)
    assert read_results(tmp_path).title == "Another title" and "Another title" in (tmp_path / "report.html").read_text()


def test_questions_that_may_not_be_shown_any_more_are_taken_away(made, tmp_path):
    index, recipe = made
    evaluate(recipe, tmp_path, arms=_arms, index=index)
    assert (tmp_path / "questions.jsonl").is_file()
    evaluate(recipe.model_copy(update={"show_questions": False}), tmp_path, arms=_arms, index=index)
    assert not (tmp_path / "questions.jsonl").exists()
