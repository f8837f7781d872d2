"""Workbooks (XLSX): every cell of every sheet, numbers by the simplest reading of their formats."""

from __future__ import annotations

import datetime
import io
import re
import zipfile
from collections.abc import Iterator
from typing import Any

from rag_ft.indexing.conservation.source import Source

_HIDDEN = "hidden cells"
_OWN_FORMAT = "numbers and dates in formats of their own"
_DATES = {14: "yyyy", 22: "yyyy", 9: "0%", 10: "0.00%", 1: "0", 2: "0.00", 3: "#,##0", 4: "#,##0.00", 49: "@"}
_PLAIN = re.compile(r"[#,]*0?(?:\.0+)?%?")


def xlsx_source(data: bytes) -> Source:
    """Read all sheets of a workbook, and the comments on their cells."""
    source = Source()
    without_value: list[str] = []
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        texts = _texts(archive)
        codes = _codes(archive)
        for name, hidden, part in _sheets(archive):
            label = f"sheet {name}"
            try:
                for place, text, concealed in _cells(archive, part, texts, codes):
                    if text is None:
                        if not hidden and not concealed:
                            without_value.append(f"{name}!{place}")
                        continue
                    words, own = text
                    reason = _HIDDEN if hidden or concealed else _OWN_FORMAT if own else ""
                    source.add(f"{words}\n", part=label, reason=reason, ordered=False)
            except Exception:  # a damaged sheet
                source.unreadable.append(label)
        for part in archive.namelist():
            if re.fullmatch(r"xl/drawings/drawing\d+\.xml", part):
                for node in _all(_root(archive, part), "p"):
                    drawn = "".join(run.text or "" for run in _all(node, "t"))
                    source.add(f"{drawn}\n", part=part, reason="drawings", ordered=False)
    if without_value:
        many = len(without_value) > 1
        source.notes.append(
            f"{len(without_value):,} formula{'s have' if many else ' has'} no saved value, such as {without_value[0]}:"
            " open the file in a spreadsheet program and save it"
        )
    return source


def _root(archive: zipfile.ZipFile, name: str) -> Any:
    from defusedxml import ElementTree

    return ElementTree.fromstring(archive.read(name))


def _name(node: Any) -> str:
    return str(node.tag).rpartition("}")[2]


def _all(node: Any, name: str) -> Iterator[Any]:
    return (child for child in node.iter() if _name(child) == name)


def _attribute(node: Any, name: str) -> str:
    return next((value for key, value in node.items() if key.rpartition("}")[2] == name), "")


def _sheets(archive: zipfile.ZipFile) -> Iterator[tuple[str, bool, str]]:
    """Name of each sheet, whether it is hidden, and its part."""
    targets = {
        _attribute(node, "Id"): _attribute(node, "Target")
        for node in _root(archive, "xl/_rels/workbook.xml.rels")
        if _attribute(node, "Type").endswith("/worksheet")
    }
    for node in _all(_root(archive, "xl/workbook.xml"), "sheet"):
        target = targets.get(next((value for key, value in node.items() if key.endswith("}id")), ""))
        if target:
            part = target.lstrip("/") if target.startswith("/") else f"xl/{target}"
            yield " ".join(_attribute(node, "name").split()), "idden" in _attribute(node, "state"), part


def _texts(archive: zipfile.ZipFile) -> list[str]:
    if "xl/sharedStrings.xml" not in archive.namelist():
        return []
    return [_text(node) for node in _root(archive, "xl/sharedStrings.xml")]


def _text(node: Any) -> str:
    parts = []
    for child in node:
        if _name(child) == "r":
            gap = " " if any(_name(part) == "vertAlign" for part in child.iter()) else ""
            parts.append(gap + _text(child))
        elif _name(child) == "t":
            parts.append(child.text or "")
    return "".join(parts)


def _codes(archive: zipfile.ZipFile) -> list[str]:
    """The number format of each style; "" for none."""
    if "xl/styles.xml" not in archive.namelist():
        return []
    root = _root(archive, "xl/styles.xml")
    given = {_attribute(node, "numFmtId"): _attribute(node, "formatCode") for node in _all(root, "numFmt")}
    styles = next(_all(root, "cellXfs"), ())
    numbers = [_attribute(node, "numFmtId") or "0" for node in styles]
    return [
        given.get(number, _DATES.get(int(number), "" if number == "0" else "?")).replace("General", "")
        for number in numbers
    ]


def _cells(
    archive: zipfile.ZipFile, part: str, texts: list[str], codes: list[str]
) -> Iterator[tuple[str, tuple[str, bool] | None, bool]]:
    """Each cell: its place, its words and whether they are in a format of its own, and whether it is hidden.

    Without words, it is a formula that was saved without a value.
    """
    from defusedxml import ElementTree

    tail = archive.read(part)[-1_000_000:]
    filtered = b"filterColumn" in tail
    columns: set[int] = set()
    with archive.open(part) as stream:
        for _, node in ElementTree.iterparse(stream):
            if _name(node) == "col" and _attribute(node, "hidden") in ("1", "true"):
                if _attribute(node, "outlineLevel") in ("", "0"):
                    columns.update(range(int(_attribute(node, "min")), min(int(_attribute(node, "max")), 17_000) + 1))
            elif _name(node) == "row":
                gone = _attribute(node, "hidden") in ("1", "true") and _attribute(node, "outlineLevel") in ("", "0")
                column = 0
                for cell in node:
                    place = _attribute(cell, "r")
                    column = _column(place) or column + 1
                    hidden = (gone and not filtered) or column in columns
                    for words in _words(cell, texts, codes):
                        yield place, words, hidden
                node.clear()


def _column(place: str) -> int:
    number = 0
    for letter in place.rstrip("0123456789"):
        number = number * 26 + ord(letter) - 64
    return number


def _words(cell: Any, texts: list[str], codes: list[str]) -> Iterator[tuple[str, bool] | None]:
    kind = _attribute(cell, "t") or "n"
    parts = {_name(node): node for node in cell}
    value = parts["v"].text if "v" in parts else None
    if "is" in parts:
        yield _text(parts["is"]), False
    elif value is None:
        if "f" in parts and kind != "str":
            yield None
    elif kind == "s":
        yield texts[int(value)], False
    elif kind == "b":
        yield ("TRUE" if value == "1" else "FALSE"), False
    elif kind != "n":
        yield value.removesuffix("T00:00:00").replace("T", " "), False
    else:
        style = int(_attribute(cell, "s") or 0)
        yield _number(value, codes[style] if style < len(codes) else "")


def _number(value: str, code: str) -> tuple[str, bool]:
    """The words of a number, and whether its format is too special to know them."""
    if code in ("", "@"):
        number = float(value)
        return (str(int(number)) if number == int(number) and abs(number) < 1e15 else f"{number:.15g}"), False
    plain = re.sub(r'"[^"]*"|\[[^\]]*\]|\\.|_.|[€$£¥ ]', "", code.partition(";")[0])
    if re.search("[yd]", plain, re.IGNORECASE):
        if "yyyy" not in plain.lower():
            return value, True
        return str((datetime.date(1899, 12, 30) + datetime.timedelta(days=float(value))).year), False
    if not _PLAIN.fullmatch(plain) or not plain:
        return value, True
    number = float(value) * (100 if "%" in plain else 1)
    if abs(number) >= 1e12 or number < 0:
        return value, True
    decimals = len(plain.partition(".")[2].rstrip("%"))
    rounded = f"{number + 1e-9:{',' if ',' in plain else ''}.{decimals}f}"
    return rounded + ("%" if "%" in plain else ""), False
