"""DeepSpeed's ZeRO stage 2: each process keeps a part of the optimiser's state and of the averaged gradients.

Base and adapter stay whole in every process, so held-out questions are asked as in any other run. A checkpoint holds
the optimiser's whole state in torch's form, put together from the parts. So one process resumes what eight began, with
DeepSpeed or without it; DeepSpeed's own checkpoints are resumed by the same number of its processes alone.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rag_ft.environment import process_count
from rag_ft.errors import TrainingError, UsageError
from rag_ft.models.compute import autocast
from rag_ft.training.steps.processes import launcher_asks, refuse_setting
from rag_ft.training.steps.setup import load_adapter

logger = logging.getLogger(__name__)

_ASKED = "ACCELERATE_USE_DEEPSPEED"
"""Variable with which `accelerate launch` asks for DeepSpeed."""

_STAGE = "ACCELERATE_DEEPSPEED_ZERO_STAGE"

_FOLLOWED = {
    "zero_stage": (_STAGE, "2"),
    "offload_optimizer_device": ("ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE", "none"),
    "offload_param_device": ("ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE", "none"),
    "gradient_accumulation_steps": ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "auto"),
    "gradient_clipping": ("ACCELERATE_GRADIENT_CLIPPING", "auto"),
    "mixed_precision": ("ACCELERATE_MIXED_PRECISION", "no"),
    "use_cpu": ("ACCELERATE_USE_CPU", "false"),
    "deepspeed_config_file": ("ACCELERATE_DEEPSPEED_CONFIG_FILE", ""),
}
"""Settings of the launcher's configuration, the variable of each, and its only value that a run follows; empty: none.

A run decides itself how many rows a step has, where gradients are clipped, and in which type products are computed.
"""


def deepspeed_asked() -> bool:
    """Whether the launcher asks for DeepSpeed."""
    return launcher_asks(_ASKED)


def check_deepspeed() -> None:
    """Raise UsageError for a launch with DeepSpeed that a run does not follow."""
    import torch

    if not deepspeed_asked():
        return
    if os.environ.get(_STAGE) == "3":
        raise UsageError(
            "the launcher asks for DeepSpeed's stage 3, which spreads the adapter too, so that no process can write it:"
            " set zero_stage to 2, or launch with FSDP for a base model that no device holds whole"
        )
    for setting, (variable, followed) in _FOLLOWED.items():
        refuse_setting(setting, os.environ.get(variable, followed), followed)
    if torch.cuda.is_available() and autocast(on_cpu=False) == "float16":
        raise UsageError("a run with DeepSpeed needs GPUs that compute in bfloat16: launch without DeepSpeed")
    if find_spec("deepspeed") is None:
        raise UsageError("the launcher asks for DeepSpeed, which is not installed: run 'pip install deepspeed'")


@contextmanager
def computing_in(model: Any, half: str) -> Iterator[None]:
    """Within this context, a model's passes compute products in a 16-bit type; weights and adapter stay as they are.

    DeepSpeed ends a context of torch's around it, and its own setting would round the adapter to that type.
    """
    import torch

    if half == "none":
        yield
        return
    forward, device = model.forward, next(model.parameters()).device.type

    def cast(*inputs: Any, **named: Any) -> Any:
        with torch.autocast(device, getattr(torch, half)):
            return forward(*inputs, **named)

    model.forward = cast
    try:
        yield
    finally:
        del model.forward


class DeepSpeedMixin:
    """Gives a transformers trainer under DeepSpeed the checkpoints of one without it."""

    _whole: Any = None
    """An optimiser of the whole parameters, which never steps: it reads and writes torch's form of the state."""

    _parts: Any = None
    """The optimiser that DeepSpeed has given this process's part of the parameters."""

    def create_optimizer(self, model: Any = None) -> Any:
        """The optimiser; how its parameters are grouped is noted before DeepSpeed puts flat parts in their place."""
        new = self.optimizer is None  # type: ignore[attr-defined]  # transformers'
        optimizer = super().create_optimizer(model)  # type: ignore[misc]
        if new:
            self._parts = optimizer
            self._whole = type(optimizer)([{**group, "params": [*group["params"]]} for group in optimizer.param_groups])
        return optimizer

    def _prepare_for_training(self, max_steps: int, train_dataloader: Any, resume_from_checkpoint: str | None) -> Any:
        """Wrap model and optimiser, and load a checkpoint into them."""
        if resume_from_checkpoint is not None:
            load_adapter(self.model, Path(resume_from_checkpoint))  # type: ignore[attr-defined]  # copied into the parts
        prepared = super()._prepare_for_training(max_steps, train_dataloader, None)  # type: ignore[misc]
        share = _values(self._parts) / _values(self._whole)
        logger.info("optimiser       divided over %d processes; each holds %.0f%%", process_count(), 100 * share)
        if resume_from_checkpoint is not None:
            self._load_optimizer_and_scheduler(resume_from_checkpoint)
        return prepared

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Load a state in torch's form; each process keeps its part."""
        import torch
        from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME

        if checkpoint is None:
            return
        state, schedule = (
            torch.load(Path(checkpoint) / name, weights_only=True, map_location="cpu")
            for name in (OPTIMIZER_NAME, SCHEDULER_NAME)
        )
        self._whole.load_state_dict(state)
        spread_state(self._whole, self._parts)
        self._whole.state.clear()
        self.lr_scheduler.load_state_dict(_schedule_of(schedule, self._parts))  # type: ignore[attr-defined]

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        """Write the whole state in torch's form; all processes take part, and the first one writes."""
        import torch
        from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME

        gather_state(self._whole, self._parts)
        if self.args.should_save:  # type: ignore[attr-defined]
            torch.save(self._whole.state_dict(), Path(output_dir) / OPTIMIZER_NAME)
            schedule = self.lr_scheduler.state_dict()  # type: ignore[attr-defined]
            torch.save(_schedule_of(schedule, self._whole), Path(output_dir) / SCHEDULER_NAME)
        self._whole.state.clear()

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the adapter, which is whole here; transformers would copy the base's weights to the CPU first."""
        if self.args.should_save:  # type: ignore[attr-defined]
            self._save(output_dir)  # type: ignore[attr-defined]

    def _prepare_input(self, data: Any) -> Any:
        """Move a batch to the device; transformers would also give its masks the type of DeepSpeed's settings."""
        import torch

        if torch.is_tensor(data):
            return data.to(self.args.device)  # type: ignore[attr-defined]
        return super()._prepare_input(data)  # type: ignore[misc]

    def _clip_grad_norm(self, model: Any) -> Any:
        """The norm of the gradients, which DeepSpeed has clipped, used and dropped. Raises TrainingError."""
        norm = super()._clip_grad_norm(model)  # type: ignore[misc]
        if not math.isfinite(norm):
            step = self.state.global_step + 1  # type: ignore[attr-defined]
            raise TrainingError(
                f"the gradients are not finite in step {step}: lower the learning rate, or use --bits 32"
            )
        return norm


def gather_state(whole: Any, parts: Any) -> None:
    """Give `whole`, an optimiser of the parameters, the state of `parts`, DeepSpeed's; all processes call it."""
    from deepspeed.utils import safe_get_full_optimizer_state

    for group in whole.param_groups:
        group.update({name: parts.param_groups[0][name] for name in ("lr", "initial_lr")})  # one schedule for all
    for learned, part in _groups(whole, parts):
        for parameter in learned["params"]:
            whole.state[parameter] = {
                name: safe_get_full_optimizer_state(parameter, name) if value.shape == part.shape else value.clone()
                for name, value in parts.state[part].items()
            }


def spread_state(whole: Any, parts: Any) -> None:
    """Give `parts`, DeepSpeed's optimiser in this process, its part of the state of `whole`."""
    import torch
    from deepspeed.utils import lazy_init_hp_params_optimizer_state, safe_set_full_optimizer_state

    for group in parts.param_groups:
        group.update({name: whole.param_groups[0][name] for name in ("lr", "initial_lr")})
    for learned, part in _groups(whole, parts):
        first = learned["params"][0]
        divided = [name for name, value in whole.state[first].items() if value.shape == first.shape]
        parts.state[part] = {
            name: torch.zeros_like(part) if name in divided else value.clone()
            for name, value in whole.state[first].items()
        }
        lazy_init_hp_params_optimizer_state(learned["params"], part, parts.state)
        for parameter in learned["params"]:
            for name in divided:
                safe_set_full_optimizer_state(parameter, whole.state[parameter][name], name)


def _groups(whole: Any, parts: Any) -> Iterator[tuple[Any, Any]]:
    """Each group of parameters with the flat part that this process has of it; DeepSpeed leaves out empty groups."""
    filled = [group for group in whole.param_groups if group["params"]]
    for learned, group in zip(filled, parts.param_groups, strict=True):
        (part,) = group["params"]
        yield learned, part


def _schedule_of(state: dict[str, Any], optimizer: Any) -> dict[str, Any]:
    """The state of a schedule for the groups of an optimiser, which all follow the same one."""
    groups = len(optimizer.param_groups)
    return {name: [value[0]] * groups if isinstance(value, list) else value for name, value in state.items()}


def _values(optimizer: Any) -> int:
    """Number of values that an optimiser changes."""
    return sum(parameter.numel() for group in optimizer.param_groups for parameter in group["params"])
