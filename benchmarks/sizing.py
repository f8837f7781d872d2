"""Bytes, machines, hours, milliseconds and price for 10^6, 10^8 and 10^9 passages, from constants measured here.

    python benchmarks/sizing.py                    # the tables of docs/scale.md, from the constants below
    python benchmarks/sizing.py --price 1.20       # with another price for an hour of a machine
    python benchmarks/sizing.py --measure          # the constants of this machine, some minutes on one core

Times are processor seconds of one core, so a busy machine lengthens them little. Text and words are the handbook's,
the default embedder embeds them. Vectors for the kinds of index are artificial: near 24 directions, as those of texts
are near each other; what they need of memory and time is measured with them, recall is not.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

DIMENSION = 384
SIZES = (10**6, 10**8, 10**9)
SHARD = 10_000_000
"""Passages of one shard above 2,000,000: its vectors, 15 GB, fit into the memory of a machine that builds it."""
MOST_LISTS = 512
"""Lists that a search with ivf-pq looks through at most (`storage.vectors.build_vectors`)."""


@dataclass(frozen=True)
class Constants:
    """What `--measure` gives; times in processor seconds of one core."""

    text_bytes: float
    """Bytes on disk of a passage's text, twice (in its document and for itself), with offsets and keys."""
    word_bytes: float
    """Bytes of a passage's words for BM25, the vocabulary aside."""
    flat_bytes: float
    hnsw_bytes: float
    code_bytes: float
    """Bytes of an ivf-pq index per passage, without its lists' centres."""
    embed_s: float
    """Seconds to embed a passage."""
    write_s: float
    """Seconds to cut, hash, count and write a passage, without embedding and vectors."""
    count_s: float
    """Seconds to take over the counts of a passage's words where it is in a shard."""
    graph_s: float
    """Seconds to add a vector to an hnsw graph of 50,000; it grows with the logarithm of their number."""
    product_s: float
    """Seconds per multiplication of a vector with a list's centre, when lists are made."""
    flat_ms: float
    """Milliseconds of an exact search per million passages."""
    hnsw_ms: float
    """Milliseconds of a search in a graph of 50,000, at an effort with a recall of .95; it grows as well."""
    code_ms: float
    """Milliseconds to score a million codes of ivf-pq."""
    word_ms: float
    """Milliseconds of a BM25 search per million passages."""


MEASURED = Constants(
    text_bytes=811,
    word_bytes=289,
    flat_bytes=1536,
    hnsw_bytes=1810,
    code_bytes=64,
    embed_s=0.021,
    write_s=0.000309,
    count_s=0.000005,
    graph_s=0.000978,
    product_s=9.53e-09,
    flat_ms=103,
    hnsw_ms=0.461,
    code_ms=33,
    word_ms=25.2,
)


@dataclass(frozen=True)
class Machine:
    """What is bought by the hour. Assumed, not measured."""

    cores: int = 16
    memory_gb: int = 64
    disk_gb: int = 4_000
    price: float = 0.80
    """Price of an hour, in whatever currency."""


class Plan(NamedTuple):
    """One number of passages on paper."""

    passages: int
    kind: str
    shards: int
    text_gb: float
    word_gb: float
    vector_gb: float
    """What a search reads of the vectors: the graph with them, or the codes."""
    exact_gb: float
    """Vectors beside codes, of which a search reads the best candidates'."""
    embed_hours: float
    """Core hours, as are the next three."""
    vector_hours: float
    write_hours: float
    count_hours: float
    dense_ms: float
    """One core's work for one question; shards are searched at the same time, as far as there are cores."""
    word_ms: float

    @property
    def disk_gb(self) -> float:
        """All of it."""
        return self.text_gb + self.word_gb + self.vector_gb + self.exact_gb

    @property
    def hot_gb(self) -> float:
        """What should be in memory, because every question reads some of it."""
        return self.word_gb + self.vector_gb

    @property
    def core_hours(self) -> float:
        """To build all of it."""
        return self.embed_hours + self.vector_hours + self.write_hours + self.count_hours

    def machines(self, machine: Machine) -> int:
        """Machines whose memory holds what is hot and whose disks hold all."""
        return max(1, math.ceil(self.hot_gb / (0.75 * machine.memory_gb)), math.ceil(self.disk_gb / machine.disk_gb))

    def search_ms(self, machine: Machine) -> float:
        """A search by both, on one machine that holds all shards."""
        return (self.dense_ms + self.word_ms) / min(self.shards, machine.cores)


def plan(passages: int, measured: Constants) -> Plan:
    """The figures of one number of passages, with the kind of index that `auto` would choose."""
    from rag_ft.indexing.storage.vectors import choose_kind

    kind = choose_kind("auto", passages)
    shards = 1 if kind != "ivf-pq" else math.ceil(passages / SHARD)
    rows = passages / shards
    exact = 0.0
    if kind == "ivf-pq":
        lists = 4 * math.sqrt(rows)
        vector_bytes = measured.code_bytes + lists * DIMENSION * 4 / rows
        exact = measured.flat_bytes * passages / 1e9
        products = lists * (rows + 25 * 64 * lists)  # 25 rounds over 64 vectors for each list, then all vectors once
        vector_s, dense_ms = products * measured.product_s, MOST_LISTS * rows / lists / 1e6 * measured.code_ms
    elif kind == "hnsw":
        growth = math.log(rows) / math.log(50_000)
        vector_bytes, vector_s = measured.hnsw_bytes, rows * measured.graph_s * growth
        dense_ms = measured.hnsw_ms * growth
    else:
        vector_bytes, vector_s, dense_ms = measured.flat_bytes, 0.0, rows / 1e6 * measured.flat_ms
    return Plan(
        passages,
        kind,
        shards,
        passages * measured.text_bytes / 1e9,
        passages * measured.word_bytes / 1e9,
        passages * vector_bytes / 1e9,
        exact,
        passages * measured.embed_s / 3600,
        shards * vector_s / 3600,
        passages * measured.write_s / 3600,
        passages * measured.count_s / 3600 if shards > 1 else 0.0,
        shards * dense_ms,
        passages / 1e6 * measured.word_ms,
    )


def _number(value: float) -> str:
    """Two digits that count, and no more."""
    if value >= 100:
        return f"{round(value, 1 - math.floor(math.log10(value))):,.0f}"
    return f"{value:.2g}"


def tables(measured: Constants, machine: Machine) -> str:
    """The tables of docs/scale.md, in Markdown."""
    plans = [plan(size, measured) for size in SIZES]
    build = [one.core_hours / machine.cores for one in plans]
    rows: list[tuple[str, list[str]]] = [
        ("kind of index, shards", [f"{one.kind}, {one.shards}" for one in plans]),
        ("text, twice", [f"{_number(one.text_gb)} GB" for one in plans]),
        ("words (BM25)", [f"{_number(one.word_gb)} GB" for one in plans]),
        ("vectors that a search reads", [f"{_number(one.vector_gb)} GB" for one in plans]),
        ("exact vectors beside them", [f"{_number(one.exact_gb)} GB" if one.exact_gb else "in them" for one in plans]),
        ("**disk**", [f"{_number(one.disk_gb)} GB" for one in plans]),
        ("**memory**, for words and vectors", [f"{_number(one.hot_gb)} GB" for one in plans]),
        ("embedding, core hours", [_number(one.embed_hours) for one in plans]),
        ("graph or lists, core hours", [_number(one.vector_hours) for one in plans]),
        ("cutting, hashing, writing, core hours", [_number(one.write_hours) for one in plans]),
        (
            "taking over word counts of shards, core hours",
            [_number(one.count_hours) if one.count_hours else "none" for one in plans],
        ),
        (f"**build** on one machine ({machine.cores} cores), hours", [_number(hours) for hours in build]),
        ("dense search, ms of one core", [_number(one.dense_ms) for one in plans]),
        ("BM25 search, ms of one core", [_number(one.word_ms) for one in plans]),
        ("**a blended search**, all shards on one machine, ms", [_number(one.search_ms(machine)) for one in plans]),
        ("**machines** that hold it", [str(one.machines(machine)) for one in plans]),
        ("price of a build", [_number(hours * machine.price) for hours in build]),
        ("price of a month", [_number(one.machines(machine) * 730 * machine.price) for one in plans]),
    ]
    head = "| | " + " | ".join(f"{size:,} passages" for size in SIZES) + " |\n|---|" + "---|" * len(SIZES)
    return "\n".join([head, *(f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows)])


_UNITS = {
    "text_bytes": ("text of a passage, twice, with offsets and keys", 1, "bytes"),
    "word_bytes": ("its words for BM25", 1, "bytes"),
    "flat_bytes": ("its vector, 384 numbers", 1, "bytes"),
    "hnsw_bytes": ("its vector in a graph", 1, "bytes"),
    "code_bytes": ("its code in lists", 1, "bytes"),
    "embed_s": ("embedding it", 1e3, "ms"),
    "write_s": ("cutting, hashing, writing it", 1e3, "ms"),
    "count_s": ("taking over its word counts, in a shard", 1e3, "ms"),
    "graph_s": ("adding it to a graph of 50,000", 1e3, "ms"),
    "product_s": ("comparing it with the centre of a list", 1e9, "ns"),
    "flat_ms": ("exact search of a million", 1, "ms"),
    "hnsw_ms": ("search in a graph of 50,000", 1, "ms"),
    "code_ms": ("scoring a million codes", 1, "ms"),
    "word_ms": ("BM25 search of a million", 1, "ms"),
}


def constants_table(measured: Constants) -> str:
    """The constants, in Markdown, each with its unit."""
    values = asdict(measured)
    rows = [f"| {words} | {_number(values[name] * factor)} {unit} |" for name, (words, factor, unit) in _UNITS.items()]
    return "\n".join(["| one core | |", "|---|---|", *rows])


def measure() -> Iterator[tuple[str, float]]:
    """Each constant's name and its value on this machine."""
    yield from _measure_text()
    yield from _measure_vectors(50_000)


def _seconds(work: Callable[[], object], rounds: int = 1) -> float:
    """Processor seconds of a call, the median of some."""
    taken = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return sorted(taken)[len(taken) // 2]


def _measure_text() -> Iterator[tuple[str, float]]:
    from sharded_search import RandomEmbedder, documents, questions

    from rag_ft.environment import handbook_path
    from rag_ft.indexing.chunking import ChunkingConfig, passage_text
    from rag_ft.indexing.embedding import load_embedder
    from rag_ft.indexing.index import Index
    from rag_ft.indexing.shards.changing import add_shards
    from rag_ft.schema import Document

    embedder = load_embedder("default")
    with tempfile.TemporaryDirectory() as folder:
        index = Index.build(handbook_path(), Path(folder, "handbook"), embedder=embedder, progress=False)
        sizes = {path.name: path.stat().st_size / len(index) for path in Path(folder, "handbook").rglob("*.*")}
        texts = (".jsonl", "offsets.npy", "keys.npy")
        yield "text_bytes", sum(size for name, size in sizes.items() if name.endswith(texts))
        words = ("data.csc.index.npy", "indices.csc.index.npy", "times.npy", "lengths.npy")
        yield "word_bytes", sum(sizes[name] for name in words)
        yield "flat_bytes", sizes["vectors.faiss"]
        passages = [passage_text(passage) for passage in index.passages()]
        embedder.encode_passages(passages[:8])
        yield "embed_s", _seconds(lambda: embedder.encode_passages(passages)) / len(passages)

        asked, drawn, chunking = questions(100), RandomEmbedder(), ChunkingConfig(max_tokens=68)

        def build(made: list[Document]) -> Index:
            path = Path(folder, str(len(made)))
            return Index.build(made, path, embedder=drawn, chunking=chunking, kind="flat", progress=False)

        def search_s(index: Index) -> float:
            retriever = index.as_retriever(k=3, mode="bm25")
            retriever.retrieve(asked[0])
            return _seconds(lambda: [retriever.retrieve(question) for question in asked], rounds=3) / len(asked)

        few, made = build(documents(10_000)), documents(50_000)
        start = time.process_time()
        many = build(made)
        took = time.process_time() - start
        yield "write_s", (took - _seconds(lambda: drawn.encode_passages(["x"] * 50_000))) / 50_000
        yield "count_s", _seconds(lambda: add_shards(Path(folder, "shards"), [many.path])) / 50_000
        # What a search costs however many passages there are is in both.
        yield "word_ms", 1000 * (search_s(many) - search_s(few)) / 0.04


def _measure_vectors(rows: int) -> Iterator[tuple[str, float]]:
    from rag_ft.indexing.storage.vectors import IndexKind, VectorIndex, build_vectors, write_vectors

    chance = np.random.default_rng(0)
    directions = chance.standard_normal((24, DIMENSION), dtype=np.float32)

    def near(count: int) -> NDArray[np.float32]:
        mixed: NDArray[np.float32] = chance.standard_normal((count, 24), dtype=np.float32) @ directions
        mixed += chance.standard_normal((count, DIMENSION), dtype=np.float32)
        mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
        return mixed

    vectors, queries = near(rows), near(100)
    for kind in get_args(IndexKind):
        start = time.process_time()
        built, effort = build_vectors(vectors, kind, lambda: queries)
        took = time.process_time() - start

        def search_ms(effort: int, built: Any = built, kind: IndexKind = kind) -> float:
            searched = VectorIndex(built, kind, effort, vectors)
            each = [query[None] for query in queries]  # as questions come; a block would share what it reads
            return 1000 * _seconds(lambda: [searched.search(query, 10) for query in each], rounds=3) / len(each)

        with tempfile.TemporaryDirectory() as folder:
            write_vectors(built, Path(folder, "vectors"))
            size = Path(folder, "vectors").stat().st_size / rows
        if kind == "flat":
            yield "flat_ms", 1e6 * search_ms(0) / rows
        elif kind == "hnsw":
            yield "hnsw_bytes", size
            yield "graph_s", took / rows
            yield "hnsw_ms", search_ms(effort.search)
        else:
            yield "code_bytes", size - built.nlist * DIMENSION * 4 / rows
            yield "product_s", took / (built.nlist * (rows + 25 * 64 * built.nlist))
            yield "code_ms", 1e6 * (search_ms(320) - search_ms(64)) / (256 * rows / built.nlist)


def main() -> None:
    """Print the tables, or the constants of this machine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--price", type=float, default=Machine.price, help="price of an hour of a machine")
    parser.add_argument("--measure", action="store_true", help="measure the constants on this machine")
    given = parser.parse_args()
    if given.measure:
        for name, value in measure():
            print(f"    {name}={value:.3g},", flush=True)
        return
    print(tables(MEASURED, Machine(price=given.price)), constants_table(MEASURED), sep="\n\n")


if __name__ == "__main__":
    main()
