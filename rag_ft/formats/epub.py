"""EPUB: its pages of HTML in reading order."""

from __future__ import annotations

from rag_ft.formats.blocks import Blocks
from rag_ft.formats.decoding import decode_html
from rag_ft.formats.dom import dom_blocks
from rag_ft.formats.extracted import Extracted
from rag_ft.formats.zip_container import open_zip
from rag_ft.schema import Metadata


def read_epub(data: bytes) -> Extracted:
    """The pages of a book one after another, with its title and what it says of itself."""
    from defusedxml import ElementTree
    from selectolax.lexbor import LexborHTMLParser

    with open_zip(data) as archive:
        container = ElementTree.fromstring(archive.read("META-INF/container.xml"))
        package = next(one.get("full-path") or "" for one in container.iter() if one.tag.endswith("}rootfile"))
        root = ElementTree.fromstring(archive.read(package))
        folder = package.rpartition("/")[0]
        items = {one.get("id"): one.get("href") for one in root.iter() if one.tag.endswith("}item")}
        said = {one.tag.rpartition("}")[2]: (one.text or "").strip() for one in root.iter() if "purl.org/dc" in one.tag}
        blocks = Blocks()
        for reference in (one.get("idref") for one in root.iter() if one.tag.endswith("}itemref")):
            href = items.get(reference)
            if href is None:
                continue
            from posixpath import normpath
            from urllib.parse import unquote

            part = normpath(f"{folder}/{unquote(href.partition('#')[0])}").lstrip("/")
            dom_blocks(LexborHTMLParser(decode_html(archive.read(part))[0]).body, blocks)
    metadata: Metadata = {key: said[key] for key in ("creator", "language", "publisher", "date") if said.get(key)}
    return blocks.extracted(said.get("title", ""), metadata)
