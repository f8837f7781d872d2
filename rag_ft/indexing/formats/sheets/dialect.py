"""How a file separates and quotes its cells, by evidence, and its records."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

_DELIMITERS = ",;\t|"
_SAMPLE_CHARS = 65_536
_SAMPLE_RECORDS = 100
_LONGEST_QUOTED = 1_000_000
"""A quote that is not closed within so many characters is a character of its cell."""

_HINT = re.compile(r'\A\ufeff?"?sep=(.)"?\r?\n', re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?[\d.,' ]+\s?[%€$£]?")


class Dialect(NamedTuple):
    """The characters that part and protect cells."""

    delimiter: str
    escaped: bool = False
    r"""Whether `\"` within quotes is a quote; else `""` alone is."""
    begins: int = 0
    """Offset of the first record, after a line such as `sep=;`."""


def dialect_of(text: str, usual: str) -> Dialect:
    """Find the delimiter that gives the most even rows of clean cells; `usual`: that of the file's suffix."""
    escaped = re.search(r'[^\\,;\t|\n]\\"[^",;\t|\r\n]', text[: 16 * _SAMPLE_CHARS]) is not None
    hint = _HINT.match(text)
    if hint is not None:
        return Dialect(hint[1], escaped, hint.end())
    best, highest = usual, 0.0
    for delimiter in (usual, *_DELIMITERS.replace(usual, "")):
        score = _score(text, Dialect(delimiter, escaped))
        if score > highest:
            best, highest = delimiter, score
    return Dialect(best, escaped)


def _score(text: str, dialect: Dialect) -> float:
    """How evenly a delimiter parts the first records, and how few of its cells hold other delimiters."""
    sample = text[:_SAMPLE_CHARS]
    if len(text) > _SAMPLE_CHARS and "\n" in sample:
        sample = sample[: sample.rindex("\n")]
    rows = [record for record in islice(records(sample, dialect), _SAMPLE_RECORDS) if any(record)]
    while len(rows) > 1 and len(rows[0]) == 1:  # a line about the table
        rows.pop(0)
    if not rows:
        return 0.0
    width, count = max(Counter(map(len, rows)).items(), key=lambda item: (item[1], item[0]))
    if width < 2:
        return 0.0
    others = [delimiter for delimiter in _DELIMITERS if delimiter != dialect.delimiter]
    cells = [cell for row in rows for cell in row]
    clean = sum(bool(_NUMBER.fullmatch(cell)) or not any(other in cell for other in others) for cell in cells)
    return count / len(rows) * (width - 1) / width * (0.2 + 0.8 * clean / len(cells))


def records(text: str, dialect: Dialect) -> Iterator[list[str]]:
    """Yield the cells of each record, quotes taken away, in linear time.

    A quoted cell ends at a quote before a delimiter or the end of a line. Line ends are those of any system.
    """
    delimiter = dialect.delimiter
    closing = _Closing(text, dialect)
    line_end = re.compile(r"\r\n?|\n")
    field_end = re.compile(rf"{re.escape(delimiter)}|\r\n?|\n")
    opening = re.compile(r' *("+)')
    position = dialect.begins
    record: list[str] = []  # cells of the present record, which begins before `position` if there are some
    while position < len(text):
        if not record:
            end = line_end.search(text, position)
            stop = end.start() if end else len(text)
            if not closing.any_quote or text.find('"', position, stop) < 0:
                yield text[position:stop].split(delimiter)
                position = end.end() if end else len(text)
                continue
        quotes = opening.match(text, position)
        cell: str | None = None
        if quotes is not None:
            cell, after = closing.cell(quotes)
        if cell is not None:
            end = field_end.search(text, after)
        else:
            end = field_end.search(text, position)
            cell = text[position : end.start() if end else len(text)]
        record.append(cell)
        position = end.end() if end else len(text)
        if end is None or end[0] != delimiter:
            yield record
            record = []
        elif position == len(text):  # a delimiter at the very end
            record.append("")
    if record:
        yield record


class _Closing:
    """The quotes of a text that may close a cell."""

    def __init__(self, text: str, dialect: Dialect) -> None:
        self._text = text
        self._escaped = dialect.escaped
        self.any_quote = '"' in text
        boundary = rf" *(?:{re.escape(dialect.delimiter)}|[\r\n]|\Z)"
        self._run = re.compile(rf"{chr(34)}+(?={boundary})")
        before = r'(?<![\\"])' if dialect.escaped else r'(?<!")'
        runs = re.compile(rf'{before}"+(?={boundary})').finditer(text) if self.any_quote else ()
        self._starts = array("q")  # of runs of an odd number of quotes before a boundary
        self._ends = array("q")
        for run in runs:
            if (run.end() - run.start()) % 2:
                self._starts.append(run.start())
                self._ends.append(run.end())

    def cell(self, quotes: re.Match[str]) -> tuple[str | None, int]:
        """The cell that is opened by some quotes, and where it ends; None if nothing closes it."""
        start, after = quotes.start(1), quotes.end(1)
        inner = after - start - 1
        if inner % 2:
            if self._run.match(self._text, start):  # opened and closed at once
                return '"' * ((inner - 1) // 2), after
            if inner == 1:
                return None, after
        position = bisect_left(self._starts, after)
        if position == len(self._starts) or self._ends[position] - start > _LONGEST_QUOTED:
            return None, after
        end = self._ends[position]
        text = self._text[start + 1 : end - 1].replace('""', '"')
        return (text.replace('\\"', '"') if self._escaped else text), end
