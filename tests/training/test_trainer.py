import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rag_ft.errors import TrainingError
from rag_ft.training.collator import pack
from rag_ft.training.lora import LoraSettings
from rag_ft.training.trainer import CHECKPOINTS, METRICS, TrainConfig, adapt, load_base, newest_checkpoint, run

CONFIG = TrainConfig(bits=32, epochs=4, learning_rate=5e-3, rows_per_step=2, evaluations=4)


@pytest.fixture
def rows(encoded):
    return pack(encoded, 500, 0)


def _train(folder, tiny_llama_dir, rows, config=CONFIG, **more):
    loaded = load_base(str(tiny_llama_dir), config)
    model = adapt(loaded, LoraSettings(rank=4, dropout=0.1), config)
    return run(model, loaded.tokenizer, rows, rows[:2], config, folder, **more), model


def _adapter(model):
    return {name: one.detach().clone() for name, one in model.named_parameters() if one.requires_grad}


def test_training_lowers_the_loss_and_keeps_the_best_adapter(tmp_path, tiny_llama_dir, rows):
    history, model = _train(tmp_path, tiny_llama_dir, rows)
    losses = [one["loss"] for one in history if "loss" in one]
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
    best = load_file(tmp_path / "best" / "adapter_model.safetensors")
    record = json.loads((tmp_path / "best" / "best.json").read_text())
    assert record["eval_loss"] == min(one["eval_loss"] for one in history if "eval_loss" in one)
    assert len(best) == len(_adapter(model))
    lines = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert lines == history


class _StopAt:
    """Saves at one step and dies right after it, as a killed process would."""

    def __new__(cls, step):
        from transformers import TrainerCallback

        class Stop(TrainerCallback):
            def on_step_end(self, args, state, control, **kwargs):
                control.should_save = state.global_step == step
                return control

            def on_save(self, args, state, control, **kwargs):
                raise RuntimeError("killed")

        return Stop()


def test_a_run_killed_and_resumed_ends_with_the_weights_of_one_that_was_not(tmp_path, tiny_llama_dir, rows):
    whole, model = _train(tmp_path / "whole", tiny_llama_dir, rows)
    wanted = _adapter(model)
    with pytest.raises(RuntimeError, match="killed"):
        _train(tmp_path / "cut", tiny_llama_dir, rows, callbacks=[_StopAt(5)])
    torch.rand(7)  # another random state than the run's
    resumed, model = _train(tmp_path / "cut", tiny_llama_dir, rows)
    assert resumed[0]["step"] == 1 and [one["step"] for one in resumed] == [one["step"] for one in whole]
    for name, value in _adapter(model).items():
        torch.testing.assert_close(value, wanted[name], rtol=0, atol=0)


def test_a_damaged_checkpoint_gives_way_to_the_one_before_and_is_told(tmp_path, tiny_llama_dir, rows, caplog):
    with pytest.raises(RuntimeError, match="killed"):
        _train(tmp_path, tiny_llama_dir, rows, callbacks=[_StopAt(3)])
    with pytest.raises(RuntimeError, match="killed"):
        _train(tmp_path, tiny_llama_dir, rows, callbacks=[_StopAt(6)])
    newest = tmp_path / CHECKPOINTS / "checkpoint-6"
    optimiser = newest / "optimizer.pt"
    optimiser.write_bytes(optimiser.read_bytes()[:500])
    assert newest_checkpoint(tmp_path / CHECKPOINTS) == tmp_path / CHECKPOINTS / "checkpoint-3"
    assert "checkpoint-6 is damaged" in caplog.text
    assert not newest.exists()


def test_a_loss_that_is_not_a_number_stops_the_run(tmp_path, tiny_llama_dir, rows):
    loaded = load_base(str(tiny_llama_dir), CONFIG)
    model = adapt(loaded, LoraSettings(rank=4), CONFIG)
    with torch.no_grad():
        next(one for one in model.parameters() if one.requires_grad).fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"not finite|loss is nan"):
        run(model, loaded.tokenizer, rows, rows[:1], CONFIG, tmp_path)


def test_equal_seeds_give_equal_adapters(tmp_path, tiny_llama_dir, rows):
    config = CONFIG.model_copy(update={"max_steps": 3})
    _, one = _train(tmp_path / "a", tiny_llama_dir, rows, config)
    _, other = _train(tmp_path / "b", tiny_llama_dir, rows, config)
    for name, value in _adapter(one).items():
        torch.testing.assert_close(value, _adapter(other)[name], rtol=0, atol=0)


@pytest.mark.slow
def test_accelerate_launch_runs_two_processes(tmp_path, tiny_llama_dir):
    """Users launch trl's trainers this way: two processes over gloo end with one adapter."""
    script = Path(__file__).parent / "launched.py"
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", str(script)]
    done = subprocess.run(
        [*command, str(tiny_llama_dir), str(tmp_path)], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "best" / "adapter_model.safetensors").is_file()


class _At:
    """Does something at the end of one step: a stand-in for a full disk, or a real Ctrl-C."""

    def __new__(cls, step, act):
        from transformers import TrainerCallback

        class Act(TrainerCallback):
            def on_step_end(self, args, state, control, **kwargs):
                if state.global_step == step:
                    act()

        return Act()


def test_a_simulated_full_disk_at_a_checkpoint_is_one_sentence(tmp_path, tiny_llama_dir, rows):
    def full():
        raise OSError(28, "No space left on device")

    with pytest.raises(TrainingError, match=r"step 2 could not be kept in .*No space left on device.*free some space"):
        _train(tmp_path, tiny_llama_dir, rows, callbacks=[_At(2, full)])


def test_an_interrupted_run_saves_and_goes_on(tmp_path, tiny_llama_dir, rows):
    whole, model = _train(tmp_path / "whole", tiny_llama_dir, rows)
    wanted = _adapter(model)

    def interrupt():
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "cut", tiny_llama_dir, rows, callbacks=[_At(4, interrupt)])
    assert newest_checkpoint(tmp_path / "cut" / CHECKPOINTS).name == "checkpoint-5"
    resumed, model = _train(tmp_path / "cut", tiny_llama_dir, rows)
    assert resumed[-1]["step"] == whole[-1]["step"]
    for name, value in _adapter(model).items():
        torch.testing.assert_close(value, wanted[name], rtol=0, atol=0)
