"""The mixture of question records that the packaged cross-encoder was tuned on, with their documents.

    python benchmarks/training_records.py PATH/TO/data RECORDS
    python benchmarks/documentation_records.py PATH/TO/data DOCUMENTATION --other-files 60 --headings 15
    python benchmarks/cross_encoder_records.py RECORDS DOCUMENTATION OUTPUT
    rag-ft index build OUTPUT/documents.jsonl OUTPUT/index
    rag-ft train OUTPUT/questions.jsonl --index OUTPUT/index -o OUTPUT/tuned --tune cross-encoder --epochs 1

Most records are of the kinds that the cross-encoder answers: FAQ sections and headings of documentation, advice of
forums, stories asked how and why. The rest keeps facts and unanswerable questions. Of each set, whole documents are
drawn, so that questions about one document share its passages in the index.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter, defaultdict
from pathlib import Path

from training_records import write_documents

from rag_ft.questions.records import read_questions, write_questions
from rag_ft.schema import Document, Question

MOST = {
    "faq": 2_000,
    "heading": 2_000,
    "stated": 1_000,
    "cooking": 2_000,
    "cooking2": 2_000,
    "movies": 2_000,
    "fairytale": 1_600,
    "nq": 1_000,
    "squad1": 1_600,
    "squad2": 1_200,
    "squad2dev": 700,
    "null": 1_300,
    "policy": 500,
    "amazon": 300,
    "reddit": 300,
}
"""Questions of each kind, by their first tag; of SQuAD's unanswerable ones, which have none, `null`."""
ALONG = ("stated", "null")
"""Kinds that are only asked about documents drawn for others."""


def kind_of(question: Question) -> str:
    """Which of the kinds above a question is of."""
    return question.tags[0] if question.tags else "null"


def drawn(questions: list[Question], chooser: random.Random) -> list[Question]:
    """Questions about whole documents until each kind has as many as it may."""
    by_document: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        for document in {piece.document_id for piece in question.evidence}:
            by_document[document].append(question)
    counts: Counter[str] = Counter()
    chosen: list[Question] = []
    documents: set[str] = set()
    names = sorted(by_document)
    chooser.shuffle(names)
    for document in names:
        for question in by_document[document]:
            kind = kind_of(question)
            if kind not in ALONG and counts[kind] < MOST[kind]:
                counts[kind] += 1
                chosen.append(question)
                documents.add(document)
    along = [
        question
        for question in questions
        if kind_of(question) in ALONG and {piece.document_id for piece in question.evidence} <= documents
    ]
    for question in chooser.sample(along, len(along)):
        kind = kind_of(question)
        if counts[kind] < MOST[kind]:
            counts[kind] += 1
            chosen.append(question)
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path, help="what training_records.py wrote")
    parser.add_argument("documentation", type=Path, help="what documentation_records.py wrote")
    parser.add_argument("output", type=Path)
    given = parser.parse_args()
    chooser = random.Random(7)
    general = [q for q in read_questions(given.records / "questions.jsonl") if kind_of(q) not in ("faq", "stated")]
    questions = drawn([*general, *read_questions(given.documentation / "questions.jsonl")], chooser)
    needed = {piece.document_id for question in questions for piece in question.evidence}
    documents: dict[str, Document] = {}
    for folder in (given.documentation, given.records):
        for line in (folder / "documents.jsonl").read_text(encoding="utf-8").splitlines():
            name = json.loads(line)["id"]
            if name in needed and name not in documents:
                documents[name] = Document.model_validate_json(line)
    given.output.mkdir(parents=True, exist_ok=True)
    write_documents(list(documents.values()), given.output / "documents.jsonl")
    write_questions(questions, given.output / "questions.jsonl")
    characters = sum(len(document.text) for document in documents.values())
    counts = Counter(kind_of(question) for question in questions)
    print(f"{len(questions)} questions {dict(counts)} about {len(documents)} documents of {characters:,} characters")


if __name__ == "__main__":
    main()
