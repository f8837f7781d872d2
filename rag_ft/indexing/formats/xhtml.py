"""XHTML as the HTML that it means: pages of EPUB, and others that say so."""

from __future__ import annotations

import re
from html import escape

_VOID = frozenset("area base br col embed hr img input link meta param source track wbr".split())

_SELF_CLOSED = re.compile(r"""<([A-Za-z][\w:.-]*)((?:\s+[\w:.-]+\s*=\s*(?:"[^"]*"|'[^']*'))*)\s*/>""")
_CDATA = "<![CDATA["


def is_xhtml(page: str) -> bool:
    """Whether a page begins as XML does, or says that it is XHTML."""
    begin = page[:1000].lstrip("\ufeff \t\r\n")
    return begin.startswith("<?xml") or "http://www.w3.org/1999/xhtml" in begin


def as_html(page: str) -> str:
    """The page with empty elements closed and character data escaped.

    A parser of HTML takes `<title/>` or `<script src="x"/>` for an element that was only opened, and all that follows
    for what is in it.
    """

    def closed(found: re.Match[str]) -> str:
        return found[0] if found[1].lower() in _VOID else f"<{found[1]}{found[2]}></{found[1]}>"

    return _without_character_data(_SELF_CLOSED.sub(closed, page))


def _without_character_data(page: str) -> str:
    """Character data as escaped text. By hand: a pattern would look for the end of each that has none, to the last."""
    parts: list[str] = []
    position = 0
    while True:
        start = page.find(_CDATA, position)
        end = page.find("]]>", start + len(_CDATA)) if start >= 0 else -1
        if end < 0:
            return "".join([*parts, page[position:]])
        parts += [page[position:start], escape(page[start + len(_CDATA) : end])]
        position = end + len("]]>")
