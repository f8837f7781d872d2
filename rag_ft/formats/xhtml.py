"""XHTML as the HTML that it means: pages of EPUB, and others that say so."""

from __future__ import annotations

import re
from html import escape

_VOID = frozenset("area base br col embed hr img input link meta param source track wbr".split())

_SELF_CLOSED = re.compile(r"""<([A-Za-z][\w:.-]*)((?:\s+[\w:.-]+\s*=\s*(?:"[^"]*"|'[^']*'))*)\s*/>""")
_CDATA = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.DOTALL)


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

    return _CDATA.sub(lambda found: escape(found[1]), _SELF_CLOSED.sub(closed, page))
