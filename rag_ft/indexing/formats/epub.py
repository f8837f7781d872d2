"""EPUB: HTML pages in reading order."""

from __future__ import annotations

from posixpath import normpath
from typing import Any
from urllib.parse import unquote

from rag_ft.extras import require_extra
from rag_ft.indexing.formats.blocks import Blocks
from rag_ft.indexing.formats.decoding import decode_html
from rag_ft.indexing.formats.dom import dom_blocks
from rag_ft.indexing.formats.extracted import Extracted, Unreadable
from rag_ft.indexing.formats.xhtml import as_html
from rag_ft.indexing.formats.zip_container import open_zip
from rag_ft.schema import Metadata


def read_epub(data: bytes) -> Extracted:
    """Read the pages of a book in order, with its title and metadata.

    Raises Unreadable if pages are encrypted, or if a listed page is missing.
    """
    require_extra("formats", "reading EPUB files", "defusedxml")
    from defusedxml import ElementTree
    from selectolax.lexbor import LexborHTMLParser

    with open_zip(data) as archive:
        container = ElementTree.fromstring(archive.read("META-INF/container.xml"))
        packages = (node.get("full-path") or "" for node in container.iter() if node.tag.endswith("}rootfile"))
        package = next(packages, "")
        if not package:
            raise Unreadable("is damaged (its list of pages is missing): use a complete copy")
        root = ElementTree.fromstring(archive.read(package))
        folder = package.rpartition("/")[0]
        parts, encrypted = set(archive.namelist()), _encrypted(archive)
        items = {node.get("id"): node.get("href") for node in root.iter() if node.tag.endswith("}item")}
        properties: dict[str, list[str]] = {}
        for node in root.iter():
            value = " ".join((node.text or "").split())
            if "purl.org/dc" in node.tag and value:
                properties.setdefault(node.tag.rpartition("}")[2], []).append(value)
        blocks = Blocks()
        seen: set[str] = set()  # the format allows each page once
        for reference in (node.get("idref") for node in root.iter() if node.tag.endswith("}itemref")):
            href = items.get(reference)
            if href is None:
                continue
            part = normpath(f"{folder}/{unquote(href.partition('#')[0])}").lstrip("/")
            if part in encrypted:
                raise Unreadable(
                    "is encrypted (only a certain reading program can open it): use a copy without encryption"
                )
            if part not in parts:
                raise Unreadable(f"is damaged (its page {part} is missing): use a complete copy")
            if part in seen:
                continue
            seen.add(part)
            page, _ = decode_html(archive.read(part))
            dom_blocks(LexborHTMLParser(as_html(page)).body, blocks)
    metadata: Metadata = {key: ", ".join(properties[key]) for key in _KEPT if key in properties}
    return blocks.extracted(properties.get("title", [""])[0], metadata)


_KEPT = ("creator", "language", "publisher", "date")


def _encrypted(archive: Any) -> set[str]:
    """Names of the parts that cannot be read without a key; often these are only fonts."""
    from defusedxml import ElementTree

    if "META-INF/encryption.xml" not in archive.namelist():
        return set()
    root = ElementTree.fromstring(archive.read("META-INF/encryption.xml"))
    return {unquote(node.get("URI") or "") for node in root.iter() if node.tag.endswith("}CipherReference")}
