"""Targets that are parts of passages: which passage holds most of a record's evidence, and which of its units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rag_ft.schema import Passage, Question
from rag_ft.text.parts import passage_units, unit_leads, units_within


class PartTarget(NamedTuple):
    """A part of a passage, as a completion names it."""

    text: str
    """The part as it stands in the passage."""
    leads: tuple[str, ...]
    """Words that name its first unit, and its last if that is another one."""


def part_passage(question: Question, by_document: Mapping[str, list[Passage]]) -> Passage | None:
    """The passage that holds most of the first piece of evidence that any passage holds; of equal ones the first.

    A part may run over the end of a passage: then the reader learns as much of it as it will see.
    """
    for evidence in question.evidence:
        overlaps = [
            (min(passage.end, evidence.end) - max(passage.start, evidence.start), passage)
            for passage in by_document.get(evidence.document_id, ())
        ]
        overlap, passage = max(overlaps, key=lambda pair: pair[0], default=(0, None))
        if overlap > 0:
            return passage
    return None


def part_target(question: Question, passage: Passage) -> PartTarget | None:
    """The units of a passage that the evidence covers; None where it covers less than half of every unit."""
    units = passage_units(passage.text, passage.headings)
    for evidence in question.evidence:
        if evidence.document_id == passage.document_id:
            covered = units_within(passage.text, units, evidence.start - passage.start, evidence.end - passage.start)
            if covered:
                leads = unit_leads(passage.text, units)
                first, last = covered[0], covered[-1]
                named = (leads[first],) if first == last else (leads[first], leads[last])
                return PartTarget(passage.text[units[first].start : units[last].end], named)
    return None


def shows_evidence(question: Question, passage: Passage) -> bool:
    """Whether any of the evidence stands in a passage, so that null would be wrong for it."""
    return any(
        passage.document_id == evidence.document_id and passage.start < evidence.end and evidence.start < passage.end
        for evidence in question.evidence
    )
