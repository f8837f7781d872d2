"""Merge an adapter into its base model's weights, and measure the result against the adapter beside the base."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from pydantic import BaseModel, ConfigDict

from rag_ft.adapters.probes import Difference, difference, handbook_probes, observe
from rag_ft.answering.config import ReaderSettings
from rag_ft.answering.reader import Reader
from rag_ft.answering.reading import ReadRequest
from rag_ft.environment import library_versions
from rag_ft.errors import AdapterError, UsageError
from rag_ft.files import RESULT, foreign_file, is_plain_file, require_space, staged
from rag_ft.models.adapter_record import adapter_record
from rag_ft.models.adapter_slots import adapter_folder, attach_adapter
from rag_ft.models.compute import compute_plan
from rag_ft.models.folder import ADAPTER_WEIGHTS
from rag_ft.models.gguf import TUNING_NAME, UNKNOWN_LICENCE, drop_keys
from rag_ft.models.loading import LoadedModel, load_model, unpack_nf4
from rag_ft.models.weights import DEFAULT, Weights, resolve_adapter, weights_identity
from rag_ft.progress import quiet_transformers
from rag_ft.training.card import card_body, render_card
from rag_ft.training.saving import TOKENIZER_FILES

logger = logging.getLogger(__name__)

MergedDtype: TypeAlias = Literal["float32", "float16", "bfloat16"]
BaseValues: TypeAlias = Literal["original", "nf4"]

DTYPES: tuple[MergedDtype, ...] = ("float32", "float16", "bfloat16")

BOUNDS: dict[MergedDtype, float] = {"float32": 1e-2, "float16": 0.5, "bfloat16": 2.0}
"""Largest difference of a logit that passes: well above what rounding alone does to the packaged adapter (0.0001,
0.06 and 0.3), well below another base's values."""

_BASE_WORDS: dict[BaseValues, str] = {"original": "the original weights", "nf4": "the dequantised NF4 weights"}
_SPARE_BYTES = 64 * 1024 * 1024
_MERGED_FILES = re.compile(
    rf"{re.escape(TUNING_NAME)}|README\.md|(generation_)?config\.json|model(-\d+-of-\d+)?\.safetensors"
    rf"|model\.safetensors\.index\.json|{TOKENIZER_FILES}"
)


class Candidate(BaseModel):
    """Values of a base that the adapter was merged into, and how far that is from the adapter beside its base."""

    model_config = ConfigDict(frozen=True)

    base: BaseValues
    difference: Difference


class Merged(NamedTuple):
    """A merged model that `merge_adapter` wrote."""

    path: Path
    base: BaseValues
    """Values of the base that the adapter was merged into."""
    candidates: tuple[Candidate, ...]
    dtype: str

    def line(self) -> str:
        """One line for a person."""
        return f"written: {self.path} ({_BASE_WORDS[self.base]}, {self.dtype})"


def merge_adapter(
    adapter: str | Path,
    output: str | Path,
    *,
    base: str = DEFAULT,
    dtype: str = "float32",
    probes: Sequence[ReadRequest] | None = None,
    bound: float | None = None,
    device: str | None = None,
    overwrite: bool = False,
) -> Merged:
    """Merge an adapter into its base and write the result to `output`, a base model of its own.

    An adapter that was trained on NF4 values is merged into these, dequantised, and into the original weights, and the
    closer of both is written: closer to the adapter beside the base that it was trained on. Both read `probes`
    (default: questions of the handbook) in float32, and the largest difference of a logit counts. Above `bound`
    (default: depends on `dtype`) nothing is written. The adapter's record comes along, so that
    `Reader.from_pretrained(output)` reads as the base with the adapter does. `adapter` may be `packaged`.

    Raises UsageError for 4-bit types and an output that exists (unless `overwrite` and it is a merged model),
    WeightsError, AdapterError. After any error, or Ctrl-C, nothing is left behind.
    """
    kind = _checked_dtype(dtype)
    output = Path(output)
    tuned = resolve_adapter(adapter_folder(adapter))
    _check_finite(tuned)
    record = adapter_record(tuned)
    probes = list(probes) if probes is not None else handbook_probes()
    if not probes:
        raise UsageError("no probes were given to measure the merge with: give at least one question with a passage")
    bound = BOUNDS[kind] if bound is None else bound
    plan = replace(compute_plan(device, "none"), dtype="float32")
    settings: ReaderSettings = {"threshold": 0.0}
    bases: tuple[BaseValues, ...] = ("nf4", "original") if _bits(record) == 4 else ("original",)
    with staged(output, overwrite=overwrite, foreign=foreign_in_merged, error=AdapterError) as work:
        # The adapter first: where it does not fit, this says so.
        beside = load_model(base, adapter=tuned.path, plan=plan)
        _require_space(output, beside.model, kind, len(bases))
        reference = observe(Reader(beside, **settings), probes)
        weights = beside.weights
        del beside
        candidates = []
        for values in bases:
            folder = work / values
            _write_merged(folder, load_model(base, plan=plan), tuned, values, kind)
            _write_json(folder / TUNING_NAME, _tuning(record, tuned, weights, values))
            # Measured as it was written and is loaded again, with what the type rounds away.
            merged = Reader(load_model(str(folder), plan=plan), **settings)
            candidates.append(
                Candidate(base=values, difference=difference(reference, observe(merged, probes, reference)))
            )
            del merged
            logger.info("%s", _line(candidates[-1]))
        best = min(
            candidates, key=lambda candidate: (candidate.difference.largest_logit, -candidate.difference.identical)
        )
        if not best.difference.largest_logit <= bound:
            raise AdapterError(
                f"merged into {_BASE_WORDS[best.base]} at {kind} the largest difference of a logit is"
                f" {best.difference.largest_logit:.3g}, above the bound of {bound:g}, so nothing was written: use"
                " float32, keep the adapter separate, or give a higher bound"
            )
        folder = work / best.base
        tuning = _tuning(record, tuned, weights, best.base)
        tuning["merge"] = {
            "dtype": kind,
            "bound": bound,
            "candidates": [candidate.model_dump(mode="json") for candidate in candidates],
        }
        _write_json(folder / TUNING_NAME, tuning)
        (folder / "README.md").write_text(_card(tuned, weights, kind, candidates, best.base), encoding="utf-8")
        os.rename(folder, work / RESULT)
    return Merged(output, best.base, tuple(candidates), kind)


def foreign_in_merged(folder: Path) -> Path | None:
    """The first thing in a folder that no merge wrote; the folder itself where it is not a merged model."""
    path = folder / TUNING_NAME
    try:
        record = json.loads(path.read_text(encoding="utf-8")) if is_plain_file(path) else {}
    except (OSError, ValueError, RecursionError):
        record = {}
    base = record.get("base_model") if isinstance(record, dict) else None
    if not isinstance(base, dict) or "merged_into" not in base:
        return folder
    return foreign_file(folder, _MERGED_FILES)


def _checked_dtype(dtype: str) -> MergedDtype:
    if dtype in DTYPES:
        return dtype
    if re.fullmatch(r"(nf|fp|int|q)?[48]([-_]?(bits?|0|1))?", dtype.lower()):
        raise UsageError(
            f"an adapter is not merged into {dtype} storage: the sum would be rounded to a grid far coarser than the"
            " adapter's update, which changes answers; merge to float32, float16 or bfloat16, and quantise afterwards"
            " where the difference is measured"
        )
    raise UsageError(f"the type {dtype!r} is not known: use {', '.join(DTYPES)}")


def _check_finite(tuned: Weights) -> None:
    from safetensors.torch import load_file

    for name, tensor in load_file(tuned.path / ADAPTER_WEIGHTS).items():
        if not tensor.isfinite().all():
            raise AdapterError(f"the adapter {tuned.path} has infinite or undefined values in {name}: train it again")


def _require_space(output: Path, model: Any, dtype: MergedDtype, copies: int) -> None:
    import torch

    size = getattr(torch, dtype).itemsize * sum(parameter.numel() for parameter in model.parameters()) * copies
    require_space(output.parent, size + _SPARE_BYTES, error=AdapterError)


def _write_merged(folder: Path, loaded: LoadedModel, tuned: Weights, values: BaseValues, dtype: MergedDtype) -> None:
    import torch

    model = loaded.model
    if values == "nf4":
        unpack_nf4(model)
    try:
        merged = attach_adapter(model, tuned, "default").merge_and_unload(safe_merge=True)
    except ValueError as error:  # an infinity
        raise AdapterError(f"the adapter {tuned.path} cannot be merged ({error}): train it again") from error
    with quiet_transformers():
        merged.to(getattr(torch, dtype)).save_pretrained(folder)
        loaded.tokenizer.save_pretrained(folder)
    # Without names of this machine equal merges have equal fingerprints everywhere.
    drop_keys(folder / "config.json", "_name_or_path", "transformers_version")
    drop_keys(folder / "generation_config.json", "transformers_version", "_from_model_config")
    drop_keys(folder / "tokenizer_config.json", "is_local", "local_files_only", "name_or_path")


def _bits(record: dict[str, Any]) -> int | None:
    bits = record.get("base_model", {}).get("bits")
    return int(bits) if bits is not None else None


_CARD_TEMPLATE = Path(__file__).with_name("merged_card.md.jinja")

_NOT_CARRIED = ("history", "certificate")
"""Keys of the training run that are not copied: they are long, and remain in the adapter's own record."""


def _tuning(record: dict[str, Any], tuned: Weights, base: Weights, values: BaseValues) -> dict[str, Any]:
    """The adapter's record, rewritten as the record of a merged model."""
    carried = {name: value for name, value in record.items() if name not in _NOT_CARRIED}
    return {
        **carried,
        "shots": bool(record.get("shots", False)),
        "base_model": {
            "name": base.name,
            "identity": weights_identity(base),
            "bits": _bits(record),
            "merged_into": values,
        },
        "adapter": {"name": tuned.name, "fingerprint": tuned.fingerprint},
        "versions_of_merge": library_versions(("rag-ft", "torch", "transformers", "peft", "bitsandbytes")),
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _line(candidate: Candidate) -> str:
    measured = candidate.difference
    return (
        f"merged into {_BASE_WORDS[candidate.base]}: largest difference of a logit {measured.largest_logit:.3g},"
        f" {measured.identical} of {measured.probes} completions identical"
    )


def _card(
    tuned: Weights, base: Weights, dtype: MergedDtype, candidates: Sequence[Candidate], chosen: BaseValues
) -> str:
    """The README of a merged model: what was merged into what, both licences, and the measured difference."""
    from huggingface_hub import ModelCardData

    licences = [base.licence, tuned.licence]
    known = [licence for licence in licences if licence != UNKNOWN_LICENCE]
    same = len(known) == 2 and known[0].lower() == known[1].lower()
    front = known[-1].lower() if same or (known and known[-1] == tuned.licence) else "other"
    own_card = tuned.path / "README.md"
    return render_card(
        _CARD_TEMPLATE,
        ModelCardData(
            library_name="transformers",
            pipeline_tag="text-generation",
            license=front,
            tags=["rag", "lora", "merged", "question-answering"],
        ),
        adapter=tuned,
        base=base,
        base_identity=weights_identity(base),
        base_words=_BASE_WORDS,
        chosen=chosen,
        dtype=dtype,
        candidates=candidates,
        tuning_file=TUNING_NAME,
        adapter_card=_body(own_card.read_text(encoding="utf-8")) if own_card.is_file() else "",
    )


def _body(card: str) -> str:
    """A card without its front matter, and with its headings two levels lower."""
    return "\n".join("##" + line if line.startswith("#") else line for line in card_body(card).splitlines())
