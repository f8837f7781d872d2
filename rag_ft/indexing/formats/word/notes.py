"""Footnotes, endnotes and comments, with the marks that Word shows for them."""

from __future__ import annotations

from typing import Any

from rag_ft.indexing.formats.office.package import OfficePackage
from rag_ft.indexing.formats.word.names import WORD, child, value, whole_number
from rag_ft.indexing.formats.word.numbering import written_number

KINDS = ("footnote", "endnote", "comment")
_FORMS = {"footnote": "decimal", "endnote": "lowerRoman"}


class Notes:
    """Notes of a document by kind and id; marks must be asked for in reading order."""

    def __init__(self, package: OfficePackage, settings: Any) -> None:
        self.sources: dict[str, str] = {}
        """Name of the part that holds the notes of a kind."""
        self._elements: dict[str, dict[str, Any]] = {}
        self._package = package
        self._marks: dict[tuple[str, str], str] = {}
        self._settings: dict[str, Any] = {kind: child(settings, f"{kind}Pr") for kind in _FORMS}
        self._sections: dict[str, Any] = dict.fromkeys(_FORMS)
        self._next = {kind: self._start(kind) for kind in _FORMS}

    def begin_section(self, properties: Any) -> None:
        """Use the formats of a section (`w:sectPr`), and count from its start where it says so."""
        for kind in _FORMS:
            self._sections[kind] = child(properties, f"{kind}Pr")
            if self._setting(kind, "numRestart") == "eachSect":
                self._next[kind] = self._start(kind)

    def mark(self, kind: str, note_id: str) -> str:
        """The mark of a footnote or endnote, counted where it is referred to first."""
        key = (kind, note_id)
        if key not in self._marks:
            self._marks[key] = written_number(self._next[kind], self._setting(kind, "numFmt") or _FORMS[kind])
            self._next[kind] += 1
        return self._marks[key]

    def take(self, kind: str, note_id: str) -> Any:
        """The note's element, once: a second reference repeats only the mark. None if there is no such note."""
        if kind not in self._elements:
            self._elements[kind] = self._read(kind)
        return self._elements[kind].pop(note_id, None)

    def _read(self, kind: str) -> dict[str, Any]:
        root = self._package.related(f"{kind}s")
        elements: dict[str, Any] = {}
        for note in () if root is None else root.iterchildren(WORD + kind):
            if note.get(WORD + "type", "normal") == "normal":
                elements.setdefault(note.get(WORD + "id", ""), note)
        return elements

    def _start(self, kind: str) -> int:
        return whole_number(self._setting(kind, "numStart"), 1)

    def _setting(self, kind: str, name: str) -> str | None:
        own = value(self._sections[kind], name)
        return value(self._settings[kind], name) if own is None else own
