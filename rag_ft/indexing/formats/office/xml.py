"""XML from unknown hands: no entities, nothing fetched, bounded depth."""

from __future__ import annotations

from typing import Any

from rag_ft.indexing.formats.extracted import Unreadable

ENTITIES = "defines entities, which no office program writes: save a copy with one"


def parse_xml(data: bytes) -> Any:
    """Parse a document. Raises Unreadable for one that defines entities, and what the parser does."""
    from lxml import etree

    if b"<!ENTITY" in data:
        raise Unreadable(ENTITIES)

    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False, remove_comments=True)
    return etree.fromstring(data, parser)


def local_name(element: Any) -> str:
    """An element's name without its namespace; empty for what is no element."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
