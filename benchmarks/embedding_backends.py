"""Embedding with torch and with OpenVINO beside plain `SentenceTransformer.encode`: time, agreement, hit@k.

    python benchmarks/embedding_backends.py squad1/train-4323-paragraphs.json --passages 200 --blocks 3 --max-tokens 250
    python benchmarks/embedding_backends.py squad1/train-4323-paragraphs.json --passages 2000 --blocks 20 --no-plain

Takes paragraphs and questions of a file in SQuAD's JSON format, cut into passages as an index cuts them. They are
embedded block by block, every block by all sides in turn, in another order each time: a ratio is one of a block, the
spread is that over the blocks. Seconds of the processor are what counts on a machine that others use; OMP_NUM_THREADS=1
compares one thread. A question is a hit if a passage of its paragraph is among the k nearest of all.
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

from rag_ft.indexing.chunking import Chunker, ChunkingConfig, passage_text
from rag_ft.indexing.embedding import load_embedder
from rag_ft.indexing.openvino_embedding import OpenVinoEmbedder
from rag_ft.indexing.sentence_embedding import WindowedEmbedder
from rag_ft.models.compute import compute_plan
from rag_ft.models.embedding_backend import embedding_plan
from rag_ft.models.openvino_encoder import encoder_folder, read_encoder
from rag_ft.models.weights import resolve_embedder
from rag_ft.schema import Document

PLAIN = "SentenceTransformer.encode"


def read_passages(path: Path, passages: int, questions: int, max_tokens: int, embedder: WindowedEmbedder):
    """Passages with the number of their paragraph, and questions with that of theirs."""
    data = json.loads(path.read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in data for paragraph in article["paragraphs"]]
    chunker = Chunker(ChunkingConfig(max_tokens=max_tokens), embedder.count_tokens)
    texts: list[str] = []
    paragraph_of: list[int] = []
    for number, paragraph in enumerate(paragraphs):
        for passage in chunker.passages(Document(id=str(number), text=paragraph["context"])):
            texts.append(passage_text(passage))
            paragraph_of.append(number)
        if len(texts) >= passages:
            break
    asked = [(qa["question"], number) for number in range(number) for qa in paragraphs[number]["qas"] if qa["answers"]]
    step = max(1, len(asked) // questions)
    return texts[:passages], np.array(paragraph_of[:passages]), asked[::step][:questions]


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


def hits(passages: np.ndarray, paragraph_of: np.ndarray, queries: np.ndarray, wanted: list[int]) -> list[float]:
    order = np.argsort(-(queries @ passages.T), axis=1, kind="stable")
    found = paragraph_of[order] == np.array(wanted)[:, None]
    return [float(found[:, :k].any(axis=1).mean()) for k in (1, 3, 5, 10)]


def spread(base: list[float], own: list[float]) -> str:
    ratios = [theirs / mine for theirs, mine in zip(base, own, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("squad", type=Path)
    parser.add_argument("--passages", type=int, default=600)
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--questions", type=int, default=500)
    parser.add_argument("--max-tokens", type=int, default=ChunkingConfig().max_tokens)
    parser.add_argument("--no-plain", action="store_true", help="leave out plain encode: ratios are to torch float32")
    given = parser.parse_args()

    embedders = sides()
    torchs = embedders["torch float32"]
    texts, paragraph_of, asked = read_passages(given.squad, given.passages, given.questions, given.max_tokens, torchs)
    encoders = {name: embedder.encode_passages for name, embedder in embedders.items()}
    if not given.no_plain:
        plain = SentenceTransformer(str(resolve_embedder("default").path), local_files_only=True, device="cpu")
        encoders = {
            PLAIN: lambda part: plain.encode(part, show_progress_bar=False, normalize_embeddings=True)
        } | encoders
    for encode in encoders.values():
        encode(texts[:8])
    names = list(encoders)
    vectors: dict[str, list[np.ndarray]] = {name: [] for name in names}
    cpu: dict[str, list[float]] = {name: [] for name in names}
    wall: dict[str, list[float]] = {name: [] for name in names}
    size = -(-len(texts) // given.blocks)
    for turn in range(given.blocks):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            started, used = time.perf_counter(), time.process_time()
            vectors[name].append(encoders[name](texts[turn * size : (turn + 1) * size]))
            wall[name].append(time.perf_counter() - started)
            cpu[name].append(time.process_time() - used)
        smallest = min(float((vectors[names[0]][-1] * vectors[name][-1]).sum(axis=1).min()) for name in names)
        print(f"block {turn + 1} of {given.blocks}: smallest cosine {smallest:.7f}", file=sys.stderr, flush=True)

    tokens = sum(map(torchs.count_tokens, texts))
    print(f"{len(texts)} passages, {tokens:,} tokens, {len(asked)} questions, {embedding_plan().threads} threads\n")
    print("| side | passages a CPU second | ratio of CPU seconds | ratio of wall seconds | hit@1 / 3 / 5 / 10 |")
    print("|---|---|---|---|---|")
    whole = {name: np.concatenate(parts) for name, parts in vectors.items()}
    for name in names:
        queries = embedders.get(name, torchs).encode_query([question for question, _ in asked])
        found = hits(whole[name], paragraph_of, queries, [number for _, number in asked])
        rate = len(texts) / sum(cpu[name])
        ratios = f"{spread(cpu[names[0]], cpu[name])} | {spread(wall[names[0]], wall[name])}"
        print(f"| {name} | {rate:.1f} | {ratios} | {' / '.join(f'{one:.3f}' for one in found)} |")
    print("\n| pair | smallest cosine | median |\n|---|---|---|")
    for first, second in itertools.combinations(names, 2):
        cosines = (whole[first] * whole[second]).sum(axis=1)
        print(f"| {first}, {second} | {cosines.min():.7f} | {np.median(cosines):.7f} |")
    print("\nhit@k: questions by the same side, against its own vectors; torch's for plain encode")


if __name__ == "__main__":
    sys.exit(main())
