"""Which questions of the records are asked: held out, sampled, limited, apart for development."""

from __future__ import annotations

import random
from collections.abc import Sequence

from rag_ft.errors import EvaluationError
from rag_ft.evaluation.recipe import Recipe
from rag_ft.schema import Question


def choose_questions(recipe: Recipe, records: Sequence[Question], trained_on: frozenset[str]) -> list[Question]:
    """The questions of a recipe in the file's order: by document, split and sample; none about a development document.

    Raises EvaluationError for none.
    """
    chosen = [
        one for one in records if not recipe.only or any(piece.document_id in recipe.only for piece in one.evidence)
    ]
    about = frozenset[str]().union(*(_documents(one) for one in records))
    named = {"only": recipe.only, "[development] documents": recipe.development.documents if recipe.development else ()}
    for where, names in named.items():
        unknown = [name for name in names if name not in about]
        if unknown:
            raise EvaluationError(
                f"none of {len(records)} questions is about {', '.join(unknown[:3])}: correct '{where}', or leave it"
                " out"
            )
    chosen = _held_out(recipe, chosen, trained_on)
    apart = _development_documents(recipe, records, trained_on)
    judged = [one for one in chosen if not _documents(one) & apart]
    if not judged:
        raise EvaluationError(
            f"all {len(chosen)} questions are about the {len(apart)} development documents: name fewer documents there,"
            " or take a smaller share"
        )
    return _sampled(judged, recipe.sample, str(recipe.seed))


def development_questions(recipe: Recipe, records: Sequence[Question], trained_on: frozenset[str]) -> list[Question]:
    """The questions that thresholds are chosen on, in the file's order; none without `development` in the recipe.

    All of their documents are development documents, so that nothing of what is judged is seen. Raises EvaluationError
    where there should be some and are none.
    """
    if recipe.development is None:
        return []
    apart = _development_documents(recipe, records, trained_on)
    found = [one for one in records if _documents(one) <= apart]
    if not found:
        raise EvaluationError(
            f"none of {len(records)} questions is about development documents alone: name other documents in"
            " [development], or leave them out"
        )
    return _sampled(found, recipe.development.questions, f"development {recipe.seed}")


def _development_documents(recipe: Recipe, records: Sequence[Question], trained_on: frozenset[str]) -> frozenset[str]:
    asked = recipe.development
    if asked is None:
        return frozenset()
    if asked.documents:
        return frozenset(asked.documents)
    names = sorted(set().union(*(_documents(one) for one in _held_out(recipe, records, trained_on))))
    if recipe.only:
        return frozenset(names) - {*recipe.only}
    if len(names) < 2:
        raise EvaluationError(
            "all questions are about one document, and thresholds are chosen on others than are judged: give the arms"
            " thresholds, or ask about more documents"
        )
    random.Random(f"development {recipe.seed}").shuffle(names)
    return frozenset(names[: min(max(1, round(asked.share * len(names))), len(names) - 1)])


def _documents(question: Question) -> frozenset[str]:
    """The documents that a question is about; one without evidence stands for itself."""
    return frozenset(piece.document_id for piece in question.evidence) or frozenset({f"question {question.id}"})


def _held_out(recipe: Recipe, records: Sequence[Question], trained_on: frozenset[str]) -> list[Question]:
    if recipe.split == "all":
        return list(records)
    kept = [one for one in records if not any(piece.document_id in trained_on for piece in one.evidence)]
    if not kept:
        raise EvaluationError(
            f"the adapter {recipe.split_adapter} was trained on the documents of all {len(records)} questions: ask"
            " about others, or compare with split = 'all' and read the figures as memory"
        )
    return kept


def _sampled(records: Sequence[Question], count: int | None, seed: str) -> list[Question]:
    if count is None or count >= len(records):
        return list(records)
    return [records[place] for place in sorted(random.Random(seed).sample(range(len(records)), count))]
