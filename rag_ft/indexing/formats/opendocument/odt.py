"""ODT: the text of a document with its notes, comments, tables and text boxes."""

from __future__ import annotations

from typing import Any

from rag_ft.extras import require_extra
from rag_ft.indexing.formats.blocks import Blocks
from rag_ft.indexing.formats.extracted import Extracted
from rag_ft.indexing.formats.opendocument.container import OFFICE, STYLE, Container, body_of
from rag_ft.indexing.formats.opendocument.story import StoryWriter
from rag_ft.indexing.formats.opendocument.styles import Styles
from rag_ft.indexing.formats.zip_container import open_zip


def read_odt(data: bytes) -> Extracted:
    """Read the text of a document, tracked changes accepted, hidden text left out.

    Notes, comments and text boxes follow their paragraph. Headers and footers come once. Parts that are damaged are
    named in the metadata as `unread_parts`.
    """
    require_extra("formats", "reading ODT files", "lxml", "docx")
    with open_zip(data) as archive:
        container = Container(archive)
        content, styles = container.content(), container.part("styles.xml")
        text = body_of(content, "text", holds="text")
        blocks = Blocks()
        writer = StoryWriter(container, Styles(styles, content), blocks)
        written: set[str] = set()
        for element in _running(styles, "header"):
            writer.running(element, written)
        writer.story(text)
        for element in _running(styles, "footer"):
            writer.running(element, written)
        writer.end()
        title, metadata = container.properties()
    return blocks.extracted(title, metadata)


def _running(styles: Any, kind: str) -> list[Any]:
    """The headers or footers of all pages."""
    masters = None if styles is None else next(styles.iterchildren(OFFICE + "master-styles"), None)
    return [
        element
        for page in (() if masters is None else masters.iterchildren(STYLE + "master-page"))
        for name in (kind, f"{kind}-left", f"{kind}-first")
        for element in page.iterchildren(STYLE + name)
        if element.get(STYLE + "display") != "false"
    ]
