"""Markers of list items: `4. `, `c. `, `iv. `, `- `."""

from __future__ import annotations

import re
from typing import Any

_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,9}")
_ROMAN = {"m": 1000, "cm": 900, "d": 500, "cd": 400, "c": 100, "xc": 90, "l": 50, "xl": 40, "x": 10, "ix": 9}
_ROMAN |= {"v": 5, "iv": 4, "i": 1}


class ListMarkers:
    """Counts the items of one list as its attributes say."""

    def __init__(self, first: int | None, step: int = 1, style: str = "1") -> None:
        self._number = first
        self._step = step
        self._style = style

    @classmethod
    def of(cls, node: Any) -> ListMarkers:
        """Markers of an element: without numbers unless it is an `<ol>`, with its `start`, `reversed` and `type`."""
        if node.tag != "ol":
            return cls(None)
        attributes = node.attributes
        down = "reversed" in attributes
        first = integer(attributes.get("start"))
        if first is None:
            first = sum(child.tag == "li" for child in node.iter()) if down else 1
        return cls(first, -1 if down else 1, attributes.get("type") or "1")

    def next(self, value: str | None = None) -> str:
        """The next item's marker; `value` is a number that the item itself gives."""
        if self._number is None:
            return "- "
        number = self._number if (stated := integer(value)) is None else stated
        self._number = number + self._step
        return f"{styled(number, self._style)}. "


def integer(value: str | None) -> int | None:
    """An integer as browsers read it from an attribute."""
    match = _INTEGER.match(value or "")
    return int(match[0]) if match else None


def styled(number: int, style: str) -> str:
    """Write a number as a letter (`a`, `A`), a Roman number (`i`, `I`), or digits."""
    if style in ("a", "A") and number > 0:
        letters = ""
        while number > 0:
            number, rest = divmod(number - 1, 26)
            letters = chr(ord("a") + rest) + letters
        return letters.upper() if style == "A" else letters
    if style in ("i", "I") and 0 < number < 4_000:
        roman = ""
        for letters, worth in _ROMAN.items():
            times, number = divmod(number, worth)
            roman += letters * times
        return roman.upper() if style == "I" else roman
    return str(number)
