"""Styles of a Word document: what a paragraph or run inherits from them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from rag_ft.indexing.formats.office.code_styles import is_code_style
from rag_ft.indexing.formats.word.names import WORD, child, switch, value, whole_number

_HEADING_NAMES = (
    "heading|überschrift|titre|título|titolo|kop|rubrik|overskrift|nagłówek|заголовок|标题|標題|見出し|제목|nadpis"
    "|otsikko|başlık|címsor|titlu|encabezado|cabeçalho|intestazione|επικεφαλίδα|כותרת|عنوان|pealkiri|antraštė|naslov"
)
_HEADING = re.compile(rf"(?:{_HEADING_NAMES})\s*([1-9])", re.IGNORECASE)
_TITLE = re.compile(
    r"title|titel|titre|título|titolo|tittel|tytuł|название|标题|標題|表題|제목|název|otsikko", re.IGNORECASE
)
_NOTE_MARK = re.compile(r"(?:footnote|endnote) (?:reference|anchor|characters|symbol)", re.IGNORECASE)


@dataclass(frozen=True)
class RunStyle:
    """What text of a style has in common."""

    hidden: bool = False
    script: str = ""
    """`^` or `_` for superscript and subscript."""
    font: str = ""
    bold: bool = False
    note_mark: bool = False
    """Whether the style is for the marks of notes."""


PLAIN = RunStyle()


@dataclass(frozen=True)
class ParagraphStyle:
    """What paragraphs of a style have in common."""

    name: str = ""
    level: int = 0
    """Level of a heading, 0 for others."""
    number_id: str | None = None
    """Id of the list that the style numbers in."""
    list_level: int | None = None
    style_ids: tuple[str, ...] = ()
    """The style and those that it is based on."""
    run: RunStyle = PLAIN
    code: bool = False
    """Whether its name says that its paragraphs are lines of code."""
    listed: str = ""
    """Kind of list by the name of a built-in style: "bullet", "number", "continued" or none."""


class Styles:
    """Styles of a document by id."""

    def __init__(self, root: Any) -> None:
        self._elements: dict[str, Any] = {}
        self._default = ""
        self._paragraphs: dict[str, ParagraphStyle] = {}
        self._runs: dict[str, RunStyle] = {}
        self._headed: dict[str, bool] = {}
        for style in () if root is None else root.iterchildren(WORD + "style"):
            style_id = style.get(WORD + "styleId", "")
            self._elements.setdefault(style_id, style)
            if style.get(WORD + "type") == "paragraph" and style.get(WORD + "default") in ("1", "true", "on"):
                self._default = style_id

    def paragraph(self, properties: Any) -> ParagraphStyle:
        """The style of a paragraph by its properties (`w:pPr`), with the heading level and list that these set."""
        style_id = value(properties, "pStyle") or ""
        element = self._elements.get(style_id)
        if element is None or element.get(WORD + "type") != "paragraph":
            style_id = self._default
        if style_id not in self._paragraphs:
            self._paragraphs[style_id] = self._paragraph_style(style_id)
        style = self._paragraphs[style_id]
        outline = value(properties, "outlineLvl")
        if outline is not None:
            style = replace(style, level=_level(outline))
        numbering = child(properties, "numPr")
        if numbering is not None:
            number_id, list_level = value(numbering, "numId"), value(numbering, "ilvl")
            style = replace(
                style,
                number_id=style.number_id if number_id is None else number_id,
                list_level=style.list_level if list_level is None else whole_number(list_level, 0),
            )
        return style

    def run(self, properties: Any, paragraph: RunStyle) -> RunStyle:
        """What a run has by its properties (`w:rPr`), its style and its paragraph's."""
        if properties is None or not len(properties):
            return paragraph
        style_id = value(properties, "rStyle") or ""
        if style_id not in self._runs:
            self._runs[style_id] = self._run_style(style_id)
        style = self._runs[style_id]
        both = RunStyle(
            hidden=style.hidden != paragraph.hidden,  # on in both is off: so Word reads such properties
            script=style.script or paragraph.script,
            font=style.font or paragraph.font,
            bold=style.bold != paragraph.bold,
            note_mark=style.note_mark,
        )
        return _with_run_properties(both, properties)

    def table_heads(self, table: Any) -> bool | None:
        """Whether a table's style sets its first row apart; False if the table wants none, None if nothing says so."""
        look = child(table, "tblPr", "tblLook")
        if look is None:
            return None
        first = look.get(WORD + "firstRow")
        if first is None:
            mask = look.get(WORD + "val") or "0"
            first = "1" if re.fullmatch("[0-9A-Fa-f]{4}", mask) and int(mask, 16) & 0x20 else "0"
        if first not in ("1", "true", "on"):
            return False
        return self._heads(value(table, "tblPr", "tblStyle") or "") or None

    def _heads(self, style_id: str) -> bool:
        if style_id not in self._headed:
            self._headed[style_id] = any(
                part.get(WORD + "type") == "firstRow" and len(part)
                for style in self._chain(style_id)
                for part in style.iterchildren(WORD + "tblStylePr")
            )
        return self._headed[style_id]

    def _chain(self, style_id: str) -> list[Any]:
        """A style and those it is based on; one that is based on itself ends there."""
        chain: list[Any] = []
        seen: set[str] = set()
        while style_id in self._elements and style_id not in seen and len(chain) < 30:
            seen.add(style_id)
            chain.append(self._elements[style_id])
            style_id = value(chain[-1], "basedOn") or ""
        return chain

    def _paragraph_style(self, style_id: str) -> ParagraphStyle:
        chain = self._chain(style_id)
        names = [value(style, "name") or "" for style in chain]
        outline = next((text for style in chain if (text := value(style, "pPr", "outlineLvl")) is not None), None)
        level = next((level for name in names if (level := _level_by_name(name))), 0)
        listed = next((kind for name in names if (kind := _list_by_name(name))), "")
        return ParagraphStyle(
            name=names[0] if names else "",
            level=level if outline is None else _level(outline),
            number_id=next((text for style in chain if (text := value(style, "pPr", "numPr", "numId"))), None),
            list_level=next(
                (whole_number(text, 0) for style in chain if (text := value(style, "pPr", "numPr", "ilvl"))), None
            ),
            style_ids=tuple(style.get(WORD + "styleId", "") for style in chain),
            run=self._run_style(style_id),
            code=any(map(is_code_style, names)),
            listed=listed,
        )

    def _run_style(self, style_id: str) -> RunStyle:
        style = PLAIN
        for element in reversed(self._chain(style_id)):
            style = _with_run_properties(style, child(element, "rPr"))
            if _NOTE_MARK.match(value(element, "name") or ""):
                style = replace(style, note_mark=True)
        return style


def _with_run_properties(style: RunStyle, properties: Any) -> RunStyle:
    if properties is None:
        return style
    hidden, bold = switch(properties, "vanish"), switch(properties, "b")
    script, font = value(properties, "vertAlign"), child(properties, "rFonts")
    if script is not None:
        style = replace(style, script={"superscript": "^", "subscript": "_"}.get(script, ""))
    elif (raised := value(properties, "position")) is not None:
        height = whole_number(raised.lstrip("-+"), 0)
        style = replace(style, script="" if height < 2 else "_" if raised.startswith("-") else "^")
    if hidden is not None:
        style = replace(style, hidden=hidden)
    if bold is not None:
        style = replace(style, bold=bold)
    if font is not None:
        style = replace(style, font=font.get(WORD + "ascii") or font.get(WORD + "hAnsi") or style.font)
    return style


def _level(outline: str) -> int:
    level = whole_number(outline, 9)
    return level + 1 if level < 9 else 0


def _level_by_name(name: str) -> int:
    heading = _HEADING.fullmatch(name.strip())
    return int(heading[1]) if heading else 1 if _TITLE.fullmatch(name.strip()) else 0


def _list_by_name(name: str) -> str:
    for start, kind in (("list number", "number"), ("list bullet", "bullet"), ("list", "continued")):
        if name.casefold().startswith(start):
            return kind
    return ""
