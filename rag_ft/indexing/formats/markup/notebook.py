"""Jupyter notebooks: Markdown read as a page, code as it stands, and the text and tables that the code printed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from rag_ft.indexing.formats.blocks import Blocks
from rag_ft.indexing.formats.decoding import decode
from rag_ft.indexing.formats.extracted import Extracted, Unreadable
from rag_ft.indexing.formats.limits import MAX_OUTPUT_CHARS
from rag_ft.indexing.formats.markup.front_matter import front_matter
from rag_ft.indexing.formats.markup.markdown import markdown_blocks
from rag_ft.indexing.formats.web.dom import dom_blocks
from rag_ft.schema import Metadata

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_OVERWRITTEN = re.compile(r"[^\n]*\r(?=[^\n\r])")
_SURROGATES = re.compile("[\ud800-\udfff]")


def read_notebook(data: bytes) -> Extracted:
    """Read the cells of a notebook in order, each with its output.

    Of a cell's output no more than `MAX_OUTPUT_CHARS` are kept; the metadata says of how many cells the rest was left
    out. Raises Unreadable if the file is not a notebook.
    """
    notebook = _notebook(data)
    blocks = Blocks()
    about = notebook.get("metadata")
    metadata = _properties(about if isinstance(about, dict) else {})
    cut = 0
    for number, cell in enumerate(_cells(notebook)):
        kind, source = cell.get("cell_type"), _text(cell.get("source", cell.get("input")))
        if kind == "code":
            blocks.add(source, kind="code")
            cut += _Output(blocks).add(cell.get("outputs"))
        elif kind == "heading":  # of version 3
            level = cell.get("level")
            blocks.add(source, level=min(max(level, 1), 6) if isinstance(level, int) else 1)
        elif kind == "raw":
            start = 0
            if number == 0:
                front, start = front_matter(source)
                metadata |= front
            _add_raw(blocks, source[start:], cell)
        else:
            markdown_blocks(source, blocks)
    if cut:
        metadata["shortened_outputs"] = cut
    title = metadata.get("title")
    return blocks.extracted(title if isinstance(title, str) else "", metadata)


def _notebook(data: bytes) -> dict[str, Any]:
    text, _ = decode(data)
    try:
        notebook = json.loads(text.removeprefix("\ufeff"))
    except ValueError as error:
        raise Unreadable(f"is damaged (not JSON: {str(error)[:100]}): use a complete copy") from error
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells", notebook.get("worksheets")), list):
        raise Unreadable("is not a notebook: it has no list of cells")
    return notebook


def _cells(notebook: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The cells, which versions before 4 kept in worksheets."""
    holders = [notebook] if "cells" in notebook else notebook["worksheets"]
    for holder in holders:
        cells = holder.get("cells") if isinstance(holder, dict) else None
        for cell in cells if isinstance(cells, list) else []:
            if isinstance(cell, dict):
                yield cell


def _text(value: Any) -> str:
    """A text, which may be written as a list of its lines."""
    lines = value if isinstance(value, list) else [value]
    return _SURROGATES.sub("\ufffd", "".join(line for line in lines if isinstance(line, str)))


def _properties(about: dict[str, Any]) -> Metadata:
    kept: Metadata = {}
    language = about.get("language_info") or about.get("kernelspec")
    if isinstance(language, dict):
        name = language.get("name") if "language_info" in about else language.get("language")
        if isinstance(name, str) and name:
            kept["language"] = _text(name)[:100]
    if isinstance(about.get("title"), str):
        kept["title"] = _text(about["title"])
    authors = about.get("authors")
    names = [author.get("name") for author in authors if isinstance(author, dict)] if isinstance(authors, list) else []
    if any(isinstance(name, str) for name in names):
        kept["author"] = ", ".join(_text(name) for name in names if isinstance(name, str))
    return kept


def _add_raw(blocks: Blocks, text: str, cell: dict[str, Any]) -> None:
    about = cell.get("metadata")
    kind = about.get("raw_mimetype", about.get("format")) if isinstance(about, dict) else None
    if kind == "text/html":
        blocks.append(_page(text, blocks))
    elif kind == "text/markdown":
        markdown_blocks(text, blocks)
    else:
        blocks.add(text, kind="code" if kind else None)


def _page(html: str, blocks: Blocks) -> Extracted:
    from selectolax.lexbor import LexborHTMLParser

    return dom_blocks(LexborHTMLParser(html).body, Blocks(counted_by=blocks.count)).extracted()


class _Output:
    """What a cell printed, up to `MAX_OUTPUT_CHARS`."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._room = MAX_OUTPUT_CHARS
        self._cut = False

    def add(self, outputs: Any) -> bool:
        """Add a cell's outputs; True if some of them were left out."""
        printed: list[str] = []
        for output in outputs if isinstance(outputs, list) else []:
            if not isinstance(output, dict):
                continue
            if output.get("output_type") == "stream":
                printed.append(_text(output.get("text")))
                continue
            self._add_text("".join(printed))
            printed = []
            if output.get("output_type") in ("error", "pyerr"):
                self._add_error(output)
            else:
                data = output.get("data")
                # Before version 4, the data stood in the output itself, by short names.
                self._add_data(
                    data
                    if isinstance(data, dict)
                    else {_LONG.get(str(key), str(key)): value for key, value in output.items()}
                )
        self._add_text("".join(printed))
        return self._cut

    def _add_error(self, output: dict[str, Any]) -> None:
        trace = output.get("traceback")
        lines = [line for line in trace if isinstance(line, str)] if isinstance(trace, list) else []
        message = f"{_text(output.get('ename'))}: {_text(output.get('evalue'))}"
        self._add_text("\n".join(map(_text, lines)) if lines else message)

    def _add_data(self, data: dict[str, Any]) -> None:
        html = _text(data.get("text/html"))
        if html.strip():
            shown = _page(html, self._blocks)
            if shown.text.strip():
                if len(shown.text) <= self._room:
                    self._room -= len(shown.text)
                    self._blocks.append(shown)
                else:
                    self._add_text(shown.text, "table")
                return
        for kind in ("text/markdown", "text/latex"):
            text = _text(data.get(kind))
            if text.strip() and len(text) <= self._room:
                self._room -= len(text)
                if kind == "text/markdown":
                    markdown_blocks(text, self._blocks)
                else:
                    self._blocks.add(text, kind="code")
                return
        if not any(name.startswith(("image/", "video/", "audio/")) for name in data):  # whose text is `<Figure ...>`
            self._add_text(_text(data.get("text/plain")))

    def _add_text(self, text: str, kind: Any = "code") -> None:
        """Add text as a terminal shows it, in whole lines."""
        text = _OVERWRITTEN.sub("", _ANSI.sub("", text.replace("\r\n", "\n"))).replace("\r", "").rstrip()
        if len(text) > self._room:
            self._cut = True
            end = text.rfind("\n", 0, self._room)
            text = text[: end if end > 0 else self._room]
        self._room -= len(text)
        self._blocks.add(text, kind=kind)


_LONG = {
    "text": "text/plain",
    "html": "text/html",
    "latex": "text/latex",
    "png": "image/png",
    "svg": "image/svg+xml",
}
