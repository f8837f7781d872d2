"""What a reviewer sees of a question record: question, answers, and the passage with its evidence marked."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from rag_ft.questions.excerpts import Excerpt, FindDocument, evidence_spans, excerpts, heading_path, problems
from rag_ft.schema import Question
from rag_ft.text.spans import Span

MARKS = ("▸", "◂")
"""Stand around the evidence, so that it is seen without colours too."""

_WIDEST = 100
_MOST_ANSWER = 200
_MOST_ANSWERS = 3

_BLANKS = str.maketrans("\r\t\v\f\u2028\u2029\u0085", "       ")
"""Offsets stay as they are."""


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
        _print_wrapped(Text(heading_path(excerpt), style="cyan"), console)
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


def _marked(excerpt: Excerpt, piece: Span) -> Text:
    """A piece of a document with marks around the evidence, and dots where it is cut."""
    text = excerpt.document.text
    line = Text("… " if piece.start > 0 else "")
    position = piece.start
    for start, end in evidence_spans(excerpt.evidence):
        if end <= piece.start or start >= piece.end:
            continue
        line.append(text[position : max(start, position)])
        marked = (MARKS[0] if start >= piece.start else "") + text[max(start, piece.start) : min(end, piece.end)]
        line.append(marked + (MARKS[1] if end <= piece.end else ""), style="bold green")
        position = min(end, piece.end)
    line.append(text[position : piece.end])
    return line.append(" …" if piece.end < len(text) else "")


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
