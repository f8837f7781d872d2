"""EPUB: its pages of HTML in reading order."""

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
    """The pages of a book one after another, with its title and what it says of itself.

    Raises Unreadable for a book whose pages are encrypted, or that names a page which is not in it.
    """
    require_extra("formats", "reading EPUB files", "defusedxml")
    from defusedxml import ElementTree
    from selectolax.lexbor import LexborHTMLParser

    with open_zip(data) as archive:
        container = ElementTree.fromstring(archive.read("META-INF/container.xml"))
        packages = (one.get("full-path") or "" for one in container.iter() if one.tag.endswith("}rootfile"))
        package = next(packages, "")
        if not package:
            raise Unreadable("is damaged (it does not say where its list of pages is): give a whole copy")
        root = ElementTree.fromstring(archive.read(package))
        folder = package.rpartition("/")[0]
        parts, encrypted = set(archive.namelist()), _encrypted(archive)
        items = {one.get("id"): one.get("href") for one in root.iter() if one.tag.endswith("}item")}
        said: dict[str, list[str]] = {}
        for one in root.iter():
            words = " ".join((one.text or "").split())
            if "purl.org/dc" in one.tag and words:
                said.setdefault(one.tag.rpartition("}")[2], []).append(words)
        blocks = Blocks()
        seen: set[str] = set()  # the format lets each page come once
        for reference in (one.get("idref") for one in root.iter() if one.tag.endswith("}itemref")):
            href = items.get(reference)
            if href is None:
                continue
            part = normpath(f"{folder}/{unquote(href.partition('#')[0])}").lstrip("/")
            if part in encrypted:
                raise Unreadable("is encrypted (its pages are locked to a reading program): give a copy without it")
            if part not in parts:
                raise Unreadable(f"is damaged (its page {part} is not in the file): give a whole copy")
            if part in seen:
                continue
            seen.add(part)
            page, _ = decode_html(archive.read(part))
            dom_blocks(LexborHTMLParser(as_html(page)).body, blocks)
    metadata: Metadata = {key: ", ".join(said[key]) for key in _KEPT if key in said}
    return blocks.extracted(said.get("title", [""])[0], metadata)


_KEPT = ("creator", "language", "publisher", "date")


def _encrypted(archive: Any) -> set[str]:
    """Parts that cannot be read without a key; fonts are among them often, which does no harm."""
    from defusedxml import ElementTree

    if "META-INF/encryption.xml" not in archive.namelist():
        return set()
    root = ElementTree.fromstring(archive.read("META-INF/encryption.xml"))
    return {unquote(one.get("URI") or "") for one in root.iter() if one.tag.endswith("}CipherReference")}
