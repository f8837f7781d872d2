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
"""Runs longer than the longest word of BERT's tokenizer, which ends words at spaces, punctuation and ideographs."""

_CHARACTERS_PER_TOKEN = 4


CHUNKING_RULES = 3


class ChunkingConfig(BaseModel):
    """Settings for cutting documents into passages."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_tokens: Annotated[int, Field(ge=8)] = 96
    """Maximum tokens of a passage, its title included, counted by the embedder's tokenizer."""
    rules: Annotated[int, Field(ge=1)] = CHUNKING_RULES
    """Version of the rules for where sentences end: an index cut by other rules is cut again at its next build, so that
    no index holds a mixture."""

    @classmethod
    def stored(cls, content: Mapping[str, JsonValue]) -> ChunkingConfig:
        """Read the configuration from a manifest; the oldest manifests do not name the rules."""
        return cls.model_validate({"rules": 1} | dict(content))


class _Unit(NamedTuple):
    """A sentence, or a part of one that is too long."""

    start: int
    end: int
    tokens: int


def passage_text(passage: Passage) -> str:
    """The text of a passage that is embedded and searched by words: the document's title, then the passage."""
    return f"{passage.title}\n{passage.text}" if passage.title else passage.text


class Chunker:
    """Cuts documents into passages. `count_tokens` is the embedder's, without special tokens."""

    def __init__(self, config: ChunkingConfig, count_tokens: Callable[[str], int]) -> None:
        self.config = config
        self._count_tokens = count_tokens

    def _count(self, text: str) -> int:
        """Count tokens, with an estimate for unbroken runs of characters that the tokenizer gives up on.

        BERT's makes one unknown token of any word of more than 100 characters: without the estimate, a passage could
        grow without bound in Thai, which has no spaces, or in data that is not text.
        """
        unbroken = sum(match.end() - match.start() for match in _UNBROKEN.finditer(text))
        return max(self._count_tokens(text), -(-unbroken // _CHARACTERS_PER_TOKEN))

    def passages(self, document: Document) -> list[Passage]:
        """Cut a document into its passages, in order.

        Every character that is not white space is in exactly one passage, and `document.text[start:end]` is its text.
        A passage ends where a sentence does, never spans two headed sections, and has at most `max_tokens` tokens
        together with its title. A longer sentence is cut after a comma or semicolon, else between words, else inside
        a word. Sections without text of their own join the next one.
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
        """Yield a sentence whole, or in parts of at most `room` tokens."""
        tokens = self._count(text[start:end]) if end - start <= room * 40 else room + 1
        if tokens <= room or end - start == 1:
            # A single character stays whole, even if it has more tokens than a passage may have.
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
        """Find where to cut a sentence so that its part from `start` fits; returns the offset and the tokens."""
        # Except in byte-level vocabularies a token has at least one character, and rarely more than 40; most have four.
        # The window starts small because the text in it is counted again and again.
        length = room * 2
        while length < room * 40 and start + length < end and self._count(text[start : start + length]) <= room:
            length *= 2
        window = min(end, start + min(length, room * 40))
        for cuts in (_after_clauses, _after_words, _after_characters):
            offsets = cuts(text, start, window)
            if window == end:
                offsets.append(end)
            # Token counts grow with the part, except for a token at its end: each candidate is counted.
            low, high, best = 0, len(offsets), None
            while low < high:
                middle = (low + high) // 2
                tokens = self._count(text[start : offsets[middle]].rstrip())
                if tokens <= room:
                    best = (offsets[middle], tokens)
                    low = middle + 1
                else:
                    high = middle
            # A clause that fills less than half of the room would leave a stub: cut between words instead.
            if best is not None and (cuts is not _after_clauses or best[1] * 2 >= room):
                return best
        return start + 1, self._count(text[start])

    def _pack(self, text: str, units: list[_Unit], room: int) -> Iterator[tuple[int, int]]:
        """Yield start and end of runs of units that fit together; the last two runs of a section are balanced."""
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
            return True  # far from the limit: the sum of the parts is exact enough
        return self._count(text[start : unit.end]) <= room


def _tokens(run: list[_Unit]) -> int:
    return sum(unit.tokens for unit in run)


def _sections(document: Document) -> Iterator[tuple[int, int]]:
    """Yield the spans between headings; a heading directly followed by another stays with it."""
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
    return [match.end() for match in _CLAUSE.finditer(text, start, end) if match.end() < end]


def _after_words(text: str, start: int, end: int) -> list[int]:
    return [match.end() for match in _SPACE.finditer(text, start, end) if match.end() < end]


def _after_characters(text: str, start: int, end: int) -> list[int]:
    """Every offset but those before combining marks, variation selectors and joiners, which belong to a character."""
    import unicodedata

    return [
        offset
        for offset in range(start + 1, end)
        if not (
            unicodedata.combining(text[offset]) or text[offset] in "\u200d\ufe0e\ufe0f" or text[offset - 1] == "\u200d"
        )
    ]


class _Paths(NamedTuple):
    """The headings above every offset of a document, computed once: a manual has thousands of headings and passages."""

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
            paths.append(tuple(heading.text for heading in stack))
        return cls([heading.start for heading in headings], paths)

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
