"""The container of OpenDocument: its parts, its styles and properties."""

from __future__ import annotations

import zipfile
from posixpath import normpath
from typing import IO, Any

from rag_ft.indexing.formats.extracted import Unreadable
from rag_ft.indexing.formats.office.xml import local_name, parse_xml
from rag_ft.schema import Metadata

OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
STYLE = "{urn:oasis:names:tc:opendocument:xmlns:style:1.0}"
DRAW = "{urn:oasis:names:tc:opendocument:xmlns:drawing:1.0}"
PRESENTATION = "{urn:oasis:names:tc:opendocument:xmlns:presentation:1.0}"
FO = "{urn:oasis:names:tc:opendocument:xmlns:xsl-fo-compatible:1.0}"
SVG = "{urn:oasis:names:tc:opendocument:xmlns:svg-compatible:1.0}"
LINK = "{http://www.w3.org/1999/xlink}"

_MANIFEST = "META-INF/manifest.xml"
_MOST_NAMED = 100


class Container:
    """Parts of an opened container."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._names = set(archive.namelist())
        self.unread: list[str] = []
        """Names of parts that are damaged or missing."""
        if _MANIFEST in self._names and b"encryption-data" in archive.read(_MANIFEST):
            raise Unreadable("is encrypted: save a copy without a password")
        if "content.xml" not in self._names:
            raise Unreadable("is damaged (it has no text), or of another format: use a complete copy")

    def content(self) -> Any:
        """Parse the document's text. Raises what the container and the parser do."""
        return parse_xml(self._archive.read("content.xml"))

    def stream(self) -> IO[bytes]:
        """Open the document's text to be read piece by piece."""
        return self._archive.open("content.xml")

    def part(self, name: str) -> Any:
        """Parse a part; None if there is none, or if it cannot be read, and then it is named in `unread`."""
        name = normpath(name).lstrip("/")
        if name not in self._names:
            return None
        try:
            return parse_xml(self._archive.read(name))
        except (MemoryError, RecursionError):
            raise
        except Exception:  # the parser and the container raise anything on a damaged part; the others are read
            self.unread.append(name)
            return None

    def properties(self) -> tuple[str, Metadata]:
        """The document's title, and what is known about it beside its text."""
        root = self.part("meta.xml")
        values = {} if root is None else {local_name(node): node.text or "" for node in root.iter()}
        author = values.get("initial-creator") or values.get("creator") or ""
        metadata: Metadata = {"author": author} if author else {}
        if self.unread:
            metadata["unread_parts"] = list(self.unread[:_MOST_NAMED])
        if any(name.startswith("Basic/") and name.endswith(".xml") and "script" not in name for name in self._names):
            metadata["macros"] = "ignored"
        return values.get("title", ""), metadata


def body_of(content: Any, kind: str, *, holds: str) -> Any:
    """The element that holds a document of this kind: "text", "spreadsheet" or "presentation". Raises Unreadable."""
    body = next(content.iterchildren(OFFICE + "body"), None)
    element = None if body is None else next(body.iterchildren(OFFICE + kind), None)
    if element is None:
        raise Unreadable(f"is damaged (it has no {holds}), or of another format: use a complete copy")
    return element
