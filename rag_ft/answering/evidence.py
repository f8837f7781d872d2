"""Answers of whole sentences, chosen by the cross-encoder: for how, why, yes or no, and what something is.

The generator is tuned to find the few words that answer a question of fact. Which sentences explain something the
cross-encoder finds better and faster (docs/answers.md). It takes the first passage, which a retriever that reranks has
chosen with it, and there the sentences, list items and code with the most evidence. Where its record weighs what the
generator says of such parts, each read alone, the part that comes first by both together is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, Field, ValidationError

from rag_ft.answering import completion
from rag_ft.answering.confidence import PartCalibration, PartSigns
from rag_ft.answering.opinions import NO_OPINION, Opinion, Opinions
from rag_ft.answering.reading import Cited, Reading, ReadRequest, standings
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


class Candidate(NamedTuple):
    """A passage, as the cross-encoder sees it."""

    passage: Passage
    scores: PassageScores
    part: ChosenPart | None
    """What may be answered from it; None where it has no unit that may answer."""


class GeneratorWeighed(BaseModel):
    """What a cross-encoder's record says of answers whose parts the generator was asked about, too."""

    weight: Annotated[float, Field(gt=0)]
    """Of its log-odds, added to those of the part's passage, in the choice among the passages."""
    confidence: PartCalibration


class Calibration(BaseModel):
    """What a cross-encoder's record says of its answers."""

    confidence: PartCalibration
    with_generator: GeneratorWeighed | None = None
    decided_from: Annotated[float, Field(ge=0.5, le=1)] | None = None
    """Least probability of yes against no, or of no against yes, with which an answer decides; None: it never does."""
    span_weight: Annotated[float, Field(ge=0)] = 0.0
    """Of its log-odds of spans, added to the generator's in the search for an answer in a few words; 0: it was not
    trained to mark any."""


def recorded_calibration(record: Mapping[str, Any]) -> Calibration:
    """What a cross-encoder's record says of its answers. Raises WeightsError where that is damaged."""
    try:
        return Calibration.model_validate(dict(record))
    except ValidationError as error:
        raise WeightsError(
            f"the calibration in the cross-encoder's {CROSS_ENCODER_RECORD} is damaged ({first_problem(error)}):"
            " restore the file, or use the packaged one"
        ) from error


class EvidenceReader:
    """Reads requests with a cross-encoder. Raises WeightsError where its record has no calibration."""

    def __init__(self, cross_encoder: CrossEncoder, opinions: Opinions | None = None) -> None:
        """`opinions`: of a generator, which is asked where the cross-encoder's record weighs what it says."""
        self.cross_encoder = cross_encoder
        self.calibration = recorded_calibration(cross_encoder.record)
        weighed = self.calibration.with_generator if opinions is not None else None
        self._opinions = opinions if weighed is not None else None
        self.generator_weight = 0.0 if weighed is None else weighed.weight
        self._confidence = self.calibration.confidence if weighed is None else weighed.confidence
        self.threshold = self._confidence.value
        """An answer with a lower confidence becomes null; None: it must outscore null."""

    def read_batch(self, requests: Sequence[ReadRequest]) -> list[Reading | None]:
        """What each request is answered with; None where it asks for no sentence, or has none to choose from."""
        asked = {i: one for i, one in enumerate(requests) if one.passages and asks_for_sentences(one.question)}
        candidates = [self.candidates(request) for request in asked.values()]
        opinions: Sequence[Opinion] = [NO_OPINION] * len(asked)
        if self._opinions is not None:
            opinions = self._opinions.of(list(map(parts_alone, asked.values(), candidates)))
        readings: list[Reading | None] = [None] * len(requests)
        for (i, request), own, opinion in zip(asked.items(), candidates, opinions, strict=True):
            readings[i] = self._read(request, own, opinion)
        return readings

    def candidates(self, request: ReadRequest) -> list[Candidate]:
        """What may be answered from each passage of a request."""
        scores = self.cross_encoder.score(request.question, request.passages)
        parts = map(choose_part, request.passages, scores)
        return list(map(Candidate, request.passages, scores, parts))

    def _read(self, request: ReadRequest, candidates: Sequence[Candidate], opinion: Opinion) -> Reading | None:
        """The part that answers best. The confidence is the probability that it does."""
        if (best := best_candidate(candidates, request.margins, opinion, self.generator_weight)) is None:
            return None
        passage, scores, _ = candidates[best.position]
        part = best.part
        confidence = self._confidence.confidence(best.signs)
        yes = None
        if asks_yes_or_no(request.question):
            yes = decision(scores, self.calibration.decided_from)
            if (stated := stated_before(passage.text, part)) is not None:
                yes, part = stated
        least = self.threshold if request.threshold is None else request.threshold
        given = Reading(
            answer=passage.text[part.span.start : part.span.end],
            kind="part",
            yes=yes,
            cited=(Cited(passage, part.span),),
            confidence=confidence,
            answer_confidence=confidence,
            not_null=probability_of(scores.relevance),
            abstained=False,
            complete=True,
            completion=completion.render_part(part.leads, (best.position + 1,), yes),
            read=(True,) * len(request.passages),
            prompt_tokens=sum(len(read.scores.tokens) for read in candidates) + opinion.prompt_tokens,
            completion_tokens=0,
        )
        gives = scores.relevance >= 0 if least is None else confidence >= least
        return given if gives else given.decline()


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


class BestCandidate(NamedTuple):
    """The passage and part that a question is answered with."""

    position: int
    """Of its passage in the request."""
    part: ChosenPart
    signs: PartSigns


def parts_alone(request: ReadRequest, candidates: Sequence[Candidate]) -> ReadRequest:
    """The request with the parts that may answer as its passages, for the generator to say whether they do."""
    return ReadRequest(
        request.question,
        tuple(
            passage.model_copy(update={"text": passage.text[part.span.start : part.span.end]})
            for passage, _, part in candidates
            if part is not None
        ),
    )


def best_candidate(
    candidates: Sequence[Candidate],
    margins: Sequence[float | None],
    opinion: Opinion = NO_OPINION,
    generator_weight: float = 0.0,
) -> BestCandidate | None:
    """The candidate that stands first, with what the generator says of the parts weighed in; None without a part.

    The standing is the reranking's, which knows the first search's scores, too. Where its `margins` are not known, it
    is the relevance. Without an opinion, the part of the first passage is taken. The best one's margin is over the next
    one, or over null, whose log-odds are 0, where there is none. Like a reranking's, it is never negative.
    """
    of_parts = iter(opinion.log_odds)
    said = [next(of_parts, 0.0) if candidate.part is not None else 0.0 for candidate in candidates]
    standing = standings(margins, len(candidates)) or [candidate.scores.relevance for candidate in candidates]
    weighed = [own + generator_weight * log_odds for own, log_odds in zip(standing, said, strict=True)]
    may_answer = range(len(candidates)) if opinion.log_odds else range(1)
    position = max(may_answer, key=lambda i: (candidates[i].part is not None, weighed[i], -i))
    _, scores, part = candidates[position]
    if part is None:
        return None
    if len(candidates) == 1:
        margin = margins[0] if margins and margins[0] is not None else scores.relevance
    else:
        margin = weighed[position] - max(log_odds for i, log_odds in enumerate(weighed) if i != position)
    return BestCandidate(position, part, PartSigns(scores.relevance, part.evidence, max(margin, 0.0), said[position]))


def decision(scores: PassageScores, decided_from: float | None) -> bool | None:
    """What a passage says to a question of yes or no; None where it is less clear than `decided_from`."""
    _, yes, no = scores.says
    if decided_from is None or yes == no or max(yes, no) < decided_from * (yes + no):
        return None
    return yes > no
