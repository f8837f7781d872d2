"""How often the passage with the answer is found: each mode of retrieval, for some sizes of passages.

    python benchmarks/retrieval.py dev.json --leave-out Imperialism Warsaw French_and_Indian_War Force

takes a file in SQuAD's JSON format (or question records beside `--corpus`), asks its answerable questions,
and prints Markdown tables. A passage is right if it overlaps the answer's place in the document. With
`--paragraphs` every paragraph is a document of its own and a passage is right if it comes from the answer's
paragraph.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import ir_measures
import numpy as np
from ir_measures import RR, Qrel, ScoredDoc, Success, nDCG

from rag_ft.indexing.chunking import ChunkingConfig
from rag_ft.indexing.corpus import read_corpus
from rag_ft.indexing.embedding import Embedder, load_embedder
from rag_ft.indexing.index import Index
from rag_ft.indexing.storage.vectors import SCORE_DECIMALS
from rag_ft.questions.records import read_questions
from rag_ft.schema import Document, Evidence, Question

MEASURES = [Success @ 1, Success @ 3, Success @ 5, Success @ 10, RR @ 10, nDCG @ 10]
HEADINGS = ["hit@1", "hit@3", "hit@5", "hit@10", "MRR@10", "nDCG@10"]
MODES = ["dense", "bm25", "hybrid", "blend"]


class Remembering:
    """An embedder that embeds each question once, though every table asks all of them."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._known: dict[str, np.ndarray] = {}

    def __getattr__(self, name: str):
        return getattr(self._embedder, name)

    def encode_query(self, texts: Sequence[str]) -> np.ndarray:
        new = list({text: None for text in texts if text not in self._known})
        for text, vector in zip(new, self._embedder.encode_query(new), strict=True):
            self._known[text] = vector
        return np.stack([self._known[text] for text in texts])


def as_paragraphs(documents: list[Document], questions: list[Question]) -> tuple[list[Document], list[Question]]:
    """Every paragraph as a document; the evidence of each question is the whole paragraph of its answer."""
    paragraphs: list[Document] = []
    spans: dict[str, list[tuple[int, int, str]]] = {}
    for document in documents:
        start = 0
        for number, text in enumerate(document.text.split("\n\n")):
            name = f"{document.id}/{number:03d}"
            paragraphs.append(Document(id=name, text=text, title=document.title, source=document.source))
            spans.setdefault(document.id, []).append((start, start + len(text), name))
            start += len(text) + 2
    length = {paragraph.id: len(paragraph.text) for paragraph in paragraphs}
    moved: list[Question] = []
    for question in questions:
        names = {
            name for one in question.evidence for start, end, name in spans[one.document_id] if start <= one.start < end
        }
        evidence = tuple(Evidence(document_id=name, start=0, end=length[name], quote="") for name in sorted(names))
        moved.append(question.model_copy(update={"evidence": evidence}))
    return paragraphs, moved


def qrels_of(index: Index, questions: list[Question]) -> list[Qrel]:
    passages = {name: index.passages_of(name) for name in index.documents()}
    return [
        Qrel(question.id, passage.id, 1)
        for question in questions
        for passage in passages[question.evidence[0].document_id]
        if any(
            one.document_id == passage.document_id and one.start < passage.end and passage.start < one.end
            for one in question.evidence
        )
    ]


def measure(index: Index, questions: list[Question], mode: str) -> tuple[list[float], float]:
    """The six measures and the milliseconds for a question (embedding apart)."""
    retriever = index.as_retriever(k=10, mode=mode)
    index.embedder.encode_query([question.question for question in questions])
    started = time.perf_counter()
    rankings = retriever.retrieve_batch([question.question for question in questions])
    seconds = time.perf_counter() - started
    run = [
        # By rank: ir_measures would break ties of equal scores in its own way.
        ScoredDoc(question.id, hit.passage.id, round(1.0 / hit.rank, SCORE_DECIMALS))
        for question, hits in zip(questions, rankings, strict=True)
        for hit in hits
    ]
    # A question without any hit must count as zero, not be left out.
    answered = {scored.query_id for scored in run}
    run += [ScoredDoc(question.id, "none", 0.0) for question in questions if question.id not in answered]
    found = ir_measures.calc_aggregate(MEASURES, qrels_of(index, questions), run)
    return [found[one] for one in MEASURES], 1000 * seconds / len(questions)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("questions", type=Path, help="SQuAD JSON, or .jsonl of question records")
    parser.add_argument("--corpus", type=Path, help="documents of the questions; default: the SQuAD file itself")
    parser.add_argument("--leave-out", nargs="*", default=[], metavar="TITLE", help="articles to leave out")
    parser.add_argument("--max-tokens", nargs="*", type=int, default=[64, 96, 128, 192, 254])
    parser.add_argument("--modes", nargs="*", default=MODES, choices=MODES)
    parser.add_argument("--paragraphs", action="store_true", help="every paragraph is a document of its own")
    parser.add_argument("--embedder", default="default")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    given = parser.parse_args()

    documents = [one for one in read_corpus(given.corpus or given.questions) if one.title not in given.leave_out]
    documents = [one for one in documents if one.id not in given.leave_out]
    names = {one.id for one in documents}
    questions = [one for one in read_questions(given.questions) if one.answerable and one.evidence]
    questions = [one for one in questions if {place.document_id for place in one.evidence} <= names]
    if given.paragraphs:
        documents, questions = as_paragraphs(documents, questions)
    embedder = Remembering(load_embedder(given.embedder))
    print(f"{len(documents)} documents, {len(questions)} answerable questions, embedder {embedder.name}\n")
    print("| max_tokens | passages | mode | " + " | ".join(HEADINGS) + " | ms a question |")
    print("|" + "---|" * (len(HEADINGS) + 4))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for size in given.max_tokens:
            index = Index.build(
                documents, Path(folder) / "index", embedder=embedder, chunking=ChunkingConfig(max_tokens=size)
            )
            for mode in given.modes:
                figures, milliseconds = measure(index, questions, mode)
                cells = " | ".join(f"{figure:.3f}" for figure in figures)
                print(f"| {size} | {len(index)} | {mode} | {cells} | {milliseconds:.1f} |", flush=True)
                rows.append({"max_tokens": size, "mode": mode, **dict(zip(HEADINGS, figures, strict=True))})
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
