"""What a passage should be searched by: its text, the headings above it, questions that are made of it.

    python benchmarks/search_keys.py datasets/handbook datasets/handbook/questions.jsonl datasets/handbook/asked.jsonl

takes documents and question records, and prints hit@k of the blend for each choice. Made questions (doc2query:
Nogueira and Lin, *From doc2query to docTTTTTquery*, 2019) join a passage's words, or its vector is moved towards the
nearest of theirs. They are written by the packaged generator: about two seconds for a passage on one core.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import bm25s
import numpy as np
from numpy.typing import NDArray

from rag_ft.indexing.chunking import passage_words
from rag_ft.indexing.index import Index
from rag_ft.indexing.retriever import WORD_WEIGHT
from rag_ft.indexing.storage.postings import K1, B
from rag_ft.indexing.storage.words import Words
from rag_ft.question_generation.generator import QuestionGenerator, SamplingConfig
from rag_ft.question_generation.source import WriteRequest, WrittenQuestion
from rag_ft.questions.records import read_questions
from rag_ft.schema import Evidence, Passage, Question

VECTOR_WEIGHTS = (0.2, 0.5)
HITS = (1, 3, 5)
TEXT_RULES = 4
"""Rules of indexes that do not search by headings."""


def made_questions(passages: Sequence[Passage], each: int) -> list[list[str]]:
    """Questions that the packaged generator writes for each passage, none left out."""
    generator = QuestionGenerator.from_pretrained(sampling=SamplingConfig(0.8, 0.95, 1, -np.inf))
    made: list[list[str]] = []
    for passage in passages:
        written = generator.write([WriteRequest(passage, "fact", seed) for seed in range(each)])
        made.append([one.question for one in written if isinstance(one, WrittenQuestion)])
        print(f"\r{len(made)} of {len(passages)} passages", end="", file=sys.stderr)
    print(file=sys.stderr)
    return made


def word_scores(texts: Sequence[str], questions: Sequence[str]) -> NDArray[np.float64]:
    """BM25 of every text for every question, as the index computes it."""
    words = Words()
    index = bm25s.BM25(method="lucene", k1=K1, b=B)
    index.index([words.of(text) for text in texts], show_progress=False)
    return np.stack([index.get_scores(words.of(question)) for question in questions])


def relevant(passages: Sequence[Passage], questions: Sequence[Question]) -> NDArray[np.bool_]:
    """Whether each passage overlaps the evidence of each question."""

    def overlaps(passage: Passage, place: Evidence) -> bool:
        return place.document_id == passage.document_id and place.start < passage.end and passage.start < place.end

    return np.array(
        [[any(overlaps(passage, place) for place in one.evidence) for passage in passages] for one in questions]
    )


def blend(vectors: NDArray[np.float64], words: NDArray[np.float64]) -> NDArray[np.float64]:
    """The default mode's scores; shapes (questions, passages)."""
    best = [np.maximum(scores.max(1, keepdims=True), 1e-9) for scores in (vectors, words)]
    return (1 - WORD_WEIGHT) * vectors / best[0] + WORD_WEIGHT * words / best[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", type=Path)
    parser.add_argument("questions", type=Path, nargs="+")
    parser.add_argument("--each", type=int, default=4, help="questions made of a passage; 0: none are made")
    given = parser.parse_args()

    questions = [one for file in given.questions for one in read_questions(file) if one.answerable and one.evidence]
    with tempfile.TemporaryDirectory() as folder:
        index = Index.build(given.documents, Path(folder) / "index")
        known = set(index.documents())
        questions = [one for one in questions if {place.document_id for place in one.evidence} <= known]
        passages = list(index.passages())
        searcher = index.searcher()
        asked = [one.question for one in questions]
        asked_vectors = searcher.encode_query(asked)
        rows = np.arange(len(passages))
        vectors = np.stack([searcher.score_vectors(vector, rows) for vector in asked_vectors])
        right = relevant(passages, questions)

        def show(name: str, vector_scores: NDArray[np.float64], words: NDArray[np.float64]) -> None:
            order = np.argsort(-blend(vector_scores, words), axis=1, kind="stable")
            ranked = np.take_along_axis(right, order, 1)
            print(f"| {name} | " + " | ".join(f"{ranked[:, :k].any(1).mean():.3f}" for k in HITS) + " |", flush=True)

        print(f"{len(passages)} passages, {len(questions)} questions\n")
        print("| searched by | " + " | ".join(f"hit@{k}" for k in HITS) + " |\n" + "|---" * (len(HITS) + 1) + "|")
        headed = [passage_words(passage) for passage in passages]
        with_headings = word_scores(headed, asked)
        show("text", vectors, word_scores([passage_words(passage, TEXT_RULES) for passage in passages], asked))
        show("text, words of headings", vectors, with_headings)
        if not given.each:
            return
        made = made_questions(passages, given.each)
        with_made = word_scores([" ".join((text, *more)) for text, more in zip(headed, made, strict=True)], asked)
        show("these, words of made questions", vectors, with_made)
        nearest = vectors.copy()
        for row, more in enumerate(made):
            if more:
                nearest[:, row] = (asked_vectors @ index.embedder.encode_query(more).T).max(1)
        for weight in VECTOR_WEIGHTS:
            moved = (1 - weight) * vectors + weight * nearest
            show(f"text and headings, vectors of made questions with weight {weight}", moved, with_headings)
            show(f"words and vectors of made questions with weight {weight}", moved, with_made)


if __name__ == "__main__":
    main()
