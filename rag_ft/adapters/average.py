"""Average adapters that were trained on from the same start: the mean of their weights.

Fine-tuned from one start with other rates, orders or data, networks end in one basin of the loss, and the mean of their
weights is often better than each of them, at the cost of one (Wortsman et al., "Model soups", ICML 2022). An adapter's
update is the product B A, and the mean of products is not the product of means: only adapters that started at the same
A and B are close enough to each other for averaging to work. Others are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rag_ft.errors import AdapterError, UsageError, WeightsError
from rag_ft.files import RESULT, staged
from rag_ft.models.adapter_record import ADAPTER_RECORD, adapter_record, lora_config
from rag_ft.models.adapter_slots import adapter_folder
from rag_ft.models.folder import ADAPTER_WEIGHTS
from rag_ft.models.weights import Weights, resolve_adapter
from rag_ft.training.card import model_card
from rag_ft.training.saving import KEPT_STEP, foreign_in_adapter, step_of, write_adapter

_SHAPE = ("r", "lora_alpha", "target_modules", "use_rslora", "use_dora")
"""Keys of PEFT's configuration that must agree."""


class _Member(NamedTuple):
    weights: Weights
    record: dict[str, Any]
    config: dict[str, Any]


def average_adapters(adapters: Sequence[str | Path], output: str | Path, *, overwrite: bool = False) -> Path:
    """Write the mean of several adapters to `output`, an adapter like them.

    An adapter is a folder that `train_reader` made, `packaged`, or a step that a run kept (`FOLDER/training/best`). The
    record of the mean names them, and all documents that any of them was trained on. A threshold fits one set of
    weights, so the mean has none: `rag-ft adapter calibrate` chooses it. Raises UsageError for fewer than two adapters,
    an output that exists (unless `overwrite` and it is an adapter), and adapters that did not start from the same one;
    WeightsError.
    """
    from safetensors.torch import load_file

    members = [_member(adapter) for adapter in adapters]
    _check_alike(members)
    first = members[0]
    states = [load_file(member.weights.path / ADAPTER_WEIGHTS) for member in members]
    mean = {name: sum(state[name].float() for state in states) / len(states) for name in states[0]}
    record = _record(members)
    base = str(first.config["base_model_name_or_path"])
    output = Path(output)
    with staged(output, overwrite=overwrite, foreign=foreign_in_adapter, error=AdapterError) as work:
        write_adapter(mean, first.config, work / RESULT, record, model_card(record, base), base)
    return output


def _member(adapter: str | Path) -> _Member:
    weights = resolve_adapter(adapter_folder(adapter))
    record = adapter_record(weights)
    if not record and (weights.path / KEPT_STEP).is_file():
        run = adapter_record(resolve_adapter(weights.path.parent.parent))
        record = {**run, "kept_step": step_of(weights.path)}
    missing = {"data", "lora", "training", "verdict", "prompt_fingerprint"} - record.keys()
    if missing:
        raise WeightsError(
            f"{weights.path / ADAPTER_RECORD} does not say how the adapter was tuned ({min(missing)} is missing): only"
            " adapters made by `rag-ft train` can be averaged"
        )
    return _Member(weights, record, lora_config(weights))


def _check_alike(members: Sequence[_Member]) -> None:
    """Raise UsageError unless the adapters can be averaged."""
    if len(members) < 2:
        raise UsageError("the mean of one adapter is that adapter: give at least two")
    first = members[0]
    if not first.record.get("started_from"):
        raise UsageError(
            f"{first.weights.path} did not start from an adapter, so its weights cannot be averaged with others: train"
            " all of them with --start-from the same one"
        )
    properties: dict[str, Callable[[_Member], Any]] = {
        "started from another adapter": lambda member: (member.record.get("started_from") or {}).get("fingerprint"),
        "has another base model": lambda member: member.record.get("base_model"),
        "was trained on another prompt": lambda member: member.record["prompt_fingerprint"],
        "reads passages in another way": lambda member: (member.record.get("examples") or {}).get("reading"),
        "has another shape": lambda member: [_sorted(member.config.get(key)) for key in _SHAPE],
    }
    for difference, value_of in properties.items():
        for member in members[1:]:
            if value_of(member) != value_of(first):
                raise UsageError(
                    f"{member.weights.path} {difference} than {first.weights.path}: average only adapters that agree"
                )


def _sorted(value: Any) -> Any:
    """A value to compare by: lists are sets in a configuration of PEFT."""
    return sorted(value) if isinstance(value, list) else value


def _record(members: Sequence[_Member]) -> dict[str, Any]:
    first = members[0].record
    kept = {key: value for key, value in first.items() if key not in ("threshold", "results", "kept_step", "history")}
    data = [member.record["data"] for member in members]
    return {
        **kept,
        "data": {**first["data"], **{name: _union(data, name) for name in _LISTS}},
        "verdict": {"outcome": "averaged", "sentence": f"the mean of {len(members)} adapters"},
        "averaged": [
            {
                "fingerprint": member.weights.fingerprint,
                "kept_step": member.record.get("kept_step"),
                "training": member.record["training"],
                "verdict": member.record["verdict"],
            }
            for member in members
        ],
        "history": [],
        "results": {},
    }


_LISTS = ("documents", "document_fingerprints", "held_out")
"""Lists in the table `data` of a record, of which the mean's record has the union."""


def _union(data: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    return sorted({value for table in data for value in table.get(name, ())})
