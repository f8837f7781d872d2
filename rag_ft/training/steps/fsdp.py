"""A frozen base model that is spread over the processes of a launch, for one that no device holds whole (FSDP).

Torch's `fully_shard` leaves each process a part of every weight, gathers a layer where it computes and drops it again.
It is applied to the base alone. The adapter stays whole in every process, and `DistributedDataParallel` averages its
gradients, as in a run without FSDP. So the optimiser's state, the checkpoints and the kept adapters are those of any
other run, and one process resumes what eight began.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rag_ft.environment import process_count
from rag_ft.errors import UsageError
from rag_ft.training.steps.processes import WAIT_SECONDS, launcher_asks, own_device, refuse_setting

logger = logging.getLogger(__name__)

_ASKED = "ACCELERATE_USE_FSDP"
"""Variable with which `accelerate launch` asks for FSDP."""

_RESHARD = "FSDP_RESHARD_AFTER_FORWARD"

_FOLLOWED = {
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_OFFLOAD_PARAMS": "false",
    "FSDP_ACTIVATION_CHECKPOINTING": "false",
    "FSDP_TRANSFORMER_CLS_TO_WRAP": "",
    "FSDP_IGNORED_MODULES": "",
}
"""The only value that a run follows of settings that change what FSDP does; empty: not set."""


def fsdp_asked() -> bool:
    """Whether the launcher asks for a base model that is spread over its processes."""
    return launcher_asks(_ASKED)


def check_fsdp(bits: int) -> None:
    """Raise UsageError for a launch with FSDP that a run does not follow."""
    if not fsdp_asked():
        return
    for variable, followed in _FOLLOWED.items():
        refuse_setting(variable.lower(), os.environ.get(variable, followed), followed)
    if bits == 4:
        raise UsageError(
            "the launcher asks for FSDP, which does not spread packed 4-bit weights: train with --bits 16 (or 32), or"
            " launch without it"
        )


@contextmanager
def fsdp_hidden() -> Iterator[None]:
    """Within this context, accelerate and transformers do not see that the launcher asks for FSDP.

    They would spread the adapter too, and load the base's values in the first process alone. Here the base is loaded
    whole and spread by `shard_base`, and the adapter is trained as without FSDP.
    """
    asked = os.environ.pop(_ASKED, None)
    try:
        yield
    finally:
        if asked is not None:
            os.environ[_ASKED] = asked


def is_sharded(model: Any) -> bool:
    """Whether a model's base is spread over the processes."""
    from torch.distributed.fsdp import FSDPModule

    return isinstance(model, FSDPModule)


def shard_base(model: Any) -> None:
    """Leave this process its part of each frozen weight of PEFT's `model`, on its device; all processes call it.

    A layer is gathered as one; embedding, last norm and output head are another.
    Raises UsageError for a model that does not name its layers.
    """
    from accelerate import PartialState
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.nn.parallel import DistributedDataParallel

    device = own_device()
    PartialState(cpu=device is None, timeout=timedelta(seconds=WAIT_SECONDS))  # joins the processes
    base = model.get_base_model()
    kinds = set(base._no_split_modules or ())
    layers = [module for module in base.modules() if type(module).__name__ in kinds]
    if not layers:
        raise UsageError(
            f"transformers does not say what the layers of {type(base).__name__} are, so FSDP cannot spread it: launch"
            " without FSDP"
        )
    learned = {parameter for parameter in model.parameters() if parameter.requires_grad}
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    whole = _values_held(model)
    mesh = init_device_mesh("cpu" if device is None else "cuda", (process_count(),))
    for layer in layers:
        fully_shard(layer, mesh=mesh, ignored_params=learned, reshard_after_forward=_drops_after_forward())
    # Dropped after every pass: one process alone, which writes the adapter, would drop these too, and not wait for the
    # others when all gather them again.
    fully_shard(model, mesh=mesh, ignored_params=learned, reshard_after_forward=True)
    if device is not None:
        for parameter in learned:
            parameter.data = parameter.data.to(device)
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, frozen)  # type: ignore[no-untyped-call]
    share = _values_held(model) / whole
    logger.info(
        "base model      spread over %d processes; each holds %.0f%% of all weights", process_count(), 100 * share
    )


def _drops_after_forward() -> bool:
    """Whether layers are dropped after the forward pass and gathered again for the backward one."""
    return os.environ.get(_RESHARD, "true").lower() != "false"


def _values_held(model: Any) -> int:
    """Number of values of a model's weights in this process."""
    from torch.distributed.tensor import DTensor

    return sum(
        (parameter.to_local() if isinstance(parameter, DTensor) else parameter).numel()
        for parameter in model.parameters()
    )
