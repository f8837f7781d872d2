"""DOCX: all parts of a Word document in reading order, as Word shows and numbers them."""

from __future__ import annotations

from rag_ft.extras import require_extra
from rag_ft.indexing.formats.blocks import Blocks
from rag_ft.indexing.formats.extracted import Extracted, Unreadable
from rag_ft.indexing.formats.office.package import OfficePackage, refuse_binary
from rag_ft.indexing.formats.word.names import child
from rag_ft.indexing.formats.word.story import StoryWriter
from rag_ft.indexing.formats.zip_container import open_zip
from rag_ft.schema import Metadata


def read_docx(data: bytes) -> Extracted:
    """Read the text of a document with its title and author.

    Notes, comments and text boxes follow their paragraph. Parts that are damaged are named in the metadata as
    `unread_parts`; the rest is read.
    """
    require_extra("formats", "reading DOCX files", "docx")
    refuse_binary(data, ".docx")
    with open_zip(data) as archive:
        package = OfficePackage(archive)
        body = child(package.main_document(), "body")
        if body is None:
            raise Unreadable("is damaged (it has no text): use a complete copy")
        blocks = Blocks()
        StoryWriter(package, blocks).write_document(body)
        properties = package.core_properties()
    author = properties.get("creator", "")
    metadata: Metadata = {"author": author} if author and author != "python-docx" else {}
    if package.unread:
        metadata["unread_parts"] = list(package.unread)
    return blocks.extracted(properties.get("title", ""), metadata)
