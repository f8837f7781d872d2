"""Which records a reader is trained on, chosen on and judged on: whole documents, copies of one document together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rag_ft.questions.split import documents_of, evidence_documents, split_by_document
from rag_ft.schema import Question

if TYPE_CHECKING:
    from rag_ft.indexing.index import Index

JUDGED_SHARE = 0.3
"""Share of the records that the readers are judged on."""
_CHOOSING_SHARE = 0.2
"""Share of the other records that checkpoint and threshold are chosen on."""

FEWEST_JUDGED = 20
"""Minimum number of records to judge on: with fewer, only differences beyond any that tuning brings would show."""
FEWEST_DOCUMENTS = 4
"""Two to judge on, so that there is an interval; one to choose the checkpoint on; one to train on."""


class Sides(NamedTuple):
    """Records by what they are for; no document is on two sides."""

    train: tuple[Question, ...]
    choose: tuple[Question, ...]
    """Checkpoint and threshold are chosen on these."""
    judge: tuple[Question, ...]

    @property
    def held_out(self) -> tuple[Question, ...]:
        """Records that no weight is trained on."""
        return (*self.choose, *self.judge)

    @property
    def judged_documents(self) -> frozenset[str]:
        """Documents that the records to judge on are about."""
        return documents_of(self.judge)


def take_sides(questions: Sequence[Question], index: Index, seed: int) -> Sides:
    """Split records by document; documents that are copies of each other count as one. Raises DatasetError."""
    first_copy = same_documents(index)

    def merged(question: Question) -> Question:
        pieces = tuple(
            piece.model_copy(update={"document_id": first_copy.get(piece.document_id, piece.document_id)})
            for piece in question.evidence
        )
        return question.model_copy(update={"evidence": pieces})

    records = [merged(question) for question in questions]
    for share in (JUDGED_SHARE, 0.4, 0.5):  # where one document is a large part of all, two must be held out to judge
        outer = split_by_document(records, share, seed)
        if len(documents_of(outer.held_out)) > 1:
            break
    inner = split_by_document(outer.train, _CHOOSING_SHARE, seed)
    sides = [{question.id for question in side} for side in (inner.train, inner.held_out, outer.held_out)]
    train, choose, judge = (tuple(question for question in questions if question.id in ids) for ids in sides)
    return Sides(train, choose, judge)


def why_too_few(questions: Sequence[Question], sides: Sides | None, documents: int) -> str:
    """Why tuning cannot be judged on these records, in sentences; empty where it can.

    `documents`: how many can be on different sides. `sides`: None where they are too few to be split.
    """
    if documents < FEWEST_DOCUMENTS or sides is None:
        return (
            f"The records are about {documents} documents, counting copies once. {FEWEST_DOCUMENTS} are the least: two"
            " to judge on, one to choose the checkpoint on, one to train on. Add documents with questions about them."
        )
    if len(sides.judge) < FEWEST_JUDGED:
        return (
            f"{len(sides.judge)} of the {len(questions)} records would be left to judge on. With fewer than"
            f" {FEWEST_JUDGED}, only differences larger than any that tuning brings would show. About"
            f" {round(FEWEST_JUDGED / JUDGED_SHARE)} records are needed."
        )
    if len(sides.judged_documents) < 2:
        return (
            "Nearly all records are about one document, so that only one is left to judge on, and chance cannot be told"
            " from effect. Add records about the other documents."
        )
    return ""


def independent_documents(questions: Iterable[Question], index: Index) -> int:
    """Number of groups of documents with records that can be on different sides: copies, and documents that share a
    question, are together.
    """
    first_copy = same_documents(index)
    groups = _Groups()
    for question in questions:
        names = [first_copy.get(name, name) for name in evidence_documents(question)]
        for name in names:
            groups.join(names[0], name)
    return groups.count


def same_documents(index: Index) -> dict[str, str]:
    """The first of all documents that say the same, for each document that has such copies.

    Two documents say the same if at least half of the passages of the shorter one are in the other, word for word.
    """
    documents_by_text: dict[str, set[str]] = {}
    passages: Counter[str] = Counter()
    for passage in index.passages():
        text = " ".join(passage.text.split())
        documents_by_text.setdefault(text, set()).add(passage.document_id)
        passages[passage.document_id] += 1
    shared: Counter[tuple[str, str]] = Counter()
    for documents in documents_by_text.values():
        names = sorted(documents)
        # Each with the first: a sentence that every document has makes as many pairs as there are documents.
        shared.update((names[0], name) for name in names[1:])
    groups = _Groups()
    for (first, second), count in sorted(shared.items()):
        if 2 * count >= min(passages[first], passages[second]):
            groups.join(first, second)
    return {name: groups.root(name) for name in groups.members}


class _Groups:
    """Names joined into groups; the first name of a group stands for it."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    @property
    def members(self) -> list[str]:
        return list(self._parent)

    @property
    def count(self) -> int:
        return sum(name == parent for name, parent in self._parent.items())

    def root(self, name: str) -> str:
        self._parent.setdefault(name, name)
        while self._parent[name] != name:
            name = self._parent[name]
        return name

    def join(self, first: str, second: str) -> None:
        low, high = sorted((self.root(first), self.root(second)))
        self._parent[high] = low
