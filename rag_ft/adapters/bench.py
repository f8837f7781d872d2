"""What merging buys on this machine: the merged reader against the adapter beside its base, measured in turns."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
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
    """One quantity for both."""

    model_config = ConfigDict(frozen=True)

    what: str
    unit: str
    separate: float
    merged: float

    @property
    def ratio(self) -> float:
        """Merged to separate."""
        return self.merged / self.separate if self.separate else float("nan")


class AdapterBench(BaseModel):
    """Merged against separate."""

    model_config = ConfigDict(frozen=True)

    plan: str
    """Device, type and threads, in one line."""
    questions: int
    rounds: int
    rows: tuple[BenchRow, ...]
    swap_seconds: float
    """To put another adapter on, median; a merged reader must load another model instead (`load`)."""

    def lines(self) -> list[str]:
        """As a Markdown table."""
        lines = ["| | separate | merged | merged / separate |", "|---|---|---|---|"]
        for one in self.rows:
            separate, merged = (_three_digits(value) for value in (one.separate, one.merged))
            lines.append(f"| {one.what} | {separate} {one.unit} | {merged} {one.unit} | {one.ratio:.2f} |")
        lines.append(f"| change to another adapter | {_three_digits(self.swap_seconds)} s | load another model | – |")
        return lines


def _three_digits(value: float) -> str:
    """At least so many significant ones, and never an exponent."""
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
    say: Callable[[str], None] | None = None,
) -> AdapterBench:
    """Speed, memory and disk of an adapter beside its base and of the merged model (`merged`, or merged here for it).

    Both sides read in turns, `rounds` times after a warm-up, and the median counts. Raises UsageError, WeightsError,
    AdapterError.
    """
    if rounds < 1:
        raise UsageError(f"rounds is {rounds} and must be at least 1")
    asked = list(probes) if probes is not None else handbook_probes(4)
    plan = plan or compute_plan()
    tuned = resolve_adapter(adapter_folder(adapter))
    with tempfile.TemporaryDirectory(prefix="rag-ft-bench-") as name:
        if merged is None:
            merged = merge_adapter(adapter, Path(name) / "merged", base=base, dtype=dtype, probes=asked, say=say).path
        loading = {"separate": (base, tuned.path), "merged": (str(merged), None)}
        load: dict[str, float] = {}
        readers: dict[str, Reader] = {}
        for side, (model, beside) in loading.items():
            load_model(model, adapter=beside, plan=plan)  # from the disk into the system's memory
            begin = time.perf_counter()
            readers[side] = Reader(load_model(model, adapter=beside, plan=plan), passage_cache_mb=0)
            load[side] = time.perf_counter() - begin
        batch, single = _timed(readers, asked, rounds)
        memory = {side: _bytes(one) / 1e6 for side, one in readers.items()}  # before another adapter joins them
        swap = _swap(readers["separate"], tuned.path)
        weights = {side: one.loaded.weights.size_bytes / 1e6 for side, one in readers.items()}
        rows = (
            BenchRow(what=f"{len(asked)} questions together", unit="s", **batch),
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
    return AdapterBench(plan=plan.line, questions=len(asked), rounds=rounds, rows=rows, swap_seconds=swap)


def _timed(
    readers: dict[str, Reader], asked: Sequence[ReadRequest], rounds: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Median seconds for all questions together, and for one alone, of each side."""
    batch: dict[str, list[float]] = {side: [] for side in readers}
    single: dict[str, list[float]] = {side: [] for side in readers}
    for number in range(rounds + 1):
        for side, reader in readers.items():
            for times, some in ((batch, asked), (single, asked[:1])):
                begin = time.perf_counter()
                reader.read_batch(some)
                if number:  # the first round warms up
                    times[side].append(time.perf_counter() - begin)
    return {side: median(times) for side, times in batch.items()}, {
        side: median(times) for side, times in single.items()
    }


def _swap(reader: Reader, folder: Path) -> float:
    """Median seconds to put on one of two adapters in turns, nothing read."""
    reader.add_adapter("bench-other", folder)
    shared: Any = reader.loaded.shared
    times = []
    for number in range(21):
        held = shared.get("bench-other" if number % 2 else reader.adapter)
        begin = time.perf_counter()
        with shared.activated(held):
            times.append(time.perf_counter() - begin)
    return median(times[1:])


def _bytes(reader: Reader) -> int:
    return sum(one.numel() * one.element_size() for one in reader.loaded.model.parameters())
