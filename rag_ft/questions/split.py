"""Split questions by document: no document has questions on both sides."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rag_ft.errors import DatasetError
from rag_ft.schema import Question


class Split(NamedTuple):
    """Question records on either side of a split by document."""

    train: tuple[Question, ...]
    held_out: tuple[Question, ...]


def split_by_document(questions: Sequence[Question], share: float, seed: int) -> Split:
    """Hold out whole documents until they have about `share` of the questions; questions keep their order.

    Documents that share a question (evidence in both) stay together. Of questions without evidence, which belong to no
    document, the same share is held out, drawn with the seed. Raises DatasetError where fewer than two independent
    groups of documents have questions.
    """
    parent: dict[str, str] = {}

    def root(document: str) -> str:
        parent.setdefault(document, document)
        while parent[document] != document:
            parent[document] = parent[parent[document]]
            document = parent[document]
        return document

    for question in questions:
        documents = evidence_documents(question)
        for document in documents:
            parent[root(document)] = root(documents[0])
    counts: dict[str, int] = {}
    for question in questions:
        if documents := evidence_documents(question):
            counts[root(documents[0])] = counts.get(root(documents[0]), 0) + 1
    if len(counts) < 2:
        raise DatasetError(
            f"the {len(questions)} question records have evidence in {len(counts)} document(s), and a split by document"
            " needs at least two: add questions about another document"
        )
    order = sorted(counts)
    random.Random(seed).shuffle(order)
    wanted = share * sum(counts.values())
    held: set[str] = set()
    for group in order:
        # Taken while it brings the share nearer, so that one large document cannot empty the training side.
        taken = sum(counts[member] for member in held)
        if abs(taken + counts[group] - wanted) < abs(taken - wanted) and len(held) < len(counts) - 1:
            held.add(group)
    if not held:
        held.add(min(order, key=lambda group: (counts[group], group)))
    without_evidence = [question.id for question in questions if not question.evidence]
    sample = random.Random(f"{seed} without evidence").sample(without_evidence, round(share * len(without_evidence)))
    drawn = set(sample)
    sides: tuple[list[Question], list[Question]] = ([], [])
    for question in questions:
        documents = evidence_documents(question)
        sides[root(documents[0]) in held if documents else question.id in drawn].append(question)
    return Split(tuple(sides[0]), tuple(sides[1]))


def evidence_documents(question: Question) -> list[str]:
    """Ids of the documents that a question has evidence in."""
    return [piece.document_id for piece in question.evidence]


def documents_of(questions: Iterable[Question]) -> frozenset[str]:
    """Ids of all documents that any of the questions has evidence in."""
    return frozenset(document for question in questions for document in evidence_documents(question))
