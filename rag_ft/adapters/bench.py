"""Measure what merging gains on this machine: the merged reader against the adapter beside its base, in turns."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from pydantic import BaseModel, ConfigDict

from rag_ft.adapters.merge import merge_adapter
from rag_ft.adapters.probes import handbook_probes
from rag_ft.answering.reader import Reader
from rag_ft.answering.reading import ReadRequest
from rag_ft.errors import UsageError
from rag_ft.models.adapter_slots import adapter_folder
from rag_ft.models.compute import ComputePlan, compute_plan
from rag_ft.models.loading import load_model
from rag_ft.models.weights import DEFAULT, resolve_adapter


class BenchRow(BaseModel):
    """One quantity, measured on both sides."""

    model_config = ConfigDict(frozen=True)

    what: str
    unit: str
    separate: float
    merged: float

    @property
    def ratio(self) -> float:
        """The merged value divided by the separate one."""
        return self.merged / self.separate if self.separate else float("nan")


class AdapterBench(BaseModel):
    """A merged reader measured against the adapter beside its base."""

    model_config = ConfigDict(frozen=True)

    plan: str
    """Device, compute type and threads, in one line."""
    questions: int
    rounds: int
    rows: tuple[BenchRow, ...]
    swap_seconds: float
    """Median time to activate another adapter; a merged reader must load another model instead (row `load`)."""

    def lines(self) -> list[str]:
        """The measurements as a Markdown table."""
        lines = ["| | separate | merged | merged / separate |", "|---|---|---|---|"]
        for row in self.rows:
            separate, merged = (_three_digits(value) for value in (row.separate, row.merged))
            lines.append(f"| {row.what} | {separate} {row.unit} | {merged} {row.unit} | {row.ratio:.2f} |")
        lines.append(f"| change to another adapter | {_three_digits(self.swap_seconds)} s | load another model | – |")
        return lines


def _three_digits(value: float) -> str:
    """A number with at least three significant digits and never an exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def bench_adapter(
    adapter: str | Path,
    *,
    base: str = DEFAULT,
    merged: str | Path | None = None,
    dtype: str = "float32",
    probes: Sequence[ReadRequest] | None = None,
    rounds: int = 3,
    plan: ComputePlan | None = None,
) -> AdapterBench:
    """Compare speed, memory and disk of an adapter beside its base with those of the merged model.

    `merged` is its folder; None merges the adapter into a temporary one. Both sides read in turns, `rounds` times after
    a warm-up, and the median counts. Raises UsageError, WeightsError, AdapterError.
    """
    if rounds < 1:
        raise UsageError(f"rounds is {rounds} and must be at least 1")
    requests = list(probes) if probes is not None else handbook_probes(4)
    plan = plan or compute_plan()
    tuned = resolve_adapter(adapter_folder(adapter))
    with tempfile.TemporaryDirectory(prefix="rag-ft-bench-") as scratch:
        if merged is None:
            output = Path(scratch) / "merged"
            merged = merge_adapter(adapter, output, base=base, dtype=dtype, probes=requests).path
        sides = {"separate": (base, tuned.path), "merged": (str(merged), None)}
        load: dict[str, float] = {}
        readers: dict[str, Reader] = {}
        for side, (model, adapter_path) in sides.items():
            load_model(model, adapter=adapter_path, plan=plan)  # from the disk into the system's memory
            start = time.perf_counter()
            readers[side] = Reader(load_model(model, adapter=adapter_path, plan=plan), passage_cache_mb=0)
            load[side] = time.perf_counter() - start
        batch, single = _read_seconds(readers, requests, rounds)
        memory = {side: _bytes(reader) / 1e6 for side, reader in readers.items()}  # before another adapter joins them
        swap = _swap_seconds(readers["separate"], tuned.path)
        weights = {side: reader.loaded.weights.size_bytes / 1e6 for side, reader in readers.items()}
        rows = (
            BenchRow(what=f"{len(requests)} questions together", unit="s", **batch),
            BenchRow(what="one question", unit="s", **single),
            BenchRow(what="weights in memory", unit="MB", **memory),
            BenchRow(
                what="on disk for one reader",
                unit="MB",
                separate=weights["separate"] + tuned.size_bytes / 1e6,
                merged=weights["merged"],
            ),
            BenchRow(
                what="on disk for ten readers of one base",
                unit="MB",
                separate=weights["separate"] + 10 * tuned.size_bytes / 1e6,
                merged=10 * weights["merged"],
            ),
            BenchRow(what="load", unit="s", **load),
        )
    return AdapterBench(plan=plan.line, questions=len(requests), rounds=rounds, rows=rows, swap_seconds=swap)


def _read_seconds(
    readers: dict[str, Reader], requests: Sequence[ReadRequest], rounds: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Median seconds of each side for all questions together, and for the first one alone."""
    batch: dict[str, list[float]] = {side: [] for side in readers}
    single: dict[str, list[float]] = {side: [] for side in readers}
    for i in range(rounds + 1):
        for side, reader in readers.items():
            for seconds, questions in ((batch, requests), (single, requests[:1])):
                start = time.perf_counter()
                reader.read_batch(questions)
                if i:  # the first round warms up
                    seconds[side].append(time.perf_counter() - start)
    batch_medians = {side: median(seconds) for side, seconds in batch.items()}
    return batch_medians, {side: median(seconds) for side, seconds in single.items()}


def _swap_seconds(reader: Reader, folder: Path) -> float:
    """Median seconds to activate one of two adapters in turns, with nothing read."""
    reader.add_adapter("bench-other", folder)
    shared: Any = reader.loaded.shared
    seconds = []
    for i in range(21):
        slot = shared.get("bench-other" if i % 2 else reader.adapter)
        start = time.perf_counter()
        with shared.activated(slot):
            seconds.append(time.perf_counter() - start)
    return median(seconds[1:])


def _bytes(reader: Reader) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in reader.loaded.model.parameters())
