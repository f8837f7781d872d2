"""Several processes train as one would: real ones, over gloo, started by torch's own launcher."""

import itertools
import os
import signal

import pytest
from launched import TORCHRUN, assert_same_losses, at, launch, settings, train

from rag_ft.errors import TrainingError, UsageError
from rag_ft.training.folder import measurements, newest_checkpoint, step_of_checkpoint
from rag_ft.training.steps import processes


@pytest.mark.slow
def test_two_processes_measure_what_one_does_and_a_lost_one_ends_both_with_a_sentence(whole, tmp_path, tiny_llama_dir):
    """The last process is killed after a checkpoint of both; one process goes on from it to the same end."""
    done = launch(TORCHRUN, tiny_llama_dir, tmp_path, "kill", 12)
    assert done.returncode != 0
    assert done.stderr.count("error: process 0 has lost another process of this run") == 1
    assert "resumes from the newest whole checkpoint" in done.stderr
    kept = newest_checkpoint(tmp_path)
    assert kept.name == "checkpoint-12"
    assert {path.name for path in kept.glob("rng_state*")} == {"rng_state_0.pth", "rng_state_1.pth"}
    resumed = train(tiny_llama_dir, tmp_path, settings())
    assert resumed[-1]["first_step"] == 12
    assert_same_losses(resumed, whole)


@pytest.mark.slow
def test_two_processes_resume_what_one_began_and_keep_a_checkpoint_on_ctrl_c(whole, tmp_path, tiny_llama_dir):
    def interrupt():
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(tiny_llama_dir, tmp_path, settings(), [at(4, interrupt)])
    begun = step_of_checkpoint(newest_checkpoint(tmp_path))
    assert begun in (4, 5)
    done = launch(TORCHRUN, tiny_llama_dir, tmp_path, "interrupt", 9)
    assert done.returncode != 0 and "error:" not in done.stderr
    kept = newest_checkpoint(tmp_path)
    assert kept.name in ("checkpoint-9", "checkpoint-10")
    assert measurements(tmp_path)[-1]["first_step"] == begun
    assert_same_losses(train(tiny_llama_dir, tmp_path, settings()), whole)


@pytest.mark.parametrize("other", [False, True])
def test_simulated_processes_with_other_rows_do_not_start(monkeypatch, other):
    monkeypatch.setattr(processes, "from_main", lambda _own: "rows of the first process")
    monkeypatch.setattr(processes, "any_process", list)
    if not other:
        processes.check_agreement("rows of the first process", "rows to train on")
        return
    with pytest.raises(TrainingError, match="the processes of this run have different rows to train on: give all"):
        processes.check_agreement("other rows", "rows to train on")


def test_draws_depend_on_the_seed_and_the_place_alone():
    places = list(itertools.product(range(2), range(3), range(3), range(3)))
    seeds = [processes.draw_seed(*place) for place in places]
    assert len(set(seeds)) == len(places) and seeds == [processes.draw_seed(*place) for place in places]


def test_a_launcher_that_asks_for_deepspeed_is_refused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    processes.check_launch()  # a setting of the shell without a launcher means nothing
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match=r"the launcher asks for DeepSpeed.*launch with FSDP"):
        processes.check_launch()


@pytest.fixture
def sigterm():
    """What SIGTERM does is the same after the test."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_only_what_a_lost_process_causes_is_called_so(monkeypatch, sigterm):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TrainingError, match="has lost another process"), processes.told_of_lost_processes():
        raise RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer")
    with pytest.raises(RuntimeError, match="shapes"), processes.told_of_lost_processes():
        raise RuntimeError("shapes do not match")


def test_more_processes_than_simulated_gpus_are_refused(monkeypatch):
    import torch

    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert processes.own_device() is None
    for name, value in (("WORLD_SIZE", "3"), ("RANK", "1"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert processes.own_device() == "cuda:1" and chosen == [1]
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UsageError, match="which has 2 GPUs: launch one process for each GPU"):
        processes.own_device()
