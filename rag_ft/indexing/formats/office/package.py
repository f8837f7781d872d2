"""The container of Office Open XML: its parts by relationship, and the names of parts that cannot be read."""

from __future__ import annotations

import zipfile
import zlib
from posixpath import dirname, normpath
from typing import IO, Any
from urllib.parse import unquote

from rag_ft.indexing.formats.extracted import Unreadable
from rag_ft.indexing.formats.office.xml import ENTITIES
from rag_ft.indexing.formats.word.names import RELATION, STRICT

_RELATIONSHIP = "{http://schemas.openxmlformats.org/package/2006/relationships}Relationship"


class OfficePackage:
    """Parts of an opened container, each parsed when it is asked for."""

    def __init__(self, archive: zipfile.ZipFile, main: str = "word/document.xml") -> None:
        self._archive = archive
        self._names = set(archive.namelist())
        self._targets: dict[str, dict[str, tuple[str, str]]] = {}
        self.unread: list[str] = []
        """Names of parts that are damaged or missing."""
        self.main = self._first("", "officeDocument") or main
        """Name of the part that holds the document's text, or lists the parts that do."""

    def main_document(self) -> Any:
        """Parse the document's text. Raises Unreadable, or whatever the parser raises, if that is not possible."""
        if self.main not in self._names:
            raise Unreadable("is damaged (it has no text): use a complete copy")
        return self._parse(self.main)

    def part(self, name: str) -> Any:
        """Parse a part; None if it cannot be read, and then it is named in `unread`."""
        if name in self.unread:
            return None
        try:
            return self._parse(name)
        except (MemoryError, RecursionError):
            raise
        except Exception:  # the parser and the container raise anything on a damaged part; the others are read
            self.unread.append(name)
            return None

    def related(self, kind: str, source: str | None = None) -> Any:
        """Parse the part that a part (by default, the main one) relates to by the last word of the relation's type."""
        name = self._first(self.main if source is None else source, kind)
        return None if name is None else self.part(name)

    def related_name(self, kind: str, source: str | None = None) -> str:
        """Name of the part that a part (by default, the main one) relates to; "" if there is none."""
        return self._first(self.main if source is None else source, kind) or ""

    def related_names(self, kind: str, source: str) -> list[str]:
        """Names of all parts that a part relates to by a kind of relation."""
        return [name for relation, name in self._relations(source).values() if relation == kind and name]

    def stream(self, name: str) -> IO[bytes]:
        """Open a part to be read piece by piece. Raises KeyError, and while it is read zipfile's and zlib's errors."""
        return self._archive.open(name)

    @property
    def has_macros(self) -> bool:
        """Whether it holds a program."""
        return any(name.endswith("vbaProject.bin") for name in self._names)

    def target(self, key: str, source: str | None = None) -> str | None:
        """Name of the part that an id such as "rId4" stands for in a part (by default, the main one)."""
        relation = self._relations(self.main if source is None else source).get(key)
        return relation[1] if relation else None

    def core_properties(self) -> dict[str, str]:
        """Title, creator and more, by the last word of their names."""
        name = self._first("", "core-properties")
        root = None if name is None else self.part(name)
        if root is None:
            return {}
        return {node.tag.rpartition("}")[2]: node.text or "" for node in root if isinstance(node.tag, str)}

    def _first(self, source: str, kind: str) -> str | None:
        relations = self._relations(source).values()
        return next((name for relation, name in relations if relation == kind and name), None)

    def _relations(self, source: str) -> dict[str, tuple[str, str]]:
        """By id, the last word of a relation's type, and the name of the part."""
        if source not in self._targets:
            folder, _, file = source.rpartition("/")
            name = f"{folder}/_rels/{file}.rels" if folder else f"_rels/{file}.rels"
            root = self.part(name) if name in self._names else None
            relations = {}
            for node in () if root is None else root.iter(_RELATIONSHIP):
                if node.get("TargetMode") != "External":
                    target = unquote(node.get("Target") or "")
                    path = target if target.startswith("/") else f"{dirname(source)}/{target}"
                    kind = (node.get("Type") or "").rpartition("/")[2]
                    relations[node.get("Id") or ""] = (kind, normpath(path).lstrip("/"))
            self._targets[source] = relations
        return self._targets[source]

    def _parse(self, name: str) -> Any:
        from docx.oxml import parse_xml

        try:
            data = self._archive.read(name)
        except zlib.error as error:
            raise zipfile.BadZipFile(f"{name} cannot be unpacked") from error
        if b"<!ENTITY" in data:
            raise Unreadable(ENTITIES)
        if b"http://purl.oclc.org/ooxml/" in data[:20_000]:
            for strict, common in STRICT:
                data = data.replace(strict, common)
        return parse_xml(data)


def relation_id(element: Any, name: str = "id") -> str:
    """The id of the part that an element refers to."""
    return element.get(RELATION + name) or ""


_OLE = b"\xd0\xcf\x11\xe0"


def refuse_binary(data: bytes, suffix: str) -> None:
    """Raise Unreadable for the container of encrypted files and of Office before 2007; `suffix`: of today's format."""
    if data.startswith(_OLE):
        if "EncryptedPackage".encode("utf-16-le") in data:
            raise Unreadable("is encrypted: save a copy without a password")
        raise Unreadable(f"is encrypted, or an old .{suffix[1:-1]}: save a copy as {suffix} without a password")
