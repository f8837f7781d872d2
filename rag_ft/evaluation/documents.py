"""Questions against documents: those of the index, and those that an arm's adapter was trained or chosen on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rag_ft.errors import EvaluationError
from rag_ft.evaluation.arms.base import Arm, TrainedArm
from rag_ft.models.adapter_record import adapter_record, held_out_documents, trained_documents
from rag_ft.questions.records import moved_evidence
from rag_ft.schema import Question

if TYPE_CHECKING:
    from rag_ft.evaluation.recipe import Recipe
    from rag_ft.indexing.index import Index


def training_documents(recipe: Recipe, index: Index) -> frozenset[str]:
    """Documents of the index that the recipe's `split_adapter` was trained on; none with `split = "all"`."""
    from rag_ft.models.weights import PACKAGED, chosen_adapter, resolve_adapter

    if recipe.split == "all":
        return frozenset()
    folder = chosen_adapter("default", None if recipe.split_adapter == PACKAGED else recipe.split_adapter)
    if folder is None:
        return frozenset()
    return trained_documents(adapter_record(resolve_adapter(folder)), index.document_fingerprints())


def count_foreign(questions: Sequence[Question], index: Index) -> int:
    """Number of questions about none of the index's documents. Raises EvaluationError if that is all of them."""
    indexed = set(index.documents())
    with_evidence = [question for question in questions if question.evidence]
    foreign = [
        question for question in with_evidence if not any(piece.document_id in indexed for piece in question.evidence)
    ]
    if with_evidence and len(foreign) == len(with_evidence):
        raise EvaluationError(
            f"none of the {len(with_evidence):,} questions is about a document of the index: they name"
            f" {with_evidence[0].evidence[0].document_id!r}, it holds {min(indexed, default='nothing')!r}; give the"
            " documents that the questions were written for"
        )
    return len(foreign)


def refuse_moved(questions: Sequence[Question], index: Index) -> None:
    """Raise EvaluationError where evidence is not at its offsets: no hit or citation could count as right."""
    named = {piece.document_id for question in questions for piece in question.evidence}
    texts = {name: index.document(name).text for name in named & set(index.documents())}
    moved = [
        problem
        for question in questions
        for piece in question.evidence
        if piece.document_id in texts and (problem := moved_evidence(question, piece, texts[piece.document_id]))
    ]
    if moved:
        raise EvaluationError(
            f"{len(moved):,} pieces of evidence are not where the questions say ({moved[0]}): the documents have"
            " changed since; correct the offsets ('rag-ft data check' lists them all), or give the former documents"
        )


def count_leaks(arms: Sequence[Arm], questions: Sequence[Question], index: Index) -> dict[str, int]:
    """Questions about documents that an arm was tuned on, matched by name and, where recorded, by fingerprint."""
    return _questions_about(arms, questions, lambda record: trained_documents(record, index.document_fingerprints()))


def count_chosen_on(arms: Sequence[Arm], questions: Sequence[Question]) -> dict[str, int]:
    """Questions about the documents held out of an arm's training, on which its step and threshold were chosen."""
    return _questions_about(arms, questions, held_out_documents)


def _questions_about(
    arms: Sequence[Arm], questions: Sequence[Question], documents: Callable[[Mapping[str, Any]], Collection[str]]
) -> dict[str, int]:
    """Number of questions about the documents that `documents` takes from an arm's records, by arm; zeros left out."""
    counts = {}
    for arm in arms:
        if not isinstance(arm, TrainedArm):
            continue
        names = {name for record in arm.training_records() for name in documents(record)}
        count = sum(any(piece.document_id in names for piece in question.evidence) for question in questions)
        if count:
            counts[arm.name] = count
    return counts
