"""HTML: all text that a browser shows, with what stands around the content by reason."""

from __future__ import annotations

import re
from typing import Any

from rag_ft.indexing.conservation.source import Source
from rag_ft.indexing.conservation.words import MAY_JOIN
from rag_ft.indexing.formats.decoding import decode_html

HIDDEN = "hidden text"
OUTSIDE = "outside the main part"

_NEVER_SHOWN = frozenset("script style noscript template head title meta link -comment".split())
_INLINE = frozenset(
    "a abbr acronym b bdi bdo big cite code data del dfn em font i ins kbd label mark q rb s samp small span strike"
    " strong time tt u var wbr output meter nobr".split()
)
_TOUCHING = frozenset("sub mi mn mo ms mtext mrow msup msub msubsup mfrac msqrt mroot math semantics tspan".split())
"""Elements whose text a reader may join with what stands before."""
_REASON_BY_TAG = {
    "nav": "navigation",
    "footer": "page footer",
    "dialog": HIDDEN,
    "rp": HIDDEN,
    "rt": "pronunciation",
    "del": "deleted text",
    "s": "deleted text",
    "strike": "deleted text",
    "annotation": HIDDEN,
    "annotation-xml": HIDDEN,
    "datalist": HIDDEN,
    "desc": HIDDEN,
    "defs": HIDDEN,
    "select": "controls",
    "button": "controls",
    "textarea": "controls",
    "iframe": HIDDEN,
    "object": HIDDEN,
    "video": HIDDEN,
    "audio": HIDDEN,
    "canvas": HIDDEN,
}
_REASON_BY_ROLE = {
    "navigation": "navigation",
    "search": "navigation",
    "banner": "page header",
    "contentinfo": "page footer",
    "dialog": "banners",
    "alertdialog": "banners",
    "button": "controls",
    "menu": "navigation",
    "menubar": "navigation",
}
_BOXES = frozenset("div section aside ul ol p header a".split())
"""Elements whose class or id may say that they are no content."""
_BANNER = re.compile(r"(?:^|[\s_-])(?:cookies?|consent|gdpr)(?:$|[\s_-])", re.IGNORECASE)
_NAVIGATION = re.compile(
    r"(?:^|[\s_-])(?:nav|navbar|navigation|breadcrumbs?|sidebar|skip-?link|pagination|share|social)(?:$|[\s_-])",
    re.IGNORECASE,
)
_FOR_READERS = re.compile(r"(?:^|\s)(?:sr-only|visually-?hidden|screen-reader-text)(?:$|\s)", re.IGNORECASE)
_NOT_DISPLAYED = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)


def html_source(data: bytes) -> Source:
    """Read a page."""
    from selectolax.lexbor import LexborHTMLParser

    source = Source()
    page, _ = decode_html(data)
    body = LexborHTMLParser(xml_as_html(page)).body
    if body is not None:
        roots = [node.mem_id for node in body.css("main, [role=main]")]
        if len(roots) != 1:
            roots = [node.mem_id for node in body.css("article")]
        add_page(source, body, roots[0] if len(roots) == 1 else None)
    return source


_EMPTY = re.compile(r"<(title|script|style|iframe|textarea|a|p|div|span|td|th|li|b|i|em|strong|sup|sub)\b([^<>]*)/>")


def xml_as_html(page: str) -> str:
    """Close empty elements, which XML may write in short, and open character data."""
    if "<?xml" in page[:200] or "http://www.w3.org/1999/xhtml" in page[:1000]:
        return _EMPTY.sub(r"<\1\2></\1>", page).replace("<![CDATA[", "").replace("]]>", "")
    return page


def add_page(source: Source, body: Any, main: int | None = None, part: str = "") -> None:
    """Add the text of a page. `main`: id of the one element that holds its content, if one does."""
    stack: list[Any] = [(body, "" if main is None else OUTSIDE)]
    while stack:
        node, reason = stack.pop()
        if isinstance(node, str):
            source.add(node, part=part, reason=reason)
            continue
        tag = node.tag
        if tag == "-text":
            source.add(node.text_content or "", part=part, reason=reason)
            continue
        if tag in _NEVER_SHOWN:
            continue
        if node.mem_id == main:
            reason = ""
        else:
            # What is hidden is hidden, also outside the main part.
            own = _reason(node, tag)
            reason = own if own == HIDDEN or not reason else reason
        gap = "" if tag in _INLINE and not _is_note_mark(node) else MAY_JOIN if tag in _TOUCHING else "\n"
        if gap:
            source.add(gap, part=part, reason=reason)
            stack.append((gap, reason))
        stack.extend((child, reason) for child in reversed(list(node.iter(include_text=True))))


def _is_note_mark(node: Any) -> bool:
    """Whether an element says that it is the mark of a note, which is no part of the word before it."""
    attributes = node.attributes
    return bool(attributes) and "noteref" in f"{attributes.get('role') or ''} {attributes.get('epub:type') or ''}"


def _reason(node: Any, tag: str) -> str:
    """Why a text need not have an element; empty if it must."""
    if tag in _REASON_BY_TAG:
        return "" if tag == "dialog" and "open" in node.attributes else _REASON_BY_TAG[tag]
    attributes = node.attributes
    if not attributes:
        return ""
    if "hidden" in attributes or attributes.get("aria-hidden") == "true":
        return HIDDEN
    style = attributes.get("style")
    if style and _NOT_DISPLAYED.search(style):
        return HIDDEN
    role = attributes.get("role")
    if role in _REASON_BY_ROLE:
        return _REASON_BY_ROLE[role]
    names = f"{attributes.get('class') or ''} {attributes.get('id') or ''}"
    if len(names) > 1:
        if _FOR_READERS.search(names):
            return HIDDEN
        if tag not in ("body", "html", "main", "article") and tag in (
            "div",
            "section",
            "aside",
            "ul",
            "ol",
            "p",
            "header",
        ):
            return "banners" if _BANNER.search(names) else "navigation" if _NAVIGATION.search(names) else ""
    return ""
