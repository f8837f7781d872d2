"""The names in an index's passages, and which of them could stand in each other's place in a question."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rag_ft.schema import Passage
from rag_ft.text.names import name_spans
from rag_ft.text.question_swap import stemmed

if TYPE_CHECKING:
    from rag_ft.indexing.embedding import Embedder

_MOST_NAMES = 6_000
"""Names that are compared, the commonest ones."""
_FEWEST = 2
"""A name that stands in one place only may be no name."""
_LEAST_IN_MEANING, _MOST_IN_MEANING = 0.4, 0.8
"""Names nearer than that mean nearly the same: Poland and Warsaw, English and British."""
_LEAST_ALIKE = 0.42
_MEANING = 0.5
"""Weight of what names mean beside how they are used."""
_MOST_APART = 0.3
"""Of two names, by the share of their uses in which a preposition of place stands before them."""

_OF_PLACE = ("in", "at", "from", "to", "near", "into", "across", "outside")

_PLAIN_WORD = re.compile(r"\b[a-z]+\b")
_BEFORE = re.compile(r"(\w+|[^\w\s])\s*\Z")
_AFTER = re.compile(r"\s*(['’]s|\w+|[^\w\s])")


class NameBook:
    """Names by what they mean (the embedder's cosine) and by the words that stand before and after them."""

    def __init__(self, passages: Iterable[Passage], embedder: Embedder) -> None:
        self._embedder = embedder
        counts: Counter[str] = Counter()
        self._uses: dict[str, Counter[str]] = {}
        plain: Counter[str] = Counter()
        seen: set[str] = set()
        for passage in passages:
            if passage.text in seen:
                continue
            seen.add(passage.text)
            for start, end in name_spans(passage.text):
                name = passage.text[start:end]
                counts[name] += 1
                self._uses.setdefault(name, Counter()).update(_use(passage.text, start, end))
            plain.update(_PLAIN_WORD.findall(passage.text))
        # "the City" and "the Council" are words like others, which one text writes with a capital letter.
        names = [name for name, count in counts.most_common() if count >= _FEWEST and plain[name.lower()] < _FEWEST]
        common = names[:_MOST_NAMES]
        self._names = sorted(common)
        self._by_key = {_key(name): name for name in sorted(common, key=lambda name: (counts[name], name))}
        self._vectors = embedder.encode_query(self._names) if self._names else np.zeros((0, 1), np.float32)
        self._profiles = _profiles([self._uses[name] for name in self._names])

    def like(self, name: str, most: int) -> list[str]:
        """Names that could stand in a name's place, the likeliest first; none where the passages do not have it."""
        known = self._by_key.get(_key(name))
        if known is None:
            return []
        row = self._names.index(known)
        meaning = self._vectors @ self._vectors[row]
        alike = _MEANING * meaning + (1 - _MEANING) * (self._profiles @ self._profiles[row])
        words = _words(name)
        with_article, place = self._after(known, "the") > 0.5, self._after(known, *_OF_PLACE)
        fitting: list[str] = []
        for i in np.argsort(-alike, kind="stable"):
            other = self._names[int(i)]
            if alike[i] < _LEAST_ALIKE or len(fitting) == most:
                break
            if (
                not _LEAST_IN_MEANING <= meaning[i] <= _MOST_IN_MEANING
                or words & _words(other)
                or _abbreviates(name, other)
            ):
                continue
            if (self._after(other, "the") > 0.5) != with_article or other.isupper() != name.isupper():
                continue
            # "Muslims have", but "the Brotherhood has"; and what is of something is of another kind than what is not.
            if other.endswith("s") != name.endswith("s") or (" of " in other) != (" of " in name):
                continue
            if abs(self._after(other, *_OF_PLACE) - place) <= _MOST_APART:
                fitting.append(other)
        return fitting

    def _after(self, name: str, *words: str) -> float:
        """Share of a name's uses in which one of some words stands before it."""
        uses = self._uses[name]
        return sum(uses[f"< {word}"] for word in words) / sum(uses[use] for use in uses if use.startswith("<"))


def _use(text: str, start: int, end: int) -> Iterable[str]:
    before, after = _BEFORE.search(text, max(0, start - 30), start), _AFTER.match(text, end)
    yield f"< {before[1].lower() if before else ''}"
    yield f"> {after[1].lower() if after else ''}"


def _profiles(uses: list[Counter[str]]) -> NDArray[np.float32]:
    """A unit vector of each name's uses, over those that many names have."""
    totals = Counter(use for counted in uses for use in counted)
    columns = {use: i for i, (use, _) in enumerate(totals.most_common(300))}
    profiles = np.zeros((len(uses), max(1, len(columns))), dtype=np.float32)
    for row, counted in enumerate(uses):
        for use, count in counted.items():
            if use in columns:
                profiles[row, columns[use]] = math.log1p(count) * math.log(1 + len(uses) / totals[use])
    lengths = np.linalg.norm(profiles, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    profiles /= lengths
    return profiles


def _key(name: str) -> str:
    """A name without accents, in lower case: people type "Beyonce"."""
    return "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c)).casefold()


def _words(name: str) -> set[str]:
    """The words of a name in one form for "France" and "French", roughly: their first four letters."""
    return {stemmed(word)[:4] for word in re.findall(r"\w+", _key(name)) if len(word) > 2} or {_key(name)}


def _abbreviates(name: str, other: str) -> bool:
    """Whether one of two names is the initials of the other."""
    initials = ["".join(re.findall(r"\b[A-Z]", text)) for text in (name, other)]
    plain = [text.replace(".", "") for text in (name, other)]
    return (len(initials[1]) > 1 and plain[0].startswith(initials[1])) or (
        len(initials[0]) > 1 and plain[1].startswith(initials[0])
    )
