"""HTML: the main part of a page, read whole: nothing that is visible in it is lost."""

from __future__ import annotations

import re
from typing import Any

from rag_ft.indexing.formats.blocks import BlockBuilder, Blocks
from rag_ft.indexing.formats.decoding import decode_html, noted
from rag_ft.indexing.formats.extracted import Extracted
from rag_ft.indexing.formats.web.dom import add_dom, dom_blocks
from rag_ft.indexing.formats.web.visibility import NO_TEXT, is_hidden, is_navigation
from rag_ft.indexing.formats.web.xhtml import as_html, is_xhtml

_FRAME = frozenset({"nav", "footer", "header", "aside", "form"})
_AROUND = re.compile(
    r"(?:^|\s)(?:site|page|global|main)?[-_]?(?:sidebar|footer|breadcrumbs?|pagination|share|related|toc|menu)\S*", re.I
)
_LARGEST_REST = 0.2
"""Share of an article's text that may stand outside of it, if it is to be the main part of its page."""


def read_html(data: bytes) -> Extracted:
    """Read the main part of a page: its `<main>`, its only `<article>`, or else its body.

    Navigation, consent banners and the page's own footer are left out; everything else that is visible is read.
    """
    from selectolax.lexbor import LexborHTMLParser

    html, encoding = decode_html(data)
    if is_xhtml(html):
        html = as_html(html)
    tree = LexborHTMLParser(html)
    head = tree.css_first("head > title") or tree.css_first("title")
    title = " ".join(head.text().split()) if head is not None else ""
    metadata = noted(encoding)
    for node in tree.css("meta[name][content]"):
        name = (node.attributes.get("name") or "").lower()
        if name in ("author", "description", "keywords", "date"):
            metadata[name] = node.attributes.get("content") or ""
    content = Blocks()
    root = main_part(tree)
    if root is not None:
        builder = BlockBuilder(content)
        headings = tree.css("h1") if root is not tree.body and root.css_first("h1") is None else []
        if len(headings) == 1 and not _is_within(headings[0], ("nav", "footer", "aside")):
            add_dom(headings[0], builder, content.count)
        add_dom(root, builder, content.count, left_out=_footers(tree))
        builder.end()
    if not content.length:
        content = dom_blocks(tree.body)
    if not content.length and tree.body is not None:  # a page of links only
        for node in tree.css("nav, footer, [role=navigation]"):
            if node.child is not None:
                content = Blocks()
                _add_children(node, content)
                break
    return content.extracted(title, metadata)


def main_part(tree: Any) -> Any:
    """The element that holds the page's content: when in doubt, the body.

    It is the only visible `<main>`; else the only outermost `<article>`, if it holds the page's first title or
    four fifths of the text that is not a frame around it.
    """
    body = tree.body
    if body is None:
        return None
    visible = [node for node in tree.css("main, [role=main]") if _is_visible(node)]
    mains = [node for node in visible if not _is_within(node, ("main",))]
    if len(mains) == 1 and mains[0].text().strip():
        return mains[0]
    articles = [node for node in tree.css("article") if not _is_within(node, ("article",)) and _is_visible(node)]
    if len(mains) or len(articles) != 1:
        return body
    article = articles[0]
    rest, inside = _rest_and_article(body, article)
    titles = tree.css("h1")
    titled = bool(titles) and _holds(article, titles[0])
    return article if (inside and rest <= inside * _LARGEST_REST) or (titled and rest <= inside) else body


def _rest_and_article(body: Any, article: Any) -> tuple[int, int]:
    """Characters of the body outside its article, without what frames a page, and of the article."""
    rest = inside = 0
    within = article.mem_id
    around = {parent.mem_id for parent in _parents(article)}
    stack: list[tuple[Any, bool]] = [(body, False)]
    while stack:
        node, in_article = stack.pop()
        tag = node.tag
        if tag == "-text":
            length = len(node.text().strip())
            rest, inside = (rest, inside + length) if in_article else (rest + length, inside)
            continue
        if tag in NO_TEXT:
            continue
        in_article = in_article or node.mem_id == within
        if not in_article:
            attributes = node.attributes
            if tag in _FRAME or tag == "a" or is_hidden(tag, attributes) or is_navigation(tag, attributes):
                continue
            names = f"{attributes.get('class') or ''} {attributes.get('id') or ''}"
            if len(names) > 1 and _AROUND.search(names) and node.mem_id not in around:
                continue
        stack.extend((child, in_article) for child in node.iter(include_text=True))
    return rest, inside


_DEEPEST = 60
"""How far up an element's parents are looked at: a page may nest a hundred thousand elements."""


def _parents(node: Any) -> list[Any]:
    parents: list[Any] = []
    node = node.parent
    while node is not None and len(parents) < _DEEPEST:
        parents.append(node)
        node = node.parent
    return parents


def _is_within(node: Any, tags: tuple[str, ...]) -> bool:
    return any(parent.tag in tags for parent in _parents(node))


def _is_visible(node: Any) -> bool:
    return not any(is_hidden(element.tag, element.attributes) for element in [node, *_parents(node)])


def _holds(outer: Any, node: Any) -> bool:
    return any(parent.mem_id == outer.mem_id for parent in _parents(node))


def _footers(tree: Any) -> set[int]:
    """Ids of footers of the page; those of an article or a quotation are content."""
    return {
        node.mem_id
        for node in tree.css("footer, [role=contentinfo]")
        if not _is_within(node, ("article", "section", "blockquote", "main", "figure"))
    }


def _add_children(node: Any, blocks: Blocks) -> None:
    builder = BlockBuilder(blocks)
    for child in node.iter():
        add_dom(child, builder, blocks.count)
    builder.end()
