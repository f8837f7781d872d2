"""Numbers of list items and headings, counted and written as Word shows them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

from rag_ft.indexing.formats.word.names import WORD, switch, value, whole_number
from rag_ft.indexing.formats.word.styles import ParagraphStyle

_LEVELS = 9
_PLACEHOLDER = re.compile("%([1-9])")
_ROMAN = (
    *((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"), (10, "x")),
    *((9, "ix"), (5, "v"), (4, "iv"), (1, "i")),
)
_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen"
).split()
_TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()
_NOTE_SYMBOLS = "*†‡§"


@dataclass
class _Level:
    """How one level of a list is numbered."""

    start: int = 1
    form: str = "decimal"
    text: str = ""
    restarts_after: int | None = None
    """The level, counted from 1, that makes this one start again; 0 for never, None for any above."""
    decimal_only: bool = False
    style_id: str = ""
    pictured: bool = False
    """Whether its bullet is a picture."""


@dataclass
class _List:
    """A definition of a list (`w:abstractNum`), with the numbers reached so far."""

    levels: dict[int, _Level]
    reached: list[int | None] = field(default_factory=lambda: [None] * _LEVELS)


class Numbering:
    """Lists of a document; paragraphs must be asked for in reading order."""

    def __init__(self, root: Any) -> None:
        self._numbers: dict[str, Any] = {}
        self._definitions: dict[str, Any] = {}
        self._style_definitions: dict[str, str] = {}
        self._lists: dict[str, _List] = {}
        self._opened: dict[str, tuple[_List, dict[int, _Level], dict[int, int]] | None] = {}
        self._restarted: set[tuple[str, int]] = set()
        for node in () if root is None else root:
            if node.tag == WORD + "abstractNum":
                definition_id = node.get(WORD + "abstractNumId", "")
                self._definitions.setdefault(definition_id, node)
                if (style := value(node, "styleLink")) is not None:
                    self._style_definitions.setdefault(style, definition_id)
            elif node.tag == WORD + "num":
                self._numbers.setdefault(node.get(WORD + "numId", ""), node)

    def marker(self, style: ParagraphStyle) -> str | None:
        """Count a paragraph and return its number or `-`; "" if the list shows nothing, None if it is in no list."""
        if style.number_id in (None, "", "0"):
            return None
        number_id = style.number_id or ""
        opened = self._open(number_id)
        if opened is None:
            return None
        definition, levels, starts = opened
        depth = style.list_level
        if depth is None:
            depth = next((depth for depth in levels if levels[depth].style_id in style.style_ids), 0)
        depth = min(depth, _LEVELS - 1)
        if depth in starts and (number_id, depth) not in self._restarted:
            self._restarted.add((number_id, depth))
            definition.reached[depth] = None
            levels[depth].start = starts[depth]
        level = levels.get(depth) or _Level(text=f"%{depth + 1}.")
        reached = definition.reached[depth]
        definition.reached[depth] = level.start if reached is None else reached + 1
        for deeper in range(depth + 1, _LEVELS):
            after = levels[deeper].restarts_after if deeper in levels else None
            if after is None or depth < after:
                definition.reached[deeper] = None
        return _written(level, levels, definition.reached)

    def _open(self, number_id: str) -> tuple[_List, dict[int, _Level], dict[int, int]] | None:
        if number_id not in self._opened:
            number = self._numbers.get(number_id)
            definition_id = self._definition_of(value(number, "abstractNumId") or "")
            if number is None or definition_id is None:
                self._opened[number_id] = None
                return None
            if definition_id not in self._lists:
                self._lists[definition_id] = _List(_levels(self._definitions[definition_id]))
            definition = self._lists[definition_id]
            levels = dict(definition.levels)
            starts: dict[int, int] = {}
            for override in number.iterchildren(WORD + "lvlOverride"):
                depth = min(whole_number(override.get(WORD + "ilvl"), 0), _LEVELS - 1)
                for level in _levels(override).values():
                    levels[depth] = level
                if (start := value(override, "startOverride")) is not None:
                    starts[depth] = whole_number(start, 1)
                    levels[depth] = replace(levels.get(depth) or _Level(text=f"%{depth + 1}."))
            self._opened[number_id] = (definition, levels, starts)
        return self._opened[number_id]

    def _definition_of(self, definition_id: str) -> str | None:
        """Follow a definition that only names a style to the one that defines that style's list."""
        for _ in range(5):
            if definition_id not in self._definitions:
                return None
            style = value(self._definitions[definition_id], "numStyleLink")
            if style is None:
                return definition_id
            definition_id = self._style_definitions.get(style, "")
        return None


def _levels(definition: Any) -> dict[int, _Level]:
    levels: dict[int, _Level] = {}
    for node in definition.iterchildren(WORD + "lvl"):
        restart = value(node, "lvlRestart")
        form = value(node, "numFmt")
        if form is None:  # newer kinds of numbers, beside a common one for older programs
            form = next((other.get(WORD + "val", "") for other in node.iter(WORD + "numFmt")), "decimal")
        levels[min(whole_number(node.get(WORD + "ilvl"), 0), _LEVELS - 1)] = _Level(
            start=whole_number(value(node, "start"), 0),
            form=form,
            text=value(node, "lvlText") or "",
            restarts_after=None if restart is None else whole_number(restart, 0),
            decimal_only=bool(switch(node, "isLgl")),
            style_id=value(node, "pStyle") or "",
            pictured=value(node, "lvlPicBulletId") is not None,
        )
    return levels


def _written(level: _Level, levels: dict[int, _Level], reached: list[int | None]) -> str:
    if level.form == "bullet":
        return "-" if level.text.strip() or level.pictured else ""

    def number(match: re.Match[str]) -> str:
        depth = int(match[1]) - 1
        part = levels.get(depth) or _Level()
        count = reached[depth]
        form = "decimal" if level.decimal_only and part.form != "none" else part.form
        return written_number(part.start if count is None else count, form)

    return " ".join(_PLACEHOLDER.sub(number, level.text[:200]).split())


def written_number(number: int, form: str) -> str:
    """Write a number as Word's format of this name does; one that is not known is decimal."""
    match form:
        case "none":
            return ""
        case "upperRoman" | "lowerRoman":
            roman = _roman(number)
            return roman.upper() if form == "upperRoman" else roman
        case "upperLetter" | "lowerLetter":
            letters = _letters(number)
            return letters.upper() if form == "upperLetter" else letters
        case "decimalZero":
            return f"{number:02}"
        case "ordinal":
            last = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
            return f"{number}{last}"
        case "cardinalText" | "ordinalText" if 0 <= number < 100:
            return _in_words(number, form == "ordinalText").capitalize()
        case "hex":
            return f"{number:X}"
        case "chicago" if number > 0:
            return _NOTE_SYMBOLS[(number - 1) % 4] * min((number - 1) // 4 + 1, 10)
        case "decimalEnclosedCircle" if 0 < number <= 20:
            return chr(0x2460 + number - 1)
    return str(number)


def _roman(number: int) -> str:
    if not 0 < number < 5_000:
        return str(number)
    parts = []
    for size, letters in _ROMAN:
        parts.append(letters * (number // size))
        number %= size
    return "".join(parts)


def _letters(number: int) -> str:
    """Letters from a to z, then aa, bb: Word repeats the letter."""
    if not 0 < number <= 26 * 30:
        return str(number)
    return chr(ord("a") + (number - 1) % 26) * ((number - 1) // 26 + 1)


def _in_words(number: int, ordinal: bool) -> str:
    if number < 20:
        text = _ONES[number]
    else:
        text = _TENS[number // 10] + (f"-{_ONES[number % 10]}" if number % 10 else "")
    if not ordinal:
        return text
    irregular = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth"}
    irregular |= {"nine": "ninth", "twelve": "twelfth"}
    head, dash, last = text.rpartition("-")
    last = irregular.get(last) or (last[:-1] + "ieth" if last.endswith("y") else last + "th")
    return head + dash + last
