"""Names in a text, by their capital letters: for languages that write no other words with one."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rag_ft.text.sentences import sentence_spans
from rag_ft.text.spans import Span

_CAPITAL = "A-ZÀ-ÖØ-ÞΑ-ΩА-Я" + "".join(letter for letter in map(chr, range(0x100, 0x180)) if letter.isupper())
_WORD = rf"(?:[A-Z]['’])?[{_CAPITAL}][\w.-]*\w|[{_CAPITAL}]"
_NAME = re.compile(rf"(?<![\w'’-])(?:{_WORD})(?:(?: (?:of|de|du|von|van|la|al)(?: the)?)? (?:{_WORD}))*(?![\w-])")

_NO_NAMES = frozenset(
    "a an the i he she it we you they his her its our your their this that these those there here who whom whose what"
    " which when where why how is are was were do does did has have had can could will would shall should may might"
    " must and but or nor so yet if as at by for from in into of on onto to with without within upon about above after"
    " again against all also although among an another any around because before behind below beneath between both"
    " despite during each either even every few first following further however later like many more most much neither"
    " next no not now once one only other others over several since some still such than then though through"
    " throughout thus today together two three until under unlike while yes name explain".split()
)

_LITTLE = r"(?:a|an|the|to|in|for|on|and|at|of|with)"
_IN_TITLE_BEFORE = re.compile(rf"[{_CAPITAL}][\w'’-]*(?: {_LITTLE}){{0,2}} (?:a|an|the|to) \Z")
_IN_TITLE_AFTER = re.compile(rf"(?: {_LITTLE})? (?:a|an|the|to) [{_CAPITAL}]")


def name_spans(text: str) -> Iterator[Span]:
    """Where names stand in a text: runs of capitalised words, also with "of" and the like between them.

    A single word that begins a sentence is none, and little words there are not counted to the name after them. Parts
    of what may be a title ("A Link to the Past") are none either.
    """
    for sentence in sentence_spans(text):
        for match in _NAME.finditer(text, sentence.start, sentence.end):
            start, end = match.span()
            first, _, rest = match[0].partition(" ")
            if first.lower() in _NO_NAMES:
                if not rest or rest[0].islower():
                    continue
                start += len(first) + 1
            elif start == sentence.start and not rest:
                continue
            if not _IN_TITLE_BEFORE.search(text, sentence.start, start) and not _IN_TITLE_AFTER.match(text, end):
                yield Span(start, end)
