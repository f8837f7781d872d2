import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from rag_ft.answering.confidence import KindCalibration, PlattScale, recorded_kinds
from rag_ft.errors import PromptMismatchError, TrainingError, WeightsError
from rag_ft.models import compute
from rag_ft.questions.split import Split
from rag_ft.training.data.examples import ExampleConfig
from rag_ft.training.lora import AdapterConfig
from rag_ft.training.run import train_reader
from rag_ft.training.steps import setup
from rag_ft.training.steps.config import TrainConfig

SMALL = {"lora": AdapterConfig(rank=4), "training": TrainConfig(bits=32, max_steps=2, evaluations=1)}


@pytest.mark.parametrize("stage", ["better", "probe_memory", "draw_curves", "save_adapter", "clear_checkpoints"])
def test_what_is_trained_is_only_measured_and_saved_again(tmp_path, tiny_llama_dir, world, monkeypatch, stage):
    """A kill at any stage after the last step: the same command then trains nothing."""
    from transformers import Trainer

    from rag_ft.training import run

    index, questions = world
    given = {"reader": str(tiny_llama_dir), "compare": False, **SMALL}
    whole = train_reader(questions, index, tmp_path / "whole", **given)

    def killed(*_given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(run._Run if stage == "better" else run, stage, killed)
        with pytest.raises(KeyboardInterrupt):
            train_reader(questions, index, tmp_path / "cut", **given)
    assert json.loads((tmp_path / "cut" / "training" / "end.json").read_text()) == {"step": 2}
    monkeypatch.setattr(Trainer, "train", lambda *_given, **_more: pytest.fail("trained again"))
    again = train_reader(questions, index, tmp_path / "cut", **given)
    assert again.verdict == whole.verdict and again.tuned == whole.tuned
    for name in ("adapter_model.safetensors", "adapter_config.json", "README.md", "training/curves.png"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    names = [{path.relative_to(tmp_path / run) for path in (tmp_path / run).rglob("*")} for run in ("whole", "cut")]
    assert names[0] == names[1]


def test_a_disk_without_room_for_the_checkpoints_is_told_before_the_first_step(
    tmp_path, tiny_llama_dir, world, monkeypatch, caplog
):
    from types import SimpleNamespace

    index, questions = world
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    with pytest.raises(TrainingError, match=r"needs .* MB of free space, and its disk has 1 MB"):
        train_reader(questions, index, tmp_path / "out", reader=str(tiny_llama_dir), compare=False, **SMALL)


def test_a_second_run_into_a_finished_one_replaces_it(adapter, world, tiny_llama_dir):
    index, questions = world
    before = load_file(adapter / "adapter_model.safetensors")
    other = {**SMALL, "training": SMALL["training"].model_copy(update={"learning_rate": 1e-2})}
    train_reader(questions, index, adapter, reader=str(tiny_llama_dir), compare=False, **other)
    after = load_file(adapter / "adapter_model.safetensors")
    assert before.keys() == after.keys() and any(not torch.equal(before[name], after[name]) for name in before)
    assert json.loads((adapter / "rag_ft.json").read_text())["training"]["learning_rate"] == 1e-2


def test_a_simulated_full_disk_at_the_adapter_is_one_sentence(tmp_path, tiny_llama_dir, world, monkeypatch):
    def full(*given):
        raise OSError(28, "No space left on device")

    index, questions = world
    monkeypatch.setattr("rag_ft.training.run.save_adapter", full)
    with pytest.raises(
        TrainingError,
        match=r"the disk of .* is full: .* \(the trained adapters are kept",
    ):
        train_reader(questions, index, tmp_path, reader=str(tiny_llama_dir), compare=False, **SMALL)


@pytest.mark.parametrize("shape", [AdapterConfig(rank=4), AdapterConfig(rank=4, dora=True, rslora=True, dropout=0.1)])
def test_a_base_in_16_bits_stays_in_16_bits_from_training_to_answers(
    tmp_path, world, tiny_llama_dir, monkeypatch, shape
):
    """On a CPU without bfloat16 products, too, where nobody would choose it."""
    plan = compute.compute_plan("cpu")
    for asks in ("compute", "loading"):
        monkeypatch.setattr(
            f"rag_ft.models.{asks}.compute_plan", lambda *_given, **_more: replace(plan, dtype="bfloat16")
        )
    held = {}
    prepare = setup.check_prepared

    def looked_at(adapted, checkpointing):
        held.update({name: parameter.dtype for name, parameter in adapted.named_parameters() if "lora_" not in name})
        prepare(adapted, checkpointing)

    monkeypatch.setattr(setup, "check_prepared", looked_at)
    index, questions = world
    training = TrainConfig(bits=16, max_steps=6, evaluations=2, learning_rate=5e-3)
    reported = []
    trained = train_reader(
        questions,
        index,
        tmp_path / "made",
        reader=str(tiny_llama_dir),
        lora=shape,
        training=training,
        on_progress=reported.append,
    )
    assert {dtype for name, dtype in held.items() if "norm" in name} == {torch.float32}
    assert {dtype for name, dtype in held.items() if "_proj" in name} == {torch.bfloat16}
    assert trained.verdict.train_loss > 0
    records = [json.loads(line) for line in (trained.path / "training" / "metrics.jsonl").read_text().splitlines()]
    assert [progress.figures for progress in reported] == records
    assert (reported[-1].stage, reported[-1].done, reported[-1].total, reported[-1].seconds_left) == (
        "training",
        6,
        6,
        0,
    )
    held_out = [record["eval_loss"] for record in records if "eval_loss" in record]
    assert held_out[-1] < held_out[0]


def test_the_adapter_names_what_it_was_made_from(adapter, tiny_llama_dir, world):
    record = json.loads((adapter / "rag_ft.json").read_text())
    assert record["kinds"] == ["span"] and record["whole_sentences"] is True
    assert record["base_model"]["bits"] == 32 and len(record["base_model"]["identity"]) == 64
    assert record["data"]["index"] == world[0].fingerprint
    assert record["certificate"]["red"] == [] and record["verdict"]["outcome"]
    assert record["lora"]["scale"] == 2
    card = (adapter / "README.md").read_text()
    assert card.startswith("---\nbase_model:") and "| tuned |" in card


def test_another_prompt_version_is_refused(adapter, tiny_llama_dir, monkeypatch):
    from rag_ft.answering import prompt
    from rag_ft.answering.reader import Reader

    Reader.from_pretrained(str(tiny_llama_dir), adapter=adapter)
    monkeypatch.setattr(prompt, "PROMPT_VERSION", 999)
    with pytest.raises(PromptMismatchError, match="was trained under prompt"):
        Reader.from_pretrained(str(tiny_llama_dir), adapter=adapter)


def test_another_base_is_refused(adapter, tiny_llama_dir, tmp_path):
    import shutil

    from rag_ft.answering.reader import Reader

    other = tmp_path / "other"
    shutil.copytree(tiny_llama_dir, other)
    config = json.loads((other / "config.json").read_text())
    config["rope_parameters"] = {**config.get("rope_parameters", {}), "rope_theta": 5.0}
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=r"was trained on .* and the base model here is other"):
        Reader.from_pretrained(str(other), adapter=adapter)


def test_checkpoints_of_another_run_are_not_gone_on_from(tmp_path, tiny_llama_dir, world):
    index, questions = world
    train_reader(questions, index, tmp_path, reader=str(tiny_llama_dir), compare=False, **SMALL)
    (tmp_path / "training" / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    with pytest.raises(TrainingError, match="checkpoints of a run with other lora"):
        train_reader(
            questions,
            index,
            tmp_path,
            reader=str(tiny_llama_dir),
            lora=AdapterConfig(rank=8),
            training=SMALL["training"],
        )


def test_a_red_line_stops_the_run_before_anything_is_written(tmp_path, tiny_llama_dir, world):
    index, questions = world
    never = [question for question in questions if not question.answerable]
    with pytest.raises(TrainingError, match="the run does not start: every target is null"):
        train_reader(never, index, tmp_path / "out", reader=str(tiny_llama_dir), **SMALL)
    assert not (tmp_path / "out").exists()


def test_a_model_without_a_chat_template_can_be_tuned(tmp_path, tiny_llama_dir, world):
    import shutil

    index, questions = world
    bare = tmp_path / "bare"
    shutil.copytree(tiny_llama_dir, bare)
    (bare / "chat_template.jinja").unlink(missing_ok=True)
    trained = train_reader(
        questions,
        index,
        tmp_path / "out",
        reader=str(bare),
        examples=ExampleConfig(reading="joint", passages=2),
        compare=False,
        **SMALL,
    )
    assert trained.certificate.red == ()
    assert (trained.path / "adapter_model.safetensors").is_file()


def test_thresholds_of_kinds_that_the_held_out_questions_gave_are_recorded(
    tmp_path, tiny_llama_dir, world, monkeypatch
):
    from rag_ft.training import run

    index, questions = world
    kinds = {"part": KindCalibration(value=0.4, platt=PlattScale(slope=0.5))}
    figures = {"questions": 9, "answerable": 5, "must_answer_f1": 0.5, "answerable_f1": 0.5, "null_recognised": 0.5}
    score = run.ReaderScore(**figures, threshold=0.3, kinds=kinds)
    monkeypatch.setattr(run, "score_reader", lambda reader, questions, index, reranker: score)
    train_reader(questions, index, tmp_path, reader=str(tiny_llama_dir), compare=False, **SMALL)
    record = json.loads((tmp_path / "rag_ft.json").read_text())
    assert recorded_kinds(record) == kinds and record["threshold"]["value"] == 0.3


def test_without_unanswerable_questions_held_out_no_threshold_is_written(tmp_path, tiny_llama_dir, world, caplog):
    """Such a threshold would be 0: an adapter that answers always, whatever it was trained to say."""
    index, questions = world
    caplog.set_level("INFO", "rag_ft.training")
    some = [question for question in questions if question.answerable]
    trained = train_reader(some, index, tmp_path, reader=str(tiny_llama_dir), compare=False, **SMALL)
    assert trained.tuned.null_recognised is None
    assert "threshold" not in json.loads((tmp_path / "rag_ft.json").read_text())
    assert any(line.startswith("threshold") and "not chosen" in line for line in caplog.messages)
    assert any("no held-out question is unanswerable" in line for line in caplog.messages)


def test_records_that_give_no_example_are_not_counted_and_not_asked(tmp_path, tiny_llama_dir, world):
    index, questions = world
    lost = [
        question.model_copy(
            update={
                "id": f"lost-{question.id}",
                "question": f"{question.question} Really?",
                "evidence": tuple(
                    e.model_copy(update={"document_id": "no-" + e.document_id}) for e in question.evidence
                ),
            }
        )
        for question in questions
        if question.answerable
    ]
    given = {"reader": str(tiny_llama_dir), "compare": False, **SMALL}
    some = Split((*questions[3:], *lost[:4]), (*questions[:3], *lost[4:6]))
    trained = train_reader(questions, index, tmp_path, split=some, **given)
    seen = trained.certificate
    assert seen.questions + seen.held_out_questions == len(questions)
    assert seen.documents + seen.held_out_documents == 8
    assert seen.dropped == {"the index lacks the document of its evidence": 6}
    assert trained.tuned.questions == seen.held_out_questions
    assert any("20% of the records" in note for note in seen.amber)
    most = Split((*questions[:6], *lost[:12]), tuple(questions[9:12]))
    with pytest.raises(TrainingError, match="57% of the records give nothing to train on"):
        train_reader(questions, index, tmp_path, split=most, **given)


def test_a_model_that_takes_no_trees_trains_on_separate_sequences_and_says_so(
    tmp_path, tiny_llama_dir, world, monkeypatch, caplog
):
    from rag_ft.training.steps import tree_attention

    monkeypatch.setattr(tree_attention, "takes_trees", lambda model: False)
    index, questions = world
    caplog.set_level("INFO", "rag_ft.training")
    trained = train_reader(questions, index, tmp_path / "out", reader=str(tiny_llama_dir), compare=False, **SMALL)
    assert any(line.startswith("sequences       one for each example") for line in caplog.messages)
    assert (trained.path / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize(("last", "kept"), [(0.6, "last"), (0.4, "best"), (0.2, "best")])
def test_the_adapter_that_answers_better_is_kept_and_the_first_of_equal_ones(tmp_path, monkeypatch, last, kept):
    """Whatever the losses said: here the two adapters are folders, and their scores are given."""
    from types import SimpleNamespace

    from rag_ft.training import run

    loaded = []
    scores = {"best": 0.4, "last": last}
    for name in scores:
        (tmp_path / name).mkdir()
    monkeypatch.setattr("rag_ft.training.steps.setup.load_adapter", lambda model, folder: loaded.append(folder.name))

    def score(reader, questions, index, reranker):
        f1 = scores[loaded[-1]]
        return run.ReaderScore(
            questions=9, answerable=5, must_answer_f1=f1, answerable_f1=f1, null_recognised=f1, threshold=0.3
        )

    monkeypatch.setattr(run, "score_reader", score)
    training = SimpleNamespace(
        work=tmp_path,
        reader_of=lambda model: None,
        checked=SimpleNamespace(ready=SimpleNamespace(held_out_questions=())),
        index=None,
        reranker=None,
    )
    chosen, result = run._Run.better(training, None)
    assert (chosen, result.worth, loaded[-1]) == (kept, pytest.approx(max(0.4, last)), kept)
