"""Cited passages → citations with a quote, its offsets in the document, and a verdict.

The check is literal on purpose: it says whether the answer's words stand where the citation points, at no cost and
without a judge. The evaluation measures whether those words answer the question.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from rag_ft.indexing.locations import location_of
from rag_ft.schema import Citation, Passage, Verdict
from rag_ft.text.sentences import sentences_around
from rag_ft.text.spans import Span


class Claim(NamedTuple):
    """A passage that an answer cites, and where the answer stands in it if that is known."""

    passage: Passage
    span: Span | None


def verify(answer: str, claims: Sequence[Claim], retrieved: Sequence[Passage]) -> tuple[Citation, ...]:
    """A citation for each claim, in order; `retrieved` are all passages that may hold the answer instead.

    A given span is checked, not trusted. Matching ignores case, width, white space and the shape of quotation marks,
    and respects word boundaries.
    """
    return tuple(_citation(answer, claim, retrieved) for claim in claims)


def _citation(answer: str, claim: Claim, retrieved: Sequence[Passage]) -> Citation:
    passage = claim.passage
    span = claim.span
    if span is None or passage.text[span.start : span.end] != answer:
        span = find_answer(answer, passage.text)
    verdict: Verdict = "supported"
    supported_by = None
    quote = Span(0, len(passage.text))
    if span is not None:
        quote = Span(*sentences_around(passage.text, *span))
    else:
        others = (candidate for candidate in retrieved if candidate is not passage)
        other = next((candidate for candidate in others if find_answer(answer, candidate.text)), None)
        verdict = "misattributed" if other else "unfounded"
        supported_by = other.id if other else None
    return Citation(
        passage_id=passage.id,
        document_id=passage.document_id,
        source=passage.source,
        title=passage.title,
        page=passage.page,
        location=location_of(passage, span or quote),
        quote=passage.text[quote.start : quote.end],
        start=passage.start + quote.start,
        end=passage.start + quote.end,
        answer_start=None if span is None else passage.start + span.start,
        answer_end=None if span is None else passage.start + span.end,
        verdict=verdict,
        supported_by=supported_by,
    )


def find_answer(answer: str, text: str) -> Span | None:
    """The first span of a text that holds an answer's words, whole; None where there is none."""
    folded, origins = _fold(text)
    wanted, _ = _fold(answer)
    wanted = wanted.strip()
    if not wanted:
        return None
    left = r"(?<!\w)" if wanted[0].isalnum() else ""
    right = r"(?!\w)" if wanted[-1].isalnum() else ""
    match = re.search(left + re.escape(wanted) + right, folded)
    if match is None:
        return None
    return Span(origins[match.start()], origins[match.end() - 1] + 1)


_QUOTES = str.maketrans(dict(zip("‘’‚“”„«»‐‑", '\'\'\'"""""--', strict=True)))


def _fold(text: str) -> tuple[str, list[int]]:
    """A text for comparing, and the index of the character that each of its characters comes from."""
    folded: list[str] = []
    origins: list[int] = []
    for i, character in enumerate(text):
        if character.isspace():
            if folded and folded[-1] != " ":
                folded.append(" ")
                origins.append(i)
            continue
        for part in unicodedata.normalize("NFKC", character).translate(_QUOTES).casefold():
            folded.append(part)
            origins.append(i)
    return "".join(folded), origins
