import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from data import little_world
from fakes import HashingEmbedder

from rag_ft.errors import EvaluationError
from rag_ft.evaluation.arms.baselines import FunctionArm, PassageArm, SentenceArm
from rag_ft.evaluation.figures import arm_figures
from rag_ft.evaluation.report.results import RESULTS
from rag_ft.evaluation.runner import PREDICTIONS, RUN_FILE, read_memory, read_predictions, retrieve_cases, run_arms
from rag_ft.indexing.index import Index
from rag_ft.questions.records import write_questions
from rag_ft.schema import Document, Evidence, Question


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    documents, questions = little_world()
    return Index.build(documents, tmp_path_factory.mktemp("judge") / "index", embedder=HashingEmbedder()), questions


def _first_word(question, passages):
    return passages[0].text.split()[0]


def _lines(folder):
    return (folder / PREDICTIONS).read_text().splitlines()


def test_every_question_gets_one_prediction_from_every_arm_and_a_line(world, tmp_path):
    index, questions = world
    arms = [PassageArm("top"), FunctionArm("mine", _first_word)]
    seen = []
    predictions = run_arms(arms, retrieve_cases(questions, index.as_retriever(k=3)), tmp_path, on_progress=seen.append)
    assert [prediction.question_id for prediction in predictions["top"]] == [question.id for question in questions]
    assert len(_lines(tmp_path)) == 2 * len(questions)
    assert seen[-1].stage == "mine" and seen[-1].done == seen[-1].total == len(questions) and seen[-1].seconds_left == 0
    assert all(prediction.citations for prediction in predictions["top"])


def test_what_is_on_disk_is_not_asked_again(world, tmp_path):
    index, questions = world
    calls = []

    def counted(question, passages):
        calls.append(question)
        return "x"

    first = run_arms([FunctionArm("mine", counted)], retrieve_cases(questions, index.as_retriever()), tmp_path)
    assert len(calls) == len(questions)
    again = run_arms([FunctionArm("mine", counted)], retrieve_cases(questions, index.as_retriever()), tmp_path)
    assert again == first and len(calls) == len(questions)
    assert read_memory(tmp_path)["mine"].process_bytes > 10e6  # of the go that asked


def test_a_question_asked_twice_costs_one_call(world, tmp_path):
    index, questions = world
    calls = []

    def counted(question, passages):
        calls.append(question)
        return "x"

    twice = [*questions, questions[0].model_copy(update={"id": "again"})]
    predictions = run_arms([FunctionArm("mine", counted)], retrieve_cases(twice, index.as_retriever()), tmp_path)
    assert len(calls) == len(questions) and predictions["mine"][-1].question_id == "again"


def test_an_arm_that_breaks_half_way_fails_its_rest_and_the_others_finish(world, tmp_path):
    index, questions = world

    class Breaks:
        name = "breaks"
        settings = {"kind": "test"}
        calls = 0

        def reply(self, asked):
            self.calls += 1
            if self.calls > 1:
                raise ConnectionError("the server has gone away")
            return PassageArm("breaks").reply(asked)

    predictions = run_arms([Breaks(), PassageArm("top")], retrieve_cases(questions, index.as_retriever()), tmp_path)
    failed = [prediction for prediction in predictions["breaks"] if prediction.failed]
    assert len(failed) == len(questions) - 16
    assert failed[0].failed == "ConnectionError: the server has gone away"
    assert not any(prediction.failed for prediction in predictions["top"]) and len(predictions["top"]) == len(questions)


def test_an_exception_of_a_users_function_is_that_questions_failure(world, tmp_path):
    index, questions = world

    def picky(question, passages):
        if "high" in question:
            raise ValueError("too high")
        return None

    predictions = run_arms([FunctionArm("mine", picky)], retrieve_cases(questions, index.as_retriever()), tmp_path)[
        "mine"
    ]
    assert {bool(prediction.failed) for prediction in predictions} == {True, False}
    assert all(
        ("ValueError: too high" == prediction.failed) == prediction.question_id.endswith("-1")
        for prediction in predictions
    )


def test_the_folder_of_another_run_is_refused(world, tmp_path):
    index, questions = world
    run_arms([PassageArm("top")], retrieve_cases(questions, index.as_retriever()), tmp_path)
    with pytest.raises(EvaluationError, match=r"another run \(pick of the arm 'top' was 'top' and is now 'random'\)"):
        run_arms([PassageArm("top", pick="random")], retrieve_cases(questions, index.as_retriever()), tmp_path)
    with pytest.raises(EvaluationError, match=r"another run \(only one of the two has the arm 'top'\)"):
        run_arms([PassageArm("low")], retrieve_cases(questions, index.as_retriever()), tmp_path)
    with pytest.raises(EvaluationError, match=r"another run \(the questions or their retrieved passages differ"):
        run_arms([PassageArm("top")], retrieve_cases(questions[1:], index.as_retriever()), tmp_path)
    (tmp_path / RUN_FILE).unlink()
    with pytest.raises(EvaluationError, match=r"has no run\.json beside it"):
        run_arms([PassageArm("top")], retrieve_cases(questions, index.as_retriever()), tmp_path)


def test_a_cut_last_line_is_asked_again_and_a_damaged_one_is_reported(world, tmp_path):
    index, questions = world
    whole = run_arms([PassageArm("top")], retrieve_cases(questions, index.as_retriever()), tmp_path)
    path = tmp_path / PREDICTIONS
    path.write_bytes(path.read_bytes()[:-40])
    assert run_arms([PassageArm("top")], retrieve_cases(questions, index.as_retriever()), tmp_path) == whole
    lines = _lines(tmp_path)
    path.write_text("\n".join(["{broken", *lines[1:]]) + "\n")
    with pytest.raises(EvaluationError, match="line 1 is damaged"):
        run_arms([PassageArm("top")], retrieve_cases(questions, index.as_retriever()), tmp_path)


def test_a_batch_that_a_kill_has_cut_is_asked_again_as_the_batch_that_it_is(world, tmp_path):
    """Batches decide how a reader pads: the rest of one alone could be answered otherwise."""
    index, questions = world
    asked = retrieve_cases(questions, index.as_retriever())
    run_arms([PassageArm("top")], asked, tmp_path)
    path = tmp_path / PREDICTIONS
    lines = path.read_text().splitlines(keepends=True)
    assert len(lines) == 24
    path.write_text("".join(lines[:20]) + lines[20][:30])
    batches = []

    class Counted(PassageArm):
        def reply(self, asked):
            batches.append(len(asked))
            return super().reply(asked)

    run_arms([Counted("top")], asked, tmp_path)
    ids = [json.loads(line)["question_id"] for line in path.read_text().splitlines()]
    assert batches == [8] and ids == [json.loads(line)["question_id"] for line in lines]


def test_what_a_kill_left_is_cleared_where_nothing_is_asked_any_more(world, tmp_path):
    index, questions = world
    asked = retrieve_cases(questions, index.as_retriever())
    run_arms([PassageArm("top")], asked, tmp_path)
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    left = tmp_path / f".memory.json.partial-{int(gone.stdout)}-ab12"
    left.write_text("{")
    run_arms([PassageArm("top")], asked, tmp_path)
    assert not left.exists()


def test_predictions_are_read_without_touching_the_file(world, tmp_path):
    """Somebody may compare a run that is still writing."""
    index, questions = world
    run_arms([PassageArm("top")], retrieve_cases(questions, index.as_retriever()), tmp_path)
    path = tmp_path / PREDICTIONS
    path.write_bytes(path.read_bytes()[:-5])
    before = path.read_bytes()
    assert len(read_predictions(path)) == 23 and path.read_bytes() == before


def test_a_disk_that_fills_up_keeps_whole_replies_and_the_run_goes_on(world, tmp_path, monkeypatch):
    index, questions = world
    asked = retrieve_cases(questions, index.as_retriever())
    whole = run_arms([PassageArm("top")], asked, tmp_path / "whole")
    write, count = os.write, []

    def full(handle, data):
        count.append(handle)
        if len(count) > 1:  # half of the second batch
            if len(count) > 2:
                raise OSError(28, "No space left on device")
            return write(handle, bytes(data)[: len(data) // 2])
        return write(handle, data)

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(EvaluationError, match=r"the disk of .* is full: free some space .*replies so far are kept"):
            run_arms([PassageArm("top")], asked, tmp_path / "cut")
    assert len((tmp_path / "cut" / PREDICTIONS).read_text().splitlines()) == 16
    again = run_arms([PassageArm("top")], asked, tmp_path / "cut")
    assert [prediction.answer for prediction in again["top"]] == [prediction.answer for prediction in whole["top"]]


def test_names_and_questions_are_checked(world, tmp_path):
    index, questions = world
    with pytest.raises(EvaluationError, match="two arms are named"):
        run_arms([PassageArm("a"), PassageArm("a")], retrieve_cases(questions, index.as_retriever()), tmp_path)
    with pytest.raises(EvaluationError, match="no questions"):
        run_arms([PassageArm("a")], retrieve_cases([], index.as_retriever()), tmp_path)


def test_what_failed_is_asked_again_and_what_did_not_is_not(world, tmp_path):
    index, questions = world
    asked, down = [], True

    def flaky(question, passages):
        asked.append(question)
        if down and "high" in question:
            raise ConnectionError("down")
        return "x"

    predictions = run_arms([FunctionArm("mine", flaky)], retrieve_cases(questions, index.as_retriever()), tmp_path)[
        "mine"
    ]
    assert sum(bool(prediction.failed) for prediction in predictions) == 8
    asked.clear()
    down = False
    predictions = run_arms([FunctionArm("mine", flaky)], retrieve_cases(questions, index.as_retriever()), tmp_path)[
        "mine"
    ]
    assert not any(prediction.failed for prediction in predictions) and any("high" in case for case in asked)


def test_a_reply_that_there_is_stays_also_where_another_one_of_its_batch_failed(world, tmp_path):
    index, questions = world
    asked = retrieve_cases(questions[:6], index.as_retriever())
    said: list[str] = []

    def first(question, passages):
        if question == asked[0].question.question:
            raise ConnectionError("down")
        return "x"

    def second(question, passages):
        said.append(question)
        raise ConnectionError("down for all")

    run_arms([FunctionArm("mine", first)], asked, tmp_path)
    second.__module__, second.__qualname__ = first.__module__, first.__qualname__
    predictions = run_arms([FunctionArm("mine", second)], asked, tmp_path)["mine"]
    assert said == [asked[0].question.question]
    assert [bool(prediction.failed) for prediction in predictions] == [True, False, False, False, False, False]


def test_every_arm_is_given_the_depth_of_the_run_however_deep_another_one_goes(world):
    index, questions = world
    asked = retrieve_cases(questions[:4], index.as_retriever(k=5))
    seen = []

    def counts(question, passages):
        seen.append(len(passages))

    arms = [FunctionArm("mine", counts, 2), PassageArm("any", "random", k=2)]
    replies = [arm.reply(asked) for arm in arms]
    assert seen == [2, 2, 2, 2] and all(
        len(prediction.passages) == 2 for predictions in replies for prediction in predictions
    )
    assert all(arm.settings["k"] == 2 for arm in arms)


def test_a_run_goes_on_with_another_number_of_threads(world, tmp_path):
    class Counting(PassageArm):
        threads = 1

        @property
        def settings(self):
            return {**super().settings, "threads": self.threads}

    index, questions = world
    asked = retrieve_cases(questions, index.as_retriever())
    whole = run_arms([Counting("top")], asked, tmp_path)
    Counting.threads = 2
    assert run_arms([Counting("top")], asked, tmp_path) == whole


@pytest.mark.parametrize("changes", [{"confidence": float("nan")}, {"seconds": float("inf")}])
def test_a_reply_with_a_number_that_is_none_is_a_failure_and_no_score(world, tmp_path, changes):
    index, questions = world

    class Odd:
        name = "odd"
        settings = {"kind": "test"}

        def reply(self, asked):
            predictions = PassageArm("odd").reply(asked)
            return [predictions[0].model_copy(update=changes), *predictions[1:]]

    asked = retrieve_cases(questions, index.as_retriever())
    predictions = run_arms([Odd()], asked, tmp_path)["odd"]
    failed = [prediction for prediction in predictions if prediction.failed]
    assert len(failed) == 2  # the first of each batch
    (name, value), *_ = changes.items()
    assert failed[0].failed == f"{name} of a reply is {value}, which is not a finite number"
    figures = arm_figures(predictions, {question.id: question for question in questions})
    assert figures.failed == 2 and figures.figures["f1"].questions == len(questions) - 2
    assert run_arms([PassageArm("top")], asked, tmp_path / "other")  # and nothing else is spoilt


SCRIPT = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from fakes import HashingEmbedder
from data import little_world
from rag_ft.evaluation.arms.baselines import FunctionArm, PassageArm
from rag_ft.evaluation.evaluate import evaluate_recipe
from rag_ft.evaluation.recipe import Recipe
from rag_ft.indexing.index import Index
def slow(question, passages):
    time.sleep(0.02)
    if "sold" in question and "Oslo" in question:
        raise TimeoutError("no reply")
    return passages[0].text.split()[5]
arms = [FunctionArm("mine", slow), PassageArm("top"), PassageArm("any", pick="random")]
recipe = Recipe.model_validate(dict(
    title="t", questions={questions!r}, documents="d", faithfulness=True,
    primary=dict(first="mine", second="top"), arm=[dict(name=arm.name, kind="passage") for arm in arms],
))
index = Index.load({index!r}, embedder=HashingEmbedder())
evaluate_recipe(recipe, {output!r}, arms=lambda *_: arms, index=index)
"""


@pytest.mark.slow
def test_a_run_killed_five_times_ends_with_the_results_of_one_that_was_not(world, tmp_path):
    """results.json itself, to the byte: nothing that a clock says stands in it."""
    index, questions = world
    write_questions(questions, tmp_path / "qa.jsonl")

    def start(output):
        names = {"tests": Path(__file__).parent.parent, "questions": tmp_path / "qa.jsonl", "index": index.path}
        script = SCRIPT.format(**{name: str(path) for name, path in names.items()}, output=str(output))
        return subprocess.Popen([sys.executable, "-c", script])

    assert start(tmp_path / "whole").wait(timeout=120) == 0
    chooser, killed = random.Random(1), 0
    for _ in range(5):
        process = start(tmp_path / "killed")
        deadline = time.monotonic() + 60
        while not (tmp_path / "killed" / RUN_FILE).exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(chooser.random() * 1.5)
        killed += process.poll() is None
        process.kill()
        process.wait(timeout=30)
    assert killed >= 3  # else it would show nothing
    assert start(tmp_path / "killed").wait(timeout=120) == 0
    assert (tmp_path / "killed" / RESULTS).read_bytes() == (tmp_path / "whole" / RESULTS).read_bytes()
    assert len(json.loads((tmp_path / "whole" / RESULTS).read_text())["arms"]) == 3


def test_the_sentence_arm_quotes_the_top_passage(world):
    from rag_ft.evaluation.arms.base import Case

    index, questions = world
    hits = index.as_retriever(k=2).retrieve_batch([questions[0].question])[0]
    predictions = SentenceArm("sentence", index.embedder).reply(
        [Case(questions[0], tuple(hits)), Case(questions[0], ())]
    )
    assert predictions[0].answer in hits[0].passage.text and predictions[0].answer.endswith(".")
    assert predictions[0].citations[0].verdict == "supported"
    assert predictions[1].answer is None


def test_a_record_with_history_is_searched_with_it(world):
    index, questions = world
    follow_up = questions[0].model_copy(update={"question": "And it?", "history": ("How high is the tower of Quito?",)})
    (case,) = retrieve_cases([follow_up], index.as_retriever(k=1))
    assert case.hits[0].passage.title == "Quito"
    (alone,) = retrieve_cases([follow_up.model_copy(update={"history": ()})], index.as_retriever(k=1))
    assert alone.hits[0].passage.title != "Quito"


def test_of_the_places_of_a_text_the_one_with_the_evidence_counts(tmp_path):
    text = "The lamp is red. It burns all night."
    documents = [Document(id=name, text=text, title=name) for name in "abc"]
    index = Index.build(documents, tmp_path / "index", embedder=HashingEmbedder(), progress=False)
    evidence = Evidence(document_id="c", start=0, end=16, quote=text[:16])
    question = Question(id="q", question="What colour is the lamp?", answers=("red",), evidence=(evidence,))
    (case,) = retrieve_cases([question], index.as_retriever(k=2))
    assert [hit.passage.document_id for hit in case.hits] == ["c"]
