"""A hyphen at the end of a line: kept, or taken away because the layout put it there."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

SOFT_HYPHEN = "\u00ad"
HYPHENS = ("-", "\u2010", SOFT_HYPHEN)

_TOKEN = re.compile(r"[^\W\d_]+(?:[-\u2010][^\W\d_]+)*")
_LAST = re.compile(r"[^\W\d_]+\Z")
_FIRST = re.compile(r"[^\W\d_]+")
_ADDRESS = re.compile(r"[@/\\=:#_]|www\.|\.\w")
_AND = frozenset("and or nor to und oder bis sowie et ou y o e ed u i en of och eller".split())
"""Words before which a hyphen stands for a shared part: "input- and output"."""
_FIRST_PARTS = frozenset(
    "all anti anglo co counter cross double eco ex far fast first five four full great half hand hard high ill in"
    " inter kind large left light like long low main mid mother multi near new non north off old on one open own part"
    " peer post pre pro quasi real right second self semi short single six slow small so south state step sub super"
    " ten third three time top trade two ultra un under up user vice well wide world year".split()
)
"""Parts that English writes with a hyphen before another word."""
_WITHOUT = frozenset("co counter in inter multi off on post pre pro so sub super un under up".split())
"""Of these, those that may begin a word in one piece: the rest of it decides."""
_SECOND_PARTS = frozenset(
    "age aged art aware based being bound built born case class coated controlled day driven edge effect end ended"
    " face facing fed fired first fold free friendly hand handed hour house in induced intensive key known law"
    " led length level like line linked long looking made map mail making minded minute month new of off old on only"
    " oriented out over owned page party paid phase point proof purpose quality range rate ready related resistant"
    " rich run running safe scale section sea self set shaped side sided size sized speed specific standing state step"
    " style system term text the time to tolerant type up use user value war way week well wide wise word work world"
    " year".split()
)
"""Words that English writes with a hyphen after another."""
_SHORTEST = 2


class Hyphens:
    """Decides by the words of the document itself, then by what English writes with a hyphen."""

    def __init__(self, lines: Iterable[str]) -> None:
        """Count the words of all lines, but for those that a line's end cuts."""
        self._counts: Counter[str] = Counter()
        cut = False
        for line in lines:
            tokens = _TOKEN.findall(line)
            if cut and tokens and line[:1].isalpha():
                del tokens[0]
            cut = line.endswith(HYPHENS)
            if cut and tokens:
                del tokens[-1]
            self._counts.update(token.casefold().replace("\u2010", "-") for token in tokens)

    def join(self, before: str, after: str) -> tuple[int, str]:
        """How a line continues one that ends in a hyphen: characters to take away from its end, and the gap."""
        hyphen = before[-1:]
        if hyphen not in HYPHENS:
            return 0, " "
        if hyphen == SOFT_HYPHEN:
            return 1, ""
        head, tail = before[:-1], after.split(maxsplit=1)[:1]
        if not tail or head[-1:].isspace() or not head:
            return 0, " "
        last_token, next_token = head.split()[-1], tail[0]
        first, second = _LAST.search(last_token), _FIRST.match(next_token)
        if second and second[0].casefold() in _AND and second[0] == next_token.rstrip(",.;"):
            together = f"{first[0] if first else ''}{second[0]}".casefold()
            return (1, "") if self._counts[together] else (0, " ")
        if not first or not second or not self._may_join(last_token, first[0], next_token, second[0]):
            return 0, ""
        return (1, "") if self._is_one_word(last_token, first[0], second[0]) else (0, "")

    def _may_join(self, last_token: str, first: str, next_token: str, second: str) -> bool:
        """Whether both parts are of plain words, not of a name, a number, an option or an address."""
        if not second[0].islower() or not (first.islower() or first.istitle()):
            return False
        if _ADDRESS.search(last_token) or _ADDRESS.search(next_token.rstrip(".,;:!?)]\"'”’»")):
            return False
        start = last_token[: len(last_token) - len(first)]
        if start.lstrip("(\"'[“‘«„").startswith("-") or any(sign.isdigit() for sign in start):
            return False
        rest = next_token[len(second) :]
        return not (rest[:1].isdigit() or rest[:1] == "_")

    def _is_one_word(self, last_token: str, first: str, second: str) -> bool:
        one, two = first.casefold(), second.casefold()
        joined, apart = self._counts[one + two], self._counts[f"{one}-{two}"]
        if joined or apart:
            return joined >= apart
        chained = last_token[: len(last_token) - len(first)]
        if chained.endswith(HYPHENS):
            return False  # a further part of "state-of-the-art"
        if len(one) < _SHORTEST or len(two) < _SHORTEST:
            return False
        if two in _SECOND_PARTS or (one in _FIRST_PARTS and (one not in _WITHOUT or self._counts[two] > 0)):
            return False
        # Two words of the document, each whole, are parts of a compound.
        return not (self._counts[one] and self._counts[two])
