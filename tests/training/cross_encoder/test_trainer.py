import json

import pytest
import torch

from rag_ft.errors import TrainingError
from rag_ft.models.cross_encoder_network import new_network
from rag_ft.training.cross_encoder.config import CrossEncoderConfig, Rates
from rag_ft.training.cross_encoder.examples import pair_sources
from rag_ft.training.cross_encoder.trainer import PairTrainer

CONFIG = CrossEncoderConfig(epochs=1, passages=3, evaluations=2, checkpoint_minutes=0)
RATES = Rates(1e-3, 1e-3)


@pytest.fixture
def make(world, embedder, tokenizer, tmp_path):
    """A trainer of a fresh tiny network, whose measurements are worth what the test says."""
    index, questions = world

    def made(worths=(), folder="run", config=CONFIG, rates=RATES, keep_start=True):
        torch.manual_seed(0)
        network, _ = new_network(embedder)
        left = list(worths)

        def measure():
            return (left.pop(0) if left else 0.0), {"eval_loss": 1.0}

        work = tmp_path / folder
        work.mkdir(exist_ok=True)
        sources = pair_sources(questions, index, config).sources
        trainer = PairTrainer(network, tokenizer, sources, config, rates, work, measure, keep_start=keep_start)
        return trainer, network, work

    return made


def test_the_loss_falls_and_word_embeddings_stay(make):
    trainer, network, work = make(config=CONFIG.model_copy(update={"epochs": 10, "evaluations": 1}))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = trainer.train()
    losses = [measured["loss"] for measured in state.history if "loss" in measured]
    assert len(losses) == trainer.total == 40 and sum(losses[-5:]) < 0.9 * sum(losses[:5])
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert not {name for name in changed if "embeddings" in name}
    assert {"relevance.weight", "evidence.weight", "decision.weight"} < changed
    lines = [json.loads(line) for line in (work / "metrics.jsonl").read_text().splitlines()]
    assert lines == state.history
    assert trainer.parameters == sum(value.numel() for value in network.parameters() if value.requires_grad)


def test_equal_seeds_give_equal_weights(make):
    states = []
    for folder in ("one", "two"):
        trainer, network, _ = make(folder=folder)
        trainer.train()
        states.append(network.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.mark.parametrize("killed_at", [1, 2, 3, 4])
def test_a_killed_run_resumes_and_ends_with_the_same_weights(make, killed_at):
    whole, network, _ = make((0.1, 0.3, 0.2), "whole")
    state = whole.train()

    def kill(progress):
        if progress.done == killed_at and "loss" in progress.figures:
            raise KeyboardInterrupt

    cut, _, work = make((0.1, 0.3, 0.2), "cut")
    with pytest.raises(KeyboardInterrupt):
        cut.train(kill)
    left = (0.1, 0.3, 0.2) if killed_at == 1 else (0.3, 0.2) if killed_at == 2 else (0.2,)
    again, resumed, _ = make(left, "cut")
    reported = []
    end = again.train(reported.append)
    # The step whose report killed the run was not kept.
    assert reported[0].done == (killed_at if killed_at > 1 else 0)
    assert (end.best_step, end.best_worth, end.step) == (state.best_step, state.best_worth, state.step) == (2, 0.3, 4)
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in network.state_dict().items())
    assert all(torch.equal(value, end.best[name]) for name, value in state.best.items())
    timed = {"seconds": 0, "examples_per_second": 0}
    assert [{**line, **timed} for line in end.history] == [{**line, **timed} for line in state.history]
    assert [path.name for path in sorted(work.iterdir())] == ["checkpoint.pt", "metrics.jsonl"]


def test_a_run_that_was_killed_after_its_last_step_trains_nothing(make):
    trainer, network, _ = make((0.1, 0.3, 0.2))
    state = trainer.train()
    again, resumed, _ = make(())
    end = again.train(lambda progress: pytest.fail("trained again"))
    assert (end.best_step, end.best_worth, end.step) == (state.best_step, state.best_worth, state.step)
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("worths", "keep_start", "kept"),
    [
        ((0.1, 0.3, 0.2), True, 2),
        ((0.1, 0.2, 0.3), True, 4),
        ((0.3, 0.3, 0.3), True, 0),  # as good is not better
        ((0.3, 0.1, 0.2), False, 4),  # random heads are never kept
    ],
)
def test_the_state_that_is_worth_most_is_kept(make, worths, keep_start, kept):
    trainer, network, _ = make(worths, keep_start=keep_start)
    state = trainer.train()
    assert state.best_step == kept and (state.best is None) == (kept == 0)
    if kept == 4:
        assert all(torch.equal(network.state_dict()[name], value) for name, value in state.best.items())


@pytest.mark.parametrize("content", [b"", b"cut off", None])
def test_a_damaged_checkpoint_is_reported_and_the_run_starts_again(make, caplog, content):
    trainer, _, work = make((0.1, 0.3, 0.2))
    trainer.train()
    whole = (work / "checkpoint.pt").read_bytes()
    (work / "checkpoint.pt").write_bytes(whole[: len(whole) // 2] if content is None else content)
    again, _, _ = make((0.1, 0.3, 0.2))
    assert again.train().best_step == 2
    assert "is damaged: starting from the beginning" in caplog.text


def test_a_loss_that_is_not_a_number_ends_the_run_in_a_sentence(make):
    trainer, network, _ = make()
    with torch.no_grad():
        network.relevance.bias.fill_(float("nan"))
    with pytest.raises(TrainingError, match="the loss of step 1 is nan: start again with lower encoder_rate"):
        trainer.train()


def test_a_full_disk_is_one_sentence(make, monkeypatch):
    def full(*given):
        raise OSError(28, "No space left on device")

    trainer, _, work = make()
    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(TrainingError, match=r"the disk of .* is full: .* \(resume with the same command\)"):
        trainer.train()
    assert not list(work.iterdir())
