"""The embedder in int8, beside plain `SentenceTransformer.encode`: time, agreement, hit@k. A trial: no index uses it.

    pip install nncf
    OMP_NUM_THREADS=1 python benchmarks/int8_embedding.py squad1/train.json --passages 160 --blocks 4
    OMP_NUM_THREADS=1 python benchmarks/int8_embedding.py squad1/train.json --no-time --judge dev.json
    OMP_NUM_THREADS=1 python benchmarks/int8_embedding.py squad1/train.json --no-time --judge handbook

NNCF quantises OpenVINO's conversion of the embedder: weights and inputs of all products, with SmoothQuant, calibrated
on 300 passages of the file, one after another. torch (`--torch`) quantises its linear layers, with the range of each
batch. Time is measured as in `embedding_backends.py`, on other passages of the file. `--judge` asks a file in SQuAD's
format (`--articles`: only its last ones), or the bundled handbook, each side with an index of its own, and counts the
questions that have their passage among the first five on one side alone. ONEDNN_MAX_CPU_ISA=AVX512_CORE computes as a
processor without VNNI would. `--keep` names a folder for the quantised network, which is read there if it is there.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from embedding_backends import PLAIN, read_passages, sides, spread
from retrieval import qrels_of
from sentence_transformers import SentenceTransformer

from rag_ft.environment import handbook_path, handbook_questions_path
from rag_ft.extras import import_without
from rag_ft.indexing.chunking import ChunkingConfig
from rag_ft.indexing.corpus import read_corpus
from rag_ft.indexing.embedding import load_embedder
from rag_ft.indexing.index import Index
from rag_ft.indexing.openvino_embedding import OpenVinoEmbedder
from rag_ft.indexing.sentence_embedding import SentenceEmbedder, WindowedEmbedder
from rag_ft.models.embedding_backend import embedding_plan
from rag_ft.models.openvino_encoder import encoder_folder, read_encoder, without_telemetry
from rag_ft.models.weights import resolve_embedder
from rag_ft.questions.records import read_questions

NAME, TORCH = "openvino int8", "torch int8"
CALIBRATION = 300
NEVER = 99


def quantised(folder: Path, texts: list[str]) -> OpenVinoEmbedder:
    """The packaged embedder with int8 products, calibrated on texts, from `folder`, where it is written first."""
    weights, plan = resolve_embedder("default"), embedding_plan("openvino")
    source = encoder_folder(weights.fingerprint, plan.dtype)
    record = read_encoder(source)
    assert record is not None and not record.refused
    if not folder.exists():
        import_without("nncf", "openvino_telemetry")  # it reports its use over the network, too
        import nncf

        counter = load_embedder(backend="torch", device="cpu")._counter
        batches = []
        for text in texts:
            ids = np.array([counter.encode(text).ids], dtype=np.int64)
            batches.append(dict(enumerate([ids, np.ones_like(ids), np.zeros_like(ids)][: record.inputs])))
        openvino = without_telemetry()
        start = time.process_time()
        network = nncf.quantize(
            openvino.Core().read_model(source / "encoder.xml"),
            nncf.Dataset(batches),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(batches),
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.DISABLE),
        )
        print(f"quantised in {time.process_time() - start:.0f} CPU s", flush=True)
        folder.mkdir(parents=True)
        openvino.save_model(network, folder / "encoder.xml", compress_to_fp16=False)
        shutil.copy(source / "tokenizer.json", folder)
    return OpenVinoEmbedder(weights.name, folder, record, plan.with_dtype("float32"))


def dynamic(model: Any) -> Any:
    """A sentence-transformers model whose linear layers torch quantises, one scale for each row of weights."""
    import torch
    from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it moves to torchao
        return quantize_dynamic(model, {torch.nn.Linear: per_channel_dynamic_qconfig}, dtype=torch.qint8)


def measure_time(embedders: dict[str, WindowedEmbedder], texts: list[str], blocks: int) -> None:
    plain = SentenceTransformer(str(resolve_embedder("default").path), local_files_only=True, device="cpu")
    ways: dict[str, Any] = {
        PLAIN: lambda part: plain.encode(part, show_progress_bar=False, normalize_embeddings=True)
    } | {name: embedder.encode_passages for name, embedder in embedders.items()}
    for encode in ways.values():
        encode(texts[:8])
    names, size = list(ways), -(-len(texts) // blocks)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    vectors: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for turn in range(blocks):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.process_time()
            vectors[name].append(ways[name](texts[turn * size : (turn + 1) * size]))
            seconds[name].append(time.process_time() - start)
    print("| side | passages a CPU second | ratio | smallest cosine to plain | median |\n|---|---|---|---|---|")
    for name in names:
        cosines = (np.concatenate(vectors[name]) * np.concatenate(vectors[PLAIN])).sum(axis=1)
        rate = f"{len(texts) / sum(seconds[name]):.1f} | {spread(seconds[PLAIN], seconds[name])}"
        print(f"| {name} | {rate} | {cosines.min():.5f} | {np.median(cosines):.5f} |", flush=True)


def judge(embedders: dict[str, WindowedEmbedder], where: str, articles: int, most: int) -> None:
    """hit@k of every side, beside the first one."""
    on_handbook = where == "handbook"
    documents = list(read_corpus(handbook_path() if on_handbook else Path(where)))[-articles:]
    names = {one.id for one in documents}
    questions = [
        one
        for one in read_questions(handbook_questions_path() if on_handbook else Path(where))
        if one.answerable and one.evidence and {place.document_id for place in one.evidence} <= names
    ]
    questions = questions[:: max(1, len(questions) // most)][:most]
    print(f"{len(documents)} documents, {len(questions)} questions")
    print("| side | mode | hit@1 / 3 / 5 / 10 | at 5: won, lost |\n|---|---|---|---|")
    first: dict[str, np.ndarray] = {}
    for name, embedder in embedders.items():
        with tempfile.TemporaryDirectory() as folder:
            index = Index.build(documents, Path(folder) / "index", embedder=embedder, progress=False)
            gold: dict[str, set[str]] = {}
            for one in qrels_of(index, questions):
                gold.setdefault(one.query_id, set()).add(one.doc_id)
            for mode in ("dense", "blend"):
                found = index.as_retriever(k=10, mode=mode).retrieve_batch([one.question for one in questions])
                ranks = np.array(
                    [
                        next((hit.rank for hit in hits if hit.passage.id in gold[one.id]), NEVER)
                        for one, hits in zip(questions, found, strict=True)
                    ]
                )
                base = first.setdefault(mode, ranks)
                shares = " / ".join(f"{(ranks <= k).mean():.3f}" for k in (1, 3, 5, 10))
                won, lost = int(((ranks <= 5) & (base > 5)).sum()), int(((ranks > 5) & (base <= 5)).sum())
                print(f"| {name} | {mode} | {shares} | {won}, {lost} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("squad", type=Path, help="passages for calibration and for time")
    parser.add_argument("--passages", type=int, default=160)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--max-tokens", type=int, default=ChunkingConfig().max_tokens)
    parser.add_argument("--no-time", action="store_true")
    parser.add_argument("--judge", nargs="*", default=[], metavar="FILE", help="SQuAD's JSON, or handbook")
    parser.add_argument("--articles", type=int, default=0, help="only the last ones of each file")
    parser.add_argument("--most", type=int, default=1000, help="questions of a file")
    parser.add_argument("--torch", action="store_true", help="torch's int8, too")
    parser.add_argument("--calibration", type=int, default=CALIBRATION)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    embedders = sides()
    torchs = embedders.pop("torch float32")
    texts, _, _ = read_passages(given.squad, sys.maxsize, 1, ChunkingConfig().max_tokens, torchs)
    timed, _, _ = read_passages(given.squad, given.passages, 1, given.max_tokens, torchs)
    texts = random.Random(0).sample(texts[given.passages :], given.calibration)
    with tempfile.TemporaryDirectory() as folder:
        embedders[NAME] = quantised(given.keep or Path(folder) / "int8", texts)
        if given.torch:
            own = load_embedder(backend="torch", device="cpu")
            assert isinstance(own, SentenceEmbedder)
            own.model = dynamic(own.model)
            embedders[TORCH] = own
        if not given.no_time:
            measure_time(embedders, timed, given.blocks)
        for where in given.judge:
            judge(embedders, where, given.articles, given.most)


if __name__ == "__main__":
    sys.exit(main())
