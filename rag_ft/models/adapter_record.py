"""The record beside tuned weights: on which base and data, under which prompt, with which threshold."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from rag_ft.errors import WeightsError
from rag_ft.models.folder import ADAPTER_CONFIG, CROSS_ENCODER_RECORD
from rag_ft.models.gguf import TUNING_NAME
from rag_ft.models.weights import Weights, weights_identity
from rag_ft.schema import FINGERPRINT

ADAPTER_RECORD = "rag_ft.json"
"""File beside an adapter that says how it was trained."""


def adapter_record(adapter: Weights | None) -> dict[str, Any]:
    """The content of `rag_ft.json` beside an adapter: how it was trained. Empty where there is none.

    Raises WeightsError where it is not JSON.
    """
    if adapter is None:
        return {}
    return _read(Path(adapter.path) / ADAPTER_RECORD, "train the adapter again, or restore the file")


def base_record(weights: Weights) -> dict[str, Any]:
    """The content of `tuning.json` in a base model that an adapter was merged into; empty where none was.

    Raises WeightsError where it is not JSON.
    """
    return _read(Path(weights.path) / TUNING_NAME, "merge the adapter again, or restore the file")


def reading_record(weights: Weights, adapter: Weights | None) -> dict[str, Any]:
    """The record of a reader's tuning: the adapter's, or without one that of an adapter merged into the base.

    Raises WeightsError where it is not JSON.
    """
    return adapter_record(adapter) if adapter is not None else base_record(weights)


def lora_config(adapter: Weights) -> dict[str, Any]:
    """PEFT's own settings of a LoRA adapter. Raises WeightsError for an adapter of another kind."""
    config = json.loads((Path(adapter.path) / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    if config.get("peft_type") != "LORA" or not {"r", "lora_alpha"} <= config.keys():
        raise WeightsError(f"{adapter.path} is an adapter of the kind {config.get('peft_type')}: give a LoRA adapter")
    return dict(config)


_TABLES = ("base_model", "data", "threshold", "examples", "training", "lora", "certificate", "verdict", "results")
"""Keys of a record whose values are JSON objects."""


def _read(path: Path, remedy: str) -> dict[str, Any]:
    """A record, empty where there is no file. Raises WeightsError, with `remedy` as what to do."""
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is not JSON: {remedy}") from error
    if not isinstance(record, dict):
        raise WeightsError(f"{path} is not a record of rag_ft, but {type(record).__name__} in JSON: {remedy}")
    wrong = [key for key in _TABLES if not isinstance(record.get(key) or {}, dict)]
    if wrong:
        raise WeightsError(f"{path} is not a record of rag_ft ({wrong[0]} is not a JSON object): {remedy}")
    return {key: value for key, value in record.items() if value is not None or key not in _TABLES}


def check_base(record: dict[str, Any], weights: Weights, tuned: Weights) -> None:
    """Raise WeightsError where an adapter with this record was trained on another base than `weights`."""
    base = record.get("base_model", {})
    identity = base.get("identity")
    if identity is not None and identity != weights_identity(weights):
        raise WeightsError(
            f"the adapter {tuned.path} was trained on {base.get('name', 'another model')} ({str(identity)[:12]}) and"
            f" the base model here is {weights.name} ({weights_identity(weights)[:12]}): use the base model that it was"
            " trained on"
        )


def adapters_trained_on(folder: Path, document_fingerprints: Collection[str]) -> tuple[Path, ...]:
    """Adapters, merged models and cross-encoders at or below a folder whose records name one of these documents.

    Records that cannot be read are ignored.
    """
    adapters = []
    records = (ADAPTER_RECORD, TUNING_NAME, CROSS_ENCODER_RECORD)
    for path in sorted(path for name in records for path in folder.rglob(name)):
        try:
            record = _read(path, "")
        except (WeightsError, OSError):
            continue
        if any(names_document(record, fingerprint) for fingerprint in document_fingerprints):
            adapters.append(path.parent)
    return tuple(adapters)


def names_document(record: dict[str, Any], document_fingerprint: str) -> bool:
    """Whether a record names a document, by the fingerprint of its content, as trained on."""
    return document_fingerprint[:FINGERPRINT] in documents_trained_on(record)


def documents_trained_on(record: Mapping[str, Any]) -> frozenset[str]:
    """Fingerprints of the documents that a record names as trained on; none where it names none."""
    data = record.get("data")
    known = data.get("document_fingerprints") if isinstance(data, dict) else None
    return frozenset(known) if isinstance(known, list) else frozenset()


def trained_documents(record: Mapping[str, Any], fingerprints: Mapping[str, str]) -> frozenset[str]:
    """Documents of an index that an adapter was trained on; `fingerprints` as `Index.document_fingerprints` gives them.

    Documents are compared by fingerprint, so that a renamed one is found and another of the same name is not; by name
    where the adapter's record holds no fingerprints.
    """
    known = documents_trained_on(record)
    if not known:
        return _named(record, "documents")
    return frozenset(name for name, fingerprint in fingerprints.items() if fingerprint[:FINGERPRINT] in known)


def held_out_documents(record: Mapping[str, Any]) -> frozenset[str]:
    """Names of the documents that were held out of a training, on which its step and its threshold were chosen."""
    return _named(record, "held_out")


def _named(record: Mapping[str, Any], key: str) -> frozenset[str]:
    """The documents that a record lists under a key; none where it only counts them."""
    names = (record.get("data") or {}).get(key)
    return frozenset(names) if isinstance(names, list) else frozenset()
