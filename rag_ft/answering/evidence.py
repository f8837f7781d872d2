"""Answers of whole sentences, chosen by the cross-encoder: for how, why, yes or no, and what something is.

The generator is tuned to find the few words that answer a question of fact. Which sentences explain something the
cross-encoder finds better and faster (docs/answers.md). It takes the first passage, which a retriever that reranks has
chosen with it, and there the sentences, list items and code with the most evidence. Where its record weighs what the
generator says, whether each passage answers at all, the passage that comes first by both together is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Annotated, NamedTuple

from pydantic import BaseModel, Field, ValidationError

from rag_ft.answering import completion
from rag_ft.answering.confidence import PartCalibration, PartSigns
from rag_ft.answering.opinions import Opinion, Opinions
from rag_ft.answering.reading import Cited, Reading, ReadRequest
from rag_ft.errors import WeightsError, first_problem
from rag_ft.metrics.odds import probability_of
from rag_ft.models.cross_encoder import CrossEncoder, PassageScores
from rag_ft.models.folder import CROSS_ENCODER_RECORD
from rag_ft.schema import Passage
from rag_ft.text.asking import asks_for_sentences, asks_yes_or_no
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


class GeneratorWeighed(BaseModel):
    """What a cross-encoder's record says of answers for which the generator was asked, too."""

    weight: Annotated[float, Field(gt=0)]
    """Of its log-odds, added to a passage's own, in the choice of the passage."""
    confidence: PartCalibration


class Calibration(BaseModel):
    """What a cross-encoder's record says of its answers."""

    confidence: PartCalibration
    with_generator: GeneratorWeighed | None = None
    decided_from: Annotated[float, Field(ge=0.5, le=1)] | None = None
    """Least probability of yes against no, or of no against yes, with which an answer decides; None: it never does."""


class EvidenceReader:
    """Reads requests with a cross-encoder. Raises WeightsError where its record has no calibration."""

    def __init__(self, cross_encoder: CrossEncoder, opinions: Opinions | None = None) -> None:
        """`opinions`: of a generator, asked for where the cross-encoder's record weighs them."""
        self.cross_encoder = cross_encoder
        try:
            self.calibration = Calibration.model_validate(dict(cross_encoder.record))
        except ValidationError as error:
            raise WeightsError(
                f"the calibration in the cross-encoder's {CROSS_ENCODER_RECORD} is damaged ({first_problem(error)}):"
                " restore the file, or use the packaged one"
            ) from error
        weighed = self.calibration.with_generator if opinions is not None else None
        self._opinions = opinions if weighed is not None else None
        self._weight = 0.0 if weighed is None else weighed.weight
        self._confidence = self.calibration.confidence if weighed is None else weighed.confidence
        self.threshold = self._confidence.value
        """An answer with a lower confidence becomes null; None: it must outscore null."""

    def read_batch(self, requests: Sequence[ReadRequest]) -> list[Reading | None]:
        """What each request is answered with; None where it asks for no sentence, or has none to choose from."""
        asked = [i for i, one in enumerate(requests) if one.passages and asks_for_sentences(one.question)]
        opinions: list[Opinion | None] = [None] * len(asked)
        if self._opinions is not None:
            opinions = [*self._opinions.of([requests[i] for i in asked])]
        readings: list[Reading | None] = [None] * len(requests)
        for i, opinion in zip(asked, opinions, strict=True):
            readings[i] = self._read(requests[i], opinion)
        return readings

    def _read(self, request: ReadRequest, opinion: Opinion | None) -> Reading | None:
        """The part of the best passage that answers. The confidence is the probability that it does."""
        said = [0.0] * len(request.passages) if opinion is None else opinion.log_odds
        all_scores = self.cross_encoder.score(request.question, request.passages)
        best, margin = best_passage(request, all_scores, [self._weight * log_odds for log_odds in said])
        passage, scores = request.passages[best], all_scores[best]
        part = choose_part(passage, scores)
        if part is None:
            return None
        confidence = self._confidence.confidence(PartSigns(scores.relevance, part.evidence, margin, said[best]))
        yes = None
        if asks_yes_or_no(request.question):
            yes = decision(scores, self.calibration.decided_from)
            if (stated := stated_before(passage.text, part)) is not None:
                yes, part = stated
        least = self.threshold if request.threshold is None else request.threshold
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
            completion=completion.render_part(part.leads, (best + 1,), yes) if gives else completion.render(None),
            read=(True,) * len(request.passages),
            prompt_tokens=len(scores.tokens) + (0 if opinion is None else opinion.prompt_tokens),
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


class BestPassage(NamedTuple):
    """The passage that an answer is taken from."""

    position: int
    """In the request."""
    margin: float
    """Log-odds by which it comes before the next one."""


def best_passage(request: ReadRequest, scores: Sequence[PassageScores], added: Sequence[float]) -> BestPassage:
    """The passage that comes first by its standing and what is `added` to the log-odds of each.

    The standing is the reranking's, which knows the first search's scores, too. Where it is not known, that is the
    relevance; with nothing added, the first passage stays the first. The margin is over the best of the other passages,
    or over null, whose log-odds are 0, where there are none. Like a reranking's, it is never negative.
    """
    if len(scores) == 1:
        margin = request.margins[0] if request.margins else None
        return BestPassage(0, max(scores[0].relevance, 0.0) if margin is None else margin)
    known = [margin for margin in request.margins[: len(scores) - 1] if margin is not None]
    reranked = len(known) == len(scores) - 1
    standing = [-lag for lag in accumulate(known, initial=0.0)] if reranked else [each.relevance for each in scores]
    together = [own + more for own, more in zip(standing, added, strict=True)]
    position = together.index(max(together)) if reranked or any(added) else 0
    next_best = max(log_odds for i, log_odds in enumerate(together) if i != position)
    return BestPassage(position, max(together[position] - next_best, 0.0))


def decision(scores: PassageScores, decided_from: float | None) -> bool | None:
    """What a passage says to a question of yes or no; None where it is less clear than `decided_from`."""
    _, yes, no = scores.says
    if decided_from is None or yes == no or max(yes, no) < decided_from * (yes + no):
        return None
    return yes > no
