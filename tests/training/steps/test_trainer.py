import json
import os
import resource
import signal

import pytest
import torch
from safetensors.torch import load_file

from rag_ft.errors import TrainingError
from rag_ft.training.data.collator import pack
from rag_ft.training.folder import CHECKPOINTS, METRICS_FILE, newest_checkpoint
from rag_ft.training.lora import AdapterConfig
from rag_ft.training.steps.config import TrainConfig
from rag_ft.training.steps.setup import adapt, load_base
from rag_ft.training.steps.trainer import train_rows

CONFIG = TrainConfig(bits=32, epochs=4, learning_rate=5e-3, rows_per_step=2, evaluations=4)


@pytest.fixture
def rows(encoded):
    return pack(encoded, 500, 0)


def _train(folder, tiny_llama_dir, rows, config=CONFIG, dropout=0.1, **more):
    loaded = load_base(str(tiny_llama_dir), config)
    model = adapt(loaded, AdapterConfig(rank=4, dropout=dropout), config)
    return train_rows(model, loaded.tokenizer, rows, rows[:2], config, folder, **more), model


def _adapter(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_training_lowers_the_loss_and_keeps_the_best_adapter(tmp_path, tiny_llama_dir, rows):
    history, model = _train(tmp_path, tiny_llama_dir, rows)
    losses = [record["loss"] for record in history if "loss" in record]
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
    best = load_file(tmp_path / "best" / "adapter_model.safetensors")
    record = json.loads((tmp_path / "best" / "best.json").read_text())
    assert record["eval_loss"] == min(record["eval_loss"] for record in history if "eval_loss" in record)
    assert len(best) == len(_adapter(model))
    lines = [json.loads(line) for line in (tmp_path / METRICS_FILE).read_text().splitlines()]
    assert lines == history


def test_over_packed_weights_the_adapter_learns_in_32_bits_what_it_learns_over_their_values(
    tmp_path, tiny_llama_dir, rows
):
    from transformers import TrainerCallback

    class Types(TrainerCallback):
        def __init__(self):
            self.seen = set()

        def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
            self.seen |= {parameter.dtype for parameter in model.parameters() if parameter.requires_grad}

    config = CONFIG.model_copy(update={"bits": 4, "epochs": 1})
    weights = {}
    for packed in (True, False):
        types = Types()
        _, model = _train(
            tmp_path / str(packed),
            tiny_llama_dir,
            rows,
            config.model_copy(update={"keep_packed": packed}),
            callbacks=[types],
            dropout=0.0,
        )
        assert types.seen == {torch.float32}
        weights[packed] = _adapter(model)
    for name, value in weights[True].items():
        # Single values differ more where the CPU computes in bfloat16.
        assert float((value - weights[False][name]).norm() / weights[False][name].norm()) < 0.05, name


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


@pytest.mark.parametrize("dropout", [0.1, 0.0], ids=["with dropout", "with the fused layers"])
def test_a_run_killed_and_resumed_ends_with_the_weights_of_one_that_was_not(tmp_path, tiny_llama_dir, rows, dropout):
    whole, model = _train(tmp_path / "whole", tiny_llama_dir, rows, dropout=dropout)
    wanted = _adapter(model)
    with pytest.raises(RuntimeError, match="killed"):
        _train(tmp_path / "cut", tiny_llama_dir, rows, callbacks=[_StopAt(5)], dropout=dropout)
    torch.rand(7)  # another random state than the run's
    resumed, model = _train(tmp_path / "cut", tiny_llama_dir, rows, dropout=dropout)
    assert resumed[0]["step"] == 1 and [record["step"] for record in resumed] == [record["step"] for record in whole]
    for name, value in _adapter(model).items():
        torch.testing.assert_close(value, wanted[name], rtol=0, atol=0)


def _clockless(history):
    clock = {"seconds", "examples_per_second", "tokens_per_second", "first_step"}
    return [{name: value for name, value in record.items() if name not in clock} for record in history]


@pytest.mark.parametrize("patience", [0, 2])
def test_a_run_killed_after_its_last_step_trains_no_further(tmp_path, tiny_llama_dir, rows, patience):
    """The last step lies inside an epoch, where transformers would train one more at each resume."""
    config = CONFIG.model_copy(update={"rows_per_step": 1, "max_steps": 5, "evaluations": 5, "patience": patience})
    if patience:
        config = config.model_copy(update={"learning_rate": 1e-30, "max_steps": 50, "evaluations": 50})
    last = 3 if patience else 5
    assert last % len(rows)
    whole, model = _train(tmp_path / "whole", tiny_llama_dir, rows, config)
    assert whole[-1]["step"] == last
    wanted = _adapter(model)
    with pytest.raises(RuntimeError, match="killed"):
        _train(tmp_path / "cut", tiny_llama_dir, rows, config, callbacks=[_StopAt(last)])
    for _ in range(2):  # from the checkpoint, and from the end that is then written down
        resumed, model = _train(tmp_path / "cut", tiny_llama_dir, rows, config, callbacks=[_At(last + 1, _never)])
        assert _clockless(resumed) == _clockless(whole)
        lines = [json.loads(line) for line in (tmp_path / "cut" / METRICS_FILE).read_text().splitlines()]
        assert lines == resumed
        for name, value in _adapter(model).items():
            torch.testing.assert_close(value, wanted[name], rtol=0, atol=0)
        for kept in ("best", "last"):
            files = [tmp_path / run / kept / "adapter_model.safetensors" for run in ("whole", "cut")]
            assert files[0].exists() == files[1].exists()
            assert not files[0].exists() or files[0].read_bytes() == files[1].read_bytes()


def _never():
    raise AssertionError("a step after the last one")


def _cut(name):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:100])


@pytest.mark.parametrize(
    "damage",
    [
        _cut("optimizer.pt"),
        lambda folder: (folder / "optimizer.pt").write_bytes(b"no archive at all"),
        _cut("rng_state.pth"),
        _cut("adapter_model.safetensors"),
        lambda folder: (folder / "rng_state.pth").unlink(),
    ],
    ids=["cut optimiser", "optimiser of other bytes", "cut random state", "cut weights", "no random state"],
)
def test_a_damaged_checkpoint_gives_way_to_the_one_before_and_is_told(tmp_path, tiny_llama_dir, rows, caplog, damage):
    with pytest.raises(RuntimeError, match="killed"):
        _train(tmp_path, tiny_llama_dir, rows, callbacks=[_StopAt(3)])
    with pytest.raises(RuntimeError, match="killed"):
        _train(tmp_path, tiny_llama_dir, rows, callbacks=[_StopAt(6)])
    newest = tmp_path / CHECKPOINTS / "checkpoint-6"
    damage(newest)
    assert newest_checkpoint(tmp_path) == tmp_path / CHECKPOINTS / "checkpoint-3"
    assert "checkpoint-6 is damaged: resuming from checkpoint-3" in caplog.text
    assert not newest.exists()
    (tmp_path / CHECKPOINTS / "checkpoint-old").mkdir()  # somebody's copy is none of ours
    damage(tmp_path / CHECKPOINTS / "checkpoint-3")
    assert newest_checkpoint(tmp_path) is None
    assert "there is no earlier one: starting from the beginning" in caplog.text


def _overflow(steps, half):
    """The checks of a run whose gradients are infinite for so many steps, in float16 or not."""
    from types import SimpleNamespace

    from rag_ft.training.steps.callbacks import GradientCheck

    checks, learned = GradientCheck(), torch.nn.Linear(1, 1)
    for step in range(steps + 1):
        learned.weight.grad = torch.full((1, 1), torch.inf if step < steps else 1.0)
        checks.on_pre_optimizer_step(
            SimpleNamespace(fp16=half), SimpleNamespace(global_step=step), SimpleNamespace(), model=learned
        )
    learned.weight.grad = torch.full((1, 1), torch.inf)  # once it went well, later steps are the optimiser's business
    checks.on_pre_optimizer_step(
        SimpleNamespace(fp16=half), SimpleNamespace(global_step=steps), SimpleNamespace(), model=learned
    )


def test_the_first_steps_in_float16_may_overflow_and_no_others():
    _overflow(16, half=True)
    _overflow(0, half=False)
    with pytest.raises(TrainingError, match="not finite in step 1"):
        _overflow(1, half=False)
    with pytest.raises(TrainingError, match="not finite in step 26"):
        _overflow(40, half=True)


def test_on_simulated_several_gpus_one_is_used_and_told(tmp_path, tiny_llama_dir, rows, monkeypatch, caplog):
    from rag_ft.training.steps import trainer

    plain = trainer._arguments

    def several(*given):
        arguments = plain(*given)
        arguments._n_gpu = 2
        return arguments

    monkeypatch.setattr(trainer, "_arguments", several)
    history, _ = _train(tmp_path, tiny_llama_dir, rows, CONFIG.model_copy(update={"max_steps": 2}))
    assert "one of 2 GPUs is used" in caplog.text and len(history) > 2


def _poison(model):
    with torch.no_grad():
        next(parameter for parameter in model.parameters() if parameter.requires_grad).fill_(float("nan"))


def test_gradients_that_are_not_finite_stop_the_run_in_its_first_step(tmp_path, tiny_llama_dir, rows):
    loaded = load_base(str(tiny_llama_dir), CONFIG)
    model = adapt(loaded, AdapterConfig(rank=4), CONFIG)
    _poison(model)
    with pytest.raises(TrainingError, match="not finite in step 1"):
        train_rows(model, loaded.tokenizer, rows, rows[:1], CONFIG, tmp_path)


@pytest.mark.parametrize(
    ("evaluations", "found"), [(1, "the loss is nan at step 4"), (3, "the held-out loss is nan at step")]
)
def test_a_loss_that_becomes_nan_on_the_way_stops_the_run(tmp_path, tiny_llama_dir, rows, evaluations, found):
    config = CONFIG.model_copy(update={"max_steps": 9, "evaluations": evaluations})
    loaded = load_base(str(tiny_llama_dir), config)
    model = adapt(loaded, AdapterConfig(rank=4), config)
    with pytest.raises(TrainingError, match=found):
        train_rows(
            model, loaded.tokenizer, rows, rows[:1], config, tmp_path, callbacks=[_At(3, lambda: _poison(model))]
        )


def test_measurements_that_a_crash_has_cut_do_not_stop_a_run_from_going_on(tmp_path, tiny_llama_dir, rows):
    whole, _ = _train(tmp_path / "whole", tiny_llama_dir, rows)
    with pytest.raises(RuntimeError, match="killed"):
        _train(tmp_path / "cut", tiny_llama_dir, rows, callbacks=[_StopAt(5)])
    with (tmp_path / "cut" / METRICS_FILE).open("a") as file:
        file.write('{"step": 6, "lo')
    resumed, _ = _train(tmp_path / "cut", tiny_llama_dir, rows)
    assert [record["step"] for record in resumed] == [record["step"] for record in whole]


def test_patience_counts_over_an_interruption(tmp_path, tiny_llama_dir, rows):
    """Nothing is learned at this rate, so that every measurement is as bad as the first one."""
    config = CONFIG.model_copy(update={"learning_rate": 1e-30, "patience": 2, "max_steps": 20, "evaluations": 10})
    whole, _ = _train(tmp_path / "whole", tiny_llama_dir, rows, config)
    assert whole[-1]["step"] == 6  # measured at 2, 4 and 6
    with pytest.raises(RuntimeError, match="killed"):
        _train(tmp_path / "cut", tiny_llama_dir, rows, config, callbacks=[_StopAt(5)])
    resumed, _ = _train(tmp_path / "cut", tiny_llama_dir, rows, config)
    assert resumed[-1]["step"] == 6


def test_random_states_of_several_processes_are_those_of_a_whole_checkpoint(tmp_path, tiny_llama_dir, rows):
    with pytest.raises(RuntimeError, match="killed"):
        _train(tmp_path, tiny_llama_dir, rows, callbacks=[_StopAt(3)])
    kept = tmp_path / CHECKPOINTS / "checkpoint-3"
    (kept / "rng_state.pth").rename(kept / "rng_state_0.pth")
    assert newest_checkpoint(tmp_path) == kept


def test_equal_seeds_give_equal_adapters(tmp_path, tiny_llama_dir, rows):
    config = CONFIG.model_copy(update={"max_steps": 3})
    _, first = _train(tmp_path / "a", tiny_llama_dir, rows, config)
    _, other = _train(tmp_path / "b", tiny_llama_dir, rows, config)
    for name, value in _adapter(first).items():
        torch.testing.assert_close(value, _adapter(other)[name], rtol=0, atol=0)


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

    with pytest.raises(TrainingError, match=r"the disk of .* is full: free some space .*step 2 could not be kept"):
        _train(tmp_path, tiny_llama_dir, rows, callbacks=[_At(2, full)])


def test_a_file_that_cannot_grow_is_one_sentence_and_leaves_nothing_half_written(tmp_path, tiny_llama_dir, rows):
    """The system refuses to write more than 20 kB into a file, as a full disk would: safetensors and torch say so."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    config = CONFIG.model_copy(update={"max_steps": 4, "evaluations": 4})
    try:
        with pytest.raises(TrainingError, match=r"step \d could not be kept in .*free some space"):
            _train(
                tmp_path,
                tiny_llama_dir,
                rows,
                config,
                callbacks=[_At(1, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1])))],
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.glob(".best*"))


def test_an_interruption_in_the_last_measurement_keeps_the_last_step(tmp_path, tiny_llama_dir, rows):
    from transformers import TrainerCallback

    class Interrupted(TrainerCallback):
        sent = False

        def on_prediction_step(self, args, state, control, **kwargs):
            if state.global_step == state.max_steps and not self.sent:
                self.sent = True  # a second one stops at once
                os.kill(os.getpid(), signal.SIGINT)

    whole, model = _train(tmp_path / "whole", tiny_llama_dir, rows)
    wanted = _adapter(model)
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "cut", tiny_llama_dir, rows, callbacks=[Interrupted()])
    last = f"checkpoint-{whole[-1]['step']:.0f}"
    assert newest_checkpoint(tmp_path / "cut").name == last
    _, model = _train(tmp_path / "cut", tiny_llama_dir, rows)
    for name, value in _adapter(model).items():
        torch.testing.assert_close(value, wanted[name], rtol=0, atol=0)


def test_an_interrupted_run_saves_and_goes_on(tmp_path, tiny_llama_dir, rows):
    whole, model = _train(tmp_path / "whole", tiny_llama_dir, rows)
    wanted = _adapter(model)

    def interrupt():
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "cut", tiny_llama_dir, rows, callbacks=[_At(4, interrupt)])
    assert newest_checkpoint(tmp_path / "cut").name == "checkpoint-4"
    resumed, model = _train(tmp_path / "cut", tiny_llama_dir, rows)
    assert resumed[-1]["step"] == whole[-1]["step"]
    for name, value in _adapter(model).items():
        torch.testing.assert_close(value, wanted[name], rtol=0, atol=0)
