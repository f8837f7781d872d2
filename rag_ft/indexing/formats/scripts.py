"""Superscripts and subscripts in running text: exponents, indices, ordinals, and marks of notes."""

from __future__ import annotations

import re

_SUPERSCRIPT = str.maketrans("0123456789+-−=()n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿ")
_SUBSCRIPT = str.maketrans("0123456789+-−=()", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎")
_IN_SUPERSCRIPT = frozenset("0123456789+-−=()n")
_IN_SUBSCRIPT = frozenset("0123456789+-−=()")

_ORDINAL = re.compile(
    r"(?:st|nd|rd|th|er|re|[eè]re|e|[eè]me|nde?|os?|as?|°|º|ª|tm|sm|me|mes|lle|lles|r|ra|sr|sra|c|\u2122|®|©)\Z", re.I
)
_MARK = re.compile(r"\[[^\[\]]{1,20}\]\Z|\([a-z0-9]{1,3}\)\Z|[*†‡§¶‖#]{1,4}\Z", re.I)
_NUMBERS = re.compile(r"\d{1,3}(?:\s*[,;–-]\s*\d{1,3})*\Z")
_LAST = re.compile(r"[^\W\d_]+\Z|\d[\d.,]*\Z|\([^()]*\)\Z")
_YEAR = re.compile(r"1\d{3}\Z|20\d{2}\Z")
_GROUPED = re.compile(r"\d{1,3}(?:[.,]\d{3})+\Z")
_UNITS = frozenset(
    "m km cm mm dm nm µm μm ft in yd mi sec min hr mol kg mg cd rad cos sin tan cot log ln exp sinh cosh tanh".split()
)
_SIGNS = {"tm": "™", "sm": "℠"}
_UNCHANGED = frozenset("°®™℠©'\"′″.,;:⁰¹²³⁴⁵⁶⁷⁸⁹")
"""Signs that are raised by themselves, or that raising does not change."""
_LONGEST = 24
"""Characters of the longest superscript; longer text is only small print."""


def scripted(content: str, before: str, *, above: bool, reference: bool = False, fraction: bool = False) -> str:
    """Write a superscript (`above`) or subscript so that it is not glued to the text before it.

    After a number an exponent is `^6` (also Unicode normalisation leaves it), else `²` or `^x`; an index is `₂` or
    `_max`; an ordinal stays as it is (`4th`); the mark of a note stands apart in brackets. Which it is, the link in
    it says (`reference`), else the text before it.
    """
    if above and content.casefold() in _SIGNS and before[-1:].strip():
        return _SIGNS[content.casefold()]
    if set(content) <= _UNCHANGED and not reference:
        return content
    if fraction:  # 1<sup>1</sup>/<sub>2</sub>
        return f" {content}" if above and before[-1:].isdigit() else content
    if reference or (above and is_mark(content, before)):
        mark = f"[{content}]" if content[0].isalnum() else content
        return mark if not before or before[-1].isspace() or before[-1] in "([" else f" {mark}"
    if len(content) > _LONGEST:
        return content if not before or before[-1].isspace() else f" {content}"
    if above and before[-1:].isalnum() and _ORDINAL.match(content) and (before[-1].isdigit() or len(content) > 1):
        return content
    after_digit = before[-1:].isdigit()
    if not after_digit and set(content) <= (_IN_SUPERSCRIPT if above else _IN_SUBSCRIPT):
        return content.translate(_SUPERSCRIPT if above else _SUBSCRIPT)
    sign = "^" if above else "_"
    simple = re.fullmatch(r"[+\-−]?[\w.]+|\(.*\)", content) is not None
    return sign + (content if simple else f"({content})")


def scripted_run(text: str, before: str, *, above: bool) -> str:
    """Write a run of raised or lowered text as `scripted` does, with the white space around it."""
    content = " ".join(text.split())
    if not content:
        return text
    start = text[: len(text) - len(text.lstrip())]
    return start + scripted(content, before + start, above=above) + text[len(text.rstrip()) :]


def is_mark(content: str, before: str) -> bool:
    """Whether a superscript is the mark of a note: by its own signs, or as a number after a word or a stop."""
    if _MARK.match(content):
        return not (content[0] == "(" and before[-1:].isdigit())
    if not _NUMBERS.match(content):
        return False
    if not before or before[-1].isspace() or before[-1] in ".,;:!?\"'”’»%‰€$£]…–—":
        return True
    last = _LAST.search(before)
    if last is None:
        return False
    word = last[0]
    if word[0] == "(":
        return re.search(r"[^\W\d_]{3}", word) is not None
    if word[0].isdigit():
        return content == "1" or word[-1] in ".," or _GROUPED.match(word) is not None or _YEAR.match(word) is not None
    return len(word) > (2 if word.isupper() else 1) and word not in _UNITS


def is_written_mark(text: str) -> bool:
    """Whether text that `scripted` wrote is the mark of a note, which stands apart from a word after it."""
    return text.strip()[:1] in ("[", "*", "†", "‡", "§", "¶")
