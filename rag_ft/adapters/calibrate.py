"""An adapter's threshold, chosen anew on questions about one's own documents.

How sure a reader is depends on what it is given: other documents, more distractors or another k move its confidences,
and a threshold chosen elsewhere then answers too often or too seldom. No weight changes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rag_ft.answering.confidence import threshold_record
from rag_ft.answering.reader import Reader
from rag_ft.errors import AdapterError, DatasetError, UsageError, WeightsError
from rag_ft.extras import require_extra
from rag_ft.files import full_disk_as
from rag_ft.models.adapter_record import ADAPTER_RECORD, adapter_record, trained_documents
from rag_ft.models.adapter_slots import adapter_folder
from rag_ft.models.folder import ADAPTER_CONFIG
from rag_ft.models.weights import DEFAULT, PACKAGED, resolve_adapter
from rag_ft.questions.records import read_questions
from rag_ft.training.card import model_card
from rag_ft.training.saving import write_record
from rag_ft.training.scoring import ReaderScore, always_answered

if TYPE_CHECKING:
    from rag_ft.indexing.index import Index
    from rag_ft.schema import Question

MOST_ASKED = 600
"""Questions that the threshold is chosen on: its share of null is then known to about four points."""

_CARD_NEEDS = {"licence", "data_note", "history", "lora", "training", "data", "certificate", "verdict"}
"""A record of another program's adapter may lack them; its card is left as it is."""


def calibrate_adapter(
    adapter: str | Path,
    questions: str | Path | Sequence[Question],
    index: Index,
    *,
    k: int = 3,
    reader: str = DEFAULT,
    most: int = MOST_ASKED,
    recognise: float | None = None,
    margin: bool = True,
    dry_run: bool = False,
    say: Callable[[str], None] | None = None,
) -> ReaderScore:
    """Choose the threshold of an adapter's folder on questions about the documents of an index, and write it there.

    Questions about documents that the adapter was trained on are left out, and `say` is told how many: of those it
    knows by heart it is surer than it will be of others. `recognise` asks for the lowest threshold that recognises so
    large a share of the unanswerable, instead of the one that serves both kinds of questions best; `margin`: so high
    that other questions like these will probably not fall below that share. `dry_run` only measures. Raises
    DatasetError where not both kinds of questions are there or too few unanswerable ones, WeightsError for a folder
    without this project's record, UsageError for a share outside 0 to 1.
    """
    require_extra("train", "calibrating an adapter", "scipy")
    if recognise is not None and not 0 < recognise < 1:
        raise UsageError(f"recognise is the share of unanswerable questions to catch, between 0 and 1, not {recognise}")
    if str(adapter) == PACKAGED and not dry_run:
        raise UsageError(
            "the threshold is written into a folder, and the adapter that ships is not yours to change: make a folder"
            " of it first (rag-ft adapter export packaged mine --to peft), or only measure (--dry-run)"
        )
    weights = resolve_adapter(adapter_folder(adapter))
    record = adapter_record(weights)
    if "prompt_fingerprint" not in record:
        raise WeightsError(
            f"{weights.path} has no {ADAPTER_RECORD} of a training run, so there is no place for a threshold:"
            " give it to the reader (threshold=...)"
        )
    given = read_questions(questions) if isinstance(questions, str | Path) else list(questions)
    known = trained_documents(record, index.document_fingerprints())
    records = [one for one in given if not any(evidence.document_id in known for evidence in one.evidence)]
    left_out = len(given) - len(records)
    if left_out and say is not None:
        say(f"{left_out} of {len(given)} questions are left out: the adapter was trained on their documents")
    homeless = sum(not one.evidence for one in records)
    if known and homeless and say is not None:
        say(f"{homeless} questions name no evidence: whether the adapter was trained on them cannot be told")
    answerable = sum(one.answerable for one in records)
    if not answerable or answerable == len(records):
        lacking = "answerable" if not answerable else "unanswerable"
        raise DatasetError(
            f"none of the {len(records)} questions is {lacking}, and a threshold weighs both: add some that are"
            + (f" ({left_out} more are about documents that the adapter was trained on)" if left_out else "")
        )
    asked = Reader.from_pretrained(reader, adapter=weights.path)
    found = always_answered(asked, records, index, k, most)
    score = found.score(found.best() if recognise is None else found.recognising(recognise, margin=margin))
    if asked.threshold is not None and say is not None:
        now = found.score(found.scale.scaled(asked.scale.unscaled(asked.threshold)))
        say(f"now       {now.model_copy(update={'threshold': asked.threshold}).line()}")
    if not found.scale.plain and say is not None:
        say(
            f"scale     how often such an answer is right, instead of how sure the reader is: calibration error"
            f" {found.unscaled_error:.2f} before, {found.scaled_error:.2f} on these questions after"
        )
    if not dry_run:
        record["threshold"] = {
            **threshold_record(score.threshold, asked.reading, score.platt),
            "chosen_on": {
                **score.model_dump(mode="json", exclude={"platt"}),
                "k": k,
                "recognise": recognise,
                "margin": margin,
                "index": index.fingerprint,
            },
        }
        card = None
        if _CARD_NEEDS <= set(record):
            config = json.loads((weights.path / ADAPTER_CONFIG).read_text(encoding="utf-8"))
            card = model_card(record, config["base_model_name_or_path"])
        with full_disk_as(AdapterError, weights.path, "the threshold is as before"):
            write_record(weights.path, record, card)
    return score
