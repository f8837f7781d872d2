"""Embedding with torch and with OpenVINO beside plain `SentenceTransformer.encode`: time, agreement, hit@k.

    python benchmarks/embedding_backends.py squad1/train-4323-paragraphs.json --passages 600 --rounds 3
    python benchmarks/embedding_backends.py squad1/train-4323-paragraphs.json --passages 2000 --rounds 1

Takes paragraphs and questions of a file in SQuAD's JSON format. All sides run in turn in one process, in another order
each round. Seconds of the processor are what counts on a machine that others use; run with OMP_NUM_THREADS=1 to
compare one thread. A question's passage counts as found if its paragraph is among the k nearest of all.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer

from rag_ft.indexing.embedding import WindowedEmbedder, load_embedder
from rag_ft.indexing.openvino_embedding import OpenVinoEmbedder
from rag_ft.models.compute import compute_plan
from rag_ft.models.embedding_backend import embedding_plan
from rag_ft.models.openvino_encoder import encoder_folder, read_encoder
from rag_ft.models.weights import resolve_embedder

PLAIN = "SentenceTransformer.encode"


def read_paragraphs(path: Path, passages: int, questions: int, embedder: WindowedEmbedder):
    """Paragraphs that the embedder reads whole, and questions with the number of their paragraph."""
    data = json.loads(path.read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in data for paragraph in article["paragraphs"]]
    fitting = [one for one in paragraphs if embedder.count_tokens(one["context"]) <= embedder.max_tokens][:passages]
    asked = [(qa["question"], row) for row, one in enumerate(fitting) for qa in one["qas"] if qa["answers"]]
    step = max(1, len(asked) // questions)
    return [one["context"] for one in fitting], asked[::step][:questions]


def sides() -> dict[str, WindowedEmbedder]:
    """Every backend and type that this machine computes with."""
    plan = embedding_plan("openvino")
    found: dict[str, WindowedEmbedder] = {"torch float32": load_embedder(backend="torch", device="cpu")}
    load_embedder(backend="openvino")  # converts it
    weights = resolve_embedder("default")
    folder = encoder_folder(weights.fingerprint, plan.dtype)
    record = read_encoder(folder)
    assert record is not None and not record.refused
    for dtype in dict.fromkeys(("float32", compute_plan("cpu").dtype)):
        side = OpenVinoEmbedder(weights.name, folder, record, plan.with_dtype(dtype))
        found[side.arithmetic] = side
    return found


def hits(passages: np.ndarray, queries: np.ndarray, wanted: list[int], ks=(1, 3, 5, 10)) -> list[float]:
    order = np.argsort(-(queries @ passages.T), axis=1, kind="stable")
    return [float(np.mean([row in found[:k] for row, found in zip(wanted, order, strict=True)])) for k in ks]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("squad", type=Path)
    parser.add_argument("--passages", type=int, default=600)
    parser.add_argument("--questions", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()

    embedders = sides()
    texts, asked = read_paragraphs(given.squad, given.passages, given.questions, embedders["torch float32"])
    plain = SentenceTransformer(str(resolve_embedder("default").path), local_files_only=True, device="cpu")
    works = {PLAIN: lambda: plain.encode(texts, show_progress_bar=False, normalize_embeddings=True)}
    works |= {name: (lambda side=side: side.encode_passages(texts)) for name, side in embedders.items()}
    vectors: dict[str, np.ndarray] = {}
    cpu: dict[str, list[float]] = {name: [] for name in works}
    wall: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(given.rounds):
        names = list(works)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            started, used = time.perf_counter(), time.process_time()
            vectors[name] = works[name]()
            wall[name].append(time.perf_counter() - started)
            cpu[name].append(time.process_time() - used)

    threads = embedding_plan("openvino").threads
    tokens = sum(map(embedders["torch float32"].count_tokens, texts))
    print(f"{len(texts)} passages, {tokens:,} tokens, {len(asked)} questions, {threads} threads\n")
    print("| side | passages a CPU second | ratio of CPU seconds | ratio of wall seconds | hit@1 / 3 / 5 / 10 |")
    print("|---|---|---|---|---|")
    wanted = [row for _, row in asked]
    for name in works:
        ratios = [base / own for base, own in zip(cpu[PLAIN], cpu[name], strict=True)]
        walls = [base / own for base, own in zip(wall[PLAIN], wall[name], strict=True)]
        asking = embedders.get(name, embedders["torch float32"])
        found = hits(vectors[name], asking.encode_query([question for question, _ in asked]), wanted)
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        walls_spread = f"{statistics.median(walls):.2f} ({min(walls):.2f} to {max(walls):.2f})"
        rate = len(texts) / statistics.median(cpu[name])
        print(f"| {name} | {rate:.1f} | {spread} | {walls_spread} | {' / '.join(f'{one:.3f}' for one in found)} |")
    print("\n| pair | smallest cosine | median |\n|---|---|---|")
    for first, second in itertools.combinations(works, 2):
        cosines = (vectors[first] * vectors[second]).sum(axis=1)
        print(f"| {first}, {second} | {cosines.min():.7f} | {np.median(cosines):.7f} |")
    print("\nhit@k: questions by the same side, against its own vectors; torch's for plain encode")


if __name__ == "__main__":
    sys.exit(main())
