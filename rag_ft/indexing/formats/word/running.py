"""Headers and footers without the numbers of pages."""

from __future__ import annotations

import re

PAGE_FIELDS = frozenset(("PAGE", "NUMPAGES", "SECTIONPAGES", "SECTION"))
PAGE = "\ue000"
"""Stands for a page's number in the text of a header or footer."""

_WORDS = frozenset(
    "page pages pg p seite s página pág pagina pag strana strona str sida sidan side sivu oldal страница стр blatt of"
    " von de di van sur z av af из out total 第 页 頁 共 ページ 페이지".split()
)
_BEFORE = re.compile(r"(\w+)\.?\Z")
_AFTER = re.compile(r"(\w+)\.?")
_SIGNS = " \t\n\xa0-–—|/(),·•:[]"
_MOST_WORDS = 4


def without_pages(text: str) -> str:
    """Leave out page numbers and the words that only introduce them: "Rules | Page 3 of 10" is "Rules"."""
    if PAGE not in text:
        return text
    pieces = text.split(PAGE)
    kept = [
        _trimmed(piece, start=position > 0, end=position < len(pieces) - 1) for position, piece in enumerate(pieces)
    ]
    return " ".join(filter(None, kept))


def _trimmed(piece: str, start: bool, end: bool) -> str:
    for _ in range(_MOST_WORDS):
        if end:
            piece = piece.rstrip(_SIGNS)
            word = _BEFORE.search(piece, max(len(piece) - 20, 0))
            if word is not None and word[1].casefold() in _WORDS:
                piece = piece[: word.start()]
        if start:
            piece = piece.lstrip(_SIGNS)
            word = _AFTER.match(piece)
            if word is not None and word[1].casefold() in _WORDS:
                piece = piece[word.end() :]
    return piece.strip()
