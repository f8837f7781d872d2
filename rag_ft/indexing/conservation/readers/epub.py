"""EPUB: every page of the reading order."""

from __future__ import annotations

import io
import posixpath
import zipfile
from urllib.parse import unquote

from rag_ft.indexing.conservation.readers.html import add_page, xml_as_html
from rag_ft.indexing.conservation.source import Source
from rag_ft.indexing.formats.decoding import decode_html


def epub_source(data: bytes) -> Source:
    """Read the pages of a book; one that is not there or is no page is named."""
    from defusedxml import ElementTree
    from selectolax.lexbor import LexborHTMLParser

    source = Source()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        container = ElementTree.fromstring(archive.read("META-INF/container.xml"))
        package = next(node.get("full-path", "") for node in container.iter() if node.tag.endswith("}rootfile"))
        root = ElementTree.fromstring(archive.read(package))
        items = {node.get("id"): node for node in root.iter() if node.tag.endswith("}item")}
        references = [node.get("idref") for node in root.iter() if node.tag.endswith("}itemref")]
        for reference in dict.fromkeys(references):
            item = items.get(reference)
            if item is None or item.get("media-type", "").startswith("image/"):
                continue
            href = unquote((item.get("href") or "").partition("#")[0])
            name = posixpath.normpath(posixpath.join(posixpath.dirname(package), href)).lstrip("/")
            try:
                page, _ = decode_html(archive.read(name))
                body = LexborHTMLParser(xml_as_html(page)).body
            except Exception:  # whatever is wrong with one page, the others are compared
                source.unreadable.append(name)
                continue
            if body is not None:
                add_page(source, body, part=name)
    return source
