"""A base spread over processes trains as a whole one: real processes, started with the configuration of the docs."""

import math
import os
import signal
from dataclasses import replace
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

from rag_ft.errors import UsageError
from rag_ft.training.folder import measurements, newest_checkpoint, step_of_checkpoint
from rag_ft.training.steps import fsdp

CONFIGURATION = Path(__file__).parents[3] / "docs" / "fsdp.yaml"
LAUNCH = ("-m", "accelerate.commands.launch", "--config_file", CONFIGURATION)


@pytest.fixture
def asked(monkeypatch):
    """What the launcher sets for each process when it is given the configuration of the docs."""
    from accelerate.utils.launch import prepare_multi_gpu_env

    arguments, loaded = launch_arguments(CONFIGURATION)
    assert loaded.distributed_type == "FSDP" and arguments.use_fsdp
    for name, value in prepare_multi_gpu_env(arguments).items():
        if name.startswith(("FSDP_", "ACCELERATE_USE")):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("WORLD_SIZE", str(arguments.num_processes))


def test_the_configuration_of_the_docs_is_one_that_a_run_follows(asked):
    assert fsdp.fsdp_asked()
    fsdp.check_fsdp(16)
    with fsdp.fsdp_hidden():
        assert not fsdp.fsdp_asked()
    assert fsdp.fsdp_asked()


@pytest.mark.parametrize(
    ("name", "value", "instead"),
    [
        ("FSDP_VERSION", "1", "set it to 2"),
        ("FSDP_AUTO_WRAP_POLICY", "SIZE_BASED_WRAP", "set it to TRANSFORMER_BASED_WRAP"),
        ("FSDP_OFFLOAD_PARAMS", "true", "set it to false"),
        ("FSDP_IGNORED_MODULES", "lm_head", "leave it out"),
    ],
)
def test_a_setting_that_a_run_does_not_follow_is_refused(asked, monkeypatch, name, value, instead):
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=f"has {name.lower()}: {value}, which a run does not follow: {instead}"):
        fsdp.check_fsdp(16)


def test_packed_weights_are_not_spread(asked, monkeypatch):
    with pytest.raises(UsageError, match="train with --bits 16"):
        fsdp.check_fsdp(4)
    monkeypatch.setenv("WORLD_SIZE", "1")
    fsdp.check_fsdp(4)


@pytest.mark.parametrize(("free", "device"), [(4_100, "cuda:0"), (3_900, "cpu")])
def test_a_base_that_takes_more_than_half_of_a_simulated_gpu_is_loaded_into_main_memory(
    asked, monkeypatch, tiny_llama_dir, free, device
):
    from rag_ft.models import compute, loading
    from rag_ft.models.weights import resolve_reader, tensor_shapes
    from rag_ft.training.steps import setup
    from rag_ft.training.steps.config import TrainConfig

    plan = replace(compute.compute_plan("cpu"), device="cuda:0")
    file = resolve_reader(str(tiny_llama_dir)).path / "model.safetensors"
    values = sum(math.prod(shape) for shape in tensor_shapes(file).values())
    devices = []
    monkeypatch.setattr(compute, "compute_plan", lambda *_given, **_settings: plan)
    monkeypatch.setattr(loading, "load_model", lambda _name, *, plan: devices.append(plan.device))
    monkeypatch.setattr(setup, "_free_bytes", lambda _device: values * free / 1_000)  # of 16 bits, half is 2,000
    setup.load_base(str(tiny_llama_dir), TrainConfig(bits=16))
    assert devices == [device]


@pytest.mark.slow
def test_a_spread_base_measures_what_a_whole_one_does_and_its_checkpoints_are_any_runs(whole, tmp_path, tiny_llama_dir):
    """One process begins, two with a spread base go on until one is killed, and one process ends the run."""
    with pytest.raises(KeyboardInterrupt):
        train(tiny_llama_dir, tmp_path, settings(), [at(4, lambda: os.kill(os.getpid(), signal.SIGINT))])
    begun = step_of_checkpoint(newest_checkpoint(tmp_path))
    done = launch(LAUNCH, tiny_llama_dir, tmp_path, "kill", 16)
    assert done.stderr.count("error: process 0 has lost another process of this run") == 1
    assert measurements(tmp_path)[-1]["first_step"] == begun and newest_checkpoint(tmp_path).name == "checkpoint-16"
    resumed = train(tiny_llama_dir, tmp_path, settings())
    assert resumed[-1]["first_step"] == 16
    assert_same_losses(resumed, whole)


@pytest.mark.slow
def test_a_run_with_a_spread_base_in_16_bits_ends_with_a_whole_adapter_and_its_figures(tmp_path, tiny_llama_dir):
    made, printed = train_by_command(LAUNCH, tmp_path, tiny_llama_dir, "--bits", 16)
    assert printed.count("base model      spread over 2 processes; each holds 54% of all weights") == 1
    assert_whole_adapter(made, 16)
