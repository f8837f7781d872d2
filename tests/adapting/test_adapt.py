"""Whole adaptations of the tiny model, from documents to the verdict."""

import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from adaptations import ScriptedMaker, adapt_tiny, fixed_speed, results_of, tiny_world
from data import bigger_world
from fakes import HashingEmbedder

from rag_ft.adapting import plan, run
from rag_ft.adapting.adapt import plan_adaptation
from rag_ft.adapting.stages import Folder
from rag_ft.errors import DatasetError, TrainingError, UsageError
from rag_ft.questions.records import read_questions, write_questions

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _fixed_speed(monkeypatch):
    monkeypatch.setattr(plan, "measure_speed", fixed_speed)


@pytest.fixture(scope="module")
def world(tmp_path_factory, tiny_llama_dir):
    """Folder, documents, file of records and start of all adaptations here."""
    folder = tmp_path_factory.mktemp("adapt")
    return (folder, *tiny_world(folder, tiny_llama_dir))


@pytest.fixture(scope="module")
def finished(world, tiny_llama_dir):
    """The verdict of an uninterrupted adaptation."""
    folder, documents, questions, start = world
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(plan, "measure_speed", fixed_speed)
        return adapt_tiny(documents, folder / "whole", tiny_llama_dir, start, questions=questions)


@pytest.fixture
def untrained(monkeypatch):
    """Nothing may be trained or judged."""
    for name in ("train_reader", "judge_readers", "calibrate_adapter", "make_plan"):
        monkeypatch.setattr(run, name, lambda *_given, name=name, **_more: pytest.fail(f"{name} was called"))


def test_the_verdict_is_on_documents_that_nothing_was_trained_on(finished):
    record = json.loads((finished.output / "adapter" / "rag_ft.json").read_text())
    held_out = read_questions(finished.output / "held-out.jsonl")
    about = {piece.document_id for question in held_out for piece in question.evidence}
    assert about and not about & set(record["data"]["documents"])
    judged = {line["question_id"] for line in _lines(finished.output / "evaluation" / "predictions.jsonl")}
    chosen_on = set(record["data"]["held_out"])
    assert len(judged) == finished.questions
    assert not {q.evidence[0].document_id for q in held_out if q.id in judged} & chosen_on


def test_everything_is_in_the_output_folder(finished):
    names = {path.name for path in finished.output.iterdir()}
    assert names >= {
        *("index", "questions.jsonl", "adapter", "evaluation", "verdict.html", "verdict.json", "adapt.json")
    }
    result = json.loads((finished.output / "verdict.json").read_text())
    assert result["worth_it"] is finished.worth_it and result["questions"] == finished.questions
    assert finished.page.read_text().index(finished.headline) < finished.page.read_text().index("What to do next")
    assert str(finished.output) not in (finished.output / "verdict.json").read_text()


def test_a_tuned_reader_that_is_not_better_is_not_the_chosen_one(finished, world):
    assert not finished.worth_it and finished.chosen == str(world[3])
    assert f"--adapter {finished.output / 'adapter'}" not in finished.command


def test_a_second_call_does_nothing_again(finished, world, tiny_llama_dir, untrained):
    _, documents, questions, start = world
    before = results_of(finished.output)
    again = adapt_tiny(documents, finished.output, tiny_llama_dir, start, questions=questions)
    assert again == finished and results_of(finished.output) == before


def test_stopped_at_every_write_of_its_state_it_ends_with_the_same(finished, world, tiny_llama_dir, monkeypatch):
    folder, documents, questions, start = world
    save, seen = Folder._save, set()

    class Stopped(BaseException):
        pass

    def stop_at_what_is_new(written):
        save(written)
        state = re.sub(r'"seconds": [\d.e-]+', "", (written.path / "adapt.json").read_text())
        if state not in seen:
            seen.add(state)
            raise Stopped

    monkeypatch.setattr(Folder, "_save", stop_at_what_is_new)
    for _ in range(40):
        try:
            adapt_tiny(documents, folder / "stopped", tiny_llama_dir, start, questions=questions)
            break
        except Stopped:
            continue
    assert len(seen) >= 12  # it was stopped that often
    assert results_of(folder / "stopped") == results_of(finished.output)


@pytest.mark.timeout(900)
def test_killed_in_training_and_in_judging_it_ends_with_the_same(finished, world, tiny_llama_dir):
    folder, documents, questions, start = world
    script = Path(__file__).parent.parent / "adaptations.py"
    kills = ("training", 5, "after tuning", 1, "before tuning", 1)
    command = [sys.executable, script, folder, tiny_llama_dir, *kills]
    done = subprocess.run([*map(str, command)], capture_output=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    adapt_tiny(documents, folder / "killed", tiny_llama_dir, start, questions=questions)
    assert results_of(folder / "killed") == results_of(finished.output)


def test_a_changed_document_runs_the_stages_again_that_depend_on_it(finished, world, tiny_llama_dir):
    folder, documents, questions, start = world
    shutil.copytree(finished.output, folder / "changed")
    changed = [documents[0].model_copy(update={"text": documents[0].text + "\n\nIt is closed."}), *documents[1:]]
    done = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(plan, "measure_speed", fixed_speed)
        for name in ("make_plan", "train_reader", "judge_readers"):
            work = getattr(run, name)
            patched.setattr(
                run, name, lambda *given, name=name, work=work, **more: (done.append(name), work(*given, **more))[1]
            )
        verdict = adapt_tiny(changed, folder / "changed", tiny_llama_dir, start, questions=questions)
    assert done == ["make_plan", "train_reader", "judge_readers"] and verdict.questions == finished.questions


def test_a_better_reader_is_chosen_and_calibrated(finished, world, tiny_llama_dir, monkeypatch):
    """Scripted arms, so that the tuned reader is right and the others are not."""
    from rag_ft.adapting import judge
    from rag_ft.evaluation.arms.baselines import FunctionArm

    folder, documents, questions, start = world
    shutil.copytree(finished.output, folder / "better")
    shutil.rmtree(folder / "better" / "evaluation")
    answers = {record.question: (record.answers or (None,))[0] for record in read_questions(questions)}

    def scripted_arms(recipe, index, reader):
        return [
            FunctionArm(arm.name, (lambda q, _: answers[q]) if arm.name == judge.TUNED else (lambda *_: "nothing"))
            for arm in recipe.arm
        ]

    monkeypatch.setattr(judge, "build_arms", scripted_arms)
    verdict = adapt_tiny(documents, folder / "better", tiny_llama_dir, start, questions=questions)
    assert verdict.worth_it and verdict.interval[0] > 0 and verdict.chosen == str(folder / "better" / "adapter")
    assert verdict.command.endswith(f"--adapter {folder / 'better' / 'adapter'}")
    assert verdict.headline == "Tuning was worth it: ask with the tuned reader."
    stages = json.loads((folder / "better" / "adapt.json").read_text())["stages"]
    assert stages["calibrate"]["result"]["threshold"]["chosen_on"]["questions"] > 20
    # Judged again, it is judged with the threshold of its training: that of now was chosen on what is judged.
    shutil.rmtree(folder / "better" / "evaluation")
    seen = []
    monkeypatch.setattr(
        judge,
        "build_arms",
        lambda recipe, index, reader: (
            seen.append(json.loads((folder / "better" / "adapter" / "rag_ft.json").read_text()).get("threshold")),
            scripted_arms(recipe, index, reader),
        )[1],
    )
    adapt_tiny(documents, folder / "better", tiny_llama_dir, start, questions=questions)
    assert seen == [stages["train"]["result"]["threshold"]]


def test_made_records_are_told_as_such_and_given_to_people(world, tiny_llama_dir, monkeypatch):
    folder, documents, _, start = world
    _, questions = bigger_world()
    passage = f"{documents[0].id}#0-{len(documents[0].text)}"
    maker = ScriptedMaker(questions, [{"question": "Why?", "passage_id": passage, "reason": "not retrieved"}] * 3)
    verdict = adapt_tiny(documents, folder / "made", tiny_llama_dir, start, make_questions=maker)
    assert maker.writers == ["both"] and verdict.origins == {"made": verdict.questions}
    assert any("A program made all of the questions" in sentence for sentence in verdict.sentences)
    assert verdict.label and len(verdict.label) <= 20 and any("data review" in step for step in verdict.next_steps)
    assert [record.id for record in read_questions(folder / "made" / "label.jsonl")] == [
        row[0] for row in verdict.label
    ]
    assert [(mend.document, mend.questions) for mend in verdict.mend] == [(documents[0].id, 3)]
    # Records of people beside them change the records, and make none again.
    own = [questions[0].model_copy(update={"id": "own"})]
    write_questions(own, folder / "own.jsonl")
    monkeypatch.setattr(run, "train_reader", lambda *_given, **_more: pytest.fail("far enough"))
    given = {"make_questions": maker, "make": 300, "questions": folder / "own.jsonl"}
    with pytest.raises(pytest.fail.Exception, match="far enough"):
        adapt_tiny(documents, folder / "made", tiny_llama_dir, start, **given)
    assert maker.calls == 1 and read_questions(folder / "made" / "questions.jsonl")[0].id == "own"


def test_a_dry_run_stops_after_the_plan(world, tiny_llama_dir, untrained, monkeypatch, tmp_path):
    monkeypatch.undo()
    monkeypatch.setattr(plan, "measure_speed", fixed_speed)
    _, documents, questions, start = world
    planned = plan_adaptation(
        documents,
        tmp_path / "out",
        questions=questions,
        reader=str(tiny_llama_dir),
        start_from=start,
        embedder=HashingEmbedder(),
    )
    assert planned.train + planned.choose + planned.judge == 80 and planned.epochs == 3 and not planned.over
    assert not (tmp_path / "out" / "adapter").exists() and not (tmp_path / "out" / "evaluation").exists()


def test_one_document_stops_before_training_and_keeps_the_index(world, tiny_llama_dir, untrained, tmp_path):
    _, documents, questions, start = world
    with pytest.raises(DatasetError, match="the source holds one document, and a reader must be judged on another"):
        adapt_tiny(documents[:1], tmp_path / "out", tiny_llama_dir, start, questions=questions)
    assert (tmp_path / "out" / "index" / "manifest.json").is_file()


def record_of_copy(record, i):
    evidence = tuple(piece.model_copy(update={"document_id": f"copy{i}.txt"}) for piece in record.evidence)
    return record.model_copy(update={"id": f"{i}-{record.id}", "evidence": evidence})


def test_copies_of_one_document_are_one_document(world, tiny_llama_dir, untrained, tmp_path):
    _, documents, _, start = world
    copies = [documents[0].model_copy(update={"id": f"copy{i}.txt"}) for i in range(10)]
    _, records = bigger_world(1)
    copied = [record_of_copy(record, i) for i in range(10) for record in records]
    write_questions(copied, tmp_path / "copies.jsonl")
    with pytest.raises(DatasetError, match="all records are about one document of the source, or copies of it"):
        adapt_tiny(copies, tmp_path / "out", tiny_llama_dir, start, questions=tmp_path / "copies.jsonl")


def test_with_too_few_records_nothing_is_trained_and_the_page_says_what_is_needed(
    world, tiny_llama_dir, untrained, tmp_path
):
    _, documents, questions, start = world
    write_questions(read_questions(questions)[::4], tmp_path / "few.jsonl")
    verdict = adapt_tiny(documents, tmp_path / "out", tiny_llama_dir, start, questions=tmp_path / "few.jsonl")
    assert verdict.outcome == "cannot be told" and not verdict.worth_it and verdict.adapter is None
    assert "About 67 records are needed." in verdict.sentences[0] and "Nothing was trained." in verdict.sentences
    assert verdict.headline in verdict.page.read_text()


def test_whole_sentences_are_judged_and_not_trained_on(world, tiny_llama_dir, untrained, monkeypatch, tmp_path):
    """The adapter to start from was tuned on words, and leaves sentences to the cross-encoder."""
    _, documents, questions, start = world
    records = read_questions(questions)
    parts = [record.model_copy(update={"kind": "part"}) if record.answerable else record for record in records]
    write_questions(parts, tmp_path / "parts.jsonl")
    verdict = adapt_tiny(documents, tmp_path / "none", tiny_llama_dir, start, questions=tmp_path / "parts.jsonl")
    assert verdict.outcome == "cannot be told" and "it has nothing to learn" in verdict.sentences[0]
    monkeypatch.undo()
    monkeypatch.setattr(plan, "measure_speed", fixed_speed)
    write_questions([*parts[:40], *records[40:]], tmp_path / "some.jsonl")
    planned = plan_adaptation(
        documents,
        tmp_path / "some",
        questions=tmp_path / "some.jsonl",
        reader=str(tiny_llama_dir),
        start_from=start,
        embedder=HashingEmbedder(),
    )
    assert planned.parts > 0 and planned.train + planned.parts + planned.choose + planned.judge == 80
    assert any("are judged and not trained on" in line for line in planned.lines())


def test_records_that_do_not_fit_the_documents_are_named(world, tiny_llama_dir, untrained, tmp_path):
    _, documents, questions, start = world
    moved = [documents[0].model_copy(update={"text": "New. " + documents[0].text}), *documents[1:]]
    with pytest.raises(DatasetError, match=r"qa\.jsonl does not fit the documents: question Tower00-0: .*and 7 more"):
        adapt_tiny(moved, tmp_path / "out", tiny_llama_dir, start, questions=questions)
    assert not (tmp_path / "out" / "questions.jsonl").exists()


def test_records_that_somebody_corrected_are_not_replaced(finished, world, tiny_llama_dir, untrained, tmp_path):
    _, documents, questions, start = world
    shutil.copytree(finished.output, tmp_path / "out")
    file = tmp_path / "out" / "questions.jsonl"
    file.write_text(file.read_text().replace("How high", "How tall"))
    with pytest.raises(UsageError, match=r"questions\.jsonl was changed by somebody .*--questions"):
        adapt_tiny(documents, tmp_path / "out", tiny_llama_dir, start, questions=questions)
    assert "How tall" in file.read_text()


def test_a_full_disk_is_one_sentence(world, tiny_llama_dir, untrained, tmp_path, monkeypatch):
    from rag_ft.adapting import stages

    def full(*_given):
        raise OSError(28, "No space left on device")

    _, documents, questions, start = world
    monkeypatch.setattr(stages, "write_atomic", full)
    with pytest.raises(TrainingError, match="is full: free some space and run the same command again"):
        adapt_tiny(documents, tmp_path / "out", tiny_llama_dir, start, questions=questions)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"make": 0}, "make is 0"),
        ({"make": -1}, "make is -1"),
        ({"make": 1, "seed": -1}, "seed is -1"),
        ({"make": 1, "minutes": math.inf}, "minutes is inf but must be a number above 0"),
        ({"make": 1, "minutes": math.nan}, "minutes is nan"),
        ({"make": 1, "writer": "people"}, "writer is 'people' but must be"),
        ({"make": 1, "writer": "both", "source": object()}, "and a source is given"),
    ],
)
def test_wrong_arguments_are_refused(world, tiny_llama_dir, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        adapt_tiny(world[1], tmp_path / "out", tiny_llama_dir, world[3], **options)
    assert not (tmp_path / "out").exists()


def test_an_output_inside_the_documents_is_refused(tiny_llama_dir, tmp_path):
    (tmp_path / "docs").mkdir()
    with pytest.raises(UsageError, match=r"is inside .*docs, and would be read as documents"):
        adapt_tiny(tmp_path / "docs", tmp_path / "docs" / "out", tiny_llama_dir, "packaged", make=3)


def _lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]
