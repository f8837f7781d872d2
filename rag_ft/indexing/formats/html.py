"""HTML: the main text of a page by trafilatura, or all of its content if that loses too much."""

from __future__ import annotations

from typing import Any

from rag_ft.extras import require_extra
from rag_ft.indexing.formats.blocks import BlockBuilder, Blocks
from rag_ft.indexing.formats.decoding import decode_html, noted
from rag_ft.indexing.formats.dom import dom_blocks
from rag_ft.indexing.formats.extracted import Extracted
from rag_ft.indexing.formats.limits import MAX_TAGS
from rag_ft.indexing.formats.xhtml import as_html, is_xhtml

_FRAME = frozenset({"nav", "footer"})


def read_html(data: bytes) -> Extracted:
    """Read the main text of a page by trafilatura, or all of its content if trafilatura loses too much.

    Too much: more than half of the text (a tenth, for a short page or a <main>) or of the headings, because
    trafilatura's last resort is one paragraph of all words. A page of more than `MAX_TAGS` tags is read whole, too.
    """
    require_extra("formats", "reading HTML files", "defusedxml", "lxml_html_clean", "trafilatura")
    from defusedxml import ElementTree
    from selectolax.lexbor import LexborHTMLParser
    from trafilatura import extract as main_text

    html, encoding = decode_html(data)
    if is_xhtml(html):
        html = as_html(html)
    tree = LexborHTMLParser(html)
    head = tree.css_first("title")
    title = " ".join(head.text().split()) if head is not None else ""
    metadata = noted(encoding)
    for node in tree.css("meta[name][content]"):
        name = (node.attributes.get("name") or "").lower()
        if name in ("author", "description", "keywords", "date"):
            metadata[name] = node.attributes.get("content") or ""
    mains = tree.css("main")
    root = mains[0] if len(mains) == 1 else tree.body
    content = dom_blocks(root, skip=_FRAME)
    if not content.length:
        content = dom_blocks(tree.body)
    if html.count("<") > MAX_TAGS:
        return content.extracted(title, metadata)
    xml = main_text(html, output_format="xml", include_comments=False, include_tables=True, include_formatting=True)
    main = _tei_blocks(ElementTree.fromstring(xml)) if xml else Blocks()
    # Much of a long page is links, which trafilatura rightly leaves out; a short page is kept whole.
    short = content.length < 4000
    expected = content if short else dom_blocks(root, skip=_FRAME | {"a"})
    share = 0.9 if short or len(mains) == 1 else 0.5
    missed = main.length < expected.length * share or len(main.headings) * 2 < len(expected.headings)
    return (content if not main.length or missed else main).extracted(title, metadata)


_TEI_KINDS = {tag: tag for tag in ("list", "item", "table", "row", "cell")}
_TEI_KINDS |= {"head": "h2", "p": "p", "quote": "p", "div": "p", "ab": "p", "main": "p"}


def _tei_blocks(root: Any) -> Blocks:
    """Turn trafilatura's XML into blocks: head, p, list/item, table/row/cell, code, quote, lb, and text between."""
    blocks = Blocks()
    builder = BlockBuilder(blocks)
    stack: list[Any] = [root]  # elements to read, their tails as (text,), and the kinds to close
    while stack:
        element = stack.pop()
        if isinstance(element, str):
            builder.close(element)
            continue
        if isinstance(element, tuple):
            builder.text(element[0])
            continue
        if element.tag == "lb":
            builder.line_break()
            continue
        code = "".join(element.itertext()) if element.tag == "code" else ""
        if "\n" in code:
            builder.put(code, kind="code")
            continue
        kind = _TEI_KINDS.get(element.tag, "")
        if element.tag == "head" and element.get("rend", "")[1:].isdecimal():
            kind = element.get("rend")
        if kind:
            builder.open(kind, 1 if element.get("rend") == "ol" else None)
            stack.append(kind)
        for child in reversed(element):
            stack.append((child.tail or "",))
            stack.append(child)
        builder.text(element.text or "")
    builder.end()
    return blocks
