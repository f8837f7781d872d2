"""Numbers of cells as spreadsheet programs show them, by number formats such as `#,##0.00 "EUR"` or `dd.mm.yyyy`."""

from __future__ import annotations

import datetime
import re
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import lru_cache
from typing import NamedTuple

BUILT_IN = {
    0: "General",
    1: "0",
    2: "0.00",
    3: "#,##0",
    4: "#,##0.00",
    5: "$#,##0",
    6: "$#,##0",
    7: "$#,##0.00",
    8: "$#,##0.00",
    9: "0%",
    10: "0.00%",
    11: "0.00E+00",
    12: "# ?/?",
    13: "# ??/??",
    14: "yyyy-mm-dd",  # the reader's own order of day and month
    15: "d-mmm-yy",
    16: "d-mmm",
    17: "mmm-yy",
    18: "h:mm AM/PM",
    19: "h:mm:ss AM/PM",
    20: "h:mm",
    21: "h:mm:ss",
    22: "yyyy-mm-dd h:mm",
    37: "#,##0",
    38: "#,##0",
    39: "#,##0.00",
    40: "#,##0.00",
    41: "#,##0",
    42: "$#,##0",
    43: "#,##0.00",
    44: "$#,##0.00",
    45: "mm:ss",
    46: "[h]:mm:ss",
    47: "mm:ss",
    48: "##0.0E+0",
    49: "@",
}
"""Formats that a file names by their number alone. Those from 27 to 36 and 50 to 58 are dates of East Asia."""
BUILT_IN |= dict.fromkeys((*range(27, 37), *range(50, 59)), "yyyy-mm-dd")

_TOKEN = re.compile(
    r'"([^"]*)"?|\\(.)|_.|\*.|\[\$([^\]-]*)[^\]]*\]|(\[(?:h+|m+|s+)\])|\[[^\]]*\]|(AM/PM|A/P)|(General)'
    r"|(y+|m+|d+|h+|s+|\.0+(?=[^0#?]|$))|([0#?.,%/]|E[+-])|(.)",
    re.IGNORECASE | re.DOTALL,
)
_MAX_DECIMALS = 30
_MONTHS = "January February March April May June July August September October November December".split()
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()


class _Token(NamedTuple):
    kind: str  # "text", "date", "elapsed", "half", "general" or "digit"
    text: str


def shown(raw: str, code: str, from_1904: bool = False) -> str:
    """Write a number, given as text, by a format; as it stands if it is not a number or the format is not understood.

    Decimal points are `.` and groups of thousands are parted by `,`: which ones a reader sees is not in the file.
    """
    if code == "General" and raw.isdigit() and len(raw) < 16 and raw[0] != "0":
        return raw
    try:
        number = float(raw)
    except ValueError:
        return raw
    if code == "General" or number != number or abs(number) == float("inf"):
        return _general(number, raw)
    sections = _sections(code)
    section, number = _chosen(sections, number)
    kinds = {token.kind for token in section}
    try:
        if kinds & {"date", "elapsed"}:
            return _date(section, number, from_1904)
        if "digit" in kinds:
            return _number(section, number)
    except (OverflowError, ValueError, InvalidOperation):
        return _general(number, raw)
    if "general" in kinds or not section:
        parts = [_general(abs(number), raw) if token.kind == "general" else token.text for token in section]
        return " ".join("".join(parts).split()) or _general(number, raw)
    text = "".join(token.text for token in section).strip()
    return _general(number, raw) if text in ("@", "") else text


def is_date(code: str) -> bool:
    """Whether a format shows a date or time."""
    return any(token.kind in ("date", "elapsed") for token in _sections(code)[0])


def _general(number: float, raw: str) -> str:
    """A number without a format: as short as it can be written with 15 digits."""
    if number == int(number) if abs(number) < 1e15 else False:
        return str(int(number))
    text = f"{number:.15g}"
    return text if len(text) <= len(raw) or "e" not in text else raw


@lru_cache(maxsize=2_000)
def _sections(code: str) -> tuple[tuple[_Token, ...], ...]:
    """The parts of a format between semicolons."""
    sections: list[list[_Token]] = [[]]
    for match in _TOKEN.finditer(code[:500]):
        quoted, escaped, currency, elapsed, half, general, date, digit, other = match.groups()
        if other == ";":
            sections.append([])
        elif quoted is not None or escaped or currency or other:
            sections[-1].append(_Token("text", quoted or escaped or currency or other or ""))
        elif elapsed:
            sections[-1].append(_Token("elapsed", elapsed[1:-1].lower()))
        elif half:
            sections[-1].append(_Token("half", half))
        elif general:
            sections[-1].append(_Token("general", general))
        elif date and date[0] == ".":
            # Fractions of a second in a date, else decimals.
            if any(token.kind in ("date", "elapsed") for token in sections[-1]):
                sections[-1].append(_Token("date", date))
            else:
                sections[-1] += [_Token("digit", character) for character in date]
        elif date:
            sections[-1].append(_Token("date", date.lower()))
        elif digit:
            sections[-1].append(_Token("digit", digit))
        elif match[0].startswith("_"):
            sections[-1].append(_Token("text", " "))
    return tuple(map(tuple, sections))


def _chosen(sections: tuple[tuple[_Token, ...], ...], number: float) -> tuple[tuple[_Token, ...], float]:
    """The section for a number, and the number without the sign that the section writes itself."""
    if number < 0 and len(sections) > 1 and sections[1]:
        return sections[1], -number
    if number == 0 and len(sections) > 2 and sections[2]:
        return sections[2], number
    return sections[0], number


def _number(section: tuple[_Token, ...], number: float) -> str:
    pattern = "".join(token.text for token in section if token.kind == "digit")
    if "/" in pattern:
        return _general(number, repr(number))
    value = Decimal(repr(number)) * 100 ** pattern.count("%")
    if "E" in pattern.upper():
        decimals = len(pattern.partition(".")[2].upper().partition("E")[0])
        return f"{float(value):.{min(decimals, _MAX_DECIMALS)}E}"
    whole, _, fraction = pattern.replace("%", "").partition(".")
    scaled = len(whole) - len(whole.rstrip(","))
    if not fraction:
        value /= 1000**scaled
    else:
        value /= 1000 ** (len(fraction) - len(fraction.rstrip(",")))
    fraction = fraction.replace(",", "")[:_MAX_DECIMALS]
    rounded = abs(value).quantize(Decimal(1).scaleb(-len(fraction)), ROUND_HALF_UP)
    digits, _, decimals_text = f"{rounded:f}".partition(".")
    while decimals_text and decimals_text[-1] == "0" and fraction[len(decimals_text) - 1] != "0":
        decimals_text = decimals_text[:-1]
    least = sum(character == "0" for character in whole)
    digits = "" if digits == "0" and not least else digits.zfill(least)
    if "," in whole.rstrip(","):
        digits = f"{int(digits or 0):,}" if digits else digits
    sign = "-" if value < 0 and rounded else ""
    return sign + _filled(section, digits, decimals_text)


def _filled(section: tuple[_Token, ...], digits: str, decimals: str) -> str:
    """Put digits into the places of a format; what stands between places stays between their digits."""
    before = [i for i, token in enumerate(section) if token.kind == "digit"]
    point = next((i for i in before if section[i].text == "."), None)
    places = [i for i in before if section[i].text in "0#?" and (point is None or i < point)]
    between = bool(places) and any(section[i].kind == "text" for i in range(places[0], places[-1]))
    at: dict[int, str] = {}
    if places:
        if between:
            rest = digits
            for i in reversed(places[1:]):
                at[i], rest = rest[-1:], rest[:-1]
            at[places[0]] = rest
        else:
            at[places[0]] = digits
    parts: list[str] = []
    for i, token in enumerate(section):
        if token.kind == "text":
            parts.append(token.text)
        elif i == point:
            parts.append(f".{decimals}" if decimals else "")
        elif token.text == "%":
            parts.append("%")
        else:
            parts.append(at.get(i, ""))
    return " ".join("".join(parts).split())


def _date(section: tuple[_Token, ...], number: float, from_1904: bool) -> str:
    if number < 0:
        raise ValueError
    finest = any(token.kind == "date" and token.text.startswith(".") for token in section)
    seconds = Decimal(repr(number)) * 86_400
    rounded = seconds.quantize(Decimal("0.001") if finest else Decimal(1), ROUND_HALF_UP)
    if from_1904:
        epoch = datetime.datetime(1904, 1, 1)
    else:
        # The first spreadsheets took 1900 for a leap year.
        epoch = datetime.datetime(1899, 12, 30) if number >= 60 else datetime.datetime(1899, 12, 31)
    moment = epoch + datetime.timedelta(seconds=float(rounded))
    halves = any(token.kind == "half" for token in section)
    parts: list[str] = []
    for i, token in enumerate(section):
        if token.kind == "elapsed":
            unit = {"h": 3600, "m": 60, "s": 1}[token.text[0]]
            parts.append(str(int(rounded // unit)).zfill(len(token.text)))
        elif token.kind == "half":
            parts.append("AM" if moment.hour < 12 else "PM")
        elif token.kind == "date":
            parts.append(_date_part(token.text, moment, halves, _is_minute(section, i)))
        elif token.kind in ("text", "digit"):
            parts.append(token.text)
    return " ".join("".join(parts).split())


def _is_minute(section: tuple[_Token, ...], position: int) -> bool:
    """Whether an `m` stands beside hours or seconds."""
    parts = [i for i, token in enumerate(section) if token.kind in ("date", "elapsed")]
    at = parts.index(position)
    before = section[parts[at - 1]].text if at else ""
    after = section[parts[at + 1]].text if at + 1 < len(parts) else ""
    return before.startswith("h") or after.startswith("s")


def _date_part(text: str, moment: datetime.datetime, halves: bool, minute: bool) -> str:
    width = len(text)
    match text[0]:
        case ".":
            return f"{moment.microsecond / 1e6:.3f}"[1 : width + 1]
        case "y":
            return f"{moment.year:04}" if width > 2 else f"{moment.year % 100:02}"
        case "m" if minute and width < 3:
            return str(moment.minute).zfill(width)
        case "m":
            name = _MONTHS[moment.month - 1]
            return (
                str(moment.month).zfill(width)
                if width < 3
                else name[:3]
                if width == 3
                else name[: 1 if width == 5 else 9]
            )
        case "d":
            name = _DAYS[moment.weekday()]
            return str(moment.day).zfill(width) if width < 3 else name[:3] if width == 3 else name
        case "h":
            hour = (moment.hour + 11) % 12 + 1 if halves else moment.hour
            return str(hour).zfill(min(width, 2))
    return str(moment.second).zfill(min(width, 2))
