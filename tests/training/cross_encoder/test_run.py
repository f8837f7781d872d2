import json
import logging

import pytest
from fakes import HashingEmbedder

from rag_ft.answering.evidence import EvidenceReader
from rag_ft.environment import handbook_path, packaged_cross_encoder_path
from rag_ft.errors import DatasetError, TrainingError, UsageError, WeightsError
from rag_ft.indexing.index import Index
from rag_ft.models.adapter_record import adapters_trained_on
from rag_ft.models.cross_encoder import CrossEncoder
from rag_ft.models.cross_encoder_files import read_changes, read_record
from rag_ft.questions.records import read_questions
from rag_ft.questions.split import split_by_document
from rag_ft.schema import Document
from rag_ft.training.cross_encoder import run
from rag_ft.training.cross_encoder.config import CrossEncoderConfig
from rag_ft.training.cross_encoder.run import train_cross_encoder
from rag_ft.training.cross_encoder.scoring import Outcome

CONFIG = CrossEncoderConfig(epochs=1, passages=3, evaluations=1, held_out=0.3)


@pytest.fixture(autouse=True)
def lines(caplog):
    """What a run logs for people."""
    caplog.set_level(logging.INFO, "rag_ft.training")
    return caplog


def worth(monkeypatch, *worths):
    """Let the measurements of a run be worth this: before, at step 0, at each evaluation, and of the rounded state.

    What comes after them is of questions without their evidence.
    """
    left = list(worths)

    def outcomes(cross_encoder, ranked, **options):
        mean = left.pop(0) if left else 0.5
        return [Outcome(asked.question, 1, 1.0, 2 * mean - 1, 0.5, 0.5) for asked in ranked]

    monkeypatch.setattr(run, "outcomes_of", outcomes)


def test_a_step_that_is_worth_more_is_written_with_its_record_and_card(tmp_path, world, packaged, monkeypatch, lines):
    index, questions = world
    worth(monkeypatch, 0.6, 0.6, 0.8, 0.7)
    reported = []
    trained = train_cross_encoder(questions, index, tmp_path / "out", config=CONFIG, on_progress=reported.append)
    steps = trained.kept_step
    assert steps == reported[-1].total > 0 and (trained.start.worth, trained.tuned.worth) == (0.6, 0.7)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("cross_encoder.json", "cross_encoder.safetensors", "README.md", "training")
    }
    assert {path.name for path in (tmp_path / "out" / "training").iterdir()} == {"run.json", "metrics.jsonl"}
    record = read_record(tmp_path / "out")
    split = split_by_document(questions, 0.3, 0)
    assert record["data"]["train_questions"] == len(split.train) == 24 - len(split.held_out)
    assert not set(record["data"]["documents"]) & set(record["data"]["held_out"])
    fingerprints = {index.document_fingerprint(name)[:16] for name in record["data"]["documents"]}
    assert set(record["data"]["document_fingerprints"]) == {*fingerprints, "0123456789abcdef"}
    assert record["started_from"]["name"] == "packaged" and record["started_from"]["licence"] == "cc-by-sa-4.0"
    assert (record["licence"], record["kept_step"], record["training"]["encoder_rate"]) == ("other", steps, 5e-5)
    assert f"after step {steps} is kept" in (tmp_path / "out" / "README.md").read_text()
    assert f"kept            step {steps}: hit@1 1.000" in lines.text
    assert "gain of hit@1 and F1 in the mean +0.100, standard error 0.000" in lines.text
    assert EvidenceReader(CrossEncoder.from_pretrained(tmp_path / "out")).threshold == 0.3
    assert adapters_trained_on(tmp_path, fingerprints) == (tmp_path / "out",)


@pytest.mark.parametrize("worths", [(0.6, 0.6, 0.6), (0.6, 0.6, 0.5), (0.6, 0.6, 0.7, 0.6)])
def test_the_start_is_kept_where_no_step_is_better_as_it_is_written(
    tmp_path, world, packaged, monkeypatch, lines, worths
):
    index, questions = world
    worth(monkeypatch, *worths)
    trained = train_cross_encoder(questions, index, tmp_path / "out", config=CONFIG)
    assert trained.kept_step == 0 and trained.tuned == trained.start
    assert "kept            the start: no step was better on the held-out questions" in lines.text
    changes, before = read_changes(tmp_path / "out"), read_changes(packaged)
    assert changes.keys() == before.keys() and all(changes[name].equal(before[name]) for name in before)
    record = read_record(tmp_path / "out")
    assert (record["licence"], record["data_note"]) == ("cc-by-sa-4.0", "Made in the test.")
    assert record["data"]["document_fingerprints"] == ["0123456789abcdef"]
    assert "No step was better" in (tmp_path / "out" / "README.md").read_text()


def test_a_cross_encoder_from_the_embedder_keeps_its_best_step(tmp_path, world, embedder, lines):
    index, questions = world
    trained = train_cross_encoder(questions, index, tmp_path / "out", start_from=None, config=CONFIG)
    assert trained.kept_step > 0 and trained.start is None
    assert "starts from the embedder" in lines.text
    record = read_record(tmp_path / "out")
    assert record["started_from"] is None and list(record["results"]) == ["tuned"]
    assert record["training"]["encoder_rate"] == 2e-4 and record["confidence"]["value"] is None
    passages = [hit.passage for hit in index.search("How high is the tower of Lima?", 3)]
    assert len(CrossEncoder.from_pretrained(tmp_path / "out").score("How high?", passages)) == 3


@pytest.mark.parametrize("stage", ["changes_since", "calibrate", "write_cross_encoder"])
def test_a_run_that_was_killed_at_its_end_only_measures_again(tmp_path, world, embedder, monkeypatch, stage):
    index, questions = world
    given = {"start_from": None, "config": CONFIG}
    train_cross_encoder(questions, index, tmp_path / "whole", **given)

    def killed(*_given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(run, stage, killed)
        with pytest.raises(KeyboardInterrupt):
            train_cross_encoder(questions, index, tmp_path / "cut", **given)
    assert not (tmp_path / "cut" / "cross_encoder.json").exists()
    monkeypatch.setattr(run.PairTrainer, "_step", lambda *_given: pytest.fail("trained again"))
    train_cross_encoder(questions, index, tmp_path / "cut", **given)
    whole = (tmp_path / "whole" / "cross_encoder.safetensors").read_bytes()
    assert (tmp_path / "cut" / "cross_encoder.safetensors").read_bytes() == whole
    assert not (tmp_path / "cut" / "training" / "checkpoint.pt").exists()


def test_a_cross_encoder_can_be_tuned_further(tmp_path, world, embedder):
    index, questions = world
    train_cross_encoder(questions, index, tmp_path / "first", start_from=None, config=CONFIG)
    again = train_cross_encoder(questions, index, tmp_path / "second", start_from=tmp_path / "first", config=CONFIG)
    assert read_record(again.path)["started_from"]["name"] == "first"


def test_what_cannot_be_trained_on_is_one_sentence(tmp_path, world, packaged):
    index, questions = world
    bare = [question.model_copy(update={"evidence": ()}) for question in questions]
    with pytest.raises(DatasetError, match="none of the 24 question records is answerable and has evidence"):
        train_cross_encoder(bare, index, tmp_path / "out", config=CONFIG)
    other = [Document(id=f"{i}.txt", text="Rope is kept in the shed.") for i in range(3)]
    elsewhere = Index.build(other, tmp_path / "index", embedder=HashingEmbedder(), progress=False)
    with pytest.raises(DatasetError, match=r"the index lacks the document of its evidence\): run 'rag-ft data check'"):
        train_cross_encoder(questions, elsewhere, tmp_path / "out", config=CONFIG)
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_started_from_or_written_to_is_one_sentence(tmp_path, world, packaged, monkeypatch):
    index, questions = world
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "README.md").write_text("mine")
    with pytest.raises(UsageError, match=r"README\.md is not from a run of rag_ft"):
        train_cross_encoder(questions, index, tmp_path / "out", config=CONFIG)
    with pytest.raises(WeightsError, match="is not a cross-encoder"):
        train_cross_encoder(questions, index, tmp_path / "new", start_from=tmp_path / "out", config=CONFIG)
    record = json.loads((packaged / "cross_encoder.json").read_text())
    damaged = {**record, "span_weight": -1}
    (packaged / "cross_encoder.json").write_text(json.dumps(damaged))
    with pytest.raises(WeightsError, match=r"calibration in the cross-encoder's cross_encoder\.json is damaged"):
        train_cross_encoder(questions, index, tmp_path / "new", config=CONFIG)
    record["base"]["sha256"] = "0" * 64
    (packaged / "cross_encoder.json").write_text(json.dumps(record))
    with pytest.raises(WeightsError, match="was tuned from tiny"):
        train_cross_encoder(questions, index, tmp_path / "new", config=CONFIG)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="trained by one process"):
        train_cross_encoder(questions, index, tmp_path / "new", config=CONFIG)
    assert not (tmp_path / "new").exists()


def test_other_settings_do_not_resume(tmp_path, world, packaged, monkeypatch):
    index, questions = world
    with monkeypatch.context() as patched:
        patched.setattr(run, "calibrate", lambda *_given: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train_cross_encoder(questions, index, tmp_path / "out", config=CONFIG)
    other = CONFIG.model_copy(update={"seed": 1})
    with pytest.raises(TrainingError, match="a run with other records, settings: remove the folder"):
        train_cross_encoder(questions, index, tmp_path / "out", config=other)


@pytest.mark.slow
def test_the_packaged_generators_opinion_is_scaled_for_a_cross_encoder_of_ones_own(tmp_path, handbook_index, lines):
    questions = read_questions(handbook_path() / "asked.jsonl")[:120:2]
    config = CrossEncoderConfig(epochs=0.05, evaluations=1, held_out=0.5, questions_per_step=4, passages=3)
    trained = train_cross_encoder(questions, Index.load(handbook_index), tmp_path / "out", config=config)
    record, before = read_record(trained.path), read_record(packaged_cross_encoder_path())
    weights = record["with_generator"]["confidence"]["weights"]
    packaged_weights = before["with_generator"]["confidence"]["weights"]
    slope = weights["generator"] / packaged_weights["generator"]
    assert slope != 1 and weights["evidence"] == pytest.approx(slope * packaged_weights["evidence"])
    assert record["chosen_on"]["right_with_generator"] > 0
    assert "With the generator's opinion" in lines.text


@pytest.mark.slow
def test_twelve_records_of_the_handbook_lower_the_loss_of_the_packaged_one(tmp_path, handbook_index):
    questions = read_questions(handbook_path() / "asked.jsonl")[:60:5]
    config = CrossEncoderConfig(epochs=2, evaluations=1, held_out=0.3, questions_per_step=4, passages=3)
    reported = []
    trained = train_cross_encoder(
        questions, Index.load(handbook_index), tmp_path / "out", config=config, on_progress=reported.append
    )
    losses = [progress.figures["eval_loss"] for progress in reported if "eval_loss" in progress.figures]
    assert losses[-1] < losses[0]
    assert trained.tuned.worth >= trained.start.worth
    assert EvidenceReader(CrossEncoder.from_pretrained(trained.path)).threshold is not None
