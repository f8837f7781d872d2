"""Answers of whole sentences, chosen by the cross-encoder: for how, why, yes or no, and what something is.

The generator is tuned to find the few words that answer a question of fact. Which sentences explain something the
cross-encoder finds better and faster (docs/answers.md). It takes the first passage, which a retriever that reranks has
chosen with it, and there the sentences, list items and code with the most evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple

from pydantic import BaseModel, Field, ValidationError

from rag_ft.answering import completion
from rag_ft.answering.confidence import PartCalibration, PartSigns
from rag_ft.answering.reading import Cited, Reading, ReadRequest
from rag_ft.errors import WeightsError, first_problem
from rag_ft.metrics.odds import probability_of
from rag_ft.models.cross_encoder import CrossEncoder, PassageScores
from rag_ft.models.folder import CROSS_ENCODER_RECORD
from rag_ft.schema import Passage
from rag_ft.text.asking import asks_yes_or_no
from rag_ft.text.parts import passage_units, unit_leads, unit_runs
from rag_ft.text.spans import Span
from rag_ft.text.yes_or_no import begins_with_yes_or_no

EVIDENCE_BIAS = 0.7
"""Log-odds added to each unit's evidence: a sentence too many costs less than one that is missing."""


class ChosenPart(NamedTuple):
    """The part of a passage with the most evidence."""

    units: Sequence[Span]
    """All units of the passage."""
    unit_leads: Sequence[str]
    """The words that name each of them."""
    first: int
    """Index of the part's first unit."""
    last: int
    evidence: float
    """The highest evidence of one of its units."""

    @property
    def span(self) -> Span:
        """Where the part is in the passage's text."""
        return Span(self.units[self.first].start, self.units[self.last].end)

    @property
    def leads(self) -> tuple[str, ...]:
        """Words that name its first unit, and its last one if it has several."""
        return tuple(dict.fromkeys((self.unit_leads[self.first], self.unit_leads[self.last])))


class Calibration(BaseModel):
    """What a cross-encoder's record says of its answers."""

    confidence: PartCalibration
    decided_from: Annotated[float, Field(ge=0.5, le=1)] | None = None
    """Least probability of yes against no, or of no against yes, with which an answer decides; None: it never does."""


class EvidenceReader:
    """Reads requests with a cross-encoder. Raises WeightsError where its record has no calibration."""

    def __init__(self, cross_encoder: CrossEncoder) -> None:
        self.cross_encoder = cross_encoder
        try:
            self.calibration = Calibration.model_validate(dict(cross_encoder.record))
        except ValidationError as error:
            raise WeightsError(
                f"the calibration in the cross-encoder's {CROSS_ENCODER_RECORD} is damaged ({first_problem(error)}):"
                " restore the file, or use the packaged one"
            ) from error
        self.threshold = self.calibration.confidence.value
        """An answer with a lower confidence becomes null; None: it must outscore null."""

    def read(self, request: ReadRequest, threshold: float | None) -> Reading | None:
        """The part of the first passage that answers; None where it has no sentence to choose, for the generator.

        `threshold`: for this request, instead of its own. The confidence is the probability that the part answers.
        """
        passage = request.passages[0]
        scores, *others = self.cross_encoder.score(request.question, request.passages)
        part = choose_part(passage, scores)
        if part is None:
            return None
        confidence = self.calibration.confidence.confidence(part_signs(part, scores, others, request.margin))
        yes = None
        if asks_yes_or_no(request.question):
            yes = decision(scores, self.calibration.decided_from)
            if (stated := stated_before(passage.text, part)) is not None:
                yes, part = stated
        least = self.threshold if threshold is None else threshold
        gives = scores.relevance >= 0 if least is None else confidence >= least
        return Reading(
            answer=passage.text[part.span.start : part.span.end] if gives else None,
            kind="part" if gives else "span",
            yes=yes if gives else None,
            cited=(Cited(passage, part.span),) if gives else (),
            confidence=confidence if gives else 1 - confidence,
            answer_confidence=confidence,
            not_null=probability_of(scores.relevance),
            abstained=not gives,
            complete=True,
            completion=completion.render_part(part.leads, (1,), yes) if gives else completion.render(None),
            read=(True,) * len(request.passages),
            prompt_tokens=len(scores.tokens),
            completion_tokens=0,
        )


def choose_part(passage: Passage, scores: PassageScores) -> ChosenPart | None:
    """The run of units with the highest sum of evidence; None where the passage has no unit that may answer."""
    units = passage_units(passage.text, passage.headings)
    evidence = [scores.evidence_of(unit) + EVIDENCE_BIAS for unit in units]
    runs = unit_runs(passage.text, units)
    if not runs:
        return None
    first, last = max(runs, key=lambda run: sum(evidence[run[0] : run[1] + 1]))
    highest = max(evidence[first : last + 1]) - EVIDENCE_BIAS
    return ChosenPart(units, unit_leads(passage.text, units), first, last, highest)


def stated_before(text: str, part: ChosenPart) -> tuple[bool, ChosenPart] | None:
    """What the paragraph of a part says by its first words, and the part from there on; None where it says neither.

    `text`: of the passage. "Yes. Set the flag." decides in the document's own words: no model has to, and both are
    quoted.
    """
    begins = text.rfind("\n", 0, part.span.start) + 1
    longer = part._replace(first=next(i for i, unit in enumerate(part.units) if unit.start >= begins))
    said = begins_with_yes_or_no(text[longer.span.start : part.span.end])
    return None if said is None else (said, longer)


def part_signs(
    part: ChosenPart, scores: PassageScores, others: Sequence[PassageScores], margin: float | None
) -> PartSigns:
    """What says whether a part of the first passage, with these scores, is an answer; `others`: of the other passages.

    `margin`: that of the reranking, which knows the first search's scores, too. Where it is None, by the relevance
    alone: over the best of the other passages, or over null, whose log-odds are 0, where there are none. Like a
    reranking's, it is never negative.
    """
    if margin is None:
        margin = max(scores.relevance - max((other.relevance for other in others), default=0.0), 0.0)
    return PartSigns(scores.relevance, part.evidence, margin)


def decision(scores: PassageScores, decided_from: float | None) -> bool | None:
    """What a passage says to a question of yes or no; None where it is less clear than `decided_from`."""
    _, yes, no = scores.says
    if decided_from is None or yes == no or max(yes, no) < decided_from * (yes + no):
        return None
    return yes > no
