"""What to do after the verdict: records to look at, passages to mend, documents to ask about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from rag_ft.adapting.judge import BEFORE, TUNED
from rag_ft.errors import UsageError
from rag_ft.evaluation.error_budget import GOOD, bin_of
from rag_ft.questions.split import documents_of
from rag_ft.training.data.worth_labelling import Asked, Pick, Reply, pick_questions

if TYPE_CHECKING:
    from rag_ft.evaluation.predictions import Prediction
    from rag_ft.indexing.index import Index
    from rag_ft.schema import Passage, Question

LABELS = 20
_PASSAGES = 10
_DOCUMENTS = 20
_BEGINNING = 160
"""Characters of a passage that are shown."""
_UNDECIDED = 0.5
"""Stands for the threshold of a reader that has none."""


class PassageToMend(BaseModel):
    """A passage that questions about it do not find."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    passage_id: str
    document: str
    questions: int
    """Number of questions that did not find it."""
    beginning: str
    """How its text begins."""


def passages_to_mend(not_retrieved: Mapping[str, Any], index: Index) -> list[PassageToMend]:
    """The passages that most questions did not find, most first; those that the index no longer has are left out."""
    ordered = sorted(not_retrieved.items(), key=lambda entry: (-int(entry[1]), entry[0]))
    passages = []
    for name, count in ordered[:_PASSAGES]:
        try:
            passage = index.passage_by_id(name)
        except UsageError:
            continue
        text = " ".join(passage.text.split())
        passages.append(
            PassageToMend(
                passage_id=name,
                document=passage.document_id,
                questions=int(count),
                beginning=text if len(text) <= _BEGINNING else f"{text[:_BEGINNING]}…",
            )
        )
    return passages


def records_to_look_at(
    replies: Mapping[str, Mapping[str, Prediction]],
    questions: Mapping[str, Question],
    settings: Mapping[str, Mapping[str, Any]],
    index: Index,
) -> list[Pick]:
    """Up to 20 records that no person wrote and a person should look at: where the readers are undecided or differ."""
    rows = []
    for name, question in questions.items():
        given = {arm: replies[arm][name] for arm in (TUNED, BEFORE) if name in replies.get(arm, {})}
        if question.origin == "human" or not given:
            continue
        rows.append(
            Asked(
                question,
                {arm: _reply(reply, settings.get(arm, {}).get("threshold")) for arm, reply in given.items()},
                _passage(next(iter(given.values())), index),
            )
        )
    by_people = [question for question in questions.values() if question.origin == "human"]
    return pick_questions(rows, by_people or None, LABELS)


def _reply(prediction: Prediction, threshold: Any) -> Reply:
    limit = threshold if isinstance(threshold, float) else _UNDECIDED
    return Reply(prediction.answer, prediction.confidence or 0.0, limit)


def _passage(prediction: Prediction, index: Index) -> Passage | None:
    if not prediction.passages:
        return None
    place = prediction.passages[0]
    passages = index.passages_of(place.document_id)
    return next((passage for passage in passages if passage.start == place.start), None)


def documents_without_records(questions: Sequence[Question], index: Index) -> list[str]:
    """Documents that no record is about, the first twenty."""
    return sorted(set(index.documents()) - documents_of(questions))[:_DOCUMENTS]


def where_questions_go_wrong(replies: Mapping[str, Prediction], questions: Mapping[str, Question]) -> tuple[int, int]:
    """Number of questions that a reader gets wrong, and of those whose evidence was not among its passages."""
    bins = Counter(bin_of(reply, questions[name]) for name, reply in replies.items())
    wrong = sum(count for name, count in bins.items() if name not in GOOD)
    return wrong, bins["not retrieved"]
