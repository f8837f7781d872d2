"""Styles of OpenDocument: what is hidden, raised, bold, and how lists and headings are numbered."""

from __future__ import annotations

from typing import Any, NamedTuple

from rag_ft.indexing.formats.office.code_styles import is_code_style
from rag_ft.indexing.formats.opendocument.container import FO, STYLE, TEXT
from rag_ft.indexing.formats.word.names import whole_number
from rag_ft.indexing.formats.word.numbering import written_number

LEVELS = 10
_DEEPEST = 20
_FORMS = {"1": "decimal", "a": "lowerLetter", "A": "upperLetter", "i": "lowerRoman", "I": "upperRoman"}


class TextStyle(NamedTuple):
    """How text is shown."""

    hidden: bool = False
    script: str = ""
    """`^` for raised, `_` for lowered text."""
    bold: bool = False


class ListLevel(NamedTuple):
    """How one level of a list is numbered."""

    form: str = ""
    """Word's name of a form of numbers; empty where nothing is shown."""
    prefix: str = ""
    suffix: str = ""
    start: int = 1
    shown: int = 1
    """Levels whose numbers are shown."""
    bullet: bool = False


class Styles:
    """The styles of a document by name."""

    def __init__(self, *roots: Any) -> None:
        self._styles: dict[tuple[str, str], Any] = {}
        self._text: dict[tuple[str, str], TextStyle] = {}
        self._lists: dict[str, dict[int, ListLevel]] = {}
        self.outline: dict[int, ListLevel] = {}
        """How headings are numbered, by level."""
        for root in roots:
            for group in () if root is None else root:
                self.add(group)

    def add(self, group: Any) -> None:
        """Add a group of styles."""
        for node in group:
            if node.tag == STYLE + "style":
                self._styles[node.get(STYLE + "family", ""), node.get(STYLE + "name", "")] = node
            elif node.tag == TEXT + "list-style":
                self._lists[node.get(STYLE + "name", "")] = _levels(node)
            elif node.tag == TEXT + "outline-style":
                self.outline = _levels(node)

    def text(self, family: str, name: str | None) -> TextStyle:
        """How text of a style is shown, with what the style inherits."""
        key = (family, name or "")
        if key not in self._text:
            hidden = bold = None
            script = ""
            for node in self._chain(*key):
                for part in node.iterchildren(STYLE + "text-properties"):
                    display, weight = part.get(TEXT + "display"), part.get(FO + "font-weight")
                    hidden = display == "none" if hidden is None and display else hidden
                    bold = weight not in ("normal", "100", "200", "300", "400") if bold is None and weight else bold
                    script = script or _script(part.get(STYLE + "text-position") or "")
            self._text[key] = TextStyle(bool(hidden), script, bool(bold))
        return self._text[key]

    def property(self, family: str, name: str | None, attribute: str) -> str | None:
        """A property of a style or of one that it inherits from; None where none says it."""
        for node in self._chain(family, name or ""):
            for part in (node, *node):
                if part.get(attribute) is not None:
                    return str(part.get(attribute))
        return None

    def is_code(self, name: str | None) -> bool:
        """Whether a paragraph of this style is a line of code, by the names of the style and those it is based on."""
        return any(
            is_code_style(part.get(STYLE + "display-name") or part.get(STYLE + "name", "").replace("_20_", " "))
            for part in self._chain("paragraph", name or "")
        )

    def list_levels(self, name: str) -> dict[int, ListLevel]:
        """The levels of a list style, counted from 1."""
        return self._lists.get(name, {})

    def _chain(self, family: str, name: str) -> list[Any]:
        chain: list[Any] = []
        node = self._styles.get((family, name))
        while node is not None and len(chain) < _DEEPEST:
            chain.append(node)
            node = self._styles.get((family, node.get(STYLE + "parent-style-name", "")))
        return chain


def _script(position: str) -> str:
    first = position.partition(" ")[0]
    if first in ("super", "sub"):
        return "^" if first == "super" else "_"
    number = first.rstrip("%")
    if not number.lstrip("-").strip("0."):
        return ""
    return "_" if number.startswith("-") else "^"


def _levels(style: Any) -> dict[int, ListLevel]:
    levels: dict[int, ListLevel] = {}
    for node in style:
        level = whole_number(node.get(TEXT + "level"), 0)
        if not 1 <= level <= LEVELS:
            continue
        form = node.get(STYLE + "num-format") or ""
        levels[level] = ListLevel(
            _FORMS.get(form, "decimal") if form else "",
            node.get(STYLE + "num-prefix") or "",
            node.get(STYLE + "num-suffix") or "",
            whole_number(node.get(TEXT + "start-value"), 1),
            max(whole_number(node.get(TEXT + "display-levels"), 1), 1),
            "bullet" in str(node.tag) or "image" in str(node.tag),
        )
    return levels


class Counter:
    """Numbers reached at each level of a list."""

    def __init__(self, levels: dict[int, ListLevel]) -> None:
        self._levels = levels
        self._reached: list[int | None] = [None] * (LEVELS + 1)

    def next(self, level: int, start: int | None = None) -> str:
        """Count an item and write its number, or `-`; empty if the list shows nothing."""
        level = min(max(level, 1), LEVELS)
        # Some programs define a nested list's first level only.
        defined = max((depth for depth in self._levels if depth <= level), default=0)
        how = self._levels.get(defined, ListLevel())
        before = self._reached[level]
        self._reached[level] = start if start is not None else how.start if before is None else before + 1
        self._reached[level + 1 :] = [None] * (LEVELS - level)
        if how.bullet:
            return "-"
        if not how.form:
            return ""
        numbers = []
        for depth in range(max(level - how.shown + 1, 1), level + 1):
            part = self._levels.get(depth, ListLevel("decimal"))
            reached = self._reached[depth]
            if part.form:
                numbers.append(written_number(part.start if reached is None else reached, part.form))
        return " ".join(f"{how.prefix}{'.'.join(numbers)}{how.suffix}".split())
