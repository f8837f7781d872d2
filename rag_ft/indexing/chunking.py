"""Documents → passages: whole sentences, items, rows and code blocks, as many as fit, with exact character offsets."""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from rag_ft.indexing.locations import Located
from rag_ft.indexing.structure import Kinds, Part, elements, parts_of, trimmed
from rag_ft.schema import Document, Heading, Passage, PassageKind
from rag_ft.text.normalising import NORMALISING_RULES, normalised
from rag_ft.text.sentences import sentence_spans

TITLE_SHARE = 3
"""A title may take one third of a passage's tokens; a longer one is left off (`Passage.title` is then empty)."""


_UNBROKEN = re.compile(r"[^\s!-/:-@\[-`{-~\u2000-\u206f\u3000-\u303f\u4e00-\u9fff\uff00-\uff0f]{101,}")
"""Runs longer than the longest word of BERT's tokenizer, which ends words at spaces, punctuation and ideographs."""

_CHARACTERS_PER_TOKEN = 4


CHUNKING_RULES = 5
"""2: sentences of tables and key-value lines. 3: blocks stay whole; texts and words are normalised. 4: pages of a PDF
are read by where their characters stand; raised characters, code and empty definitions of DOCX and HTML. 5: the
headings above a passage are searched by words with it."""

_HEADING_RULES = 5


class ChunkingConfig(BaseModel):
    """Settings for cutting documents into passages."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_tokens: Annotated[int, Field(ge=8)] = 96
    """Maximum tokens of a passage, its title included, counted by the embedder's tokenizer."""
    rules: Annotated[int, Field(ge=1)] = CHUNKING_RULES
    """Version of the rules for where passages end and how they are searched: an index made by other rules is made again
    at its next build, so that no index holds a mixture."""

    @classmethod
    def stored(cls, content: Mapping[str, JsonValue]) -> ChunkingConfig:
        """Read the configuration from a manifest; the oldest manifests do not name the rules."""
        return cls.model_validate({"rules": 1} | dict(content))


_APART, _NEAR, _BOUND = range(3)
"""How firmly a unit holds to the next one. Near: they share a passage if all that is near them fits with them. Bound:
they share one if both fit."""


class _Unit(NamedTuple):
    """What is not cut: a sentence, a list's item, a table's row, a code block, or a part of one that is too long."""

    start: int
    end: int
    tokens: int
    link: int = _APART
    """How firmly it holds to the next one."""


def embedder_input(text: str, rules: int = CHUNKING_RULES) -> str:
    """A question's or passage's text as it is embedded, by the rules of the index."""
    return normalised(text) if rules >= NORMALISING_RULES else text


def passage_text(passage: Passage, rules: int = CHUNKING_RULES) -> str:
    """The text of a passage that is embedded: the document's title, then the passage."""
    return embedder_input(f"{passage.title}\n{passage.text}" if passage.title else passage.text, rules)


def passage_words(passage: Passage, rules: int = CHUNKING_RULES) -> str:
    """The text of a passage that is searched by words: the headings above it, then what is embedded.

    Headings name what the sentences below them do not repeat. Embedded, they helped no more: docs/retrieval.md.
    """
    text = passage_text(passage, rules)
    if rules < _HEADING_RULES or not passage.headings:
        return text
    return embedder_input("\n".join(passage.headings), rules) + "\n" + text


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
        text = embedder_input(text, self.config.rules)
        unbroken = sum(match.end() - match.start() for match in _UNBROKEN.finditer(text))
        return max(self._count_tokens(text), -(-unbroken // _CHARACTERS_PER_TOKEN))

    def passages(self, document: Document) -> list[Passage]:
        """Cut a document into its passages, in order.

        Every character that is not white space is in exactly one passage, and `document.text[start:end]` is its text.
        A passage ends where a sentence, a list's item, a table's row or a code block does, never spans two headed
        sections, and has at most `max_tokens` tokens together with its title. Longer code is cut between lines, a
        longer item between sentences, a longer sentence after a comma or semicolon, else between words, else inside a
        word. A paragraph that ends in a colon stays with what follows it, a heading with its first paragraph, where
        both fit. Sections without text of their own join the next one.
        """
        title = document.title
        title_tokens = self._count(title) if title else 0
        if title_tokens > self.config.max_tokens // TITLE_SHARE:
            title, title_tokens = "", 0
        room = self.config.max_tokens - title_tokens
        passages: list[Passage] = []
        headings = _placed(document)
        paths = _Paths.of(headings)
        parts = parts_of(document)
        kinds = Kinds(parts)
        located = Located(document.locations)
        for section in _sections(document, headings, parts):
            units = self._linked(document.text, section, room)
            for first, last in self._pack(document.text, self._joined(document.text, units, room), room):
                passages.append(_passage(document, title, paths, kinds, located, first, last))
        return passages

    def _linked(self, text: str, section: list[Part], room: int) -> list[_Unit]:
        """The units of a section, with what holds them together."""
        units: list[_Unit] = []
        kinds: list[PassageKind] = []
        for part in section:
            before = len(units)
            after_heading = units[-1] if kinds and kinds[-1] == "heading" else None
            for unit in self._units(text, part, room, after_heading):
                units.append(unit)
                kinds.append(part.kind)
            if part.kind == "table" and len(units) > before + 1:  # its first row names the columns
                units[before] = units[before]._replace(link=_BOUND)
        paragraph = 0  # the unit with which the present paragraph begins
        for i in range(len(units) - 1):
            gap = text[units[i].end : units[i + 1].start]
            new_paragraph = kinds[i] != kinds[i + 1] or gap.count("\n") > 1
            link = max(units[i].link, _link(text, units[i], kinds[i], kinds[i + 1], gap))
            units[i] = units[i]._replace(link=link)
            if new_paragraph:
                headed = paragraph > 0 and kinds[paragraph - 1] == "heading"
                if kinds[i] == "prose" and (headed or link == _BOUND):
                    _bring_near(units, paragraph, i)
                paragraph = i + 1
        if units and paragraph > 0 and kinds[paragraph - 1] == "heading" and kinds[-1] == "prose":
            _bring_near(units, paragraph, len(units) - 1)
        return units

    def _units(self, text: str, part: Part, room: int, heading: _Unit | None) -> Iterator[_Unit]:
        """The units of a part, without links. `heading`: stands right above; the first sentence leaves room for it."""
        if part.kind == "prose":
            for start, end in _sentences(text, part.start, part.end):
                first_room = room
                if heading is not None and self._too_long(text, heading.start, end, room):
                    first_room = max(room - heading.tokens - 1, room // TITLE_SHARE)
                heading = None
                yield from self._fit(text, start, end, room, first_room)
            return
        start, end = trimmed(text, part.start, part.end)
        if start == end:
            return
        if part.kind in ("code", "heading") and not self._too_long(text, start, end, room):
            yield _Unit(start, end, self._count(text[start:end]))
            return
        for element in elements(text, part):
            if part.kind == "list" and self._too_long(text, *element, room):
                for sentence in _sentences(text, *element):
                    yield from self._fit(text, *sentence, room, room)
            else:
                yield from self._fit(text, *element, room, room)

    def _too_long(self, text: str, start: int, end: int, room: int) -> bool:
        return end - start > room * 40 or self._count(text[start:end]) > room

    def _joined(self, text: str, units: list[_Unit], room: int) -> list[_Unit]:
        """Units with those that hold to them, as units of their own: all that are near each other, or else bound."""
        joined: list[_Unit] = []
        for near in _chains(units, _NEAR):
            if (whole := self._whole(text, near, room)) is not None:
                joined.append(whole)
                continue
            for bound in _chains(near, _BOUND):
                joined += self._last_together(text, bound, room)
        return joined

    def _last_together(self, text: str, bound: list[_Unit], room: int) -> list[_Unit]:
        """Bound units in few pieces, the last one as long as fits: what ends in a colon stays with what follows."""
        pieces: list[_Unit] = []
        for unit in reversed(bound):
            both = self._whole(text, [unit, pieces[-1]], room) if pieces else None
            if both is None:
                pieces.append(unit)
            else:
                pieces[-1] = both
        return pieces[::-1]

    def _whole(self, text: str, chain: list[_Unit], room: int) -> _Unit | None:
        """A chain as one unit; None if it does not fit."""
        start, end, tokens = chain[0].start, chain[-1].end, _tokens(chain)
        if len(chain) > 1 and (tokens > room or (tokens > room // 2 and self._count(text[start:end]) > room)):
            return None
        return _Unit(start, end, tokens)

    def _fit(self, text: str, start: int, end: int, room: int, first_room: int) -> Iterator[_Unit]:
        """Yield a sentence whole, or in parts of at most `room` tokens, the first of at most `first_room`."""
        tokens = self._count(text[start:end]) if end - start <= room * 40 else room + 1
        if tokens <= first_room or end - start == 1:
            # A single character stays whole, even if it has more tokens than a passage may have.
            yield _Unit(start, end, tokens)
            return
        while start < end:
            cut, tokens = self._longest_part(text, start, end, first_room)
            first_room = room
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


def _chains(units: list[_Unit], firmness: int) -> Iterator[list[_Unit]]:
    """Runs of units that hold together at least so firmly."""
    chain: list[_Unit] = []
    for unit in units:
        chain.append(unit)
        if unit.link < firmness:
            yield chain
            chain = []
    if chain:
        yield chain


_COLON = re.compile(r"[:：][*_\"”’')\]]{0,3}$")


def _link(text: str, unit: _Unit, kind: PassageKind, next_kind: PassageKind, gap: str) -> int:
    """How firmly a unit holds to the next one. `gap`: the white space between them."""
    if kind == "heading":
        return _BOUND
    if kind == "code":  # of a block that is too long: lines without an empty line between them are near
        return _NEAR if next_kind == "code" and gap.count("\n") == 1 else _APART
    if _COLON.search(text, max(unit.start, unit.end - 4), unit.end):
        return _BOUND
    # Code inside a list's item follows it on the next line.
    return _NEAR if kind == "list" and next_kind == "code" and gap.count("\n") < 2 else _APART


def _bring_near(units: list[_Unit], first: int, last: int) -> None:
    """Link the units of a paragraph."""
    for i in range(first, last):
        units[i] = units[i]._replace(link=max(units[i].link, _NEAR))


class _Placed(NamedTuple):
    """A heading, and where its section begins."""

    start: int
    heading: Heading


def _placed(document: Document) -> list[_Placed]:
    """Headings with the starts of their sections: the name of a function heads all of the code that it stands in."""
    code = [block for block in document.blocks if block.kind == "code"]
    starts = [block.start for block in code]
    placed = []
    for heading in document.headings:
        around = code[bisect.bisect_right(starts, heading.start) - 1] if starts else None
        within = around is not None and around.start <= heading.start < around.end
        placed.append(_Placed(around.start if around is not None and within else heading.start, heading))
    return placed


def _sections(document: Document, headings: list[_Placed], parts: list[Part]) -> Iterator[list[Part]]:
    """Yield the parts between headings; a heading directly followed by another stays with it."""
    starts = [0]
    previous: Heading | None = None
    for start, heading in headings:
        body = "" if previous is None else document.text[previous.start + len(previous.text) : start]
        if start > starts[-1] and (previous is None or body.strip()):
            starts.append(start)
        previous = heading
    position = 0
    for start, end in zip(starts, [*starts[1:], len(document.text)], strict=True):
        section: list[Part] = []
        while position < len(parts) and parts[position].start < end:
            part = parts[position]
            section.append(part._replace(start=max(start, part.start), end=min(end, part.end)))
            if part.end > end:
                break  # the rest of it is in the next section
            position += 1
        yield section


def _sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    for sentence in sentence_spans(text[start:end]):
        yield start + sentence.start, start + sentence.end


_CLAUSE = re.compile(r"[,;:、，；：)\]|]\s|\s[-–—]\s|\n")
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
    def of(cls, headings: list[_Placed]) -> _Paths:
        stack: list[Heading] = []
        paths: list[tuple[str, ...]] = []
        for _, heading in headings:
            while stack and stack[-1].level >= heading.level:
                stack.pop()
            stack.append(heading)
            paths.append(tuple(heading.text for heading in stack))
        return cls([start for start, _ in headings], paths)

    def at(self, start: int) -> tuple[str, ...]:
        """The headings above an offset, outermost first."""
        above = bisect.bisect_right(self.starts, start)
        return self.paths[above - 1] if above else ()


def _passage(
    document: Document, title: str, paths: _Paths, kinds: Kinds, located: Located, start: int, end: int
) -> Passage:
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
        kind=kinds.of(start, end),
        locations=located.within(start, end),
    )
