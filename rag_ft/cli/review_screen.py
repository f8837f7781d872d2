"""What a reviewer sees of a question record: question, answers, and the passage with its evidence marked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from rich.console import Console
from rich.text import Text

from rag_ft.questions.records import moved_evidence
from rag_ft.schema import Document, Evidence, Question
from rag_ft.text.sentences import sentence_spans
from rag_ft.text.spans import Span

FindDocument: TypeAlias = Callable[[str], Document | None]
"""The document with an id; None where there is none."""

MARKS = ("▸", "◂")
"""Stand around the evidence, so that it is seen without colours too."""

_AROUND = 320
"""Characters shown before and after the evidence; doubled each time more is asked for."""
_LONGEST_WHOLE = 900
"""Longer evidence is shown by its beginning and its end."""
_WIDEST = 100
_MOST_ANSWER = 200
_MOST_ANSWERS = 3

_BLANKS = str.maketrans("\r\t\v\f\u2028\u2029\u0085", "       ")
"""Offsets stay as they are."""


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


def show_record(question: Question, place: str, find: FindDocument, console: Console, zoom: int = 1) -> None:
    """Print a record. `place`: how far the review is, such as "3 of 40"."""
    made = f" · {question.origin}" if question.origin != "human" else ""
    made += f" from {question.made_from}" if question.made_from else ""
    tags = f" · {', '.join(question.tags)}" if question.tags else ""
    console.print(Text("─" * _width(console), style="dim"))
    _print_wrapped(Text(f"{place} · {question.id}{made}{tags}", style="dim"), console)
    for turn in question.history:
        _print_wrapped(Text(f"before: {turn}", style="dim"), console)
    _print_wrapped(Text(question.question, style="bold"), console)
    for line in _answer_lines(question):
        _print_wrapped(Text(line), console)
    for problem in problems(question, find):
        _print_wrapped(Text(problem, style="yellow"), console)
    for excerpt in excerpts(question, find, zoom):
        console.print()
        _print_wrapped(Text(_heading(excerpt), style="cyan"), console)
        for piece in excerpt.pieces:
            _print_wrapped(_marked(excerpt, piece), console)
    if not question.evidence:
        _print_wrapped(Text("it names no evidence, so there is no passage to show", style="yellow"), console)
    console.print()


def show_sentences(excerpt: Excerpt, sentences: Sequence[Span], console: Console) -> None:
    """Print the sentences with the numbers by which they are chosen."""
    for i, sentence in enumerate(sentences, start=1):
        words = " ".join(excerpt.document.text[sentence.start : sentence.end].split())
        _print_wrapped(Text(f"{i:>3}  {words}"), console)


def _answer_lines(question: Question) -> list[str]:
    if not question.answerable:
        return ["no answer"]
    yes = {True: "yes: ", False: "no: ", None: ""}[question.yes]
    answers = [_shortened(" ".join(answer.split())) for answer in question.answers[:_MOST_ANSWERS]]
    more = len(question.answers) - _MOST_ANSWERS
    return [f"answer: {yes}{' | '.join(answers)}" + (f" | and {more} more" if more > 0 else "")]


def _shortened(text: str) -> str:
    return text if len(text) <= _MOST_ANSWER else f"{text[:_MOST_ANSWER]}…"


def _heading(excerpt: Excerpt) -> str:
    """The document's title and the headings above its first evidence."""
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


def _marked(excerpt: Excerpt, piece: Span) -> Text:
    """A piece of a document with marks around the evidence, and dots where it is cut."""
    text = excerpt.document.text
    line = Text("… " if piece.start > 0 else "")
    position = piece.start
    for start, end in _joined_evidence(excerpt.evidence):
        if end <= piece.start or start >= piece.end:
            continue
        line.append(text[position : max(start, position)])
        marked = (MARKS[0] if start >= piece.start else "") + text[max(start, piece.start) : min(end, piece.end)]
        line.append(marked + (MARKS[1] if end <= piece.end else ""), style="bold green")
        position = min(end, piece.end)
    line.append(text[position : piece.end])
    return line.append(" …" if piece.end < len(text) else "")


def _joined_evidence(evidence: Sequence[Evidence]) -> list[Span]:
    spans: list[Span] = []
    for piece in evidence:
        if spans and piece.start <= spans[-1].end:
            spans[-1] = Span(spans[-1].start, max(piece.end, spans[-1].end))
        else:
            spans.append(Span(piece.start, piece.end))
    return spans


def _width(console: Console) -> int:
    return max(20, min(console.width, _WIDEST))


def _print_wrapped(text: Text, console: Console) -> None:
    """Print a text in lines of whole words, without empty lines one after the other."""
    text = text.copy()
    text.plain = text.plain.translate(_BLANKS)
    blank = False
    for line in text.split("\n", allow_blank=True):
        if not line.plain.strip():
            if not blank:
                console.print()
            blank = True
            continue
        blank = False
        for part in line.wrap(console, _width(console)):
            part.rstrip()
            console.print(part)
