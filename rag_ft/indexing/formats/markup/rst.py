"""reStructuredText by docutils, with Sphinx's directives: written as HTML and read like a page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from html import escape
from typing import Any

from rag_ft.extras import require_extra
from rag_ft.indexing.formats.blocks import KEPT_SPACE
from rag_ft.indexing.formats.decoding import decode, noted
from rag_ft.indexing.formats.extracted import Extracted, LineAnchor
from rag_ft.indexing.formats.limits import check_document_size
from rag_ft.indexing.formats.markup.rst_parser import INCLUDES, NotParsed, parsed
from rag_ft.indexing.formats.source_lines import SourceLine, line_anchors
from rag_ft.indexing.formats.web.dom import dom_blocks
from rag_ft.schema import Metadata

_LINE_END = re.compile(r"\r\n|\r|\n")
_MOST_NAMED = 100
_DEEPEST_SUBSTITUTION = 20
_SETTINGS = frozenset(
    "orphan tocdepth nocomments nosearch no-search no-toc hide-toc html_theme.sidebar_secondary".split()
)
"""Fields at a page's start that set something for Sphinx."""


def read_rst(data: bytes) -> Extracted:
    """Read the text of a page; files that it includes are named in the metadata.

    A page that docutils cannot parse is read as it stands, and the metadata says so.
    """
    require_extra("formats", "reading RST files", "docutils")
    from selectolax.lexbor import LexborHTMLParser

    text, encoding = decode(data)
    metadata = noted(encoding)
    try:
        document = parsed(text)
        html = _Writer(document).html()
    except (RecursionError, AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        reason = str(error) if isinstance(error, NotParsed) else type(error).__name__
        if isinstance(error, RecursionError):
            reason = "nested too deeply"
        return Extracted(
            text, metadata=metadata | {"read_as": f"plain text ({reason})"}, line_anchors=(LineAnchor(0, 1),)
        )
    includes = list(dict.fromkeys(getattr(document, INCLUDES)))
    if includes:
        metadata["not_included"] = [*includes[:_MOST_NAMED]]
    blocks = dom_blocks(LexborHTMLParser(f"<body>{html}</body>").body)
    extracted = blocks.extracted("", metadata | _properties(document))
    lines = enumerate(_LINE_END.split(text), start=1)
    extracted.line_anchors = line_anchors(extracted.text, (SourceLine(number, line) for number, line in lines))
    return extracted


def _properties(document: Any) -> Metadata:
    """Author and date, where the page begins with them."""
    from docutils import nodes

    kept: Metadata = {}
    for child in document.children:
        if isinstance(child, nodes.field_list):
            for field in child.children:
                name = field.children[0].astext().lower()
                if name in ("author", "authors", "date", "version") and len(field.children) > 1:
                    kept[name] = " ".join(field.children[1].astext().split())
        elif not isinstance(child, nodes.title | nodes.section | nodes.comment | nodes.target):
            break
    return kept


class _Writer:
    """Writes a tree as HTML; text that it repeats is counted."""

    def __init__(self, document: Any) -> None:
        from docutils.transforms.references import Footnotes

        self._document = document
        self._parts: list[str] = []
        self._chars = 0
        self._level = 0
        self._tables = 0
        self._marked: list[Any] = []
        """Footnotes whose mark was written, and whose text was not."""
        self._written: set[int] = set()
        self._substituting: list[str] = []
        Footnotes(document).apply()
        self._notes = {name: note for note in document.findall(_is_footnote) for name in note["ids"]}

    def html(self) -> str:
        self._all(self._document.children)
        return "".join(self._parts)

    def _add(self, html: str) -> None:
        self._parts.append(html)
        self._chars += len(html)
        if self._chars % 64 < len(html):
            check_document_size(self._chars // 4, 0, 0)

    def _all(self, children: Iterable[Any]) -> None:
        for child in children:
            self._node(child)

    def _node(self, node: Any) -> None:
        name = type(node).__name__
        if name == "Text":
            self._add(escape(node.astext(), quote=False))
            return
        write = _WRITERS.get(name)
        if write is not None:
            write(self, node)
        else:
            self._all(node.children)

    def _within(self, tag: str, node: Any) -> None:
        self._add(f"<{tag}>")
        self._all(node.children)
        self._add(f"</{tag.partition(' ')[0]}>")

    def _section(self, node: Any) -> None:
        self._level += 1
        self._all(node.children)
        self._level -= 1

    def _title(self, node: Any) -> None:
        tag = f"h{min(max(self._level, 1), 6)}" if type(node.parent).__name__ in ("section", "document") else "p"
        self._within(tag, node)
        self._notes_here()

    def _paragraph(self, node: Any) -> None:
        self._within("p", node)
        self._notes_here()

    def _code(self, node: Any) -> None:
        self._add("<pre>")
        self._add(escape(node.astext(), quote=False))
        self._add("</pre>")

    def _literal(self, node: Any) -> None:
        text = node.astext()
        self._add(f"<code>{escape(text.replace(' ', KEPT_SPACE) if '  ' in text else text, quote=False)}</code>")

    def _lines(self, node: Any) -> None:
        outer = type(node.parent).__name__ == "line_block"
        self._add("" if outer else "<p>")
        for child in node.children:
            self._node(child)
            self._add("<br>")
        self._add("" if outer else "</p>")
        if not outer:
            self._notes_here()

    def _numbered(self, node: Any) -> None:
        style = {"loweralpha": "a", "upperalpha": "A", "lowerroman": "i", "upperroman": "I"}.get(node["enumtype"], "1")
        self._within(f'ol type="{style}" start="{int(node.get("start", 1))}"', node)

    def _definition(self, node: Any) -> None:
        self._add("<dt>")
        for i, child in enumerate(node.children[:-1]):
            self._add(" : " if i and type(child).__name__ == "classifier" else ", " if i else "")
            self._all(child.children)
        self._add("</dt>")
        self._description(node.children[-1:])

    def _description(self, bodies: list[Any]) -> None:
        """Write what a term means; a single paragraph goes on the term's line."""
        self._add("<dd>")
        for body in bodies:
            single = len(body.children) == 1 and type(body.children[0]).__name__ == "paragraph"
            self._all(body.children[0].children if single else body.children)
        self._add("</dd>")
        self._notes_here()

    def _fields(self, node: Any) -> None:
        settings = node.parent is self._document and self._level == 0
        self._add("<dl>")
        for field in node.children:
            if not (settings and field.children and field.children[0].astext().strip().lower() in _SETTINGS):
                self._definition(field)
        self._add("</dl>")

    def _options(self, node: Any) -> None:
        names = ", ".join(option.astext() for option in node.children[0].children)
        self._add(f"<dt>{escape(names, quote=False)}</dt>")
        self._description(node.children[-1:])

    def _admonition(self, node: Any) -> None:
        name = type(node).__name__
        label = node.get("label") or name.capitalize()
        children = list(node.children)
        title = children and type(children[0]).__name__ == "title"
        if name == "admonition" and "label" not in node:
            self._all(children)
            return
        self._add(f"<p>{escape(label, quote=False)}: ")
        if (children and type(children[0]).__name__ == "paragraph") or title:
            self._all(children.pop(0).children)
        self._add("</p>")
        self._notes_here()
        self._all(children)

    def _attribution(self, node: Any) -> None:
        self._within("p", node)

    def _mark(self, node: Any) -> None:
        self._add(f"<sup>[{escape(node.astext(), quote=False)}]</sup>")
        note = self._notes.get(node.get("refid", ""))
        if note is None and node.get("refname"):
            note = self._notes.get(self._document.nameids.get(node["refname"], ""))
        if note is not None and id(note) not in self._written:
            self._marked.append(note)

    def _notes_here(self) -> None:
        """Write the notes whose marks stand in the paragraph that ends here."""
        while self._marked and not self._tables:
            note = self._marked.pop(0)
            if id(note) not in self._written:
                self._note(note)

    def _note(self, node: Any) -> None:
        if id(node) in self._written:
            return
        self._written.add(id(node))
        children = list(node.children)
        label = children.pop(0).astext() if children and type(children[0]).__name__ == "label" else ""
        self._add(f"<p>[{escape(label, quote=False)}] ")
        if children and type(children[0]).__name__ == "paragraph":
            self._all(children.pop(0).children)
        self._add("</p>")
        self._all(children)
        self._notes_here()

    def _substitution(self, node: Any) -> None:
        name = node.get("refname", "")
        document = self._document
        key = name if name in document.substitution_defs else document.substitution_names.get(name.lower(), "")
        definition = document.substitution_defs.get(key)
        if definition is None or key in self._substituting or len(self._substituting) >= _DEEPEST_SUBSTITUTION:
            self._add(escape(f"|{node.astext()}|", quote=False))
            return
        self._substituting.append(key)
        self._all(definition.children)
        self._substituting.pop()

    def _image(self, node: Any) -> None:
        self._add(f'<img alt="{escape(node.get("alt", ""))}">' if node.get("alt") else "")

    def _raw(self, node: Any) -> None:
        from selectolax.lexbor import LexborHTMLParser

        if "html" in node.get("format", ""):
            # Parsed and written again, so that no tag is left open.
            body = LexborHTMLParser(node.astext()).body
            self._add(
                re.sub(r"</?(?:plaintext|body)\b[^>]*>", "", body.html or "", flags=re.I) if body is not None else ""
            )

    def _message(self, node: Any) -> None:
        """What docutils could not understand, as it stands; a title at an unusual place is a heading."""
        for child in node.children:
            if type(child).__name__ != "literal_block":
                continue
            text = child.astext()
            if _ABOUT_TITLES.search(node.children[0].astext()):
                lines = [line.strip() for line in text.split("\n") if any(map(str.isalnum, line))]
                title = escape(" ".join(lines), quote=False)
                self._add(f"<h{min(self._level + 1, 6)}>{title}</h{min(self._level + 1, 6)}>")
            else:
                self._code(child)

    def _table(self, node: Any) -> None:
        self._tables += 1
        self._add("<table>")
        for child in node.children:
            if type(child).__name__ == "title":
                self._within("caption", child)
            elif type(child).__name__ == "tgroup":
                self._rows(child)
            else:
                self._all([child])
        self._add("</table>")
        self._tables -= 1
        self._notes_here()

    def _rows(self, group: Any) -> None:
        stubs = [bool(child.get("stub")) for child in group.children if type(child).__name__ == "colspec"]
        for part in group.children:
            kind = type(part).__name__
            if kind not in ("thead", "tbody"):
                continue
            for row in part.children:
                self._add("<tr>")
                for column, cell in enumerate(row.children):
                    tag = "th" if kind == "thead" or (column < len(stubs) and stubs[column]) else "td"
                    columns, rows = int(cell.get("morecols", 0)) + 1, int(cell.get("morerows", 0)) + 1
                    self._within(f'{tag} colspan="{columns}" rowspan="{rows}"', cell)
                self._add("</tr>")

    def _nothing(self, node: Any) -> None:
        pass


_ABOUT_TITLES = re.compile(r"Unexpected section title|[Ii]nconsistent|level \d+ section cannot", re.IGNORECASE)


def _is_footnote(node: Any) -> bool:
    return type(node).__name__ == "footnote"


def _inside(tag: str) -> Callable[[_Writer, Any], None]:
    return lambda writer, node: writer._within(tag, node)


_WRITERS: dict[str, Callable[[_Writer, Any], None]] = {
    "section": _Writer._section,
    "title": _Writer._title,
    "subtitle": _Writer._paragraph,
    "rubric": _Writer._paragraph,
    "paragraph": _Writer._paragraph,
    "caption": _Writer._paragraph,
    "literal_block": _Writer._code,
    "doctest_block": _Writer._code,
    "math_block": _Writer._code,
    "literal": _Writer._literal,
    "math": _Writer._literal,
    "line_block": _Writer._lines,
    "bullet_list": _inside("ul"),
    "enumerated_list": _Writer._numbered,
    "list_item": _inside("li"),
    "definition_list": _inside("dl"),
    "definition_list_item": _Writer._definition,
    "field_list": _Writer._fields,
    "option_list": _inside("dl"),
    "option_list_item": _Writer._options,
    "block_quote": _inside("blockquote"),
    "attribution": _Writer._attribution,
    "superscript": _inside("sup"),
    "subscript": _inside("sub"),
    "footnote": _Writer._note,
    "citation": _Writer._note,
    "footnote_reference": _Writer._mark,
    "citation_reference": _Writer._mark,
    "substitution_reference": _Writer._substitution,
    "substitution_definition": _Writer._nothing,
    "comment": _Writer._nothing,
    "pending": _Writer._nothing,
    "image": _Writer._image,
    "raw": _Writer._raw,
    "system_message": _Writer._message,
    "table": _Writer._table,
} | dict.fromkeys(
    "attention caution danger error hint important note tip warning admonition".split(), _Writer._admonition
)
