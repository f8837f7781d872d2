"""Superscripts and subscripts on a line: `10^6`, `m²`, `H₂O`, `e^x`, `1st`, and marks of notes typed by hand."""

from __future__ import annotations

import re

_RAISED = dict(zip("0123456789+-−=()n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿ", strict=True))
_LOWERED = dict(zip("0123456789+-−=()", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎", strict=True))
_ORDINALS = frozenset("st nd rd th er re ère e ème o a º ª te de os as".split())
_SIGNS = {"tm": "™", "sm": "℠"}
_NO_CHANGE = frozenset("°®™℠*†‡§'\"′″.,;:⁰¹²³⁴⁵⁶⁷⁸⁹")
_UNITS = frozenset("min sec hr mol rad cos sin tan cot log exp sinh cosh tanh miles feet inch meter metre".split())
_NUMBERS = re.compile(r"\d{1,3}(?:\s*[,;–-]\s*\d{1,3})*")
_MARKED = re.compile(r"(?:[^\W\d_]{3,}|\b(?:1[5-9]|20)\d\d|\b\d{1,3}(?:[.,]\d{3})+|[.!?;:”’»%€])\Z")


def scripted(text: str, script: str, before: str) -> str:
    """Write text that is raised (`^`) or lowered (`_`) so that it stays apart from the text before it.

    An exponent after a number is `^6`, other digits and signs become Unicode's, ordinals and signs such as "°" stay,
    and other text gets `^` or `_`. A number above the end of a word, a year or a sentence is the mark of a note.
    """
    inside = text.strip()
    last = before[-1:]
    if not inside or not last or last.isspace():
        return text
    if any(character.isspace() for character in inside) or len(inside) > 24:
        return f" {inside} " if last.isalnum() else f"{inside} "
    written = _written(inside, script, before)
    return text.replace(inside, written)


def _written(text: str, script: str, before: str) -> str:
    last = before[-1]
    if all(character in _NO_CHANGE for character in text):
        return text
    if script == "^":
        if text.casefold() in _SIGNS or (last.isdigit() and text.casefold() in _ORDINALS):
            return _SIGNS.get(text.casefold(), text)
        if _NUMBERS.fullmatch(text) and (word := _MARKED.search(before)) and word[0].casefold() not in _UNITS:
            return f" [{text}]"
    table = _RAISED if script == "^" else _LOWERED
    if not last.isdigit() and all(character in table for character in text):
        return "".join(table[character] for character in text)
    simple = re.fullmatch(r"[+\-−]?[\w.]+|\(.*\)", text) is not None
    return f"{script}{text}" if simple else f"{script}({text})"
