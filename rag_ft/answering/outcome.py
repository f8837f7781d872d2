"""What the rows of a request come to: one reading."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from rag_ft.answering import completion
from rag_ft.answering.confidence import NO_KINDS, KindCalibration, PlattScale
from rag_ft.answering.decoding.prompt_rows import PromptRow, best_row
from rag_ft.answering.reading import Cited, Reading
from rag_ft.answering.whole_sentences import whole_sentences
from rag_ft.metrics.kinds import JudgedKind, judged_kind
from rag_ft.metrics.odds import probability_of
from rag_ft.schema import Passage
from rag_ft.text.asking import asks_for_sentences, asks_for_steps


def combine(
    rows: Sequence[PromptRow],
    passages: Sequence[Passage],
    threshold: float | None,
    scale: PlattScale,
    kinds: Mapping[JudgedKind, KindCalibration] = NO_KINDS,
    *,
    whole: bool = False,
) -> Reading:
    """One reading from the rows of a request and its passages.

    The best answer is the one with the highest odds against its own row's null, with the cross-encoder's say and its
    passage's standing added where there are any; the test against null is the generator's alone. Its confidence is the
    probability that null is not what this row says, nor what it says to the answer's sentence alone (the mean of their
    log-odds), on the adapter's scale: whether the passage answers the question, however unsure the reader is which of
    several similar spans says it best. Shares of all rows' answers together recognise unanswerable questions less well
    (docs/answers.md). Without a threshold the answer must outscore null. `kinds`: threshold and scale for the best
    answer's kind, instead of the common ones; which answer is best does not depend on them. `whole`: where the question
    asks for it, a span is answered with the sentences that hold it, as a part.
    """
    nothing = _nothing_answered(rows, passages, scale)
    if not rows:
        return nothing
    winner = best_row(rows)
    if winner is None:
        return replace(nothing, confidence=0.0, abstained=False, complete=False, completion=rows[0].text)
    nulls = [winner.null] if winner.second_look is None else [winner.null, winner.second_look.null]
    not_null = not_null_probability(nulls)
    sentences = None
    if whole and winner.kind == "span" and winner.cited and asks_for_sentences(winner.question):
        sentences = whole_sentences(winner.cited[0], steps=asks_for_steps(winner.question))
    kind = winner.kind if sentences is None else "part"
    own = kinds.get(judged_kind(kind, winner.yes)) if winner.best is not None else None
    if own is not None:
        threshold, scale = own.value, own.platt
    confidence = scale.scaled(not_null)
    if winner.best is None:
        return replace(nothing, confidence=1 - confidence)
    # Free text that says an answer has decided, however unsure it is.
    loses = winner.odds < 0 and not winner.decided if threshold is None else confidence < threshold
    as_written = winner.text if len(rows) == 1 else ""
    numbers = _citation_numbers(winner.cited, passages, nothing.read)
    given = replace(
        nothing,
        answer=winner.best if sentences is None else sentences.text,
        kind=kind,
        yes=winner.yes,
        cited=winner.cited if sentences is None else (sentences,),
        confidence=confidence,
        answer_confidence=confidence,
        not_null=not_null,
        abstained=False,
        completion=as_written
        or (
            completion.render_part(winner.leads, numbers, winner.yes)
            if winner.kind == "part"
            else completion.render(winner.best, numbers)
        ),
    )
    return given.decline() if loses else given


def _nothing_answered(rows: Sequence[PromptRow], passages: Sequence[Passage], scale: PlattScale) -> Reading:
    """A certain null, with what reading the rows has cost."""
    held = {position for row in rows for position in row.positions}
    looks = [row.second_look for row in rows if row.second_look is not None]
    return Reading(
        answer=None,
        kind="span",
        yes=None,
        cited=(),
        confidence=1.0,
        answer_confidence=scale.scaled(0.0),
        not_null=0.0,
        abstained=True,
        complete=True,
        completion=completion.render(None),
        read=tuple(position in held for position in range(len(passages))),
        prompt_tokens=sum(len(row.prompt) for row in (*rows, *looks)),
        completion_tokens=sum(row.completion_tokens for row in rows),
        passes=max((row.passes for row in rows), default=0),
    )


def not_null_probability(nulls: Sequence[float]) -> float:
    """Probability that null is not said, by the mean log-odds of several log-probabilities of null."""
    if len(nulls) == 1:
        return -math.expm1(min(nulls[0], 0.0))
    least = -1e-12  # a null that is certain has odds, too
    capped = [min(null, least) for null in nulls]
    return probability_of(sum(math.log(-math.expm1(null)) - null for null in capped) / len(nulls))


def _citation_numbers(cited: Sequence[Cited], passages: Sequence[Passage], read: Sequence[bool]) -> tuple[int, ...]:
    """Numbers of the cited passages among those that were read, from 1."""
    positions = [next(i for i, passage in enumerate(passages) if passage is citation.passage) for citation in cited]
    return tuple(sum(read[: position + 1]) for position in positions)
