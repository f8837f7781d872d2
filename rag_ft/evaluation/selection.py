"""Which question records an evaluation asks: by document, split and sample, and apart from them for development."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence

from rag_ft.errors import EvaluationError
from rag_ft.evaluation.recipe import Recipe
from rag_ft.questions.records import read_questions
from rag_ft.schema import Question

logger = logging.getLogger(__name__)


def read_records(recipe: Recipe) -> list[Question]:
    """The recipe's question records, then those of the feedback that it names; what gave no record is logged.

    A record of the feedback that was exported to the file comes once. Raises DatasetError, EvaluationError, and what
    loading an index raises.
    """
    records = {record.id: record for record in (read_questions(recipe.questions) if recipe.questions else ())}
    if recipe.feedback:
        from rag_ft.indexing.index import Index

        made = Index.load(recipe.feedback).feedback_questions()
        for line in made.lines():
            logger.info("feedback: %s", line)
        if not made.records and not records:
            raise EvaluationError(
                f"the feedback beside {recipe.feedback} gives no question record: gather feedback first, or give"
                " questions"
            )
        for record in made.records:
            records.setdefault(record.id, record)
    return list(records.values())


def choose_questions(recipe: Recipe, records: Sequence[Question], trained_on: frozenset[str]) -> list[Question]:
    """The questions that a recipe judges by, in the file's order; none about a development document.

    Raises EvaluationError if none remain.
    """
    chosen = [
        question
        for question in records
        if not recipe.only or any(piece.document_id in recipe.only for piece in question.evidence)
    ]
    about = frozenset[str]().union(*(_documents(question) for question in records))
    named = {"only": recipe.only, "[development] documents": recipe.development.documents if recipe.development else ()}
    for key, names in named.items():
        unknown = [name for name in names if name not in about]
        if unknown:
            raise EvaluationError(
                f"none of {len(records)} questions is about {', '.join(unknown[:3])}: correct '{key}', or leave it out"
            )
    chosen = _held_out(recipe, chosen, trained_on)
    apart = _development_documents(recipe, records, trained_on)
    judged = [question for question in chosen if not _documents(question) & apart]
    if not judged:
        raise EvaluationError(
            f"all {len(chosen)} questions are about the {len(apart)} development documents: name fewer documents there,"
            " or take a smaller share"
        )
    return _sampled(judged, recipe.sample, str(recipe.seed))


def development_questions(recipe: Recipe, records: Sequence[Question], trained_on: frozenset[str]) -> list[Question]:
    """The questions that thresholds are chosen on, in the file's order; empty without `development` in the recipe.

    All their documents are development documents, which are not judged. Raises EvaluationError if there are no such
    questions.
    """
    if recipe.development is None:
        return []
    apart = _development_documents(recipe, records, trained_on)
    chosen = [question for question in records if _documents(question) <= apart]
    if not chosen:
        raise EvaluationError(
            f"none of {len(records)} questions is about development documents alone: name other documents in"
            " [development], or leave them out"
        )
    return _sampled(chosen, recipe.development.questions, f"development {recipe.seed}")


def _development_documents(recipe: Recipe, records: Sequence[Question], trained_on: frozenset[str]) -> frozenset[str]:
    development = recipe.development
    if development is None:
        return frozenset()
    if development.documents:
        return frozenset(development.documents)
    names = sorted(set().union(*(_documents(question) for question in _held_out(recipe, records, trained_on))))
    if recipe.only:
        return frozenset(names) - {*recipe.only}
    if len(names) < 2:
        raise EvaluationError(
            "all questions are about one document, but thresholds must be chosen on other documents than are judged:"
            " ask about more documents, or write a recipe that gives the arms thresholds"
        )
    random.Random(f"development {recipe.seed}").shuffle(names)
    return frozenset(names[: min(max(1, round(development.share * len(names))), len(names) - 1)])


def _documents(question: Question) -> frozenset[str]:
    """The documents that a question is about; without evidence, a name of its own."""
    return frozenset(piece.document_id for piece in question.evidence) or frozenset({f"question {question.id}"})


def _held_out(recipe: Recipe, records: Sequence[Question], trained_on: frozenset[str]) -> list[Question]:
    if recipe.split == "all":
        return list(records)
    kept = [question for question in records if not any(piece.document_id in trained_on for piece in question.evidence)]
    if not kept:
        raise EvaluationError(
            f"the adapter {recipe.split_adapter} was trained on the documents of all {len(records)} questions: ask"
            " about other documents, or write a recipe with split = 'all', whose figures then measure memory too"
        )
    return kept


def _sampled(records: Sequence[Question], count: int | None, seed: str) -> list[Question]:
    if count is None or count >= len(records):
        return list(records)
    return [records[i] for i in sorted(random.Random(seed).sample(range(len(records)), count))]
