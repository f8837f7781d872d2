"""Vectors of a changed index in the graph or lists that it had: additions by FAISS, removals without a trace.

A graph or lists of a million vectors take many minutes to build, a change of a thousand seconds.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rag_ft.indexing.storage.graph import remove_from_graph, selector
from rag_ft.indexing.storage.vectors import (
    RECALL_WANTED,
    Effort,
    IndexKind,
    build_vectors,
    ivf_lists,
    kind_of,
    measure_effort,
    read_vectors,
)

REMOVED_MOST = 0.1
"""Share of the vectors up to which removing them from a graph is faster than building it anew: a removal links some
fifty nodes again, each for a tenth of what adding one costs."""

LISTS_AS_WANTED = 1.5
"""Factor by which the number of lists may differ from what a new build would choose: 2.25 times the vectors."""

RECALL_LOST = 0.02
"""Recall below that of the last build at which graph or lists are built anew. Measured on other queries each time, it
moves by .01 without any loss."""

_SAME = 1e-3
"""Distance below which the centre of a list is a removed vector itself."""

_BLOCK = 65_536


class FormerVectors(NamedTuple):
    """The vectors that an index had before a change."""

    path: Path
    """Their FAISS index."""
    vectors: NDArray[np.float32]
    """Shape (n, d)."""
    rows: NDArray[np.int64]
    """For each vector of the new state its former row, ascending; -1 for one that is new."""
    recall_when_built: float = 1.0
    """What the graph or lists reached when they were built."""


def index_vectors(
    vectors: NDArray[np.float32],
    kind: IndexKind,
    queries: Callable[[], NDArray[np.float32]],
    former: FormerVectors | None,
) -> tuple[Any, Effort]:
    """A FAISS index of `vectors`, made out of the former one where that is faster, with the least sufficient effort.

    `queries`: as for `build_vectors`; none at all, and nothing is measured. An index that misses the recall that a new
    one reaches is built anew: a collection on which a new one, too, misses what is wanted is not. Raises
    IndexStoreError.
    """
    changed = None if former is None else changed_vectors(former, vectors, kind)
    if former is None or changed is None:
        return build_vectors(vectors, kind, queries)
    asked = queries()
    effort = measure_effort(changed, kind, vectors, asked)
    if not len(asked) or effort.recall_at_10 >= min(RECALL_WANTED, former.recall_when_built - RECALL_LOST):
        return changed, replace(effort, recall_when_built=former.recall_when_built)
    return build_vectors(vectors, kind, lambda: asked)


def changed_vectors(former: FormerVectors, vectors: NDArray[np.float32], kind: IndexKind) -> Any | None:
    """A FAISS index of `vectors`, shape (n, d), made out of the former one; None if it should be built anew.

    Rows are numbered as in `vectors`. Of a removed vector nothing remains: in a graph neither its links nor those to
    it; lists one of whose centres it is are built anew, other centres are means of several. Raises IndexStoreError.
    """
    kept = np.flatnonzero(former.rows >= 0)
    if kind == "flat" or not len(kept):
        return None
    index = read_vectors(former.path, mmap=False)
    removed = np.ones(int(index.ntotal), dtype=np.bool_)
    removed[former.rows[kept]] = False
    if kind_of(index) != kind or index.d != vectors.shape[1]:
        return None
    if kind == "hnsw":
        return _changed_graph(index, former, removed, vectors)
    return _changed_lists(index, former, removed, vectors)


def _changed_graph(
    index: Any, former: FormerVectors, removed: NDArray[np.bool_], vectors: NDArray[np.float32]
) -> Any | None:
    faiss = importlib.import_module("faiss")
    if removed.sum() > REMOVED_MOST * len(removed):
        return None
    kept, new = np.flatnonzero(former.rows >= 0), np.flatnonzero(former.rows < 0)
    if removed.any():
        remove_from_graph(index, removed, former.vectors)
    if len(new):
        # A graph that was read draws levels from the same seed again: every single addition would get the same level.
        index.hnsw.rng = faiss.RandomGenerator(len(vectors))
        index.add(np.ascontiguousarray(vectors[new]))
        order = np.empty(len(vectors), dtype=np.int64)
        order[kept], order[new] = np.arange(len(kept)), np.arange(len(kept), len(vectors))
        index.permute_entries(order)
    return index


def _changed_lists(
    index: Any, former: FormerVectors, removed: NDArray[np.bool_], vectors: NDArray[np.float32]
) -> Any | None:
    faiss = importlib.import_module("faiss")
    share = index.nlist / ivf_lists(len(vectors))
    if not 1 / LISTS_AS_WANTED <= share <= LISTS_AS_WANTED or _is_centre(index, former.vectors, removed):
        return None
    kept, new = np.flatnonzero(former.rows >= 0), np.flatnonzero(former.rows < 0)
    if removed.any():
        index.remove_ids(selector(removed))
    number = np.full(len(removed), -1, dtype=np.int64)
    number[former.rows[kept]] = kept
    lists = faiss.downcast_InvertedLists(index.invlists)
    for place in range(index.nlist):
        size = lists.list_size(place)
        if size:
            ids = faiss.rev_swig_ptr(lists.get_ids(place), size)
            ids[:] = number[ids]
    if len(new):
        index.add_with_ids(np.ascontiguousarray(vectors[new]), new)
    return index


def _is_centre(index: Any, vectors: NDArray[np.float32], removed: NDArray[np.bool_]) -> bool:
    """Whether a removed vector is the centre of a list, because nothing else was near it."""
    rows = np.flatnonzero(removed)
    for start in range(0, len(rows), _BLOCK):
        block = np.ascontiguousarray(vectors[rows[start : start + _BLOCK]])
        nearest = index.quantizer.search(block, 1)[1][:, 0]
        centres = index.quantizer.reconstruct_batch(nearest)
        if float(np.linalg.norm(centres - block, axis=1).min()) < _SAME:
            return True
    return False
