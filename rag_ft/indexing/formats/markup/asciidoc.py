"""AsciiDoc, line by line: the parts that documents use, written as HTML and read like a page. In doubt, a line stays.

No library that reads it may be used here: those in Python are not kept, or under the GPL.
"""

from __future__ import annotations

import re
from html import escape

from rag_ft.indexing.formats.decoding import decode, noted
from rag_ft.indexing.formats.extracted import Extracted
from rag_ft.indexing.formats.markup.asciidoc_blocks import Blocks, Output, set_attribute
from rag_ft.indexing.formats.markup.asciidoc_lines import (
    ATTRIBUTE,
    DELIMITER,
    DIRECTIVE,
    SECTION,
    is_comment,
)
from rag_ft.indexing.formats.web.dom import dom_blocks
from rag_ft.schema import Metadata

_MOST_NAMED = 100


def read_asciidoc(data: bytes) -> Extracted:
    """Read the text of a document; files that it includes are named in the metadata."""
    from selectolax.lexbor import LexborHTMLParser

    text, encoding = decode(data)
    metadata: Metadata = noted(encoding)
    reading = _Reading(text)
    try:
        html = reading.html()
    except RecursionError:
        return Extracted(text, metadata=metadata | {"read_as": "plain text (nested too deeply)"})
    if reading.included:
        metadata["not_included"] = [*list(dict.fromkeys(reading.included))[:_MOST_NAMED]]
    for name in ("author", "revdate", "description", "keywords"):
        value = reading.inline.attributes.get(name)
        if value:
            metadata[name] = value
    return dom_blocks(LexborHTMLParser(f"<body>{html}</body>").body).extracted("", metadata)


class _Reading:
    """One document, from its lines to HTML."""

    def __init__(self, text: str) -> None:
        self.included: list[str] = []
        self._output = Output()
        self.inline = self._output.inline
        self._lines = self._preprocessed(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))

    def html(self) -> str:
        """Read it."""
        self._collect_titles()
        start = self._header()
        Blocks(self._output, self._lines, start, len(self._lines)).read()
        self._output.notes()
        return self._output.html()

    def _preprocessed(self, lines: list[str]) -> list[str]:
        """Take out the lines that include other files, and those that begin or end a condition."""
        kept: list[str] = []
        for line in lines:
            directive = DIRECTIVE.match(line) if "::" in line else None
            if directive is None:
                kept.append(line[1:] if line.startswith("\\") and DIRECTIVE.match(line[1:]) else line)
            elif directive["name"] == "include":
                self.included.append(directive["target"])
            elif directive["name"] in ("ifdef", "ifndef") and directive["text"].strip():
                kept.append(directive["text"])
        return kept

    def _collect_titles(self) -> None:
        """Note the titles that references without text of their own stand for."""
        name = ""
        for line in self._lines:
            section = SECTION.match(line) if line[:1] in ("=", "#") else None
            if section is not None:
                title = section["title"]
                self.inline.titles.setdefault("_" + re.sub(r"\W+", "_", title.lower()).strip("_"), title)
                if name:
                    self.inline.titles.setdefault(name, title)
                name = ""
            elif line.startswith("["):
                anchor = re.match(r"\[\[([^\],]+)|\[[\w ]*#([\w:.-]+)", line)
                name = (anchor[1] or anchor[2]).strip() if anchor is not None else name
            elif line.strip():
                name = ""

    def _header(self) -> int:
        """Read the title, author and attributes at the start; returns the number of the next line."""
        i = 0
        lines = self._lines
        while i < len(lines) and (not lines[i].strip() or is_comment(lines[i]) or self.attribute(i)):
            i += max(self.attribute(i), 1)
        if i < len(lines) and (title := SECTION.match(lines[i])) is not None and len(title["marks"]) == 1:
            self._output.add(f"<h1>{self.inline.html(title['title'])}</h1>")
            self.inline.attributes.setdefault("doctitle", title["title"])
            i += 1
            shown = 0
            while i < len(lines) and lines[i].strip():
                length = self.attribute(i)
                if length == 0 and not is_comment(lines[i]):
                    if shown == 2 or DELIMITER.match(lines[i]) or SECTION.match(lines[i]):
                        break
                    if shown == 0:
                        self.inline.attributes.setdefault("author", re.sub(r"\s*<[^<>]*>", "", lines[i]).strip())
                    self._output.add(f"<p>{escape(lines[i], quote=False)}</p>")
                    shown += 1
                i += max(length, 1)
        return i

    def attribute(self, i: int) -> int:
        """Take in a line that sets an attribute; returns how many lines it has."""
        match = ATTRIBUTE.match(self._lines[i]) if self._lines[i].startswith(":") else None
        return 0 if match is None else set_attribute(self.inline, self._lines, i, match)
