"""The text of a paragraph as a reader sees it, and what stands beside it: notes, text boxes, diagrams."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from rag_ft.indexing.formats.office.package import relation_id
from rag_ft.indexing.formats.scripts import is_written_mark, scripted_run
from rag_ft.indexing.formats.word.equations import linear
from rag_ft.indexing.formats.word.names import (
    CHART,
    COMPATIBILITY,
    DECORATIVE,
    DIAGRAM,
    DRAWING,
    MATH,
    VML,
    WORD,
    child,
    switch,
    value,
    whole_number,
)
from rag_ft.indexing.formats.word.notes import Notes
from rag_ft.indexing.formats.word.running import PAGE, PAGE_FIELDS, without_pages
from rag_ft.indexing.formats.word.styles import RunStyle, Styles
from rag_ft.indexing.formats.word.symbols import symbol, without_private

# Moved or deleted text, the pronunciation of ruby text, and properties.
_LEFT_OUT = frozenset(
    WORD + name for name in ("moveFrom", "del", "rt", "pPr", "rPr", "sdtPr", "customXmlPr", "smartTagPr", "delText")
)
_MOST_FIELDS = 40  # of those open at once; more are never closed
_NOTE = "note"
_APART = "apart"
_FILE_NAME = re.compile(r"\S+\.[A-Za-z]{3,4}")


@dataclass
class Attached:
    """Something beside a paragraph: a note or comment by its id, a text box's element, a diagram's relation, text."""

    kind: str
    key: str = ""
    mark: str = ""
    element: Any = None


@dataclass
class Line:
    """A paragraph's text, without the white space around it."""

    text: str
    attached: list[Attached]
    bold: bool
    """Whether all of its text is bold."""
    raw: str = ""
    """The text with the white space around it."""


@dataclass
class _Field:
    """A field that is open: its code until the separator, then its result."""

    code: list[str] = field(default_factory=list)
    in_result: bool = False
    silent: bool = False
    """Whether the result is left out."""
    data: Any = None

    @property
    def name(self) -> str:
        words = "".join(self.code).split(None, 1)
        return words[0].upper() if words else ""


class LineReader:
    """Reads the paragraphs of one story (text, note, header) in order: fields may span several of them."""

    def __init__(self, styles: Styles, notes: Notes, running: bool = False) -> None:
        self._styles = styles
        self._notes = notes
        self._running = running  # whether the story is a header or footer, whose page numbers are left out
        self._fields: list[_Field] = []
        self._segments: list[tuple[str, str]] = []
        self._attached: list[Attached] = []
        self._bold: list[bool] = []
        self._pictures: set[str] = set()

    def read(self, paragraph: Any, style: RunStyle) -> Line:
        """Read a paragraph whose style gives its runs these properties."""
        self._segments, self._attached, self._bold, self._pictures = [], [], [], set()
        stack = [(part, style) for part in reversed(paragraph)]
        while stack:
            element, run = stack.pop()
            tag = element.tag
            if not isinstance(tag, str) or tag in _LEFT_OUT:
                continue
            if tag == WORD + "r":
                run = self._styles.run(child(element, "rPr"), style)
                stack.extend((part, run) for part in reversed(element))
            elif tag == WORD + "fldChar":
                self._field_character(element)
            elif tag == WORD + "instrText":
                if self._fields and not self._fields[-1].in_result:
                    self._fields[-1].code.append(element.text or "")
            elif run.hidden:
                continue
            elif tag == COMPATIBILITY + "AlternateContent":
                stack.extend((part, run) for part in reversed(_alternative(element)))
            elif tag == WORD + "fldSimple" and self._simple_field(element):
                continue
            elif not self._read_part(element, run) and not _is_placeholder(element):
                stack.extend((part, run) for part in reversed(element))
        # A field's code ends with its paragraph; without a separator it would swallow all that follows.
        self._fields = [opened for opened in self._fields if opened.in_result]
        text = _joined(self._segments)
        if self._running:
            text = without_pages(text)
        return Line(text.strip(), self._attached, bool(self._bold) and all(self._bold), text)

    def _read_part(self, element: Any, run: RunStyle) -> bool:
        """Read an element that is not only a container of others; False for a container."""
        tag = element.tag
        if tag == WORD + "t":
            text = without_private((element.text or "").replace("\u00ad", ""), run.font)
            text = text.replace("\r", " ").replace("\n", " ")
            if text.strip():
                self._bold.append(run.bold)
            self._add(text, _NOTE if run.note_mark and 0 < len(text.strip()) <= 4 else run.script)
        elif tag in _BREAKS:
            self._add(_BREAKS[tag])
        elif tag == WORD + "sym":
            self._add(symbol(element.get(WORD + "char", ""), element.get(WORD + "font", "")), run.script)
        elif tag in (WORD + "footnoteReference", WORD + "endnoteReference", WORD + "commentReference"):
            self._reference(element, tag.rpartition("}")[2].removesuffix("Reference"))
        elif tag in (MATH + "oMath", MATH + "oMathPara"):
            self._equation(element)
        elif tag == WORD + "txbxContent":
            self._attach(Attached("box", element=element))
        elif tag == DRAWING + "p":
            self._attach(Attached("text", "".join(node.text or "" for node in element.iter(DRAWING + "t"))))
        elif tag == DIAGRAM + "relIds":
            self._attach(Attached("diagram", relation_id(element, "dm")))
        elif tag == CHART + "chart":
            self._attach(Attached("chart", relation_id(element)))
        elif tag == VML + "textpath":
            self._add(element.get("string", ""), _APART)
        else:
            self._alternative_text(element)
            return False
        return True

    def _add(self, text: str, script: str = "") -> None:
        if text and all(opened.in_result and not opened.silent for opened in self._fields):
            self._segments.append((text, script))

    def _attach(self, attached: Attached) -> None:
        if all(opened.in_result and not opened.silent for opened in self._fields):
            self._attached.append(attached)

    def _equation(self, element: Any) -> None:
        text = linear(element)
        before = self._segments[-1][0][-1:] if self._segments else ""
        self._add(f" {text}" if before.isalnum() and text[:1].isalnum() else text)
        if element.tag == MATH + "oMathPara":
            self._add("\n")

    def _reference(self, element: Any, kind: str) -> None:
        note_id = element.get(WORD + "id", "")
        mark = ""
        if kind != "comment" and element.get(WORD + "customMarkFollows") not in ("1", "true", "on"):
            if any(not opened.in_result or opened.silent for opened in self._fields):
                return
            mark = self._notes.mark(kind, note_id)
            self._add(mark, _NOTE)
        self._attach(Attached(kind, note_id, mark))

    def _alternative_text(self, element: Any) -> None:
        """Add what is said about a picture for those who do not see it."""
        tag = element.tag
        if tag.endswith(("}docPr", "}cNvPr")):
            text = element.get("descr") or ""
            decorative = any(node.get("val") in ("1", "true") for node in element.iter(DECORATIVE))
        elif tag.startswith(VML):
            text, decorative = element.get("alt") or "", False
        else:
            return
        text = " ".join(text.split())
        if tag.endswith("}cNvPr") and _FILE_NAME.fullmatch(text):
            return  # where pictures without a description keep their file's name
        if text and not decorative and text not in self._pictures:
            self._pictures.add(text)
            self._add(f"[Image: {text}]", _APART)

    def _field_character(self, element: Any) -> None:
        kind = element.get(WORD + "fldCharType")
        if kind == "begin":
            self._fields.append(_Field(data=child(element, "ffData")))
            del self._fields[:-_MOST_FIELDS]
        elif kind == "separate" and self._fields:
            opened = self._fields[-1]
            opened.in_result = True
            opened.silent = self._page_field(opened.name)
        elif kind == "end" and self._fields:
            opened = self._fields.pop()
            if not opened.in_result:
                self._page_field(opened.name)
            self._form_value(opened.data)

    def _simple_field(self, element: Any) -> bool:
        """Read a field whose result is left out or stands elsewhere; False for one whose content is the result."""
        words = (element.get(WORD + "instr") or "").split(None, 1)
        return bool(words) and self._page_field(words[0].upper())

    def _page_field(self, name: str) -> bool:
        if self._running and name in PAGE_FIELDS:
            self._add(PAGE)
            return True
        return False

    def _form_value(self, data: Any) -> None:
        """Add the state of an older form's checkbox, or the choice in its list: their fields have no result."""
        box, choices = child(data, "checkBox"), child(data, "ddList")
        if box is not None:
            checked = switch(box, "checked")
            self._add("☒" if (switch(box, "default") if checked is None else checked) else "☐")
        elif choices is not None:
            entries = [entry.get(WORD + "val", "") for entry in choices.iterchildren(WORD + "listEntry")]
            chosen = value(choices, "result")
            position = whole_number(value(choices, "default") if chosen is None else chosen, 0)
            self._add(entries[position] if position < len(entries) else "")


_BREAKS = {WORD + name: text for name, text in (("br", "\n"), ("cr", "\n"), ("tab", "\t"), ("ptab", "\t"))}
_BREAKS |= {WORD + "noBreakHyphen": "-", WORD + "softHyphen": ""}


def _joined(segments: list[tuple[str, str]]) -> str:
    """Join text, with raised and lowered text and the marks of notes apart from what is before them."""
    merged: list[tuple[list[str], str]] = []
    for text, script in segments:
        if merged and merged[-1][1] == script and script not in (_NOTE, _APART):
            merged[-1][0].append(text)
        else:
            merged.append(([text], script))
    parts: list[str] = []
    before = ""
    stands_apart = False
    for pieces, script in merged:
        text = "".join(pieces)
        if script == _NOTE:
            mark = text.strip()
            text = mark if mark.startswith(("[", "(")) else f"[{mark}]"
            text = text if not before or before[-1].isspace() or before[-1] in "([" else f" {text}"
        elif script == _APART:
            text = f" {text}" if before and not before[-1].isspace() else text
        elif script:
            text = scripted_run(text, before, above=script == "^")
        elif stands_apart and text[0].isalnum():
            text = f" {text}"
        stands_apart = script in (_NOTE, _APART) or (bool(script) and is_written_mark(text))
        parts.append(text)
        before = (before + text)[-40:]
    return "".join(parts)


def _alternative(element: Any) -> Any:
    """The first choice of several forms of the same content, or the form for older programs if it alone has text."""
    choices = [part for part in element if part.tag == COMPATIBILITY + "Choice"]
    others = [part for part in element if part.tag == COMPATIBILITY + "Fallback"]
    if choices and (not others or _has_text(choices[0]) or not _has_text(others[0])):
        return choices[0]
    return others[0] if others else ()


_TEXTS = (WORD + "t", DRAWING + "t", MATH + "t", DIAGRAM + "relIds", CHART + "chart")


def _has_text(element: Any) -> bool:
    return next(element.iter(*_TEXTS), None) is not None


def _is_placeholder(control: Any) -> bool:
    """Whether a content control only shows its prompt, such as "Click here to enter text"."""
    return control.tag == WORD + "sdt" and switch(control, "sdtPr", "showingPlcHdr") is True
