"""Lines at the edges of pages that repeat: running headers, footers and page numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from itertools import islice
from typing import NamedTuple

from rag_ft.indexing.formats.pdf.pieces import Piece

_EDGE_LINES = 3
_FEWEST_PAGES = 3
_SHARE = 0.4
_MOST_NUMBERS = 9
_LONGEST_NUMBER = 18
_MOVED = 9.0
"""Points by which a running line may stand higher or lower on another page."""
_PAGE_NUMBER = re.compile(r"[0-9]{1,5}")
_NUMBER = re.compile(r"\d+")
_ROMAN = re.compile(r"[ivxl]{1,7}")
_LETTERS = re.compile(r"[^\W\d_]+")
_PAGE_WORDS = frozenset("page pages pg p seite seiten s página pagina pág pag folio sida side strona".split())


class _Row(NamedTuple):
    text: str
    baseline: float
    pieces: list[Piece]


def without_running_lines(pages: Sequence[list[Piece]]) -> list[list[Piece]]:
    """Pages without their running headers and footers.

    These are lines at the edges of at least 40% of the pages (left and right pages may differ) and of at least three,
    equal except for a page number, at the same height. First lines such as "Step 1", "Step 2" are kept.
    """
    rows = [list(_rows(pieces)) for pieces in pages]
    seen: dict[str, dict[int, _Row]] = {}  # by line without its numbers: page → the row
    for page, lines in enumerate(rows):
        for row in lines[:_EDGE_LINES] + lines[-_EDGE_LINES:]:
            seen.setdefault(_unnumbered(row.text), {}).setdefault(page, row)
    with_text = sum(map(bool, rows))
    least = max(_FEWEST_PAGES, _SHARE * with_text)
    running = {
        line
        for line, on in seen.items()
        if (len(on) >= least or (line == "0" and 1 < len(on) == with_text)) and _is_frame(line, on)
    }
    numbered = _with_page_number(rows, seen, with_text)
    if not running and not numbered:
        return list(pages)
    trimmed = [_trimmed(_trimmed(lines, running, numbered)[::-1], running, numbered)[::-1] for lines in rows]
    # If most pages would lose all their text, these lines are not frames.
    if sum(map(bool, trimmed)) * 2 <= with_text:
        return list(pages)
    return [[piece for row in lines for piece in row.pieces] for lines in trimmed]


def _with_page_number(rows: Sequence[list[_Row]], seen: dict[str, dict[int, _Row]], with_text: int) -> set[int]:
    """The first and last rows of pages that begin or end with the page's number and a text that other pages have too.

    So are headers that name the chapter, which differ from one chapter to the next. The rows are named by `id`.
    """
    offsets: Counter[int] = Counter()
    outer: list[tuple[int, _Row, set[int]]] = []
    for page, lines in enumerate(rows):
        for row in {id(row): row for row in (*lines[:1], *lines[-1:])}.values():
            tokens = row.text.split()
            numbers = {int(token) for token in (tokens[0], tokens[-1]) if _PAGE_NUMBER.fullmatch(token)}
            outer.append((page, row, {number - page for number in numbers}))
    by_page: dict[int, set[int]] = {}
    for page, _, there in outer:
        by_page.setdefault(page, set()).update(there)
    for there in by_page.values():
        offsets.update(there)
    if not offsets:
        return set()
    offset, pages = offsets.most_common(1)[0]
    if pages < max(_FEWEST_PAGES, with_text / 2):
        return set()
    return {
        id(row)
        for _, row, there in outer
        if offset in there and len(row.text.split()) != 2 and len(seen[_unnumbered(row.text)]) > 1
    }


def _rows(pieces: Sequence[Piece]) -> Iterator[_Row]:
    """What stands on one height, from top to bottom."""
    held: list[Piece] = []
    for piece in sorted(pieces, key=lambda piece: (piece.baseline, piece.x0)):
        if held and piece.baseline - held[0].baseline > 0.3 * min(held[0].style.size, piece.style.size):
            yield _row(held)
            held = []
        held.append(piece)
    if held:
        yield _row(held)


def _row(pieces: list[Piece]) -> _Row:
    inline = sorted(pieces, key=lambda piece: piece.x0)
    return _Row(" ".join(piece.text for piece in inline), pieces[0].baseline, inline)


def _unnumbered(line: str) -> str:
    text = " ".join(line.split())
    return "0" if _ROMAN.fullmatch(text) else _NUMBER.sub("0", text)


def _numbers(line: str) -> list[int]:
    """The numbers of a line, each cut after 18 digits, which are more than any page number has."""
    text = line.strip()
    if _ROMAN.fullmatch(text):
        return [_roman(text)]
    return [int(match[0][:_LONGEST_NUMBER]) for match in islice(_NUMBER.finditer(line), _MOST_NUMBERS)]


def _roman(text: str) -> int:
    values = [{"i": 1, "v": 5, "x": 10, "l": 50}[letter] for letter in text]
    return sum(-value if value < after else value for value, after in zip(values, [*values[1:], 0], strict=True))


def _is_frame(line: str, on: dict[int, _Row]) -> bool:
    """Whether a line stands at one height, and each of its numbers is equal on all pages or increases with them.

    If the line has a single word beside an increasing number, it must mean a page: "Step 1" and "Chapter 1" are titles.
    """
    heights = sorted(row.baseline for row in on.values())
    usual = heights[len(heights) // 2]
    if sum(abs(height - usual) <= _MOVED for height in heights) * 2 < len(heights):
        return False
    columns = [*zip(*(_numbers(row.text) for row in on.values()), strict=False)]
    changing = [column for column in columns if len(set(column)) > 1]
    words = _LETTERS.findall(line.lower())
    if changing and len(words) == 1 and words[0] not in _PAGE_WORDS:
        return False
    if line == "0":  # front matter in Roman numbers begins again with 1
        steps = [value - page for value, page in zip(columns[0], on, strict=True)] if columns else []
        return len(set(steps)) <= 2
    return all(len({value - page for value, page in zip(column, on, strict=True)}) == 1 for column in changing)


def _trimmed(rows: list[_Row], running: Set[str], numbered: Set[int]) -> list[_Row]:
    """Rows without the running lines among the first."""
    for count, row in enumerate(rows[: _EDGE_LINES + 1]):
        is_running = _unnumbered(row.text) in running or id(row) in numbered
        if count == _EDGE_LINES or not is_running:
            return rows[count:]
    return []
