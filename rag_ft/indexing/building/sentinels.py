"""A few passages kept with their vectors: embedded again, they show whether the embedder still is the same."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rag_ft.errors import IndexMismatchError, WeightsError
from rag_ft.indexing.embedding import arithmetic_of, load_embedder, load_named_embedder
from rag_ft.indexing.storage.folder import SENTINEL_VECTORS, SENTINELS
from rag_ft.indexing.storage.generation import Generation
from rag_ft.indexing.storage.lines import json_line
from rag_ft.indexing.storage.reading import save_array

if TYPE_CHECKING:
    from rag_ft.indexing.embedding import Embedder

SENTINELS_KEPT = 8
SENTINELS_CHECKED = 3

FLOAT32_COSINE = 0.9999
BFLOAT16_COSINE = 0.9998
UNSTATED_COSINE = 0.999
"""Smallest cosine of a passage embedded again that is the same embedder's: where both times products were computed in
float32, where bfloat16 was used, and for an embedder that does not say.

Over 2,000 passages the smallest was 0.9999999 between torch and OpenVINO in float32, and 0.99997 between either and
OpenVINO in bfloat16 (benchmarks/embedding_backends.py); two processors' bfloat16 may differ by twice that angle. An
embedder is run in bfloat16 only if its probes agree with float32 by 0.9999. Another pooling or prefix moves the cosine
by over 1e-2."""


def embedder_of(generation: Generation, place: Path | str) -> Embedder:
    """The embedder that a generation's manifest names, loaded and compared. Raises IndexMismatchError."""
    name = generation.manifest.embedder.name
    try:
        embedder = load_named_embedder(name)
    except WeightsError as error:
        raise IndexMismatchError(
            f"the index at {place} needs its embedder {name!r}, which was not loaded ({error}): if you trust it, give"
            " it once with --embedder (rag-ft ask, serve, mcp, index add, index verify), or as Index.load(...,"
            " embedder=...)"
        ) from error
    check_sentinels(generation, embedder, place)
    return embedder


def checked_embedder(generation: Generation, place: Path | str, embedder: str | Embedder | None) -> Embedder | None:
    """The embedder that the user gave for an index, loaded if it is a name, and compared; None if none was given.

    Raises WeightsError, IndexMismatchError.
    """
    if isinstance(embedder, str):
        embedder = load_embedder(embedder)
    if embedder is not None:
        check_sentinels(generation, embedder, place)
    return embedder


def check_sentinels(generation: Generation, embedder: Embedder, index_path: Path | str) -> None:
    """Raise IndexMismatchError unless the embedder is the manifest's and still gives the same vectors.

    Three of the kept passages are embedded again. That catches what no name or fingerprint shows, such as another
    pooling, prefix or library behaviour.
    """
    entry = generation.manifest.embedder
    if embedder.fingerprint != entry.fingerprint or embedder.dimension != entry.dimension:
        raise IndexMismatchError(
            f"the index at {index_path} was built with the embedder {entry.name} ({entry.fingerprint[:12]}, "
            f"{entry.dimension} dimensions), not with {embedder.name} ({embedder.fingerprint[:12]}, "
            f"{embedder.dimension}): give that embedder or build the index again"
        )
    if not generation.sentinel_texts:
        return
    rows = evenly_spread(len(generation.sentinel_texts), SENTINELS_CHECKED)
    vectors = embedder.encode_passages([generation.sentinel_texts[row] for row in rows])
    cosines = (vectors * generation.sentinel_vectors[rows]).sum(axis=1)
    if not bool(np.all(cosines >= least_cosine({*entry.arithmetic, arithmetic_of(embedder)}))):
        raise IndexMismatchError(
            f"the embedder {embedder.name} no longer gives the vectors of the index at {index_path} (cosine "
            f"{float(np.min(cosines)):.4f} for a passage embedded again): restore the embedder or build the "
            "index again"
        )


def least_cosine(arithmetic: Collection[str]) -> float:
    """Smallest cosine that rounding explains between vectors of one embedder, computed in these ways."""
    if "" in arithmetic:
        return UNSTATED_COSINE
    return BFLOAT16_COSINE if any(name.endswith("bfloat16") for name in arithmetic) else FLOAT32_COSINE


def write_sentinels(folder: Path, texts: Callable[[list[int]], Iterable[str]], vectors: NDArray[np.float32]) -> None:
    """Keep some of a generation's passages. `texts`: those of some rows, ascending, as they were embedded."""
    rows = evenly_spread(len(vectors), SENTINELS_KEPT)
    (folder / SENTINELS).write_bytes(json_line([*texts(rows)]))
    save_array(folder / SENTINEL_VECTORS, vectors[rows])


def evenly_spread(rows: int, count: int) -> list[int]:
    """At most `count` row numbers, evenly spread from the first row to the last."""
    return sorted({round(position) for position in np.linspace(0, rows - 1, count)}) if rows else []
