"""Several processes that train one adapter, as `torchrun` or `accelerate launch` starts them.

Each holds the whole base model and computes its part of every step; torch's `DistributedDataParallel`, which
transformers puts around the model, averages the gradients. What is here keeps them in step: what may be launched, what
the first process decides for all, and what is said when one of them is gone.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rag_ft.environment import main_process, process_count, process_number
from rag_ft.errors import TrainingError, UsageError, first_line

WAIT_SECONDS = 7 * 24 * 3600
"""How long a process waits for another that is alive; the first one answers the held-out questions meanwhile."""

_LOST = ("gloo/transport", "Connection closed by peer", "Connection reset by peer", "NCCL", "Socket Timeout")
"""Words in torch's errors about a process that no longer answers."""


def launcher_asks(variable: str) -> bool:
    """Whether a launcher of several processes asks for what a variable stands for."""
    return process_count() > 1 and os.environ.get(variable, "").lower() == "true"


def refuse_setting(setting: str, value: str, followed: str) -> None:
    """Raise UsageError unless a setting of the launcher's has the value that a run follows; empty: it is not set."""
    if value.lower() != followed.lower():
        instead = f"set it to {followed}" if followed else "leave it out"
        raise UsageError(f"the launcher's configuration has {setting}: {value}, which a run does not follow: {instead}")


def refuse_processes(what: str) -> None:
    """Raise UsageError if a launcher has started several processes for something that one does."""
    if process_count() > 1:
        raise UsageError(f"{what} by one process: start the command without a launcher")


def own_device() -> str | None:
    """The GPU of this process under a launcher; None to choose as usual. Raises UsageError if there are too few."""
    import torch

    if process_count() == 1 or not torch.cuda.is_available():
        return None
    local = os.environ.get("LOCAL_RANK", "")
    number, gpus = int(local) if local.isdigit() else process_number(), torch.cuda.device_count()
    if number >= gpus:
        raise UsageError(
            f"process {process_number()} is number {number} on its machine, which has {gpus} GPUs: launch one process"
            ' for each GPU, or set CUDA_VISIBLE_DEVICES="" to train on the CPU'
        )
    torch.cuda.set_device(number)
    return f"cuda:{number}"


def draw_seed(seed: int, step: int, row: int, part: int) -> int:
    """Seed of what is drawn while a part of a row is computed: from the run's seed and the place, not from the past."""
    return random.Random(f"{seed} {step} {row} {part}").getrandbits(63)


def any_process(flags: Sequence[bool]) -> list[bool]:
    """For each flag, whether it is set in any process; all processes call it at the same place."""
    if process_count() == 1:
        return list(flags)
    import torch
    from accelerate import PartialState

    agreed = torch.tensor([float(flag) for flag in flags], device=PartialState().device)
    torch.distributed.all_reduce(agreed, torch.distributed.ReduceOp.MAX)
    return [bool(flag) for flag in agreed.tolist()]


def from_main(text: str | None) -> str | None:
    """The text that the first process gives, in every process; all call it at the same place."""
    if process_count() == 1:
        return text
    from accelerate.utils import broadcast_object_list

    given: list[Any] = [text]
    broadcast_object_list(given)
    return given[0] if isinstance(given[0], str) else None


def check_agreement(fingerprint: str, what: str) -> None:
    """Raise TrainingError, in every process, unless all have the same fingerprint of something."""
    differs = from_main(fingerprint) != fingerprint
    if any_process([differs])[0]:
        raise TrainingError(
            f"the processes of this run have different {what}: give all machines the same question records, index,"
            " settings and output folder, on storage that they share"
        )


@contextmanager
def told_of_lost_processes() -> Iterator[None]:
    """Within this context, the end of another process is a TrainingError that says so.

    The first process learns of it by its own broken connection, or by SIGTERM from the launcher, whichever comes first;
    the others are ended by that signal without a word.
    """
    if process_count() == 1:
        yield
        return
    with _terminations_raised():
        try:
            yield
        except RuntimeError as error:
            if any(words in str(error) for words in _LOST):
                raise _lost(first_line(error)) from error
            raise


@contextmanager
def _terminations_raised() -> Iterator[None]:
    """Within this context, SIGTERM is an error in the first process; once there is an error, it has time to say it."""
    if not main_process() or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ended(_number: int, _frame: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise _lost("its launcher ends it")

    before = signal.signal(signal.SIGTERM, ended)
    try:
        yield
    except Exception:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise
    signal.signal(signal.SIGTERM, before)


def _lost(reason: str) -> TrainingError:
    return TrainingError(
        f"process {process_number()} has lost another process of this run ({reason}): see that one's own error; the"
        " same command, with any number of processes, resumes from the newest whole checkpoint"
    )


def leave() -> None:
    """Close the connections to the other processes, which some backends complain about at exit otherwise."""
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
