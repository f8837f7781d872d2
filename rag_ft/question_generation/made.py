"""What a run made: the records, what was rejected and why, and where the index was at fault."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rag_ft.question_generation.outcomes import Outcome
from rag_ft.schema import Question


class MadeQuestions(NamedTuple):
    """Question records, and the questions that were not kept."""

    records: tuple[Question, ...]
    """The answerable ones in the order in which they were made, then the unanswerable ones."""
    rejected: tuple[Outcome, ...]
    wanted: int
    """Number of records that were asked for."""
    output: Path
    """File of the records."""
    rejected_output: Path
    """File of what was rejected."""
    left_out: Counter[str]
    """Why changed questions gave no unanswerable record: reason → number."""
    notes: tuple[str, ...] = ()
    """Sentences that a person should know: fewer records than asked for, one document only, other languages."""

    @property
    def kept_by_kind(self) -> dict[str, int]:
        """Number of records by what they ask for; those without an answer as `unanswerable`."""
        counts = Counter(record.tags[0] if record.answerable else "unanswerable" for record in self.records)
        return dict(counts.most_common())

    @property
    def kept_by_document(self) -> dict[str, int]:
        """Number of records by document."""
        return dict(Counter(record.evidence[0].document_id for record in self.records).most_common())

    @property
    def rejected_by_reason(self) -> dict[str, int]:
        """Number of rejected questions by reason, the commonest first."""
        return dict(Counter(outcome.reason for outcome in self.rejected).most_common())

    def rejected_by_document(self, reason: str = "not retrieved") -> dict[str, int]:
        """Number of questions rejected for a reason by document: where the search misses its own text."""
        return dict(Counter(outcome.document_id for outcome in self.rejected if outcome.reason == reason).most_common())

    @property
    def asked(self) -> int:
        """Number of questions that were asked for."""
        return sum(record.answerable for record in self.records) + len(self.rejected)

    def shortfall(self, why: str) -> str:
        """A sentence on why there are fewer records than were asked for."""
        kept = sum(record.answerable for record in self.records)
        reasons = self.rejected_by_reason
        most = next(iter(reasons), "")
        sentence = f"{len(self.records):,} of {self.wanted:,} records were made"
        if kept < len(self.records):
            sentence += f", {kept:,} of them with an answer"
        sentence += f": {why}"
        if most:
            sentence += f", and most of the others failed with {most!r} ({reasons[most]:,} of {len(self.rejected):,})"
        return sentence

    def rejected_lines(self) -> Iterator[str]:
        """Each rejected question as JSON: question, passage, reason, and what the pipeline answered."""
        for outcome in self.rejected:
            row = {
                "question": outcome.question,
                "passage_id": outcome.passage_id,
                "asked_for": outcome.asked_for,
                "reason": outcome.reason,
                "answer": outcome.evidence.quote if outcome.evidence is not None else None,
                "answered": outcome.answered,
            }
            yield json.dumps(row, ensure_ascii=False)
