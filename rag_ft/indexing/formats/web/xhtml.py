"""XHTML → HTML, for EPUB pages and for pages that declare it."""

from __future__ import annotations

import re
from html import escape

_VOID = frozenset("area base br col embed hr img input link meta param source track wbr".split())

_SELF_CLOSED = re.compile(r"""<([A-Za-z][\w:.-]*)((?:\s+[\w:.-]+\s*=\s*(?:"[^"]*"|'[^']*'))*)\s*/>""")
_CDATA = "<![CDATA["


def is_xhtml(page: str) -> bool:
    """Whether a page starts like XML or declares that it is XHTML."""
    start = page[:1000].lstrip("\ufeff \t\r\n")
    return start.startswith("<?xml") or "http://www.w3.org/1999/xhtml" in start


def as_html(page: str) -> str:
    """Close empty elements and escape character data.

    An HTML parser reads `<title/>` or `<script src="x"/>` as an opening tag, and all that follows as its content.
    """

    def closed(match: re.Match[str]) -> str:
        return match[0] if match[1].lower() in _VOID else f"<{match[1]}{match[2]}></{match[1]}>"

    return _without_character_data(_SELF_CLOSED.sub(closed, page))


def _without_character_data(page: str) -> str:
    """Escape character data. Not by a pattern, which would take quadratic time on sections without an end."""
    parts: list[str] = []
    position = 0
    while True:
        start = page.find(_CDATA, position)
        end = page.find("]]>", start + len(_CDATA)) if start >= 0 else -1
        if end < 0:
            return "".join([*parts, page[position:]])
        parts += [page[position:start], escape(page[start + len(_CDATA) : end])]
        position = end + len("]]>")
