"""Which rows at the top of a table name its columns, by evidence."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from rag_ft.indexing.formats.sheets.cells import Cell

SAMPLE_ROWS = 60
"""Rows of a table that are looked at, at most."""

_LONGEST_NAME = 80
_MOST = 0.8
"""Share of a column's values that must be alike to tell them from its name."""
_REPEATED = 0.6
"""Share of different values in a column below which its values are a choice of few."""

_NUMBER = re.compile(r"[-+(−]?\s?[$€£¥]?\s?[-+−]?\d[\d.,'’ \u00a0\u202f]*\s?(?:[%‰$€£¥°]|[A-Za-z]{1,3})?\)?")
_DATE = re.compile(
    r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}(?:[T ]\d{1,2}:\d{2}.*)?|\d{1,2}:\d{2}(?::\d{2})?(?: ?[AaPp][Mm])?"
    r"|\d{1,2}[. -]+[A-Za-z]{3,9}[. -]+\d{2,4}|[A-Za-z]{3,9} \d{1,2},? \d{4}"
)
_LINK = re.compile(r"\S+@\S+\.\S+|\w+://\S+|www\.\S+")
_IDENTIFIER = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)+|[a-z]+(?:[A-Z][a-z0-9]*)+")
_YEAR = re.compile(r"(?:19|20)\d\d")
_FLAGS = frozenset("yes no true false ja nein oui non y n x wahr falsch".split())
_USUAL_NAMES = frozenset(
    """id no nr nummer number name names first last title type kind date datum day year jahr month time start end from
    to city town ort stadt country land address street email e-mail mail phone telephone tel fax url link price preis
    cost amount betrag total sum summe quantity qty menge unit einheit value wert description beschreibung comment
    comments note notes remark remarks status state category kategorie group code key question answer text language
    currency role department team owner version age gender size weight item product article location place""".split()
)


def named_rows(rows: Sequence[Sequence[Cell]], marked: bool = False) -> int:
    """Count the rows at the top that name columns: 0, 1, or 2 where a name spans others below it.

    `marked`: whether the file itself says that the first row does.
    """
    if len(rows) < 2:
        return 0
    if marked:
        return 1
    first = rows[0]
    spans = [cell for cell in first if cell.span > 1]
    if spans and len(rows) > 2 and len(first) > 1 and _could_name(rows[1], rows[2:]) and _says_so(rows[1], rows[2:]):
        below = {cell.column for cell in rows[1]}
        covered = all(below & set(range(cell.column, cell.column + cell.span)) for cell in spans)
        if covered and not any(_kind(cell.text) for cell in first if not _YEAR.fullmatch(cell.text)):
            return 2
    return 1 if _could_name(first, rows[1:]) and _says_so(first, rows[1:]) else 0


def names_of(rows: Sequence[Sequence[Cell]]) -> dict[int, str]:
    """The name of each column by its number; those of several rows are joined from the top down."""
    names: dict[int, list[str]] = {}
    for i, row in enumerate(rows):
        below = {cell.column for cell in rows[i + 1]} if i + 1 < len(rows) else set()
        for cell in row:
            for column in range(cell.column, cell.column + max(cell.span, 1)):
                if column == cell.column or column in below:
                    names.setdefault(column, []).append(cell.text)
    return {column: " ".join(dict.fromkeys(texts)).rstrip(": ") for column, texts in names.items()}


def _could_name(first: Sequence[Cell], others: Sequence[Sequence[Cell]]) -> bool:
    """Whether the cells of a row could be names: short, different, no values, and not repeated in their columns."""
    named = {cell.column for cell in first}
    used = {cell.column for row in others for cell in row}
    if not named or len(used - named) > max(1, len(used) // 4) or not named & used:
        return False
    if any(len(cell.text) > _LONGEST_NAME or cell.text.endswith((".", "!", ";", ",")) for cell in first):
        return False
    if any(_kind(cell.text) not in ("", "flag") for cell in first) and not _names_years(first):
        return False
    if all(row and row[0].text.endswith(":") for row in others):
        return False  # the first column holds the names
    for group in _apart(first, used):
        if len({cell.text.casefold() for cell in group}) < len(group):
            return False
    texts = {cell.column: cell.text.casefold() for cell in first}
    return not any(texts.get(cell.column) == cell.text.casefold() for row in others for cell in row)


def _apart(cells: Sequence[Cell], used: set[int]) -> Iterator[list[Cell]]:
    """Cells in groups that stand side by side with an empty column between them."""
    group: list[Cell] = []
    for cell in cells:
        if group and any(column not in used for column in range(group[-1].column + 1, cell.column)):
            yield group
            group = []
        group.append(cell)
    yield group


def _names_years(cells: Sequence[Cell]) -> bool:
    """Whether the only values among the cells are years in a row, beside a name."""
    values = [cell.text for cell in cells if _kind(cell.text) not in ("", "flag")]
    years = [int(text) for text in values if _YEAR.fullmatch(text)]
    steps = {after - before for before, after in pairwise(years)}
    return len(values) == len(years) >= 2 and len(cells) > len(years) and len(steps) <= 1 and 0 not in steps


def _says_so(first: Sequence[Cell], others: Sequence[Sequence[Cell]]) -> bool:
    """Whether anything tells the first row from the others: type face, kinds of values, lengths, usual names."""
    if all(cell.bold for cell in first) and sum(cell.bold for row in others for cell in row) * 2 < sum(
        map(len, others)
    ):
        return True
    words = [cell.text.casefold() for cell in first]
    if sum(word in _USUAL_NAMES for word in words) * 2 >= len(words) or _names_years(first):
        return True
    if all(_IDENTIFIER.fullmatch(cell.text) or cell.text.islower() for cell in first) and any(
        _IDENTIFIER.fullmatch(cell.text) for cell in first
    ):
        return True
    columns: dict[int, list[str]] = {}
    for row in others:
        for cell in row:
            columns.setdefault(cell.column, []).append(cell.text)
    return any(_differs(cell.text, columns.get(cell.column, ())) for cell in first)


def _differs(name: str, values: Sequence[str]) -> bool:
    """Whether the values of a column are of a kind that its name is not."""
    if not values:
        return False
    kinds: Mapping[str, int] = Counter(map(_kind, values))
    if any(kind and count >= _MOST * len(values) for kind, count in kinds.items()):
        return True
    has_digit = any(character.isdigit() for character in name)
    if not has_digit and sum(any(map(str.isdigit, value)) for value in values) >= max(_MOST * len(values), 2):
        return True
    if len(values) >= 4 and len(set(values)) <= _REPEATED * len(values):
        return True
    return len(values) >= 3 and all(len(value) > 2 * len(name) and " " in value for value in values)


def _kind(text: str) -> str:
    """The kind of a value; empty for words, which may be a name."""
    if len(text) > 100:
        return ""
    if _DATE.fullmatch(text):
        return "date"
    if _NUMBER.fullmatch(text):
        return "number"
    if _LINK.fullmatch(text):
        return "link"
    return "flag" if text.casefold() in _FLAGS else ""
