"""Equations of Office documents (OMML) on a line: `a/b`, `x^2`, `sqrt(x)`, `sum_(i=1)^n i`."""

from __future__ import annotations

import re
from typing import Any

from rag_ft.indexing.formats.word.names import MATH, WORD

_NAMES = {
    "∑": "sum",
    "∏": "prod",
    "∫": "int",
    "∬": "iint",
    "∭": "iiint",
    "∮": "oint",
    "⋃": "union",
    "⋂": "intersection",
}
_ACCENTS = {
    "\u0300": "grave",
    "\u0301": "acute",
    "\u0302": "hat",
    "\u0303": "tilde",
    "\u0304": "bar",
    "\u0305": "bar",
    "\u0307": "dot",
    "\u0308": "ddot",
    "\u030c": "check",
    "\u20d7": "vec",
    "\u00af": "bar",
    "\u2192": "vec",
}
_LEFT_OUT = frozenset((WORD + "del", WORD + "moveFrom", WORD + "rPr", MATH + "rPr", MATH + "ctrlPr"))
_NAMED = re.compile(r"[^\W\d_]{3,}[(_^ ]")
"""Functions and signs written as a word, which would run into a letter before them."""
_INVISIBLE = str.maketrans("", "", "\u2061\u2062\u2063\u2064\u200b")


def linear(equation: Any) -> str:
    """Write an equation (`m:oMath`, `m:oMathPara` or a part of one) on one line."""
    return " ".join(_row(equation).translate(_INVISIBLE).split())


def _row(element: Any) -> str:
    parts: list[str] = []
    for part in () if element is None else element:
        tag = part.tag
        if not isinstance(tag, str) or tag in _LEFT_OUT:
            continue
        if tag in (MATH + "t", WORD + "t"):
            text = part.text or ""
        elif tag == WORD + "br" or (tag == MATH + "oMath" and parts):
            text = f" {_row(part)}"
        else:
            write = _WRITERS.get(tag)
            text = _row(part) if write is None else write(part)
        if parts and (parts[-1][-1].isalnum() or parts[-1][-1] == ")") and _NAMED.match(text):
            text = " " + text
        if text:
            parts.append(text)
    return "".join(parts)


def _part(element: Any, name: str) -> str:
    return _row(element.find(MATH + name)).strip()


def _setting(element: Any, kind: str, name: str, default: str) -> str:
    node = element.find(f"{MATH}{kind}/{MATH}{name}")
    if node is None:
        return default
    text: str = node.get(MATH + "val", default)
    return text


def _is_on(element: Any, kind: str, name: str) -> bool:
    node = element.find(f"{MATH}{kind}/{MATH}{name}")
    return node is not None and node.get(MATH + "val", "1") not in ("0", "off", "false")


def _grouped(text: str) -> str:
    """A single number, word or bracketed term as it is, anything longer in brackets."""
    if text.replace(".", "").isalnum() or len(text) == 1 or not text or _is_bracketed(text):
        return text
    return f"({text})"


def _is_bracketed(text: str) -> bool:
    if text[0] != "(" or text[-1] != ")":
        return False
    depth = 0
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return position == len(text) - 1
    return False


def _scripts(below: str, above: str) -> str:
    return (f"_{_grouped(below)}" if below else "") + (f"^{_grouped(above)}" if above else "")


def _fraction(element: Any) -> str:
    top, bottom = _part(element, "num"), _part(element, "den")
    if _setting(element, "fPr", "type", "bar") == "noBar":
        return f"binom({top}, {bottom})"
    return f"{_grouped(top)}/{_grouped(bottom)}"


def _script(element: Any) -> str:
    return _grouped(_part(element, "e")) + _scripts(_part(element, "sub"), _part(element, "sup"))


def _pre_script(element: Any) -> str:
    return _scripts(_part(element, "sub"), _part(element, "sup")) + " " + _grouped(_part(element, "e"))


def _root(element: Any) -> str:
    degree = "" if _is_on(element, "radPr", "degHide") else _part(element, "deg")
    inside = _part(element, "e")
    if not degree or degree == "2":
        return f"sqrt({inside})"
    return f"root({degree}, {inside})"


def _n_ary(element: Any) -> str:
    sign = _setting(element, "naryPr", "chr", "∫")
    below = "" if _is_on(element, "naryPr", "subHide") else _part(element, "sub")
    above = "" if _is_on(element, "naryPr", "supHide") else _part(element, "sup")
    return f"{_NAMES.get(sign, sign)}{_scripts(below, above)} {_part(element, 'e')}"


def _delimited(element: Any) -> str:
    separator = _setting(element, "dPr", "sepChr", "|")
    inside = separator.join(_row(part).strip() for part in element.iterchildren(MATH + "e"))
    inner = element.find(MATH + "e")
    lone = [part.tag for part in inner if part.tag != MATH + "ctrlPr"] if inner is not None else []
    if lone == [MATH + "f"] and inside.startswith("binom("):
        return inside
    return _setting(element, "dPr", "begChr", "(") + inside + _setting(element, "dPr", "endChr", ")")


def _function(element: Any) -> str:
    inside = _part(element, "e")
    name = _part(element, "fName")
    return f"{name}{inside}" if inside and _is_bracketed(inside) else f"{name}({inside})"


def _limit_below(element: Any) -> str:
    return _part(element, "e") + _scripts(_part(element, "lim"), "")


def _limit_above(element: Any) -> str:
    return _part(element, "e") + _scripts("", _part(element, "lim"))


def _rows(element: Any) -> str:
    return "; ".join(_row(part).strip().replace("&", "") for part in element.iterchildren(MATH + "e"))


def _matrix(element: Any) -> str:
    rows = (", ".join(_row(cell).strip() for cell in row) for row in element.iterchildren(MATH + "mr"))
    return "; ".join(rows)


def _accent(element: Any) -> str:
    sign = _setting(element, "accPr", "chr", "\u0302")
    inside = _part(element, "e")
    return f"{_ACCENTS[sign]}({inside})" if sign in _ACCENTS else f"{_grouped(inside)}{sign}"


def _bar(element: Any) -> str:
    return f"bar({_part(element, 'e')})"


def _phantom(element: Any) -> str:
    shown = element.find(f"{MATH}phantPr/{MATH}show")
    return "" if shown is not None and shown.get(MATH + "val", "1") in ("0", "off", "false") else _part(element, "e")


_WRITERS = {
    MATH + "f": _fraction,
    MATH + "sSup": _script,
    MATH + "sSub": _script,
    MATH + "sSubSup": _script,
    MATH + "sPre": _pre_script,
    MATH + "rad": _root,
    MATH + "nary": _n_ary,
    MATH + "d": _delimited,
    MATH + "func": _function,
    MATH + "limLow": _limit_below,
    MATH + "limUpp": _limit_above,
    MATH + "eqArr": _rows,
    MATH + "m": _matrix,
    MATH + "acc": _accent,
    MATH + "bar": _bar,
    MATH + "phant": _phantom,
}
