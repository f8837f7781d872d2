"""Text → words that can be compared: after NFKC, without soft hyphens and invisible characters, in lower case."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

MAY_JOIN = "\u00ad\n"
"""A gap within a word, written between its parts: a text may hold them as one word or as several."""

_JOINT = "\ue000"
"""What every such gap becomes; a character that is no part of a word."""

_SCRIPTIO_CONTINUA = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Chinese and Japanese characters, each a word of its own."""
_SIGNS = "%‰°±×÷≤≥≠≈∑∫√∞€£¥¢"
_WORD = re.compile(rf"[^\W_{_SCRIPTIO_CONTINUA}]+|[{_SCRIPTIO_CONTINUA}{_SIGNS}]")
_ASCII_WORD = re.compile(r"[A-Za-z0-9]+|%")

_RAISED = re.compile("[\u00b2\u00b3\u00b9\u2070-\u209c\u1d2c-\u1d6a]+")
"""Superscripts and subscripts, which NFKC would make one word with what they follow."""
_INVISIBLE = re.compile("[\u00ad\u200b\u200c\u200d\u2060\ufeff]+")
_LINE_END = re.compile(
    "[-\u2010\u00ad](?<=[^\\W_].)[ \t]*\r?\n[ \t]*(?=[^\\W_])|[\ufffe\x02](?<=[^\\W_].)\\s*(?=[^\\W_])"
)
"""A hyphen at the end of a line; pdfium writes the second kind, without the end of the line."""
_CHAIN = re.compile(rf"[^\W_]+(?:{_JOINT}[^\W_]+)+")


def levelled(text: str) -> str:
    """Level what writes the same word in several ways, but for letters' case."""
    if not text.isascii():
        text = _RAISED.sub(r" \g<0> ", text)
    if "\n" in text or "\ufffe" in text or "\x02" in text:
        text = _LINE_END.sub(_JOINT, text)
    if text.isascii():
        return text
    return unicodedata.normalize("NFKC", _INVISIBLE.sub("", text))


class Words(NamedTuple):
    """Words of a text in their order."""

    text: str
    """The levelled text."""
    keys: list[str]
    """Each word in lower case."""

    def spans(self) -> list[tuple[int, int]]:
        """Start and end of each word in the levelled text."""
        return [match.span() for match in _pattern(self.text).finditer(self.text)]


def words_of(text: str) -> Words:
    """Find the words of a text."""
    text = levelled(text)
    found = _pattern(text).findall(text)
    # At once: not word by word, and not before the search, since lower case may need marks that end a word.
    keys = "\n".join(found).casefold().split("\n") if found else []
    return Words(text, keys)


def chains(text: str) -> Iterator[list[str]]:
    """The parts of each word of a levelled text that has gaps which may be closed, in lower case."""
    if _JOINT in text:
        for match in _CHAIN.finditer(text):
            yield match[0].casefold().split(_JOINT)


def _pattern(text: str) -> re.Pattern[str]:
    return _ASCII_WORD if text.isascii() else _WORD
