"""`rag-ft data review`, `reviewed` and `agreement`: people look through question records, one key for each."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from rag_ft.cli.options import JsonOption
from rag_ft.cli.records import OverwriteOption, QuestionsArgument, RecordsOption, check_output, save_questions
from rag_ft.cli.terminal import echo_json
from rag_ft.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from rag_ft.questions.excerpts import Excerpt, FindDocument
    from rag_ft.questions.review import Review
    from rag_ft.schema import Document, Question
    from rag_ft.text.spans import Span

ReviewerOption: TypeAlias = Annotated[
    str, typer.Option("--by", metavar="NAME", help="Whose verdicts, where several people review.", show_default=False)
]

_KEYS = "a accept  e edit  w wording  n no answer  r reject  s skip  u undo  m more text  q quit"
_VERDICTS = {"a": "accept", "n": "no answer", "r": "reject", "s": "skip"}
_MOST_ZOOM = 16


def review(
    questions: QuestionsArgument,
    index: Annotated[
        Path | None, typer.Option("--index", "-i", help="Index that has the documents.", show_default=False)
    ] = None,
    documents: Annotated[
        Path | None, typer.Option(help="The documents themselves, instead of an index.", show_default=False)
    ] = None,
    by: ReviewerOption = "",
) -> int:
    """Look through question records one by one: accept, edit or reject each with one key.

    The verdicts go to a file beside the records (qa.review.jsonl), each at once; give the command again to resume.
    'rag-ft data reviewed' writes the accepted records. Keys may come from stdin.

    Examples:
    rag-ft data review qa.jsonl --index indexes/docs
    rag-ft data review qa.jsonl --index indexes/docs --by ann
    """
    from rag_ft.cli.render import stdout
    from rag_ft.questions.records import read_questions
    from rag_ft.questions.review import Review, verdict_path

    verdicts = Review(verdict_path(questions, by), read_questions(questions))
    find = _documents(index, documents)
    console = stdout()
    for note in verdicts.notes(f"in {verdicts.path}"):
        console.print(note, style="yellow")
    Session(verdicts, find, Keys() if sys.stdin.isatty() else Lines(), console).run()
    console.print(verdicts.counts().line())
    if verdicts.counts().kept:
        name = f" --by {by}" if by else ""
        console.print(f"verdicts: {verdicts.path}; 'rag-ft data reviewed {questions}{name} -o OUT' writes the accepted")
    return 0


def reviewed(
    questions: QuestionsArgument,
    output: RecordsOption,
    by: ReviewerOption = "",
    overwrite: OverwriteOption = False,
) -> int:
    """Write the records that a review accepted: as they are, edited, or without an answer."""
    from rag_ft.cli.render import stderr, stdout
    from rag_ft.errors import DatasetError
    from rag_ft.questions.records import read_questions
    from rag_ft.questions.review import Review, verdict_path

    path = verdict_path(questions, by)
    records = read_questions(questions)
    if not path.exists():
        raise UsageError(f"there are no verdicts at {path}: give them with 'rag-ft data review {questions}'")
    check_output(output, overwrite, (questions, path))
    verdicts = Review(path, records)
    for note in verdicts.notes(f"in {verdicts.path}"):
        stderr().print(note, style="yellow")
    kept = verdicts.kept()
    if not kept:
        raise DatasetError(f"{path} accepts no record of {questions}: there is nothing to write")
    save_questions(kept, output)
    stdout().print(verdicts.counts().line())
    stdout().print(f"{len(kept):,} records: {output}")
    return 0


def agreement(
    questions: QuestionsArgument,
    first: Annotated[Path, typer.Argument(help="Verdicts of one person.", show_default=False)],
    second: Annotated[Path, typer.Argument(help="Verdicts of another.", show_default=False)],
    as_json: JsonOption = False,
) -> int:
    """Compare two people's verdicts: how far they agree, and the records on which they do not.

    Example:
    rag-ft data agreement qa.jsonl qa.review-ann.jsonl qa.review-ben.jsonl
    """
    from rag_ft.cli.render import stderr, stdout
    from rag_ft.questions import review as reviews
    from rag_ft.questions.records import read_questions

    records = read_questions(questions)
    for path in (first, second):
        if not path.exists():
            raise UsageError(f"there are no verdicts at {path}: give a file that 'rag-ft data review' wrote")
    sides = [reviews.Review(path, records) for path in (first, second)]
    for side in sides:
        for note in side.notes(f"in {side.path}"):
            stderr().print(f"{side.path}: {note}", style="yellow")
    found = reviews.agreement(*sides)
    if as_json:
        differing = [
            {
                "id": pair.question.id,
                "question": pair.question.question,
                "verdicts": [pair.first.verdict, pair.second.verdict],
            }
            for pair in found.disagreements
        ]
        figures = {"judged": found.judged, "same": found.same, "kappa": found.kappa, "disagreements": differing}
        echo_json(json.dumps(figures, ensure_ascii=False))
        return 0
    for pair in found.disagreements:
        both = pair.first.verdict == pair.second.verdict
        verdicts = "edited differently" if both else f"{pair.first.verdict} / {pair.second.verdict}"
        stdout().print(f"{pair.question.id}: {verdicts}: {pair.question.question}")
    stdout().print(found.line())
    return 0


def _documents(index: Path | None, documents: Path | None) -> FindDocument:
    """The documents of an index, or those of a folder or file. Raises UsageError unless one of both is given."""
    if (index is None) == (documents is None):
        raise UsageError("say where the documents are: --index DIR, or --documents PATH")
    if index is None:
        from rag_ft.indexing.corpus import read_corpus

        texts = {document.id: document for document in read_corpus(str(documents))}
        return texts.get
    from rag_ft.indexing.index import Index

    loaded = Index.load(index)
    known = frozenset(loaded.documents())
    return lambda document_id: loaded.document(document_id) if document_id in known else None


class Keys:
    """Keys as they are pressed at a terminal."""

    def key(self) -> str:
        """The next key; "q" at the end of input and on Ctrl-C, because every verdict is kept already."""
        try:
            return typer.getchar()
        except (EOFError, KeyboardInterrupt):
            return "q"

    def line(self) -> str | None:
        """A line that is typed; None at the end of input and on Ctrl-C."""
        try:
            return input().strip()
        except (EOFError, KeyboardInterrupt):
            return None


class Lines:
    """Keys from stdin: blanks between them do not matter; what an edit asks for stands on lines of its own."""

    def __init__(self) -> None:
        self._rest = ""

    def key(self) -> str:
        """The next character that is not blank; "q" at the end of input."""
        while not self._rest.strip():
            self._rest = sys.stdin.readline()
            if not self._rest:
                return "q"
        self._rest = self._rest.lstrip()
        key, self._rest = self._rest[0], self._rest[1:]
        return key

    def line(self) -> str | None:
        """The rest of the key's line, or the next line where it has no rest; None at the end of input."""
        line, self._rest = self._rest.strip(), ""
        if line:
            return line
        line = sys.stdin.readline()
        return line.strip() if line else None


class Session:
    """A review at a terminal, or with keys from stdin."""

    def __init__(self, verdicts: Review, find: FindDocument, keys: Keys | Lines, console: Console) -> None:
        self._verdicts = verdicts
        self._find = _remembered(find)
        self._keys = keys
        self._console = console

    def run(self) -> None:
        """Ask for a verdict on each record until none is left, or the reviewer quits."""
        next_up: Question | None = None
        while True:
            self._verdicts.refresh()  # the page may have been used meanwhile
            queue = self._verdicts.pending()
            question = next_up or (queue[0] if queue else None)
            if question is None:
                return
            next_up, going = self._judge(question)
            if not going:
                return

    def _judge(self, question: Question) -> tuple[Question | None, bool]:
        """Ask about one record: the record to show next, if it is not the next in the file, and whether to go on."""
        from rag_ft.cli.review_screen import show_record
        from rag_ft.questions.excerpts import problems

        zoom = 1
        counts = self._verdicts.counts()
        place = f"{counts.judged + counts.skipped + 1:,} of {counts.records:,}"
        show_record(question, place, self._find, self._console)
        self._console.print(_KEYS, style="dim")
        while True:
            key = self._keys.key().lower()
            if key == "q":
                return None, False
            if key == "u":
                before = self._verdicts.undo()
                if before is not None:
                    return before, True
                self._console.print("there is no verdict to undo", style="yellow")
            elif key == "m":
                zoom = min(zoom * 2, _MOST_ZOOM)
                show_record(question, place, self._find, self._console, zoom)
                self._console.print(_KEYS, style="dim")
            elif key == "e":
                edited = self._edit(question, zoom)
                if edited is not None:
                    self._verdicts.give(question, "edit", edited)
                    return None, True
                self._console.print(f"not edited; {_KEYS}", style="dim")
            elif key in ("a", "w", "n") and (wrong := problems(question, self._find)):
                self._console.print(f"{wrong[0]}: edit, reject or skip this record", style="yellow")
            elif key == "w":
                reworded = self._reword(question)
                if reworded is not None:
                    self._verdicts.give(question, "edit", reworded)
                    return None, True
                self._console.print(f"not edited; {_KEYS}", style="dim")
            elif key in _VERDICTS:
                return self._give(question, _VERDICTS[key])
            elif key.strip():
                self._console.print(f"there is no key {key!r}: {_KEYS}", style="yellow")

    def _give(self, question: Question, verdict: str) -> tuple[Question | None, bool]:
        """Keep a verdict of one key."""
        skipped = verdict == "skip" and self._is_skipped(question)
        verdict = self._verdicts.give(question, verdict)  # type: ignore[arg-type]  # a value of _VERDICTS
        self._console.print(f"{question.id}: {verdict}", style="green")
        # Once only skipped records are left, each is asked about once more.
        return None, not (skipped and all(self._is_skipped(other) for other in self._verdicts.pending()))

    def _is_skipped(self, question: Question) -> bool:
        given = self._verdicts.verdict(question.id)
        return given is not None and given.verdict == "skip"

    def _reword(self, question: Question) -> Question | None:
        """Have the reviewer write the question in other words; None if they leave it."""
        from rag_ft.questions.review import reworded_record

        self._console.print("the question in better words (empty leaves it as it is):", style="dim")
        words = self._keys.line()
        if not words or words == question.question:
            return None
        self._console.print(f"{question.id}: edited, question: {words}", style="green")
        return reworded_record(question, words)

    def _edit(self, question: Question, zoom: int) -> Question | None:
        """Have the reviewer choose evidence and answer; None if they leave it."""
        from rag_ft.cli.review_screen import show_sentences
        from rag_ft.questions.excerpts import excerpts, sentences_shown
        from rag_ft.questions.review import edited_record

        shown = excerpts(question, self._find, zoom)
        if not shown:
            self._console.print("there is no passage to choose from", style="yellow")
            return None
        excerpt = shown[0]
        sentences = sentences_shown(excerpt)
        show_sentences(excerpt, sentences, self._console)
        while True:
            self._console.print("sentences that answer (3, or 3-5; empty leaves it as it is):", style="dim")
            given = self._keys.line()
            if not given:
                return None
            chosen = _chosen(given, sentences)
            if chosen is not None:
                break
            self._console.print(f"{given!r} is not a sentence from 1 to {len(sentences)}", style="yellow")
        span = self._words(excerpt, chosen)
        if span is None:
            return None
        whole = span == chosen
        yes = question.yes if question.yes is None or not whole else self._polarity(question.yes)
        edited = edited_record(question, excerpt.document, span, whole=whole, yes=yes)
        self._console.print(f"{question.id}: edited, answer: {' '.join(edited.answers[0].split())}", style="green")
        return edited

    def _words(self, excerpt: Excerpt, chosen: Span) -> Span | None:
        """The words of the chosen sentences that answer, which may be all of them; None at the end of input."""
        while True:
            self._console.print("words of it that answer (empty: all of it):", style="dim")
            typed = self._keys.line()
            if not typed:
                return None if typed is None else chosen
            places = find_words(excerpt.document.text, chosen, typed)
            if len(places) == 1:
                return places[0]
            if not places:
                self._console.print(f"{typed!r} does not stand there", style="yellow")
                continue
            self._console.print(f"it stands there {len(places)} times; which (1 to {len(places)})?", style="dim")
            number = self._keys.line() or ""
            if number.isdecimal() and 1 <= int(number) <= len(places):
                return places[int(number) - 1]

    def _polarity(self, yes: bool) -> bool:
        self._console.print(f"does it say yes or no (y or n; empty: {'yes' if yes else 'no'})?", style="dim")
        return {"y": True, "n": False}.get((self._keys.line() or "")[:1].lower(), yes)


def _chosen(given: str, sentences: list[Span]) -> Span | None:
    """The span of sentences named as "3" or "3-5"; None where there are none of these numbers."""
    from rag_ft.text.spans import Span

    numbers = re.fullmatch(r"(\d{1,4})(?:\s*-\s*(\d{1,4}))?", given)
    if numbers is None:
        return None
    first, last = int(numbers[1]), int(numbers[2] or numbers[1])
    if not 1 <= first <= last <= len(sentences):
        return None
    return Span(sentences[first - 1].start, sentences[last - 1].end)


def find_words(text: str, within: Span, words: str) -> list[Span]:
    """Where words stand in a part of a text, in any case and with any white space between them; whole words only."""
    from rag_ft.text.spans import Span

    pattern = r"\s+".join(re.escape(word) for word in words.split())
    whole = re.compile(rf"(?<!\w){pattern}(?!\w)" if re.match(r"\w.*\w\Z|\w\Z", words) else pattern, re.IGNORECASE)
    return [Span(*match.span()) for match in whole.finditer(text, *within)]


def _remembered(find: FindDocument) -> FindDocument:
    """Keep the last documents that were looked up: one is needed several times for each record."""
    from functools import lru_cache

    cached: Callable[[str], Document | None] = lru_cache(maxsize=16)(find)
    return cached
