"""MathML → one line: `a^2+b^2=c^2`, `(a+b)/c`, `√(x)`."""

from __future__ import annotations

from typing import Any

_ANNOTATIONS = frozenset({"annotation", "annotation-xml"})
_DEEPEST = 60
"""Deeper formulas are read as the text of their parts."""


def linear(math: Any) -> str:
    """Write a formula in one line; if it has no parts to read, its annotation or alternative text."""
    text = _linear(math, 0).strip()
    if text:
        return " ".join(text.split())
    note = math.css_first("annotation")
    text = note.text() if note is not None else math.attributes.get("alttext") or ""
    return " ".join(text.split())


def _linear(node: Any, depth: int) -> str:
    tag = node.tag
    if tag == "-text":
        return " ".join(node.text().split())
    if tag in _ANNOTATIONS or tag == "-comment":
        return ""
    if depth > _DEEPEST:
        return " ".join(node.text().split())
    children = [child for child in node.iter(include_text=True) if child.tag != "-text" or child.text().strip()]
    if tag == "mtext":
        return f" {node.text().strip()} "
    if tag == "mspace":
        return " "
    parts = [_linear(child, depth + 1) for child in children]
    match tag, len(parts):
        case "mi", _:
            name = "".join(parts)
            return f" {name} " if len(name) > 1 else name
        case "msup", 2:
            return f"{_base(parts[0])}^{_group(parts[1])}"
        case "msub", 2:
            return f"{_base(parts[0])}_{_group(parts[1])}"
        case "msubsup" | "munderover", 3:
            return f"{_base(parts[0])}_{_group(parts[1])}^{_group(parts[2])} "
        case "munder", 2:
            return f"{parts[0].rstrip()}_{_group(parts[1])} "
        case "mover", 2:
            return f"{parts[0].rstrip()}^{_group(parts[1])} "
        case "mfrac", 2:
            return f"{_group(parts[0])}/{_group(parts[1])}"
        case "msqrt", _:
            return f"√{_group(''.join(parts))}"
        case "mroot", 2:
            return f"root_{_group(parts[1])}({parts[0].strip()})"
        case "mfenced", _:
            return f"({', '.join(part.strip() for part in parts)})"
        case "mtr" | "mlabeledtr", _:
            return "[" + ", ".join(part.strip() for part in parts) + "]"
        case _:
            return "".join(parts)


def _base(text: str) -> str:
    return text.rstrip()


def _group(text: str) -> str:
    text = text.strip()
    return text if len(text) == 1 or text.replace(".", "").isalnum() else f"({text})"
