"""A source of questions that turns sentences around: no model, and equal passages give equal ones."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import NamedTuple

from rag_ft.question_generation.choosing import NO_SENTENCES
from rag_ft.question_generation.self_contained import form_problem
from rag_ft.question_generation.sentences.entries import entry_name, entry_question
from rag_ft.question_generation.sentences.rules import questions_of
from rag_ft.question_generation.sentences.wording import Names, is_numbered
from rag_ft.question_generation.source import WriteRequest, WrittenQuestion
from rag_ft.schema import Passage
from rag_ft.text.openings import AskedFor, asked_for
from rag_ft.text.parts import MOST_UNITS, is_item, passage_units
from rag_ft.text.question_form import content_words, question_words
from rag_ft.text.question_swap import stemmed
from rag_ft.text.spans import Span

_TERM_IS_SAID = 3
"""Times that a document says a term, headings included: what is said once is no term that people ask about."""
_FEWEST_OF_A_LIST = 3
"""Units of a list that answers: what introduces it, and two items."""
_NAMED = re.compile(r"[A-Z](?!\b)|\d|\w[._/-]\w")
"""A name, a number or a piece of code, which says what a question is about."""
_ASKS_OF_A_TERM = re.compile(r"What (?:is|are) (?:an? )?[\w-]+(?: [\w-]+){0,2}\?")
_ARTICLE = re.compile(r"\A(?:an?|the)\s+", re.IGNORECASE)


class _Candidate(NamedTuple):
    """A question about a passage."""

    asked_for: AskedFor
    written: WrittenQuestion


class _ReadDocument(NamedTuple):
    """The document whose passages are looked at."""

    document_id: str
    text: str
    terms: dict[str, bool]
    """Words → whether they are a term of it, as far as that was asked."""


class SentenceQuestions:
    """Questions that sentences of a collection answer by themselves."""

    fingerprint = "sentences-1"
    """Raised when the rules give other questions."""

    def __init__(self, passages: Iterable[Passage]) -> None:
        """`passages`: all of the collection, by which names, and options that several commands have, are told."""
        self._by_document: dict[str, list[Passage]] = {}
        for passage in passages:
            self._by_document.setdefault(passage.document_id, []).append(passage)
        self._names = Names(passage.text for document in self._by_document.values() for passage in document)
        self._read = _ReadDocument("", "", {})
        self._found: dict[str, tuple[_Candidate, ...]] = {}

    @cached_property
    def _entries(self) -> Counter[str]:
        """How many entries explain each name; counted where the first question about an entry is found."""
        return Counter(
            name
            for document in self._by_document.values()
            for passage in document
            if passage.kind not in NO_SENTENCES
            for unit in passage_units(passage.text, passage.headings)
            if (name := entry_name(passage.text[unit.start : unit.end]))
        )

    def gives(self, passage: Passage) -> Counter[AskedFor]:
        """Number of questions of each kind about a passage; none about code, tables and headings."""
        if passage.kind in NO_SENTENCES:
            return Counter()
        return Counter(candidate.asked_for for candidate in self._candidates(passage))

    def write(self, requests: Sequence[WriteRequest]) -> list[WrittenQuestion | str]:
        """The question of each request, or why there is none."""
        written: list[WrittenQuestion | str] = []
        for request in requests:
            fitting = [each for each in self._candidates(request.passage) if each.asked_for == request.asked_for]
            more = request.attempt < len(fitting)
            written.append(fitting[request.attempt].written if more else "no further sentence answers it")
        return written

    def _candidates(self, passage: Passage) -> tuple[_Candidate, ...]:
        if passage.id not in self._found:
            self._found[passage.id] = tuple(self._turned(passage))
        return self._found[passage.id]

    def _turned(self, passage: Passage) -> Iterator[_Candidate]:
        text = passage.text
        units = passage_units(text, passage.headings)
        for i, unit in enumerate(units):
            sentence = text[unit.start : unit.end]
            entry = entry_question(sentence)
            # A name that several entries explain, such as an option of several commands, means nothing by itself.
            if entry and self._entries[entry_name(sentence)] == 1 and not form_problem(entry.question):
                yield _Candidate(asked_for(entry.question), WrittenQuestion(entry.question, unit, "part", None, 0.0))
            whole = _with_what_follows(text, units, i)
            if whole is None:
                continue
            for turned in questions_of(sentence, self._names, lambda words: self._is_term(words, passage)):
                if form_problem(turned.question) or not _names_its_topic(turned.question, passage):
                    continue
                listed = sum(whole.start <= other.start < whole.end for other in units)
                if turned.question.startswith("Which ") and listed < _FEWEST_OF_A_LIST:
                    continue
                if not turned.words:
                    written = WrittenQuestion(turned.question, whole, "part", turned.yes, 0.0)
                elif words := _last_place(text, turned.words, unit):
                    written = WrittenQuestion(turned.question, words, "span", None, 0.0)
                else:
                    continue
                yield _Candidate(asked_for(turned.question), written)

    def _is_term(self, words: str, passage: Passage) -> bool:
        term = _ARTICLE.sub("", words).casefold()
        if passage.document_id != self._read.document_id:
            document = self._by_document[passage.document_id]
            text = "\n".join(part for other in document for part in (other.text, *other.headings))
            self._read = _ReadDocument(passage.document_id, text.casefold(), {})
        if term not in self._read.terms:
            said = re.finditer(rf"(?<!\w){re.escape(term)}(?:e?s)?(?!\w)", self._read.text)
            self._read.terms[term] = sum(1 for _ in islice(said, _TERM_IS_SAID)) == _TERM_IS_SAID
        return self._read.terms[term]


def _names_its_topic(question: str, passage: Passage) -> bool:
    """Whether a question says what it is about, which "What happens if changes are detected?" does not.

    It does by a name, or by a word of the passage's title or headings; one that asks what a term is names it.
    """
    if _NAMED.search(question, 1) or _ASKS_OF_A_TERM.match(question):
        return True
    words = content_words(question)
    topic = {stemmed(word) for word in question_words(" ".join((passage.title, *passage.headings)))}
    return any(stemmed(word) in topic for word in words)


def _last_place(text: str, words: str, unit: Span) -> Span | None:
    """Where whole words stand in a unit of a text for the last time."""
    places = re.finditer(rf"(?<!\w){re.escape(words)}(?!\w)", text[unit.start : unit.end])
    last = next(iter(deque(places, maxlen=1)), None)
    return Span(unit.start + last.start(), unit.start + last.end()) if last else None


def _with_what_follows(text: str, units: Sequence[Span], i: int) -> Span | None:
    """A unit, with the code or the list that it introduces, or the steps after it.

    None where nothing follows that should, or more than a part holds.
    """
    unit, last = units[i], i
    introduces = text[unit.start : unit.end].rstrip("*_ ").endswith(":")
    if is_numbered(text[unit.start : unit.end]):
        if i and is_item(text, units[i - 1]):
            return None  # a later step
        last = _end_of_list(text, units, i)
    elif introduces:
        if i + 1 == len(units) or (is_item(text, unit) and is_item(text, units[i + 1])):
            return None
        last = _end_of_list(text, units, i + 1) if is_item(text, units[i + 1]) else _end_of_block(text, units, i + 1)
    elif i + 1 < len(units) and text.startswith("$ ", units[i + 1].start):
        last = _end_of_block(text, units, i + 1)  # a command
    return Span(unit.start, units[last].end) if i <= last < i + MOST_UNITS else None


def _end_of_list(text: str, units: Sequence[Span], first: int) -> int:
    """The last item of a list; -1 where items have several sentences, so that it cannot be told where the last ends."""
    items = [j for j in range(first, len(units)) if is_item(text, units[j])]
    last = first + len(items) - 1
    return last if items[-1] == last else -1


def _end_of_block(text: str, units: Sequence[Span], first: int) -> int:
    """The last unit before an empty line: code may be cut at what looks like the end of a sentence."""
    last = first
    while last + 1 < len(units) and "\n\n" not in text[units[last].end : units[last + 1].start]:
        last += 1
    return last
