"""The parts of an XLSX that its sheets refer to: texts, formats, merged cells, comments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any, NamedTuple

from rag_ft.indexing.formats.office.package import OfficePackage
from rag_ft.indexing.formats.scripts import scripted_run
from rag_ft.indexing.formats.sheets.number_format import BUILT_IN
from rag_ft.indexing.formats.sheets.tables import one_line
from rag_ft.indexing.formats.word.names import CHART, DRAWING

_PIECE = 1_000_000
_TAIL_BYTES = 30_000_000
"""Of what follows a sheet's rows, so many bytes are looked at."""

_MERGED = re.compile(rb"<(?:\w+:)?mergeCell\s[^>]*?ref=[\"']([A-Z]+)(\d+):([A-Z]+)(\d+)[\"']")
_FILTERED = re.compile(rb"<(?:\w+:)?filterColumn\b")
_ROWS_END = re.compile(rb"</(?:\w+:)?sheetData\s*>|<(?:\w+:)?sheetData\s*/>")
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
_CELL = re.compile(r"([A-Z]{1,3})(\d{1,7})")


class Style(NamedTuple):
    """How a cell is shown."""

    code: str = "General"
    bold: bool = False


class Merged(NamedTuple):
    """Cells that are shown as one."""

    column: int
    row: int
    last_column: int
    last_row: int


@dataclass
class SheetExtras:
    """What stands behind or beside the rows of a sheet."""

    merged: list[Merged] = field(default_factory=list)
    """In order of their first rows."""
    filtered: bool = False
    """Whether rows are hidden by a filter."""
    header_rows: set[int] = field(default_factory=set)
    comments: dict[int, list[tuple[int, str]]] = field(default_factory=dict)
    """By row: column and text."""


def local_name(element: Any) -> str:
    """An element's name without its namespace."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def elements(stream: IO[bytes], *names: str) -> Iterator[Any]:
    """The elements of these names, each forgotten once the next is asked for. Raises what the parser does."""
    from lxml import etree

    parsed = etree.iterparse(
        stream, tag=[f"{{*}}{name}" for name in names], resolve_entities=False, no_network=True, huge_tree=False
    )
    for _, element in parsed:
        yield element
        element.clear()
        parent = element.getparent()
        while parent is not None and element.getprevious() is not None:
            del parent[0]


def column_number(letters: str) -> int:
    """The number of a column, counted from 1, by its letters."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number


def place_of(reference: str) -> tuple[int, int] | None:
    """Row and column of a reference such as "C12"; None for anything else."""
    match = _CELL.fullmatch(reference.replace("$", ""))
    return (int(match[2]), column_number(match[1])) if match else None


def text_of(element: Any) -> str:
    """The text of a cell or shared text, without the pronunciation beside it."""
    if len(element) == 1 and not len(element[0]):
        text = element[0].text or "" if local_name(element[0]) == "t" else ""
    else:
        parts = []
        for node in element.iter():
            if local_name(node) == "t" and local_name(node.getparent()) != "rPh":
                parts.append(_raised(node))
        text = "".join(parts)
    if "_x" in text:
        text = _ESCAPED.sub(_unescaped, text)
    return one_line(text)


def _raised(node: Any) -> str:
    """The text of a run; one that is raised or lowered stands apart from the number before it."""
    run = node.getparent()
    text = node.text or ""
    align = next((part.get("val") for part in run.iter() if local_name(part) == "vertAlign"), None)
    before = run.getprevious()
    if align not in ("superscript", "subscript") or before is None:
        return text
    last = next((part.text or "" for part in before if local_name(part) == "t"), "")
    return scripted_run(text, last, above=align == "superscript")


def _unescaped(match: re.Match[str]) -> str:
    code = int(match[1], 16)
    return " " if code < 32 else "" if 0xD800 <= code < 0xE000 else chr(code)


def shared_texts(package: OfficePackage) -> list[str]:
    """The texts that cells refer to by number."""
    name = package.related_name("sharedStrings")
    if not name:
        return []
    texts: list[str] = []
    try:
        with package.stream(name) as stream:
            texts.extend(map(text_of, elements(stream, "si")))
    except (MemoryError, RecursionError):
        raise
    except Exception:  # the container and the parser raise anything on a damaged part
        package.unread.append(name)
    return texts


def styles_of(package: OfficePackage) -> list[Style]:
    """The styles that cells refer to by number."""
    root = package.related("styles")
    if root is None:
        return []
    groups = {local_name(group): group for group in root}
    codes = dict(BUILT_IN)
    for node in groups.get("numFmts", ()):
        if (node.get("numFmtId") or "").isdigit():
            codes[int(node.get("numFmtId")[:9])] = node.get("formatCode") or "General"
    bold = [
        any(local_name(part) == "b" and part.get("val") not in ("0", "false") for part in font)
        for font in groups.get("fonts", ())
    ]
    styles = []
    for node in groups.get("cellXfs", ()):
        code, font = node.get("numFmtId") or "0", node.get("fontId") or "0"
        in_bold = font.isdigit() and int(font[:9]) < len(bold) and bold[int(font[:9])]
        styles.append(Style(codes.get(int(code[:9]), "General") if code.isdigit() else "General", in_bold))
    return styles


def extras_of(package: OfficePackage, name: str) -> SheetExtras:
    """What stands behind the rows of a sheet, and in the parts beside it."""
    extras = SheetExtras()
    tail = _tail(package, name)
    for match in _MERGED.finditer(tail):
        column, row, last_column, last_row = (part.decode() for part in match.groups())
        if max(len(row), len(last_row)) < 8 and max(len(column), len(last_column)) < 4:
            merged = Merged(column_number(column), int(row), column_number(last_column), int(last_row))
            if merged.column <= merged.last_column and merged.row <= merged.last_row:
                extras.merged.append(merged)
    extras.merged.sort(key=lambda merged: (merged.row, merged.column))
    extras.filtered = _FILTERED.search(tail) is not None
    for part in package.related_names("table", name):
        root = package.part(part)
        first = None if root is None else place_of((root.get("ref") or "").partition(":")[0])
        if first is not None:
            if root.get("headerRowCount") != "0":
                extras.header_rows.add(first[0])
            extras.filtered |= any(local_name(node) == "filterColumn" for node in root.iter())
    _add_comments(package, name, extras)
    return extras


def _tail(package: OfficePackage, name: str) -> bytes:
    """The bytes of a sheet behind its rows."""
    kept = b""
    found = False
    with package.stream(name) as stream:
        while piece := stream.read(_PIECE):
            kept += piece
            if not found:
                end = _ROWS_END.search(kept)
                found = end is not None
                kept = kept[end.end() :] if end else kept[-64:]
            if len(kept) > _TAIL_BYTES:
                break
    return kept if found else b""


def _add_comments(package: OfficePackage, name: str, extras: SheetExtras) -> None:
    """Add comments: newer ones in threads, and older ones of cells without such."""
    people: dict[str, str] = {}
    for part in package.related_names("person", package.main):
        root = package.part(part)
        for node in () if root is None else root:
            people[node.get("id") or ""] = node.get("displayName") or ""
    threaded: set[tuple[int, int]] = set()
    for part in package.related_names("threadedComment", name):
        root = package.part(part)
        for node in () if root is None else root:
            place = place_of(node.get("ref") or "")
            text = one_line(" ".join(child.text or "" for child in node if local_name(child) == "text"))
            if place is not None and text:
                threaded.add(place)
                _add_comment(extras, place, people.get(node.get("personId") or "", ""), text)
    for part in package.related_names("comments", name):
        root = package.part(part)
        authors: list[str] = []
        for node in () if root is None else root.iter():
            if local_name(node) == "author":
                authors.append(one_line(node.text or ""))
            elif local_name(node) == "comment":
                place = place_of(node.get("ref") or "")
                text = one_line(" ".join(text_of(child) for child in node if local_name(child) == "text"))
                author = node.get("authorId") or ""
                by = authors[int(author[:9])] if author.isdigit() and int(author[:9]) < len(authors) else ""
                if place is not None and place not in threaded and text:
                    _add_comment(extras, place, by, text.removeprefix(f"{by}:").strip() or text)


def _add_comment(extras: SheetExtras, place: tuple[int, int], author: str, text: str) -> None:
    by = f"Comment by {author}: " if author else "Comment: "
    extras.comments.setdefault(place[0], []).append((place[1], by + text))


def drawn_texts(package: OfficePackage, name: str) -> Iterator[str]:
    """The texts of shapes on a sheet, what is said about pictures, and the titles of charts."""
    for part in package.related_names("drawing", name):
        root = package.part(part)
        for node in () if root is None else root.iter():
            if node.tag == DRAWING + "p":
                yield one_line("".join(text.text or "" for text in node.iter(DRAWING + "t")))
            elif local_name(node) == "cNvPr" and (described := one_line(node.get("descr") or "")):
                yield f"[Image: {described}]"
        for chart in package.related_names("chart", part):
            root = package.part(chart)
            for title in () if root is None else root.iter(CHART + "title"):
                yield one_line("".join(text.text or "" for text in title.iter(DRAWING + "t")))
