"""A run with DeepSpeed is that of one process, as are its checkpoints: real processes, where DeepSpeed is installed."""

import os
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest
from launched import (
    assert_same_losses,
    assert_whole_adapter,
    at,
    launch,
    launch_arguments,
    settings,
    train,
    train_by_command,
)

from rag_ft.errors import TrainingError, UsageError
from rag_ft.training.folder import measurements, newest_checkpoint, step_of_checkpoint
from rag_ft.training.steps import deepspeed

CONFIGURATION = Path(__file__).parents[3] / "docs" / "deepspeed.yaml"
LAUNCH = ("-m", "accelerate.commands.launch", "--config_file", CONFIGURATION)
installed = pytest.mark.skipif(find_spec("deepspeed") is None, reason="DeepSpeed is not installed")


@pytest.fixture
def asked(monkeypatch):
    """What the launcher sets for each process when it is given the configuration of the docs."""
    from accelerate.utils.launch import prepare_deepspeed_cmd_env

    arguments, loaded = launch_arguments(CONFIGURATION, "--main_process_port", "0")
    assert loaded.distributed_type == "DEEPSPEED" and arguments.use_deepspeed
    arguments.deepspeed_fields_from_accelerate_config = ",".join(loaded.deepspeed_config)
    _command, given = prepare_deepspeed_cmd_env(arguments)
    for name, value in given.items():
        if name.startswith("ACCELERATE_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("WORLD_SIZE", str(arguments.num_processes))
    monkeypatch.setattr(deepspeed, "find_spec", lambda _name: "found")


def test_the_configuration_of_the_docs_is_one_that_a_run_follows(asked, monkeypatch):
    assert deepspeed.deepspeed_asked()
    deepspeed.check_deepspeed()
    monkeypatch.setattr(deepspeed, "find_spec", lambda _name: None)
    with pytest.raises(UsageError, match="not installed: run 'pip install deepspeed'"):
        deepspeed.check_deepspeed()
    monkeypatch.setenv("WORLD_SIZE", "1")  # a setting of the shell without a launcher means nothing
    deepspeed.check_deepspeed()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("ACCELERATE_DEEPSPEED_ZERO_STAGE", "3", "stage 3, which spreads the adapter too.*launch with FSDP"),
        ("ACCELERATE_DEEPSPEED_ZERO_STAGE", "1", "zero_stage: 1, which a run does not follow: set it to 2"),
        ("ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE", "cpu", "offload_optimizer_device: cpu.*set it to none"),
        ("ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE", "nvme", "offload_param_device: nvme.*set it to none"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4", "gradient_accumulation_steps: 4.*set it to auto"),
        ("ACCELERATE_GRADIENT_CLIPPING", "0.3", "gradient_clipping: 0.3.*set it to auto"),
        ("ACCELERATE_MIXED_PRECISION", "bf16", "mixed_precision: bf16.*set it to no"),
        ("ACCELERATE_USE_CPU", "True", "use_cpu: True.*set it to false"),
        ("ACCELERATE_DEEPSPEED_CONFIG_FILE", "zero.json", "deepspeed_config_file: zero.json.*leave it out"),
    ],
)
def test_a_setting_that_a_run_does_not_follow_is_refused(asked, monkeypatch, name, value, told):
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=told):
        deepspeed.check_deepspeed()


def test_simulated_gpus_without_bfloat16_are_refused(asked, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(deepspeed, "autocast", lambda on_cpu: "float16")
    with pytest.raises(UsageError, match="needs GPUs that compute in bfloat16"):
        deepspeed.check_deepspeed()


def test_a_state_of_torchs_fits_the_groups_of_another_optimiser():
    import torch

    learned = torch.nn.Parameter(torch.zeros(2))
    parts = torch.optim.AdamW([learned])
    whole = torch.optim.AdamW([{"params": [learned]}, {"params": []}])
    schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step) for optimizer in (parts, whole)]
    state = deepspeed._schedule_of(schedules[0].state_dict(), whole)
    assert state == schedules[1].state_dict()
    assert deepspeed._schedule_of(state, parts) == schedules[0].state_dict()


def test_a_pass_computes_products_in_16_bits_and_keeps_the_weights_in_32():
    import torch

    layer = torch.nn.Linear(4, 4)
    given = torch.zeros(1, 4)
    with deepspeed.computing_in(layer, "bfloat16"):
        assert layer(given).dtype == torch.bfloat16 and layer.weight.dtype == torch.float32
    with deepspeed.computing_in(layer, "none"):
        assert layer(given).dtype == torch.float32
    assert layer(given).dtype == torch.float32


def test_a_mask_of_a_batch_keeps_its_type():
    from types import SimpleNamespace

    import torch

    class Moves:
        args = SimpleNamespace(device="cpu")

        def _prepare_input(self, data):
            return {name: self._prepare_input(value) for name, value in data.items()}

    class Trainer(deepspeed.DeepSpeedMixin, Moves):
        pass

    mask = torch.zeros(1, 2, dtype=torch.bfloat16)
    assert Trainer()._prepare_input({"attention_mask": mask})["attention_mask"].dtype == torch.bfloat16


def test_a_step_with_gradients_that_are_not_finite_ends_the_run():
    from types import SimpleNamespace

    class Clips:
        state = SimpleNamespace(global_step=3)

        def _clip_grad_norm(self, model):
            return model

    class Trainer(deepspeed.DeepSpeedMixin, Clips):
        pass

    assert Trainer()._clip_grad_norm(2.5) == 2.5
    with pytest.raises(TrainingError, match="the gradients are not finite in step 4: lower the learning rate"):
        Trainer()._clip_grad_norm(float("nan"))


@installed
@pytest.mark.slow
def test_deepspeed_measures_what_one_process_does_and_its_checkpoints_are_any_runs(whole, tmp_path, tiny_llama_dir):
    """One process begins, two with DeepSpeed go on until one is killed, and one process ends the run."""
    with pytest.raises(KeyboardInterrupt):
        train(tiny_llama_dir, tmp_path, settings(), [at(4, lambda: os.kill(os.getpid(), signal.SIGINT))])
    begun = step_of_checkpoint(newest_checkpoint(tmp_path))
    done = launch(LAUNCH, tiny_llama_dir, tmp_path, "kill", 16)
    assert done.stderr.count("error: process 0 has lost another process of this run") == 1
    assert measurements(tmp_path)[-1]["first_step"] == begun and newest_checkpoint(tmp_path).name == "checkpoint-16"
    resumed = train(tiny_llama_dir, tmp_path, settings())
    assert resumed[-1]["first_step"] == 16
    assert_same_losses(resumed, whole)


@installed
@pytest.mark.slow
def test_a_run_with_deepspeed_ends_with_a_whole_adapter_and_its_figures(tmp_path, tiny_llama_dir):
    made, printed = train_by_command(LAUNCH, tmp_path, tiny_llama_dir, "--bits", 16)
    assert printed.count("optimiser       divided over 2 processes; each holds 50%") == 1
    assert_whole_adapter(made, 16)
