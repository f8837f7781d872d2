"""EPUB: HTML pages in reading order."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Set
from posixpath import normpath
from typing import Any
from urllib.parse import unquote
from zipfile import BadZipFile

from rag_ft.extras import require_extra
from rag_ft.indexing.formats.blocks import Blocks
from rag_ft.indexing.formats.decoding import decode_html
from rag_ft.indexing.formats.extracted import Extracted, Unreadable
from rag_ft.indexing.formats.web.dom import dom_blocks
from rag_ft.indexing.formats.web.xhtml import as_html
from rag_ft.indexing.formats.zip_container import open_zip
from rag_ft.schema import Metadata


def read_epub(data: bytes) -> Extracted:
    """Read the pages of a book in order, with its title and metadata.

    A page that cannot be read is named under `unread_parts` in the metadata, and the others are read. Raises
    Unreadable if no page can be read.
    """
    require_extra("formats", "reading EPUB files", "defusedxml")
    from defusedxml import ElementTree

    with open_zip(data) as archive:
        package = _package(archive)
        root = ElementTree.fromstring(archive.read(package))
        properties: dict[str, list[str]] = {}
        for node in root.iter():
            value = " ".join((node.text or "").split())
            if "purl.org/dc" in node.tag and value:
                properties.setdefault(node.tag.rpartition("}")[2], []).append(value)
        blocks = Blocks()
        unread: dict[str, str] = {}
        names, encrypted = set(archive.namelist()), _encrypted(archive)
        for part, media_type in _reading_order(root, package):
            reason = _add_page(archive, part, media_type, names, encrypted, blocks)
            if reason:
                unread[part] = reason
    if unread and not blocks.length:
        part, reason = next(iter(unread.items()))
        raise Unreadable(
            _REFUSED.get(reason, "is damaged (its page {part} {reason}): use a complete copy").format(
                part=part, reason=reason
            )
        )
    metadata: Metadata = {key: ", ".join(properties[key]) for key in _KEPT if key in properties}
    if unread:
        metadata["unread_parts"] = [f"{part} {reason}" for part, reason in list(unread.items())[:_MOST_NAMED]]
    return blocks.extracted(properties.get("title", [""])[0], metadata)


_MOST_NAMED = 100
_IS_ENCRYPTED, _IS_MISSING, _IS_IMAGE = "is encrypted", "is missing", "is an image without text"
_REFUSED = {
    _IS_ENCRYPTED: "is encrypted (only a certain reading program can open it): use a copy without encryption",
    _IS_IMAGE: "holds images without text: use a copy with text",
}


def _package(archive: Any) -> str:
    """The part that lists the book's pages."""
    from defusedxml import ElementTree

    names = archive.namelist()
    if "META-INF/container.xml" in names:
        try:
            container = ElementTree.fromstring(archive.read("META-INF/container.xml"))
        except ElementTree.ParseError:
            container = None
        if container is not None:
            for node in container.iter():
                if node.tag.endswith("}rootfile") and node.get("full-path") in names:
                    return str(node.get("full-path"))
    package: str = next((name for name in names if name.lower().endswith(".opf")), "")
    if not package:
        raise Unreadable("is damaged (its list of pages is missing): use a complete copy")
    return package


def _reading_order(root: Any, package: str) -> Iterator[tuple[str, str]]:
    """Yield name and media type of each page once, in the order of the book's spine."""
    folder = package.rpartition("/")[0]
    items = {
        node.get("id"): (node.get("href") or "", node.get("media-type") or "")
        for node in root.iter()
        if node.tag.endswith("}item")
    }
    seen: set[str] = set()  # the format allows each page once
    for node in root.iter():
        if not node.tag.endswith("}itemref"):
            continue
        href, media_type = items.get(node.get("idref"), ("", ""))
        part = normpath(f"{folder}/{unquote(href.partition('#')[0])}").lstrip("/")
        if href and part not in seen:
            seen.add(part)
            yield part, media_type


def _add_page(archive: Any, part: str, media_type: str, names: Set[str], encrypted: Set[str], blocks: Blocks) -> str:
    """Add a page's text; returns the reason if it cannot be read."""
    from selectolax.lexbor import LexborHTMLParser

    if part in encrypted:
        return _IS_ENCRYPTED
    if part not in names:
        return _IS_MISSING
    if media_type.startswith("image/") and "svg" not in media_type:
        return _IS_IMAGE
    try:
        page, _ = decode_html(archive.read(part))
    except Unreadable as error:
        return str(error)
    except (BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        return f"is damaged ({str(error)[:80] or type(error).__name__})"
    dom_blocks(LexborHTMLParser(as_html(page)).body, blocks)
    return ""


_KEPT = ("creator", "language", "publisher", "date")


def _encrypted(archive: Any) -> set[str]:
    """Names of the parts that cannot be read without a key; often these are only fonts."""
    from defusedxml import ElementTree

    if "META-INF/encryption.xml" not in archive.namelist():
        return set()
    try:
        root = ElementTree.fromstring(archive.read("META-INF/encryption.xml"))
    except ElementTree.ParseError:
        return set()  # pages that cannot be decoded are named all the same
    return {unquote(node.get("URI") or "") for node in root.iter() if node.tag.endswith("}CipherReference")}
