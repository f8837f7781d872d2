"""Vectors in FAISS: the kinds of index, built, measured, written, mapped and searched. Knows nothing of passages.

Rows are numbered from 0; the metric is the inner product of normalised vectors, which is the cosine.
"""

from __future__ import annotations

import errno
import importlib
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from rag_ft.errors import IndexCorruptError, UsageError
from rag_ft.indexing.storage.folder import VECTORS
from rag_ft.indexing.storage.reading import REPAIR, reading

IndexKind: TypeAlias = Literal["flat", "hnsw", "ivf-pq"]


IndexKindChoice: TypeAlias = Literal["auto", "flat", "hnsw", "ivf-pq"]


FLAT_UP_TO = 200_000
"""Exact search of 200,000 vectors of dimension 384 takes 30 ms on one core, about as long as embedding the question:
an approximate index would cost recall and save little."""


HNSW_UP_TO = 2_000_000
"""With more rows, graph and vectors (about 1.8 kB per row) exceed 4 GB of memory; product quantisation needs 56 bytes
per row."""


HNSW_NEIGHBOURS = 32


HNSW_BUILD_EFFORT = 200


RECALL_AT = 10


RECALL_WANTED = 0.95


SCORE_DECIMALS = 6
"""Scores are rounded to what float32 embedding reproduces in any batch, so that rankings are reproducible too."""


_SPARE = 16


_SCAN_BLOCK = 8192


_EXACT_FILTER_UP_TO = 100_000


_SEED = 20_240_229


class Scored(NamedTuple):
    """One row of a ranking."""

    row: int
    score: float


@dataclass(frozen=True)
class Effort:
    """Search effort of an approximate index, and the recall it gives."""

    search: int
    """efSearch for HNSW, lists probed for IVF-PQ, 0 for flat."""
    recall_at_10: float
    """Share of the exact ten nearest that the index finds, over sampled queries; 1 for flat."""
    recall_when_built: float | None = None
    """That of the state that the graph or lists were built for, where this one only changed them."""


def _faiss() -> Any:
    """Import FAISS at first use; its type stubs lag behind it."""
    return importlib.import_module("faiss")


def check_kind(choice: str) -> None:
    """Raise UsageError for a kind of index that does not exist."""
    if choice not in get_args(IndexKindChoice):
        raise UsageError(f"there is no index kind {choice!r}: use auto, flat, hnsw or ivf-pq")


def choose_kind(choice: IndexKindChoice, rows: int) -> IndexKind:
    """The kind for this number of rows: the one asked for, or by size if "auto". Raises UsageError."""
    check_kind(choice)
    if choice == "auto":
        return "flat" if rows <= FLAT_UP_TO else "hnsw" if rows <= HNSW_UP_TO else "ivf-pq"
    return choice


def build_vectors(
    vectors: NDArray[np.float32], kind: IndexKind, queries: Callable[[], NDArray[np.float32]]
) -> tuple[Any, Effort]:
    """Build a FAISS index, and find the least search effort whose recall@10 against exact search is 0.95.

    `queries` gives vectors to measure with, shape (n, d), and is called for approximate kinds only. They should be
    embedded texts: mixtures of stored vectors gave a recall of 0.96 when real questions had 0.64.
    """
    faiss = _faiss()
    rows, dimension = vectors.shape
    if kind == "flat" or rows == 0:
        index = faiss.IndexFlatIP(dimension)
        index.add(np.ascontiguousarray(vectors))
        return index, Effort(0, 1.0)
    if kind == "hnsw":
        index = faiss.IndexHNSWFlat(dimension, HNSW_NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = HNSW_BUILD_EFFORT
        index.add(np.ascontiguousarray(vectors))
    else:
        index = _train_ivf_pq(vectors)
        for start in range(0, rows, _SCAN_BLOCK):
            index.add(np.ascontiguousarray(vectors[start : start + _SCAN_BLOCK]))
    return index, measure_effort(index, kind, vectors, queries())


def measure_effort(index: Any, kind: IndexKind, vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> Effort:
    """The least search effort of an approximate index whose recall@10 against exact search is 0.95, or the largest."""
    queries = np.ascontiguousarray(queries)
    if kind == "hnsw":
        efforts = [32, 64, 128, 256, 512, 1024, 2048]
    else:
        efforts = sorted({min(index.nlist, probes) for probes in (4, 8, 16, 32, 64, 128, 256, 512)})
    exact = _exact_rows(vectors, queries)
    total = max(1, sum(len(rows) for rows in exact))
    best = Effort(efforts[-1], 0.0)
    for effort in efforts:
        rankings = VectorIndex(index, kind, effort, vectors).search(queries, RECALL_AT)
        hits = sum(
            len({scored.row for scored in ranking} & rows) for ranking, rows in zip(rankings, exact, strict=True)
        )
        best = Effort(effort, round(hits / total, 4))
        if best.recall_at_10 >= RECALL_WANTED:
            break
    return best


def ivf_lists(rows: int) -> int:
    """Number of lists into which this many vectors are divided."""
    return max(1, min(int(4 * math.sqrt(rows)), rows // 39))


def _train_ivf_pq(vectors: NDArray[np.float32]) -> Any:
    faiss = _faiss()

    rows, dimension = vectors.shape
    lists = ivf_lists(rows)
    bits = max(1, min(8, int(math.log2(rows))))
    # 8 dimensions per code byte if the dimension allows.
    parts = next(
        parts
        for parts in (dimension // 8, dimension // 4, dimension // 2, dimension, 1)
        if parts and dimension % parts == 0
    )
    quantizer = faiss.IndexFlatIP(dimension)
    index = faiss.IndexIVFPQ(quantizer, dimension, lists, parts, bits, faiss.METRIC_INNER_PRODUCT)
    for clustering in (index.cp, index.pq.cp):
        clustering.min_points_per_centroid = 1  # no warning on stderr for a small corpus
        clustering.seed = 1234
    sample = vectors
    most = max(256 * 64, 64 * lists)
    if rows > most:
        chosen = np.sort(np.random.default_rng(_SEED).choice(rows, size=most, replace=False))
        sample = vectors[chosen]
    if rows == 1:
        sample = np.repeat(sample, 2, axis=0)  # one bit of code needs two training points
    index.train(np.ascontiguousarray(sample))
    return index


def _exact_rows(vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> list[set[int]]:
    faiss = _faiss()

    exact = faiss.IndexFlatIP(vectors.shape[1])
    rows: list[set[int]] = []
    kept_scores = np.full((len(queries), 0), 0, dtype=np.float32)
    kept_rows = np.zeros((len(queries), 0), dtype=np.int64)
    for start in range(0, len(vectors), 65_536):
        exact.reset()
        exact.add(np.ascontiguousarray(vectors[start : start + 65_536]))
        scores, neighbours = exact.search(queries, min(RECALL_AT, exact.ntotal))
        kept_scores = np.concatenate([kept_scores, scores], axis=1)
        kept_rows = np.concatenate([kept_rows, neighbours + start], axis=1)
    order = np.argsort(-kept_scores, axis=1, kind="stable")[:, :RECALL_AT]
    for query, columns in enumerate(order):
        rows.append({int(row) for row in kept_rows[query, columns]})
    return rows


def write_vectors(index: Any, path: Path) -> None:
    """Write a FAISS index. Raises OSError, also for FAISS's own write errors.

    The bytes go through a Python file: on a full disk FAISS's own writer prints to stderr and returns as if all was
    written.
    """
    faiss = _faiss()
    reason: OSError | None = None

    def write(data: bytes) -> int:
        nonlocal reason
        try:
            return file.write(data)
        except OSError as error:
            reason = error
            return 0

    with path.open("wb") as file:
        try:
            faiss.write_index(index, faiss.PyCallbackIOWriter(write))
        except RuntimeError as error:
            raise reason or OSError(errno.EIO, str(error), os.fspath(path)) from error


def read_vectors(path: Path, *, mmap: bool) -> Any:
    """Read a FAISS index whose checksum was compared; memory-mapped if FAISS can.

    Only the kinds that are built here are accepted. Raises IndexStoreError.
    """
    faiss = _faiss()

    flags = getattr(faiss, "IO_FLAG_MMAP_IFC", faiss.IO_FLAG_MMAP) if mmap else 0
    with reading(path):
        try:
            index = faiss.read_index(os.fspath(path), flags)
        except (RuntimeError, MemoryError) as error:
            path.stat()  # a missing file is reported as missing, not as damaged
            reason = (str(error).strip().splitlines() or ["MemoryError"])[-1][:160]
            raise IndexCorruptError(f"{path} cannot be read by FAISS ({reason}): {REPAIR}") from error
        allowed = (faiss.IndexFlat, faiss.IndexFlatIP, faiss.IndexHNSWFlat, faiss.IndexIVFPQ)
        inner = [faiss.downcast_index(index.quantizer)] if type(index) is faiss.IndexIVFPQ else []
        for part in [index, *inner]:
            if type(part) not in allowed:
                raise IndexCorruptError(
                    f"{path} holds a FAISS {type(part).__name__}, which rag_ft never writes: {REPAIR}"
                )
        if index.metric_type != faiss.METRIC_INNER_PRODUCT:
            raise IndexCorruptError(f"{path} does not search by inner product: {REPAIR}")
        return index


def kind_of(index: Any) -> IndexKind:
    """The kind of a FAISS index that `read_vectors` accepts."""
    faiss = _faiss()

    return "hnsw" if type(index) is faiss.IndexHNSWFlat else "ivf-pq" if type(index) is faiss.IndexIVFPQ else "flat"


def stored_vectors(index: Any) -> NDArray[np.float32] | None:
    """The vectors inside a flat or HNSW index as a read-only view, shape (n, d); None if it holds only codes."""
    faiss = _faiss()

    storage = faiss.downcast_index(index.storage) if type(index) is faiss.IndexHNSWFlat else index
    if type(storage) not in (faiss.IndexFlat, faiss.IndexFlatIP):
        return None
    if index.ntotal == 0:
        return np.zeros((0, index.d), dtype=np.float32)
    flat: NDArray[np.float32] = faiss.rev_swig_ptr(storage.get_xb(), index.ntotal * index.d)
    view = flat.reshape(index.ntotal, index.d)
    view.flags.writeable = False
    return view


class VectorIndex:
    """A FAISS index ready to be searched, with the vectors themselves. Safe for concurrent searches."""

    def __init__(
        self, index: Any, kind: IndexKind, effort: int, vectors: NDArray[np.float32], path: Path = Path(VECTORS)
    ) -> None:
        self._index = index
        self._path = path
        self.kind = kind
        self._effort = effort
        self.vectors = vectors
        """Shape (n, d), float32, normalised, read-only."""

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def search(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None = None
    ) -> list[list[Scored]]:
        """The k best rows for each query, shape (n, d), best first; equal scores are in row order.

        `allowed`: only these rows, ascending; up to 100,000 of them are searched exactly with any kind. Gives fewer
        than k rows if there are fewer.
        """
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        available = len(self) if allowed is None else len(allowed)
        k = min(k, available)
        if k == 0:
            return [[] for _ in queries]
        if allowed is not None and self.kind != "flat" and len(allowed) <= _EXACT_FILTER_UP_TO:
            return [self._scan(query, k, allowed) for query in queries]
        rankings: list[list[Scored]] = []
        # One by one inside FAISS: above 20 queries it switches to BLAS, whose sums differ in the last digits.
        for start in range(0, len(queries), 16):
            block = queries[start : start + 16]
            candidates = self._candidates(block, k, available, allowed)
            rankings += [self._rescore(query, rows, k) for query, rows in zip(block, candidates, strict=True)]
        return rankings

    def lists_each_row_once(self) -> bool:
        """Whether the lists of ivf-pq hold each row once; a graph's links are checked by FAISS when it is read."""
        faiss = _faiss()
        if self.kind != "ivf-pq" or not len(self):
            return True
        with reading(self._path):
            lists = faiss.downcast_InvertedLists(self._index.invlists)
            sizes = [lists.list_size(place) for place in range(self._index.nlist)]
            ids = [faiss.rev_swig_ptr(lists.get_ids(place), size) for place, size in enumerate(sizes) if size]
            return bool(np.array_equal(np.sort(np.concatenate(ids)), np.arange(len(self))))

    def scores(self, query: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """The exact scores of some rows for one query, as `search` gives them."""
        return exact_scores(self.vectors[rows], query)

    def _candidates(
        self, queries: NDArray[np.float32], k: int, available: int, allowed: NDArray[np.int64] | None
    ) -> NDArray[np.int64]:
        faiss = _faiss()

        wide = max(10 * k, 100) if self.kind == "ivf-pq" else k + _SPARE
        count = min(available, wide)
        selector = None if allowed is None else faiss.IDSelectorBatch(allowed)
        if self.kind == "hnsw":
            params = faiss.SearchParametersHNSW(sel=selector, efSearch=max(self._effort, 2 * count))
        elif self.kind == "ivf-pq":
            params = faiss.SearchParametersIVF(sel=selector, nprobe=max(1, self._effort))
        else:
            params = faiss.SearchParameters(sel=selector)
        if len(self) == 0:
            return np.zeros((len(queries), 0), dtype=np.int64)
        with reading(self._path):
            _, rows = self._index.search(queries, count, params=params)
        candidates: NDArray[np.int64] = rows
        return candidates

    def _rescore(self, query: NDArray[np.float32], rows: NDArray[np.int64], k: int) -> list[Scored]:
        """Order candidates by exact score, so that equal vectors have equal scores in any position."""
        rows = np.sort(rows[rows >= 0])  # FAISS fills up with -1
        return _best(rows, exact_scores(self.vectors[rows], query), k)

    def _scan(self, query: NDArray[np.float32], k: int, allowed: NDArray[np.int64]) -> list[Scored]:
        scores = np.concatenate(
            [
                exact_scores(self.vectors[allowed[start : start + _SCAN_BLOCK]], query)
                for start in range(0, len(allowed), _SCAN_BLOCK)
            ]
        )
        return _best(allowed, scores, k)


_NEAR = 1e-4
"""More than twice the largest float32 error of a sum of 384 or 1,024 products of normalised vectors."""


def exact_top(
    vectors: NDArray[np.float32], query: NDArray[np.float32], k: int, rows: NDArray[np.int64]
) -> list[Scored]:
    """The k best of some rows, ascending, for one query; the result depends on these rows alone.

    A fast float32 product finds the rows that can be among the best, and only these are scored exactly.
    """
    k = min(k, len(rows))
    if k == 0:
        return []
    near = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), _SCAN_BLOCK):
        part = slice(start, start + _SCAN_BLOCK)
        near[part] = vectors[rows[part]] @ query
    rows = rows[near >= np.partition(near, -k)[-k] - _NEAR]
    return _best(rows, exact_scores(vectors[rows], query), k)


def _best(rows: NDArray[np.int64], scores: NDArray[np.float64], k: int) -> list[Scored]:
    """The k best of some rows, ascending; equal scores stay in row order."""
    order = np.argsort(-scores, kind="stable")[:k]
    return [*map(Scored, rows[order].tolist(), scores[order].tolist())]


def exact_scores(vectors: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float64]:
    """The inner product of each vector with a query, in float64, rounded to what is reproducible."""
    # Not a matrix product: BLAS sums differ with a row's position in the block.
    products = vectors.astype(np.float64) * query.astype(np.float64)
    rounded: NDArray[np.float64] = np.round(products.sum(axis=1), SCORE_DECIMALS)
    return rounded + 0.0  # no negative zero


def check_k(k: int) -> None:
    """Raise UsageError unless k is a positive whole number."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise UsageError(f"k is {k!r}: it must be a whole number from 1")
