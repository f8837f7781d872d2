"""Documents → passages: whole sentences, as many as fit, with exact character offsets."""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from rag_ft.schema import Document, Heading, Passage
from rag_ft.text.sentences import sentence_spans

TITLE_SHARE = 3
"""A title may take one third of a passage's tokens; a longer one is left off (`Passage.title` is then empty)."""


_UNBROKEN = re.compile(r"[^\s!-/:-@\[-`{-~\u2000-\u206f\u3000-\u303f\u4e00-\u9fff\uff00-\uff0f]{101,}")
"""Longer than the longest word that BERT's tokenizer takes; it ends a word at blanks, punctuation and ideographs."""

_CHARACTERS_A_TOKEN = 4


CHUNKING_RULES = 2


class ChunkingConfig(BaseModel):
    """How documents are cut."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_tokens: Annotated[int, Field(ge=8)] = 96
    """Most tokens of a passage, counted by the embedder's tokenizer, its title included."""
    rules: Annotated[int, Field(ge=1)] = CHUNKING_RULES
    """Version of the rules by which sentences end: an index that was cut by others is cut anew when it is built again,
    so that no index holds a mixture."""

    @classmethod
    def stored(cls, content: Mapping[str, JsonValue]) -> ChunkingConfig:
        """As a manifest holds it; the first ones did not say by which rules."""
        return cls.model_validate({"rules": 1} | dict(content))


class _Unit(NamedTuple):
    """A sentence, or a part of one that is too long."""

    start: int
    end: int
    tokens: int


def passage_text(passage: Passage) -> str:
    """What is embedded and searched by words: the document's title, then the passage."""
    return f"{passage.title}\n{passage.text}" if passage.title else passage.text


class Chunker:
    """Cuts documents. `count_tokens` is the embedder's, without special tokens."""

    def __init__(self, config: ChunkingConfig, count_tokens: Callable[[str], int]) -> None:
        self.config = config
        self._count_tokens = count_tokens

    def _count(self, text: str) -> int:
        """Tokens, or what an unbroken run of characters would take where the tokenizer gives up on it.

        BERT's makes one unknown token of any word of more than 100 characters: a passage could grow without end in
        Thai, which has no spaces, or in what was not meant as text.
        """
        unbroken = sum(found.end() - found.start() for found in _UNBROKEN.finditer(text))
        return max(self._count_tokens(text), -(-unbroken // _CHARACTERS_A_TOKEN))

    def passages(self, document: Document) -> list[Passage]:
        """The document's passages in order.

        They hold every character that is not white space, once, and `document.text[start:end] == passage.text`. A
        passage ends where a sentence does, never spans two headed sections, and has at most `max_tokens` tokens
        together with its title. A longer sentence is cut after a comma or semicolon, else between words, else inside
        a word. Sections without text of their own join the one below them.
        """
        title = document.title
        title_tokens = self._count(title) if title else 0
        if title_tokens > self.config.max_tokens // TITLE_SHARE:
            title, title_tokens = "", 0
        room = self.config.max_tokens - title_tokens
        passages: list[Passage] = []
        paths = _Paths.of(document.headings)
        for start, end in _sections(document):
            units = [
                unit
                for sentence in _sentences(document.text, start, end)
                for unit in self._fit(document.text, *sentence, room)
            ]
            for first, last in self._pack(document.text, units, room):
                passages.append(_passage(document, title, paths, first, last))
        return passages

    def _fit(self, text: str, start: int, end: int, room: int) -> Iterator[_Unit]:
        """A sentence whole, or in the fewest parts of at most `room` tokens."""
        tokens = self._count(text[start:end]) if end - start <= room * 40 else room + 1
        if tokens <= room or end - start == 1:
            # A single character that the tokenizer cuts into more tokens than a passage may have stays whole.
            yield _Unit(start, end, tokens)
            return
        while start < end:
            cut, tokens = self._longest_part(text, start, end, room)
            stop = cut
            while stop > start and text[stop - 1].isspace():
                stop -= 1
            yield _Unit(start, stop, tokens)
            start = cut
            while start < end and text[start].isspace():
                start += 1

    def _longest_part(self, text: str, start: int, end: int, room: int) -> tuple[int, int]:
        """Where to cut a sentence from `start` so that the part fits, and the part's tokens."""
        # A token has at least one character in all known vocabularies but byte-level ones, and rarely more than 40.
        # Most have four: what is counted again and again should be no longer than it must.
        length = room * 2
        while length < room * 40 and start + length < end and self._count(text[start : start + length]) <= room:
            length *= 2
        window = min(end, start + min(length, room * 40))
        for cuts in (_after_clauses, _after_words, _after_characters):
            places = cuts(text, start, window)
            if window == end:
                places.append(end)
            # Token counts do not fall as the part grows, but for a token at its end: the count decides, not the guess.
            low, high, best = 0, len(places), None
            while low < high:
                middle = (low + high) // 2
                tokens = self._count(text[start : places[middle]].rstrip())
                if tokens <= room:
                    best = (places[middle], tokens)
                    low = middle + 1
                else:
                    high = middle
            # A first clause of a few words would leave a stub: words are then the better cut.
            if best is not None and (cuts is not _after_clauses or best[1] * 2 >= room):
                return best
        return start + 1, self._count(text[start])

    def _pack(self, text: str, units: list[_Unit], room: int) -> Iterator[tuple[int, int]]:
        """Runs of units that fit together; the last two runs of a section share their units evenly."""
        runs: list[list[_Unit]] = []
        for unit in units:
            if runs and self._together(text, runs[-1], unit, room):
                runs[-1].append(unit)
            else:
                runs.append([unit])
        if len(runs) > 1:
            before, last = runs[-2], runs[-1]
            while len(before) > 1 and _tokens(last) + before[-1].tokens <= _tokens(before) - before[-1].tokens:
                if not self._together(text, [before[-1]], last[-1], room, first=before[-1].start):
                    break
                last.insert(0, before.pop())
        for run in runs:
            yield run[0].start, run[-1].end

    def _together(self, text: str, run: list[_Unit], unit: _Unit, room: int, first: int | None = None) -> bool:
        start = run[0].start if first is None else first
        if first is None and _tokens(run) + unit.tokens > room:
            return False
        if first is None and _tokens(run) + unit.tokens <= room // 2:
            return True  # far from the limit: the sum of the parts is near enough
        return self._count(text[start : unit.end]) <= room


def _tokens(run: list[_Unit]) -> int:
    return sum(unit.tokens for unit in run)


def _sections(document: Document) -> Iterator[tuple[int, int]]:
    """Spans between headings; a heading directly followed by another stays with it."""
    starts = [0]
    previous: Heading | None = None
    for heading in document.headings:
        body = "" if previous is None else document.text[previous.start + len(previous.text) : heading.start]
        if heading.start > starts[-1] and (previous is None or body.strip()):
            starts.append(heading.start)
        previous = heading
    yield from zip(starts, [*starts[1:], len(document.text)], strict=True)


def _sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    for sentence in sentence_spans(text[start:end]):
        yield start + sentence.start, start + sentence.end


_CLAUSE = re.compile(r"[,;:、，；：)\]]\s|\s[-–—]\s|\n")
_SPACE = re.compile(r"\s+")


def _after_clauses(text: str, start: int, end: int) -> list[int]:
    return [found.end() for found in _CLAUSE.finditer(text, start, end) if found.end() < end]


def _after_words(text: str, start: int, end: int) -> list[int]:
    return [found.end() for found in _SPACE.finditer(text, start, end) if found.end() < end]


def _after_characters(text: str, start: int, end: int) -> list[int]:
    """Never before a combining mark, a variation selector or a joiner, which belong to the character before."""
    import unicodedata

    return [
        place
        for place in range(start + 1, end)
        if not (
            unicodedata.combining(text[place]) or text[place] in "\u200d\ufe0e\ufe0f" or text[place - 1] == "\u200d"
        )
    ]


class _Paths(NamedTuple):
    """The headings above every place of a document, made once: a manual has thousands of headings and of passages."""

    starts: list[int]
    paths: list[tuple[str, ...]]

    @classmethod
    def of(cls, headings: tuple[Heading, ...]) -> _Paths:
        stack: list[Heading] = []
        paths: list[tuple[str, ...]] = []
        for heading in headings:
            while stack and stack[-1].level >= heading.level:
                stack.pop()
            stack.append(heading)
            paths.append(tuple(one.text for one in stack))
        return cls([one.start for one in headings], paths)

    def at(self, start: int) -> tuple[str, ...]:
        """The headings above an offset, outermost first."""
        above = bisect.bisect_right(self.starts, start)
        return self.paths[above - 1] if above else ()


def _passage(document: Document, title: str, paths: _Paths, start: int, end: int) -> Passage:
    page = bisect.bisect_right(document.page_starts, start) if document.page_starts else None
    return Passage(
        id=f"{document.id}#{start}-{end}",
        document_id=document.id,
        text=document.text[start:end],
        start=start,
        end=end,
        title=title,
        source=document.source,
        headings=paths.at(start),
        page=page,
        metadata=document.metadata,
    )
