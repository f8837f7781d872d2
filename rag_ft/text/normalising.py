"""Text as it is searched: one form for each word, however it was typed.

Documents, passages and offsets stay as they are. Questions and passages go through the same functions: `normalised`
before both are embedded, `runs` and `terms` before both are looked up by words.
"""

from __future__ import annotations

import re
import unicodedata

NORMALISING_RULES = 3
"""The first version of an index's rules (`ChunkingConfig.rules`) whose texts and words are normalised."""

_INVISIBLE = re.compile("[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
"""Soft hyphens, zero-width spaces and joiners, marks of direction."""

_DIGIT_SPACE = re.compile(r"(?<=\d)[\u00a0\u2007\u2009\u202f](?=\d{3}(?!\d))")
_POWER = re.compile(r"(?<=\d)([⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+)")
_FRACTION = re.compile(r"(?<=\d)(?=[¼½¾⅐-⅞])")


def normalised(text: str) -> str:
    """A text in NFKC, without soft hyphens and zero-width characters.

    What NFKC would join to another number stays apart: 10⁶ becomes 10^6, 1½ becomes 1 1⁄2. A text of nothing but
    invisible characters stays as it is, because blank text is not embedded.
    """
    if text.isascii():
        return text
    visible = _FRACTION.sub(" ", _POWER.sub(r"^\1", _INVISIBLE.sub("", text)))
    return unicodedata.normalize("NFKC", visible) if visible.strip() else text


_RUN = re.compile(
    r"(?<![\w.,])\d{1,3}(?:[,'’]\d{3})+(?![\w'’]|,\d)(?:\.\d+)?"  # 1,024 and 1'024.50
    r"|(?<![\w.,])\d+,\d+(?![\w,])"  # 10,5
    r"|\w+(?:[.\-]\w+)*"  # a word, an identifier, a.b.c, max-crane-load, 10.5
)
_DECIMAL = re.compile(r"\d+,(?!\d{3}$)\d+")
_GROUPING = re.compile("[,'’]")
_DIVIDER = re.compile(r"[.\-]")
_PART = re.compile(r"[^\W_]+")
_HUMP = re.compile(
    "(?<=[a-zß-öø-ÿα-ωа-я])(?=[A-ZÀ-ÖØ-ÞΑ-ΩА-Я])"  # craneLoad
    "|(?<=[A-ZÀ-ÖØ-ÞΑ-ΩА-Я])(?=[A-ZÀ-ÖØ-ÞΑ-ΩА-Я][a-zß-öø-ÿα-ωа-я]{2})"  # HTTPServer, but not PDFs
    "|(?<=[0-9])(?=[A-Z][a-z])"  # v2Config
)


def runs(text: str) -> list[str]:
    """The words of a text, each with the separators inside it: identifiers, numbers and compounds in one piece."""
    if not text.isascii():
        text = normalised(_DIGIT_SPACE.sub(",", text)).replace("\u2010", "-")
    return _RUN.findall(text)


def terms(run: str, stop_words: frozenset[str] = frozenset()) -> list[str]:
    """The index terms of a run, in lower case: itself, and its parts if it has some.

    `getCraneLoadById` gives itself, get, crane, load, by and id; `max_crane_load`, `max-crane-load` and `a.b.c` are
    divided likewise. `1,024` gives 1024, like 1024; `10,5` gives 10.5, 10 and 5, like 10.5. `stop_words` are left out,
    except within camelCase and snake_case.
    """
    lower = run.lower()
    if run.isalpha() and run[1:] == lower[1:]:
        return [] if lower in stop_words else [lower]
    if run[0].isdigit() and any(mark in run for mark in ",'’"):
        number = run.replace(",", ".") if _DECIMAL.fullmatch(run) else _GROUPING.sub("", run)
        return [number, *number.split(".")] if "." in number else [number]
    parts: list[str] = []
    for word in _DIVIDER.split(run):
        humps = [hump.lower() for piece in _PART.findall(word) for hump in _HUMP.split(piece)]
        parts += humps if len(humps) > 1 else [hump for hump in humps if hump not in stop_words]
    whole = [] if lower in stop_words else [lower]
    return whole if parts == whole else whole + parts
