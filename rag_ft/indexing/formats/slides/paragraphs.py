"""The paragraphs of a shape: their text, and the bullets and numbers before them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from rag_ft.indexing.formats.scripts import scripted_run
from rag_ft.indexing.formats.slides.shapes import SLIDE, TITLES, Layout, Shape
from rag_ft.indexing.formats.word.equations import linear
from rag_ft.indexing.formats.word.names import COMPATIBILITY, DRAWING, MATH, whole_number
from rag_ft.indexing.formats.word.numbering import written_number
from rag_ft.indexing.formats.word.symbols import without_private

_LEVELS = 9
_FORMS = {"arabic": "decimal", "alphaLc": "lowerLetter", "alphaUc": "upperLetter", "romanLc": "lowerRoman"}
_FORMS |= {"romanUc": "upperRoman", "circleNum": "decimalEnclosedCircle"}
_AROUND = {"Period": "{}.", "ParenR": "{})", "ParenBoth": "({})", "Plain": "{}", "Minus": "- {} -"}


class Paragraph(NamedTuple):
    """A paragraph's text, and what stands before it."""

    text: str
    marker: str = ""
    """A number or `-` with a space behind it; empty for a paragraph that is no item of a list."""
    bold: bool = False


def paragraphs(shape: Shape, layout: Layout) -> Iterator[Paragraph]:
    """The paragraphs of a shape that have text."""
    body = next((part for part in shape.element if str(part.tag).endswith("}txBody")), None)
    if body is not None:
        yield from body_paragraphs(body, _Styles(shape, layout, body))


def body_paragraphs(body: Any, styles: _Styles | None = None) -> Iterator[Paragraph]:
    """The paragraphs of a text body, such as that of a table's cell."""
    reached: list[int | None] = [None] * _LEVELS
    for paragraph in body.iterchildren(DRAWING + "p"):
        text, bold = _text(paragraph)
        properties = next(paragraph.iterchildren(DRAWING + "pPr"), None)
        level = 0 if properties is None else min(whole_number(properties.get("lvl"), 0), _LEVELS - 1)
        bullet = None if styles is None else styles.bullet(properties, level)
        if not text:
            continue
        marker = ""
        if bullet is not None and bullet.tag == DRAWING + "buAutoNum":
            start = whole_number(bullet.get("startAt"), 1)
            before = reached[level]
            reached[level] = start if before is None else before + 1
            marker = f"{_numbered(reached[level] or start, bullet.get('type') or '')} "
        else:
            reached[level] = None
            if bullet is not None and bullet.tag != DRAWING + "buNone":
                marker = "- "
        reached[level + 1 :] = [None] * (_LEVELS - level - 1)
        yield Paragraph(text, marker, bold)


class _Styles:
    """Where the bullets of a shape's paragraphs are said: in the shape, its layout, or the master."""

    def __init__(self, shape: Shape, layout: Layout, body: Any) -> None:
        models = [model.element for model in layout.models(shape)]
        bodies = [body, *(part for model in models for part in model if str(part.tag).endswith("}txBody"))]
        self._lists = [style for part in bodies for style in part.iterchildren(DRAWING + "lstStyle")]
        if shape.kind and layout.text_styles is not None:
            name = "titleStyle" if shape.kind in TITLES else "bodyStyle"
            self._lists += layout.text_styles.iterchildren(SLIDE + name)

    def bullet(self, properties: Any, level: int) -> Any:
        """The element that says which bullet a paragraph has; None if nothing does."""
        levels = (next(style.iterchildren(f"{DRAWING}lvl{level + 1}pPr"), None) for style in self._lists)
        for holder in (properties, *levels):
            for part in () if holder is None else holder:
                if part.tag in _BULLETS:
                    return part
        return None


_BULLETS = frozenset(DRAWING + name for name in ("buNone", "buChar", "buAutoNum", "buBlip"))


def _numbered(number: int, kind: str) -> str:
    form = next((_FORMS[name] for name in _FORMS if kind.startswith(name)), "decimal")
    around = next((_AROUND[name] for name in _AROUND if kind.endswith(name)), "{}.")
    return around.format(written_number(number, form))


def _text(paragraph: Any) -> tuple[str, bool]:
    """The text of a paragraph on one line, and whether all of it is bold."""
    parts: list[str] = []
    bold: list[bool] = []
    before = ""
    stack = list(reversed(paragraph))
    while stack:
        node = stack.pop()
        text = ""
        if node.tag in (DRAWING + "r", DRAWING + "fld"):
            if node.tag == DRAWING + "fld" and (node.get("type") or "").startswith(("slidenum", "datetime")):
                continue
            text = "".join(part.text or "" for part in node.iterchildren(DRAWING + "t")).replace("\u00ad", "")
            properties = next(node.iterchildren(DRAWING + "rPr"), None)
            if properties is not None:
                text = _styled(text, properties, before)
            if text.strip():
                bold.append(properties is not None and properties.get("b") in ("1", "true"))
        elif node.tag == DRAWING + "br":
            text = " "
        elif node.tag in (MATH + "oMath", MATH + "oMathPara"):
            text = f" {linear(node)} "
        elif node.tag == COMPATIBILITY + "AlternateContent":
            stack.extend(reversed(next(node.iterchildren(COMPATIBILITY + "Choice"), ())))
        elif isinstance(node.tag, str) and node.tag.endswith("}m"):
            stack.extend(reversed(node))
        parts.append(text)
        before = (before + text)[-40:]
    return " ".join("".join(parts).split()), bool(bold) and all(bold)


def _styled(text: str, properties: Any, before: str) -> str:
    """Text with characters of symbol fonts as what they show, raised and lowered text apart."""
    symbols = next(properties.iterchildren(DRAWING + "sym"), None)
    text = without_private(text, "" if symbols is None else symbols.get("typeface") or "")
    baseline = properties.get("baseline") or "0"
    if baseline.rstrip("%").lstrip("-").strip("0."):
        return scripted_run(text, before, above=not baseline.startswith("-"))
    return text
