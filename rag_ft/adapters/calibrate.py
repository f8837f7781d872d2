"""Choose an adapter's threshold again, on questions about your own documents.

How sure a reader is depends on what it is given: other documents, more distractors or another k move its confidences,
and a threshold chosen elsewhere then answers too often or too seldom. No weight changes.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_ft.answering.confidence import threshold_record
from rag_ft.answering.reader import Reader
from rag_ft.errors import AdapterError, DatasetError, UsageError, WeightsError
from rag_ft.extras import require_extra
from rag_ft.files import full_disk_as
from rag_ft.models.adapter_record import ADAPTER_RECORD, adapter_record, trained_documents
from rag_ft.models.adapter_slots import adapter_folder
from rag_ft.models.folder import ADAPTER_CONFIG
from rag_ft.models.weights import DEFAULT, PACKAGED, Weights, resolve_adapter
from rag_ft.questions.records import read_questions
from rag_ft.training.card import model_card
from rag_ft.training.saving import write_record
from rag_ft.training.scoring import AlwaysAnswered, ReaderScore, always_answered

if TYPE_CHECKING:
    from rag_ft.indexing.index import Index
    from rag_ft.schema import Question

logger = logging.getLogger(__name__)

MOST_QUESTIONS = 600
"""Questions that the threshold is chosen on: its share of null is then known to about four points."""

_CARD_NEEDS = {"licence", "data_note", "history", "lora", "training", "data", "certificate", "verdict"}
"""Keys of a record that a card is made from; where another program's adapter lacks one, its card is left as it is."""


def calibrate_adapter(
    adapter: str | Path,
    questions: str | Path | Sequence[Question],
    index: Index,
    *,
    k: int = 3,
    reader: str = DEFAULT,
    most: int = MOST_QUESTIONS,
    recognise: float | None = None,
    margin: bool = True,
    dry_run: bool = False,
) -> ReaderScore:
    """Choose the threshold of an adapter on questions about the documents of an index, and write it into its folder.

    Questions about documents that the adapter was trained on are excluded, and how many is logged: it knows those
    by heart and is surer of them than it will be of others. `recognise` asks for the lowest threshold with that
    abstention recall, instead of the one that serves both kinds of questions best; `margin` raises it so that other
    questions like these will probably not fall below that recall. `dry_run` only measures. Raises DatasetError where
    not both kinds of questions are there or too few unanswerable ones, WeightsError for a folder without this project's
    record, UsageError for a share outside 0 to 1.
    """
    require_extra("train", "calibrating an adapter", "scipy")
    if recognise is not None and not 0 < recognise < 1:
        raise UsageError(f"recognise is the share of unanswerable questions to catch, between 0 and 1, not {recognise}")
    if str(adapter) == PACKAGED and not dry_run:
        raise UsageError(
            "the threshold is written into the adapter's folder, and the packaged adapter is read-only: copy it first"
            " (rag-ft adapter export packaged mine --to peft), or only measure (--dry-run)"
        )
    weights = resolve_adapter(adapter_folder(adapter))
    record = adapter_record(weights)
    if "prompt_fingerprint" not in record:
        raise WeightsError(
            f"{weights.path} has no {ADAPTER_RECORD} of a training run to write a threshold into: give the threshold to"
            " the reader (threshold=...)"
        )
    records = read_questions(questions) if isinstance(questions, str | Path) else list(questions)
    unseen = _unseen(records, trained_documents(record, index.document_fingerprints()))
    asked = Reader.from_pretrained(reader, adapter=weights.path)
    # The threshold is that of spans: how sure whole sentences are is in the cross-encoder's record.
    tuned = Reader(asked.loaded, whole_sentences=False, cross_encoder=asked.cross_encoder)
    answered = always_answered(tuned, unseen, index, k, most, asked.cross_encoder)
    score = answered.chosen(recognise, margin=margin)
    if tuned.threshold is not None:
        before = {"threshold": tuned.threshold, "kinds": dict(tuned.kinds)}
        logger.info("%s", f"now       {_score_now(tuned, answered).model_copy(update=before).line()}")
    if not answered.scale.plain:
        logger.info(
            "scale     how often such an answer is right, instead of how sure the reader is: calibration error %.2f"
            " before, %.2f on these questions after",
            answered.unscaled_error,
            answered.scaled_error,
        )
    if not dry_run:
        record["threshold"] = {
            **threshold_record(score.threshold, tuned.reading, score.platt, score.kinds),
            "chosen_on": {
                **score.model_dump(mode="json", exclude={"platt", "kinds"}),
                "k": k,
                "recognise": recognise,
                "margin": margin,
                "index": index.fingerprint,
            },
        }
        _write(record, weights)
    return score


def _score_now(tuned: Reader, answered: AlwaysAnswered) -> ReaderScore:
    """The figures at the thresholds that the reader has now, on the scales that it has now."""
    now = {kind: own for kind, own in tuned.kinds.items() if kind in answered.kinds}
    return answered._replace(scale=tuned.scale).score(tuned.threshold or 0.0, now)


def _unseen(records: Sequence[Question], trained: Collection[str]) -> list[Question]:
    """The questions about documents that are new to the adapter. Raises DatasetError unless both kinds remain."""
    unseen = [
        question for question in records if not any(evidence.document_id in trained for evidence in question.evidence)
    ]
    excluded = len(records) - len(unseen)
    if excluded:
        logger.info(
            "%d of %d questions are excluded: the adapter was trained on their documents", excluded, len(records)
        )
    without_evidence = sum(not question.evidence for question in unseen)
    if trained and without_evidence:
        logger.info(
            "%d questions name no evidence: whether the adapter was trained on their documents is unknown",
            without_evidence,
        )
    answerable = sum(question.answerable for question in unseen)
    if not answerable or answerable == len(unseen):
        lacking = "answerable" if not answerable else "unanswerable"
        raise DatasetError(
            f"none of the {len(unseen)} questions is {lacking}, and a threshold weighs both kinds: add some"
            f" {lacking} ones"
            + (f" ({excluded} more are about documents that the adapter was trained on)" if excluded else "")
        )
    return unseen


def _write(record: dict[str, Any], weights: Weights) -> None:
    """Write the record, and the card made from it, into the adapter's folder."""
    card = None
    if _CARD_NEEDS <= set(record):
        config = json.loads((weights.path / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        card = model_card(record, config["base_model_name_or_path"])
    with full_disk_as(AdapterError, weights.path, "the threshold is as before"):
        write_record(weights.path, record, card)
