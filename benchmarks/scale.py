"""One machine, many passages: build, load, search, add and remove with each kind of index, beside FAISS alone.

    python benchmarks/scale.py --passages 50000                            # minutes; a temporary folder
    python benchmarks/scale.py --passages 1000000 --folder big             # hours on one core; resumes
    python benchmarks/scale.py --passages 1000000 --folder big --kinds ivf-pq --stages search add
    python benchmarks/scale.py --folder big --plot docs/scale.svg

The collection is made (made_collection.py): texts are streamed, vectors follow from their words and lie in clusters.
Each stage is a process of its own with one thread, so its memory is its own; a stage that was done is not repeated.
Searches are timed by the processor, which other work on the machine moves little.
FAISS alone searches the file that the index wrote, with the same effort, in turns with ours. The codes of ivf-pq are
refined there as here: by the exact vectors of ten times the candidates (`IndexRefineFlat`).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from made_collection import CHUNKING, PER_DOCUMENT, WordEmbedder, documents, questions
from numpy.typing import NDArray

from rag_ft.indexing.index import Index
from rag_ft.indexing.storage import changing
from rag_ft.indexing.storage.store import IndexStore, open_generation
from rag_ft.indexing.storage.vectors import HNSW_BUILD_EFFORT, HNSW_NEIGHBOURS, VectorIndex, read_vectors

K = 10
QUESTIONS = 200
STAGES = ("build", "search", "add", "remove")
_CHUNK = 20_000


class Timed(WordEmbedder):
    """The made embedder; adds up the seconds that it takes, which are those of no model."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def encode_query(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of texts."""
        start = time.process_time()
        vectors = super().encode_query(texts)
        self.seconds += time.process_time() - start
        return vectors


def memory() -> dict[str, float]:
    """Gigabytes of this process: now, of which mapped files, and at its peak."""
    lines = (line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    status = {name: int(value.split()[0]) / 1e6 for name, value in lines if value.strip().endswith(" kB")}
    return {"now_gb": status["VmRSS"], "mapped_gb": status["RssFile"], "peak_gb": status["VmHWM"]}


@contextmanager
def clocked(result: dict[str, Any], name: str) -> Iterator[None]:
    """Note the seconds that a block takes, of the clock and of the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    yield
    result[f"{name}_s"] = time.perf_counter() - wall
    result[f"{name}_cpu_s"] = time.process_time() - processor


def build_graph(passages: int, path: Path) -> dict[str, Any]:
    """Build the graph with FAISS alone, as the index would, and write it every 100,000 vectors, to go on from there."""
    import faiss

    done = path.with_suffix(".json")
    embedder, result = WordEmbedder(), json.loads(done.read_text()) if done.exists() else {"graph_cpu_s": 0.0}
    if path.exists():
        graph = faiss.read_index(str(path))
        graph.hnsw.rng = faiss.RandomGenerator(graph.ntotal)
    else:
        graph = faiss.IndexHNSWFlat(embedder.dimension, HNSW_NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = HNSW_BUILD_EFFORT
    for start in range(graph.ntotal, passages, _CHUNK):
        count = min(_CHUNK, passages - start)
        texts = (document.text for document in documents(start // PER_DOCUMENT, count // PER_DOCUMENT))
        vectors = embedder.encode_passages([passage for text in texts for passage in text.split("\n\n")])
        processor = time.process_time()
        graph.add(vectors)
        result["graph_cpu_s"] += time.process_time() - processor
        if (start + count) % 100_000 == 0 or start + count == passages:
            faiss.write_index(graph, str(path.with_suffix(".tmp")))
            os.replace(path.with_suffix(".tmp"), path)
            done.write_text(json.dumps(result))
    return result


def build(passages: int, path: Path, kind: Any, graph: Path | None) -> dict[str, Any]:
    """Build an index of a streamed collection. `graph`: take this one instead of building it."""
    result: dict[str, Any] = {}
    embedder = Timed()
    built = changing.build_vectors

    def timed(vectors: NDArray[np.float32], kind: Any, queries: Callable[[], NDArray[np.float32]]) -> Any:
        with clocked(result, "vectors"):
            if graph is None:
                return built(vectors, kind, queries)
            index = read_vectors(graph, mmap=False)
            return index, changing.measure_effort(index, kind, vectors, queries())

    changing.build_vectors = timed
    with clocked(result, "build"):
        source = documents(0, passages // PER_DOCUMENT)
        index = Index.build(source, path, embedder=embedder, chunking=CHUNKING, kind=kind, progress=False)  # type: ignore[arg-type]
    assert len(index) == passages
    size = {entry.name: entry.stat().st_size / 1e9 for entry in path.rglob("*") if entry.is_file()}
    return result | {
        "embedding_cpu_s": embedder.seconds,
        "effort": index.manifest.search_effort,
        "manifest_recall": index.manifest.recall_at_10,
        "vectors_gb": size["vectors.faiss"],
        "disk_gb": sum(size.values()),
        **memory(),
    }


def search(passages: int, path: Path) -> dict[str, Any]:
    """Load the index, and search it beside FAISS and in each mode."""
    result: dict[str, Any] = {}
    embedder = Timed()
    Index.load(path, verify="quick")  # the checksums of large files are remembered
    with clocked(result, "load"):
        index = Index.load(path, embedder=embedder)
    result["loaded_gb"] = memory()["now_gb"]
    step = max(1, passages // PER_DOCUMENT // QUESTIONS)
    asked = questions([next(documents(number * step, 1)) for number in range(QUESTIONS)], QUESTIONS)
    queries = embedder.encode_query(asked)
    result |= beside_faiss(index, queries)
    result["searched_gb"] = memory()["now_gb"]
    for mode in ("dense", "bm25", "blend"):
        retriever = index.as_retriever(k=K, mode=mode)  # type: ignore[arg-type]
        retriever.retrieve(asked[0])
        took = []
        for question in asked:
            start = time.process_time()
            retriever.retrieve(question)
            took.append(time.process_time() - start)
        result |= spread(mode, took)
    return result | memory()


def spread(name: str, took: Sequence[float]) -> dict[str, float]:
    """Median and 95th percentile, in milliseconds."""
    return {f"{name}_p50_ms": 1000 * statistics.median(took), f"{name}_p95_ms": 1000 * float(np.percentile(took, 95))}


def beside_faiss(index: Index, queries: NDArray[np.float32]) -> dict[str, Any]:
    """Vector search by the index and by FAISS alone on its file, in turns; recall@10 of both."""
    generation = open_generation(IndexStore(index.path), verify="none")
    ours = generation.vectors
    alone = faiss_alone(generation.folder / "vectors.faiss", ours)
    exact = [{*row} for row in exact_rows(ours.vectors, queries)]
    found: list[list[set[int]]] = [[], []]
    took: list[list[float]] = [[], []]
    sides: list[Callable[[NDArray[np.float32]], set[int]]] = [
        lambda query: {scored.row for scored in ours.search(query, K)[0]},
        lambda query: {*alone(query).tolist()},
    ]
    for side in sides:  # both have read what they need
        for query in queries[:20]:
            side(query[None])
    for turn, query in enumerate(queries):
        for side in (0, 1) if turn % 2 else (1, 0):
            start = time.process_time()
            rows = sides[side](query[None])
            took[side].append(time.process_time() - start)
            found[side].append(rows)
    ratios = [a / b for a, b in zip(*took, strict=True)]
    blocks = [statistics.median(ratios[start::10]) for start in range(10)]
    recall = [statistics.mean(len(rows & best) / K for rows, best in zip(side, exact, strict=True)) for side in found]
    return {
        **spread("ours", took[0]),
        **spread("faiss", took[1]),
        "ratio": statistics.median(took[0]) / statistics.median(took[1]),
        "ratio_low": min(blocks),
        "ratio_high": max(blocks),
        "recall": recall[0],
        "faiss_recall": recall[1],
    }


def faiss_alone(path: Path, ours: VectorIndex) -> Callable[[NDArray[np.float32]], NDArray[np.int64]]:
    """The ten best rows for a query by FAISS itself."""
    import faiss

    index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    params = None
    if ours.kind == "hnsw":
        # As VectorIndex asks: it looks through twice the candidates at least.
        params = faiss.SearchParametersHNSW(efSearch=max(ours._effort, 2 * (K + 16)))
    elif ours.kind == "ivf-pq":
        flat = faiss.IndexFlatIP(index.d)
        for start in range(0, len(ours), 65_536):
            flat.add(np.ascontiguousarray(ours.vectors[start : start + 65_536]))
        refined = faiss.IndexRefine(index, flat)
        lists = faiss.SearchParametersIVF(nprobe=ours._effort)
        params = faiss.IndexRefineSearchParameters(k_factor=10, base_index_params=lists)
        kept = (index, flat, lists)
        return lambda query: refined.search(query, K, params=params)[1][0] if kept else query
    return lambda query: index.search(query, K, params=params)[1][0]


def exact_rows(vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> NDArray[np.int64]:
    """The ten nearest rows of each query."""
    best = np.full((len(queries), K), -np.inf, dtype=np.float32)
    rows = np.zeros((len(queries), K), dtype=np.int64)
    for start in range(0, len(vectors), 65_536):
        near = queries @ vectors[start : start + 65_536].T
        both = np.concatenate([best, near], axis=1)
        numbers = np.concatenate([rows, np.broadcast_to(np.arange(near.shape[1]) + start, near.shape)], axis=1)
        order = np.argsort(-both, axis=1, kind="stable")[:, :K]
        best, rows = np.take_along_axis(both, order, axis=1), np.take_along_axis(numbers, order, axis=1)
    return rows


def change(passages: int, path: Path, stage: str) -> dict[str, Any]:
    """Add 1,000 documents of one passage, each in between others, or remove them."""
    result: dict[str, Any] = {}
    embedder = Timed()
    index = Index.load(path, embedder=embedder)
    first = passages // PER_DOCUMENT
    step = max(1, first // 1000)
    made = [
        document.model_copy(update={"id": f"{number * step:09}.txt.new"})
        for number, document in enumerate(documents(first, 1000, passages=1))
    ]
    with clocked(result, stage):
        if stage == "add":
            index.add(made, progress=False)
        else:
            index.remove([document.id for document in made])
    assert len(index) == passages + (1000 if stage == "add" else 0)
    result |= {"embedding_cpu_s": embedder.seconds, "manifest_recall": index.manifest.recall_at_10}
    step = max(1, passages // PER_DOCUMENT // QUESTIONS)
    asked = questions([next(documents(number * step, 1)) for number in range(QUESTIONS)], QUESTIONS)
    return (
        result
        | memory()
        | {f"after_{name}": value for name, value in beside_faiss(index, embedder.encode_query(asked)).items()}
    )


def stage(options: argparse.Namespace, name: str, kind: str) -> dict[str, Any]:
    """The figures of one stage, in this process."""
    path = options.folder / kind
    if name == "graph":
        return build_graph(options.passages, options.folder / "graph.faiss")
    if name == "build":
        graph = options.folder / "graph.faiss"
        return build(options.passages, path, kind, graph if kind == "hnsw" and graph.exists() else None)
    return search(options.passages, path) if name == "search" else change(options.passages, path, name)


def run(options: argparse.Namespace) -> None:
    """Run what is missing, each stage in a process of its own, and keep the figures."""
    results = options.folder / "results.jsonl"
    done = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    for kind in options.kinds:
        for name in options.stages:
            if any((entry["kind"], entry["stage"]) == (kind, name) for entry in done):
                continue
            command = [sys.executable, __file__, "--folder", str(options.folder), "--passages", str(options.passages)]
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            output = subprocess.run(
                [*command, "--one", name, kind], env=environment, check=True, stdout=subprocess.PIPE, text=True
            ).stdout
            entry = {"stage": name, "kind": kind, "passages": options.passages, **json.loads(output.splitlines()[-1])}
            with results.open("a") as file:
                file.write(json.dumps(entry) + "\n")
            print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in entry.items()}), flush=True)


def plot(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw time and memory of a search for each kind."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    searched = sorted((entry for entry in results if entry["stage"] == "search"), key=itemgetter("passages", "kind"))
    drawing = Figure(figsize=(6.4, 2.4), layout="constrained")
    FigureCanvasSVG(drawing)
    axes = drawing.subplots(1, 2)
    places = np.arange(len(searched))
    for offset, side, colour in ((-0.2, "ours", "#1f5f8b"), (0.2, "faiss", "#b0b0b0")):
        axes[0].bar(places + offset, [entry[f"{side}_p50_ms"] for entry in searched], 0.38, color=colour, label=side)
    axes[0].set(yscale="log", ylabel="ms, median")
    axes[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes[0].yaxis.set_minor_locator(NullLocator())
    axes[0].yaxis.set_major_formatter("{x:g}")
    axes[0].legend(frameon=False, fontsize=8, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    axes[1].bar(places, [entry["now_gb"] for entry in searched], 0.5, color="#1f5f8b")
    axes[1].set(ylabel="GB in memory")
    for axis in axes:
        axis.set_xticks(places, [f"{entry['kind']}\n{entry['passages'] / 1e6:g} M" for entry in searched], fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "rag_ft", "font.family": "sans-serif"}):
        drawing.savefig(path, format="svg", metadata={"Date": None})


def main() -> None:
    """Run the stages, or draw what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--passages", type=int, default=50_000, help="a multiple of 10,000")
    parser.add_argument("--folder", type=Path, help="keep indexes and figures here")
    parser.add_argument("--kinds", nargs="+", default=["flat", "hnsw", "ivf-pq"])
    parser.add_argument("--stages", nargs="+", default=[*STAGES], choices=["graph", *STAGES])
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--plot", type=Path, help="draw the figures of the folder into this SVG file, and end")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(stage(options, *options.one)))
    elif options.plot:
        plot([json.loads(line) for line in (options.folder / "results.jsonl").read_text().splitlines()], options.plot)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            options.folder = options.folder or Path(temporary)
            options.folder.mkdir(parents=True, exist_ok=True)
            run(options)


if __name__ == "__main__":
    main()
