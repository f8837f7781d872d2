"""What a reviewer sees around a record's evidence, what is wrong with the evidence, and what words a person marked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from rag_ft.questions.records import moved_evidence
from rag_ft.schema import Document, Evidence, Question
from rag_ft.text.sentences import sentence_spans, sentences_around
from rag_ft.text.spans import MAX_ANSWER_CHARS, Span

FindDocument: TypeAlias = Callable[[str], Document | None]
"""The document with an id; None where there is none."""

_AROUND = 320
"""Characters shown before and after the evidence; doubled each time more is asked for."""
_LONGEST_WHOLE = 900
"""Longer evidence is shown by its beginning and its end."""


class Excerpt(NamedTuple):
    """Pieces of a document around the evidence of a record."""

    document: Document
    evidence: tuple[Evidence, ...]
    """Those in this document that stand where the record says, in order of their starts."""
    pieces: tuple[Span, ...]


def excerpts(question: Question, find: FindDocument, zoom: int = 1) -> list[Excerpt]:
    """What to show of each document that a record has evidence in; `zoom`: how many times as much as at first."""
    found: list[Excerpt] = []
    for document_id in dict.fromkeys(piece.document_id for piece in question.evidence):
        document = find(document_id)
        if document is None:
            continue
        evidence = sorted(
            (
                piece
                for piece in question.evidence
                if piece.document_id == document_id and not moved_evidence(question, piece, document.text)
            ),
            key=lambda piece: piece.start,
        )
        wanted: list[Span] = []
        for piece in evidence:
            wanted += _around(piece, zoom)
        # Evidence that is gone: what stands at its place, so that a person can find where it went.
        wanted = wanted or _around(next(p for p in question.evidence if p.document_id == document_id), zoom)
        found.append(Excerpt(document, tuple(evidence), _joined(document.text, wanted)))
    return found


def problems(question: Question, find: FindDocument) -> list[str]:
    """Sentences about evidence that is not where the record says: such a record cannot be accepted as it is."""
    sentences: list[str] = []
    for piece in question.evidence:
        document = find(piece.document_id)
        if document is None:
            sentences.append(f"there is no document {piece.document_id!r}")
        elif moved := moved_evidence(question, piece, document.text):
            sentences.append(moved)
    return sentences


def sentences_shown(excerpt: Excerpt) -> list[Span]:
    """The sentences of an excerpt that can be chosen as evidence: those of which some words are shown."""
    return [
        Span(*sentence)
        for sentence in sentence_spans(excerpt.document.text)
        if any(sentence.start < piece.end and piece.start < sentence.end for piece in excerpt.pieces)
    ]


class MarkedAnswer(NamedTuple):
    """The answer that a person marked in a text."""

    span: Span
    whole: bool
    """Whether these are whole sentences because the marks were long or crossed a sentence's end."""


def marked_answer(text: str, start: int, end: int) -> MarkedAnswer:
    """What a person marked, cut as answers are: without white space around, or whole sentences."""
    marked = text[start:end]
    start, end = start + len(marked) - len(marked.lstrip()), start + len(marked.rstrip())
    around = sentences_around(text, start, end)
    whole = end - start > MAX_ANSWER_CHARS or len(sentence_spans(text[around.start : around.end])) != 1
    return MarkedAnswer(Span(*around) if whole else Span(start, end), whole)


def heading_path(excerpt: Excerpt) -> str:
    """The document's id and title, and the headings above its first evidence: "a.md › Install › Linux"."""
    start = excerpt.evidence[0].start if excerpt.evidence else excerpt.pieces[0].start
    above: list[str] = []
    level = 0
    for heading in reversed([heading for heading in excerpt.document.headings if heading.start <= start]):
        if not level or heading.level < level:
            above.insert(0, heading.text)
            level = heading.level
    title = excerpt.document.title
    names = [excerpt.document.id, *([title] if title and title not in above else []), *above]
    return " › ".join(dict.fromkeys(names))


def evidence_spans(evidence: Sequence[Evidence]) -> list[Span]:
    """Where evidence stands, in order; pieces that touch are one span."""
    spans: list[Span] = []
    for piece in evidence:
        if spans and piece.start <= spans[-1].end:
            spans[-1] = Span(spans[-1].start, max(piece.end, spans[-1].end))
        else:
            spans.append(Span(piece.start, piece.end))
    return spans


def _around(piece: Evidence, zoom: int) -> list[Span]:
    around, longest = _AROUND * zoom, _LONGEST_WHOLE * zoom
    start, end = piece.start - around, piece.end + around
    if piece.end - piece.start <= longest:
        return [Span(start, end)]
    return [Span(start, piece.start + longest // 2), Span(piece.end - longest // 2, end)]


def _joined(text: str, spans: Sequence[Span]) -> tuple[Span, ...]:
    """The spans inside a text, widened to whole words, in order; those that touch are one."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        start, end = min(max(start, 0), len(text)), min(max(end, 0), len(text))
        while 0 < start and not text[start - 1].isspace() and not text[start : start + 1].isspace():
            start -= 1
        while end < len(text) and not text[end].isspace():
            end += 1
        if joined and start <= joined[-1].end + 1:
            joined[-1] = Span(joined[-1].start, max(end, joined[-1].end))
        else:
            joined.append(Span(start, end))
    return tuple(joined)
