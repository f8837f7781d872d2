"""Where sentences start and end: rules only, exact offsets, texts of any length, no language model.

Written by hand: pysbd, the library of such rules, is no longer maintained.
"""

from __future__ import annotations

import bisect
import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple


class Sentence(NamedTuple):
    """Character offsets of a sentence, without white space around it; end exclusive."""

    start: int
    end: int


# The look-behinds keep a run of a million stops or blanks from being tried again from each of its places.
_BREAK = re.compile(
    r"(?P<stop>(?P<sign>(?<![.!?…؟۔।॥])[.!?…؟۔।॥]+[\"'”’»)\]]*)"  # a stop, what closes with it,
    r"(?:[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,3}|(?: ?\[(?:\d{1,3}(?:[,–-] ?\d{1,3})*|[a-z*†‡]|note \d{1,3})\](?!\())+)?)"  # marks of notes,
    r"(?P<gap>\s+)"  # and white space
    r"|(?P<wide>(?<![。！？])[。！？]+[」』）]*)"  # full-width stops need no white space
    r"|(?P<block>(?<![ \t\r])[ \t\r]*\n[ \t\r]*\n\s*)"  # an empty line
    r"|(?P<line>(?<![ \t\r])[ \t\r]*\n[ \t]*(?=(?:[-*•–]|\d{1,3}[.)]"  # a line that begins a list item
    r"|(?:[a-z]|x{0,3}(?:i[xv]|vi{0,3}|i{1,3}))[.)](?!\s?\w\.)|(?:[A-Z]|X{0,3}(?:I[XV]|VI{0,3}|I{1,3}))\))\s))"
    r"|(?P<row>(?<=\|)[ \t\r]*\n|(?<![ \t\r])[ \t\r]*\n(?=[^\n]*\s\|\s))"  # a table's row
)

_ABBREVIATIONS = frozenset(
    "e.g i.e cf etc al vs dr mr mrs ms prof st no nos fig figs eq eqs sec ch chap vol vols pp p ed eds ca approx"
    " dept univ inc ltd co corp jr sr jan feb mar apr jun jul aug sep sept oct nov dec viz resp lt col gen sgt capt rev"
    " hon gov sen rep max min art arts para paras tel est gem incl excl"
    " abs abb kap tab ziff nr mio mrd bzw usw ggf vgl inkl evtl bzgl zzgl mär okt dez"
    " z.b d.h u.a v.a s.o s.u i.d.r i.v.m i.s.d i.s.v".split()
)
_ENDS_BEFORE_CAPITAL = frozenset("etc al inc ltd co corp jr sr p pp usw".split())
"""Abbreviations after which a capital usually starts a new sentence."""

_CONTINUES_BEFORE_NUMBER = frozenset(
    "no nos fig figs eq eqs sec ch chap vol vols max min art arts para paras tel est gem abs abb kap tab ziff".split()
)
"""Abbreviations that are whole words, too: "No. 5" continues; "The answer is no." ends."""

_NUMBER = re.compile(r"[+#~<>≤≥±]?\d|\(0|[IVX]{2,8}\b|§|(?:Art|Abs|Nr|Ziff)\.")

_LAST_WORD = re.compile(r"(?:[^\W\d_]\.)*[^\W_]+$")
_SPACED_LETTERS = re.compile(r"(?<!\w)(?:[^\W\d_]\.\s){1,2}[^\W\d_]$")  # z. B., i. d. R.
_CAPITAL_LETTER = re.compile(r"(?:[A-ZÄÖÜ]|Chr|Zt)\.")
_LIST_MARK = r"[ \t]*(?:(?:[-*•–>]|#{1,6})[ \t]+)?"
_LIST_NUMBER = re.compile(_LIST_MARK + r"\d{1,3}(?:\.\d{1,3}){0,3}")
_LIST_LETTER = re.compile(
    _LIST_MARK + r"(?:[a-z]|x{1,3}|x{0,3}(?:i[xv]|vi{0,3}|i{1,3})|X{0,3}(?:I[XV]|VI{0,3}|I{1,3}))"
)
_ITEM = re.compile(r"(?:[a-z]|x{0,3}(?:i[xv]|vi{0,3}|i{1,3}))[.)](?!\s?\w\.)\s")
_AFTER_A_NUMBER = re.compile(r"\d\s?\Z")  # 400 V. See below
_BEGINS_A_SENTENCE = re.compile(
    r"(?:The|This|That|These|Those|There|It|Its|They|Their|However|When|After|In|Then|His|Her|She|But|Since|See|Der|Die|Das"
    r"|Es|Sie|Diese[rs]?)\s"
)
"""Words that begin a sentence and no name: `in Washington, D.C. The city`."""
_COMPANY = re.compile(r"(?:Ltd|Inc|Corp|Co|Jr|Sr|KG|KGaA|LLC|LLP|PLC|GmbH|AG)\b")
_MONTH = re.compile(
    r"(?:Januar|Jänner|Februar|Feber|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember"
    r"|January|February|June|July|October|December|(?:March|May)(?=\s\d))\b"  # "May I?" begins a sentence
    r"|(?:Jan|Feb|Mär|Mrz|Apr|Jun|Jul|Aug|Sept?|Okt|Oct|Nov|Dez|Dec)\."
    r"|(?:0?[1-9]|1[0-2])\.\s\d{4}\b"  # 3. 10. 1990
)
_DAY_AND_MONTH = re.compile(r"(?:0?[1-9]|[12]\d|3[01])\.\s(?:0?[1-9]|1[0-2])\Z")
_YEAR = re.compile(r"\d{4}\b")
_VERSUS = re.compile(r"\b[A-Z][\w.]* v$")
_BEFORE_AN_ORDINAL = frozenset("am im der die das des dem den vom zum zur beim".split())


def sentence_spans(text: str) -> list[Sentence]:
    """The sentences of a text in order; together they hold every character that is not white space.

    A sentence ends at `.`, `!`, `?` before white space, except after abbreviations (`Dr.`, `e.g.`), initials
    (`J. Smith`), the number of a list's item or a day (`3. Oktober`) and before a lower-case letter; also at an empty
    line, before a list item, between table rows and between lines that are divided alike (comma-separated values) or
    of the form `key: value`.
    """
    spans: list[Sentence] = []
    start = 0
    for gap in _BREAK.finditer(text):
        if gap.lastgroup is None or (gap["stop"] is not None and not _ends_sentence(text, gap)):
            continue
        end = gap.end("stop") if gap["stop"] is not None else gap.end("wide") if gap["wide"] else gap.start()
        _append(spans, text, start, end)
        start = end
    _append(spans, text, start, len(text))
    return [row for span in _split_key_value_lines(text, spans) for row in _split_delimited_rows(text, span)]


_FEWEST_ROWS = 3
_FEWEST_SEPARATORS = 2

_PAIR = re.compile(r"^[ \t]*[*_]{0,2}[^\W_][^\n:：.!?;,，]{0,39}(?::[*_]{0,2}(?=\s)|：)[^\n]*", re.MULTILINE)
"""A line of `key: value`. The key is short, so that prose with a colon does not match."""


def _split_key_value_lines(text: str, spans: list[Sentence]) -> Iterator[Sentence]:
    """The spans, cut before every line of `key: value` where three or more of them follow one another."""
    starts: list[int] = []
    run: list[re.Match[str]] = []
    for pair in _PAIR.finditer(text):
        if run and pair.start() != run[-1].end() + 1:
            run = []
        run.append(pair)
        if len(run) >= _FEWEST_ROWS:
            starts += [line.start() for line in (run if len(run) == _FEWEST_ROWS else [pair])]
    if not starts:
        yield from spans
        return
    for start, end in spans:
        cuts = starts[bisect.bisect_right(starts, start) : bisect.bisect_left(starts, end)]
        pieces: list[Sentence] = []
        for first, last in itertools.pairwise([start, *cuts, end]):
            _append(pieces, text, first, last)
        yield from pieces


def _split_delimited_rows(text: str, span: Sentence) -> list[Sentence]:
    """The lines of a span whose lines are all divided alike, as comma-separated values are; else the span itself."""
    lines = text[span.start : span.end].split("\n")
    if len(lines) < _FEWEST_ROWS:
        return [span]
    alike = [counts for mark in ",;\t" if len(counts := {line.count(mark) for line in lines}) == 1]
    if max((min(counts) for counts in alike), default=0) < _FEWEST_SEPARATORS:
        return [span]
    rows: list[Sentence] = []
    start = span.start
    for line in lines:
        _append(rows, text, start, start + len(line))
        start += len(line) + 1
    return rows


def sentences_around(text: str, start: int, end: int) -> Sentence:
    """The sentence, or run of sentences, that holds the characters from `start` to `end`; these if no sentence does."""
    touched = [sentence for sentence in sentence_spans(text) if sentence.start < end and sentence.end > start]
    if not touched:
        return Sentence(start, end)
    return Sentence(min(start, touched[0].start), max(end, touched[-1].end))


def _append(spans: list[Sentence], text: str, start: int, end: int) -> None:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    if start < end:
        spans.append(Sentence(start, end))


def _ends_sentence(text: str, gap: re.Match[str]) -> bool:
    if "\n" in gap["gap"] and gap["gap"].count("\n") > 1:
        return True
    after = text[gap.end() : gap.end() + 1]
    if not after:
        return True
    if after.islower():
        return "\n" in gap["gap"] and _ITEM.match(text, gap.end()) is not None
    if gap["sign"] != ".":
        return True
    if _is_list_letter(text, gap.start()):
        return False
    if text[gap.start() - 1 : gap.start()].isdigit():
        return not _is_ordinal(text, gap.start(), gap.end())
    word = _LAST_WORD.search(text, max(0, gap.start() - 24), gap.start())
    if word is None:
        return True
    last = word[0]
    if last.isupper() and (len(last) == 1 or "." in last) and _BEGINS_A_SENTENCE.match(text, gap.end()):
        return True
    if len(last) == 1:
        if last.isupper() and _AFTER_A_NUMBER.search(text, max(0, word.start() - 2), word.start()):
            return True
        if last.isupper():  # an initial: J. Smith; "vitamin C." before other words than above loses here
            return False
        if _CAPITAL_LETTER.match(text, gap.end()):  # z. B., 44 v. Chr. geboren
            return False
        if last == "v" and _VERSUS.search(text, max(0, gap.start() - 24), gap.start()):  # Roe v. Wade
            return False
        letters = _SPACED_LETTERS.search(text, max(0, gap.start() - 24), gap.start())
        if letters is not None and "".join(letters[0].split()).lower() in _ABBREVIATIONS:
            return False
    known = last.lower()
    if re.fullmatch(r"(?:[^\W\d_]\.)+[^\W\d_]", last) and known not in _ABBREVIATIONS:
        return after.isupper() and not last.isupper()  # U.S. Army continues
    if known in _ENDS_BEFORE_CAPITAL:
        return after.isupper() and not _COMPANY.match(text, gap.end())
    if known == "mt":  # Mt. Everest; tonnes and megatons stand after a number
        return last != "Mt" or text[max(0, word.start() - 2) : word.start()].strip().isdigit()
    if known in _CONTINUES_BEFORE_NUMBER or known.endswith("str"):  # Hauptstr. 5
        return _NUMBER.match(text, gap.end()) is None
    return known not in _ABBREVIATIONS


def _is_list_letter(text: str, stop: int) -> bool:
    """Whether a stop ends the letter or Roman number of a list's item (`a.`, `ii.`) at the start of a line."""
    before = text[max(0, stop - 16) : stop]
    _, newline, line = before.rpartition("\n")
    return (bool(newline) or stop <= 16) and _LIST_LETTER.fullmatch(line) is not None


def _is_ordinal(text: str, stop: int, after: int) -> bool:
    """Whether a stop ends the number of a list's item, a day (3. Oktober) or a German ordinal (im 19. Jahr)."""
    before = text[max(0, stop - 24) : stop]
    _, newline, line = before.rpartition("\n")
    if (newline or stop <= 24) and _LIST_NUMBER.fullmatch(line):
        return True
    *words, last = before.rsplit(maxsplit=3)
    last = last.lstrip("([\"'“„")
    if not last.isdecimal() or not 0 < int(last) < 100:
        return False
    if int(last) <= 31 and _MONTH.match(text, after):
        return True
    if words and _YEAR.match(text, after) and _DAY_AND_MONTH.fullmatch(f"{words[-1]} {last}"):
        return True
    return bool(words) and words[-1].lower() in _BEFORE_AN_ORDINAL and words[-2:] != ["I", "am"]
