"""Which paragraphs are headings: by the outline of the document, by the size of their letters, by bold type."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import Any

from rag_ft.indexing.formats.pdf.characters import Style
from rag_ft.indexing.formats.pdf.paragraphs import LEADERS, Paragraph
from rag_ft.indexing.formats.pdf.pieces import Piece

_MOST_BOOKMARKS = 20_000
_MOST_LINES = 4
_LONGEST = 200
_WIDE = 2.5
_LARGER = 1.15
_MOST_LEVELS = 6
_CAPTION = re.compile(r"(?:table|figure|fig\.|tabelle|abb\.|abbildung|tableau|tabla)\s*\d", re.I)
_NO_HEADING_END = re.compile(r"[.,;:]$")
_NUMBER = re.compile(r"^(?:chapter\s+|section\s+|kapitel\s+)?[\divxlc]{1,4}(?:\.\d{1,3})*[.:)]?\s+", re.I)
_LETTER = re.compile(r"[^\W\d_]")


class Headings:
    """Knows the headings of one document."""

    def __init__(self, document: Any, pages: Iterable[list[Piece]]) -> None:
        """Read the outline of a pdfium document, and the sizes of all lines."""
        self._outline = _outline(document)
        chars: Counter[Style] = Counter()
        for pieces in pages:
            for piece in pieces:
                chars[piece.style] += len(piece.text)
        sizes: Counter[float] = Counter()
        for style, count in chars.items():
            sizes[style.size] += count
        self.body = max(sizes, key=lambda size: (sizes[size], -size)) if sizes else 0.0
        """The size of most characters."""
        total = chars.total()
        self._bold_body = sum(count for style, count in chars.items() if style.bold) * 2 > total
        self.typewritten = sum(count for style, count in chars.items() if style.mono) > 0.8 * total
        self._levels: dict[tuple[float, bool], int] = {}

    def prepare(self, paragraphs: Iterable[tuple[int, Paragraph]]) -> None:
        """Learn from all paragraphs, each with its page, which level headings of each style have."""
        styles: set[tuple[float, bool]] = set()
        learned: dict[tuple[float, bool], list[int]] = {}
        for page, paragraph in paragraphs:
            if self._looks_like_one(paragraph):
                styles.add(_style(paragraph))
            level = self._in_outline(page, paragraph)
            if level is not None:
                learned.setdefault(_style(paragraph), []).append(level)
        above = 0
        for style in sorted(styles | set(learned), key=lambda style: (-style[0], not style[1])):
            level = min(learned[style]) if style in learned else min(above + 1, _MOST_LEVELS)
            self._levels[style] = level
            above = max(above, level)

    def level(self, page: int, paragraph: Paragraph) -> int:
        """Level of a heading, 1 to 6; 0 for a paragraph that is none."""
        level = self._in_outline(page, paragraph)
        if level is not None:
            return level
        return self._levels.get(_style(paragraph), _MOST_LEVELS) if self._looks_like_one(paragraph) else 0

    def _in_outline(self, page: int, paragraph: Paragraph) -> int | None:
        if len(paragraph.lines) > _MOST_LINES or paragraph.kind == "code":
            return None
        titles = self._outline.get(page)
        if not titles:
            return None
        text = " ".join(line.text for line in paragraph.lines)
        if LEADERS.search(text):
            return None
        return titles.get(_levelled(text), titles.get(_levelled(_NUMBER.sub("", text))))

    def _looks_like_one(self, paragraph: Paragraph) -> bool:
        if len(paragraph.lines) > _MOST_LINES or paragraph.kind == "code":
            return False
        text = " ".join(line.text for line in paragraph.lines)
        if len(text) > _LONGEST or not _LETTER.search(text) or _CAPTION.match(text) or LEADERS.search(text):
            return False
        if any(line.widest_gap > _WIDE * line.style.size for line in paragraph.lines):
            return False  # names of columns
        size, bold = _style(paragraph)
        if paragraph.kind == "item" and not (text[0].isalnum() and (bold or size >= _LARGER * self.body)):
            return False
        if size >= _LARGER * self.body:
            return True
        if not bold or self._bold_body or size < 0.97 * self.body or _NO_HEADING_END.search(text):
            return False
        return len(paragraph.lines) <= 2


def _style(paragraph: Paragraph) -> tuple[float, bool]:
    return round(max(line.style.size for line in paragraph.lines), 1), all(line.style.bold for line in paragraph.lines)


def _levelled(title: str) -> str:
    return "".join(character for character in unicodedata.normalize("NFKC", title).casefold() if character.isalnum())


def _outline(document: Any) -> dict[int, dict[str, int]]:
    """Level of each bookmark's title, by page."""
    titles: dict[int, dict[str, int]] = {}
    try:
        for count, bookmark in enumerate(document.get_toc(max_depth=_MOST_LEVELS)):
            if count >= _MOST_BOOKMARKS:
                break
            target = bookmark.get_dest()
            page = target.get_index() if target is not None else None
            title = _levelled(bookmark.get_title())
            if page is not None and title:
                titles.setdefault(page, {}).setdefault(title, min(bookmark.level + 1, _MOST_LEVELS))
    except Exception:  # a damaged outline is no reason to lose the text
        return titles
    return titles
