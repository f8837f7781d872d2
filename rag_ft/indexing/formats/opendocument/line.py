"""The text of a paragraph of OpenDocument, and what stands beside it: notes, comments, text boxes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from rag_ft.indexing.formats.office.xml import local_name
from rag_ft.indexing.formats.opendocument.container import DRAW, LINK, OFFICE, TABLE, TEXT, Container
from rag_ft.indexing.formats.opendocument.styles import Styles, TextStyle
from rag_ft.indexing.formats.scripts import scripted_run
from rag_ft.indexing.formats.word.names import whole_number
from rag_ft.indexing.formats.word.running import PAGE

_MOST_SPACES = 100
_SKIPPED = frozenset(
    TEXT + name
    for name in ("tracked-changes", "ruby-text", "placeholder", "number", "sequence-decls", "note-citation", "script")
) | {OFFICE + "annotation-end", OFFICE + "forms", OFFICE + "event-listeners"}
_FILE_NAME = re.compile(r"\S+\.[A-Za-z]{3,4}")


@dataclass
class Line:
    """A paragraph's text, and what stands beside it."""

    text: str = ""
    bold: bool = False
    code: str | None = None
    """The text with its spaces, if the paragraph is a line of code."""
    notes: list[tuple[str, Any]] = field(default_factory=list)
    """What comes before a note's or comment's text, and the element that holds its paragraphs."""
    boxes: list[Any] = field(default_factory=list)
    """Elements that hold paragraphs of their own: text boxes, shapes, embedded charts."""


class LineReader:
    """Reads paragraphs."""

    def __init__(self, container: Container, styles: Styles, running: bool = False) -> None:
        self._container = container
        self._styles = styles
        self._running = running  # whether page numbers are marked, to be left out
        self._line = Line()
        self._parts: list[str] = []
        self._before = ""
        self._bold: list[bool] = []

    def read(self, paragraph: Any) -> Line:
        """Read a paragraph or heading."""
        self._line, self._parts, self._before, self._bold = Line(), [], "", []
        style = self._styles.text("paragraph", paragraph.get(TEXT + "style-name"))
        if not style.hidden:
            self._inside(paragraph, style)
        lines = (" ".join(line.split()) for line in "".join(self._parts).split("\n"))
        self._line.text = "\n".join(filter(None, lines))
        if self._styles.is_code(paragraph.get(TEXT + "style-name")):
            self._line.code = "".join(self._parts).rstrip()
        self._line.bold = bool(self._bold) and all(self._bold)
        return self._line

    def _inside(self, element: Any, style: TextStyle) -> None:
        self._add(element.text, style)
        for node in element:
            if isinstance(node.tag, str):
                self._node(node, style)
            self._add(node.tail, style)

    def _add(self, text: str | None, style: TextStyle) -> None:
        if not text:
            return
        text = text.replace("\n", " ").replace("\u00ad", "")
        if style.script:
            text = scripted_run(text, self._before, above=style.script == "^")
        if text.strip():
            self._bold.append(style.bold)
        self._put(text)

    def _put(self, text: str) -> None:
        self._parts.append(text)
        self._before = (self._before + text)[-40:]

    def _apart(self, text: str) -> None:
        """Add text that is not to be joined with what is before it."""
        self._put(f" {text}" if self._before and not self._before[-1].isspace() else text)

    def _node(self, node: Any, style: TextStyle) -> None:
        tag = node.tag
        if tag in _SKIPPED:
            return
        if tag == TEXT + "span":
            own = self._styles.text("text", node.get(TEXT + "style-name"))
            if not own.hidden:
                self._inside(node, TextStyle(False, own.script or style.script, own.bold or style.bold))
        elif tag == TEXT + "s":
            self._put(" " * min(whole_number(node.get(TEXT + "c"), 1), _MOST_SPACES))
        elif tag == TEXT + "tab":
            self._put(" ")
        elif tag == TEXT + "line-break":
            self._put("\n")
        elif tag == TEXT + "note":
            citation = next(node.iterchildren(TEXT + "note-citation"), None)
            mark = "" if citation is None else " ".join((citation.text or "").split())
            self._apart(f"[{mark}]")
            body = next(node.iterchildren(TEXT + "note-body"), None)
            if body is not None:
                self._line.notes.append((f"[{mark}] ", body))
        elif tag == OFFICE + "annotation":
            self._line.notes.append((comment_by(node), node))
        elif tag in (TEXT + "page-number", TEXT + "page-count") and self._running:
            self._put(PAGE)
        elif tag == TEXT + "hidden-text":
            if node.get(TEXT + "is-hidden") == "false":
                self._put(node.get(TEXT + "string-value") or node.text or "")
        elif tag.startswith(DRAW):
            self._drawing(node, style)
        else:
            self._inside(node, style)

    def _drawing(self, node: Any, style: TextStyle) -> None:
        """Read a frame or shape: its formula within the line, its text and its chart beside it."""
        if node.tag == DRAW + "a":
            self._inside(node, style)
            return
        for part in node.iterchildren(DRAW + "object"):
            formula = self._formula(part)
            if formula:
                self._apart(f"{formula} ")
                return
        described = next((part for part in node if local_name(part) == "desc"), None)
        description = "" if described is None else " ".join((described.text or "").split())
        if description and not _FILE_NAME.fullmatch(description):
            self._apart(f"[Image: {description}] ")
        self._line.boxes.append(node)

    def _formula(self, element: Any) -> str:
        """An embedded formula on one line; empty for another object."""
        root = next(iter(element), None)
        if root is None or local_name(root) != "math":
            root = self._container.part(f"{element.get(LINK + 'href') or ''}/content.xml")
        if root is None or local_name(root) != "math":
            return ""
        return formula_line(root)


def comment_by(annotation: Any) -> str:
    """What comes before a comment's text."""
    author = next((part.text or "" for part in annotation if local_name(part) == "creator"), "")
    author = " ".join(author.split())
    return f"Comment by {author}: " if author else "Comment: "


def formula_line(root: Any) -> str:
    """A formula in MathML on one line."""
    from lxml import etree
    from selectolax.lexbor import LexborHTMLParser

    from rag_ft.indexing.formats.web.mathml import linear

    page = re.sub(r"(</?)[\w-]+:", r"\1", etree.tostring(root, encoding="unicode", with_tail=False))
    math = LexborHTMLParser(page).css_first("math")
    return "" if math is None else linear(math)


def chart_rows(root: Any) -> tuple[list[str], list[list[str]]]:
    """The titles of an embedded chart, and its numbers as rows."""
    titles = [
        " ".join("".join(node.itertext()).split())
        for node in root.iter()
        if local_name(node) in ("title", "subtitle") and "chart" in str(node.tag)
    ]
    rows = [
        [" ".join("".join(cell.itertext()).split()) for cell in row.iterchildren(TABLE + "table-cell")]
        for row in root.iter(TABLE + "table-row")
    ]
    return titles, rows
