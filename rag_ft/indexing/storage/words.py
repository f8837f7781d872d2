"""Text to the terms that an index is searched by."""

from __future__ import annotations

import re
import threading

from rag_ft.text.normalising import NORMALISING_RULES, runs, terms

_WORD = re.compile(r"\w+")

STOPWORDS = frozenset(
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these "
    "they this to was will with".split()
)
"""Lucene's English list. It has no question words: they are too rare in passages to mislead."""


class Words:
    """Text to index terms: normalised, identifiers whole and in parts, no English stop words, Porter 2 stems.

    Single characters are kept ("rank 8"). `rules`: those of the index that is searched (`ChunkingConfig.rules`); by
    the former ones a term is a run of letters and digits in lower case. Threads may share it: stemming holds a lock.
    """

    def __init__(self, rules: int = NORMALISING_RULES) -> None:
        import Stemmer

        self._normalising = rules >= NORMALISING_RULES
        self._stemmer = Stemmer.Stemmer("english")
        self._stems: dict[str, list[str]] = {}
        """The stemmed terms of each run that was met."""
        self._lock = threading.Lock()

    def of(self, text: str) -> list[str]:
        """The terms of a text in order, with repeats."""
        words = runs(text) if self._normalising else _WORD.findall(text.lower())
        with self._lock:
            stems = self._stems
            new = [word for word in set(words) if word not in stems]
            if new:
                if len(stems) > 500_000:
                    stems.clear()
                    new = list(set(words))
                for word in new:
                    stems[word] = self._stemmer.stemWords(self._terms(word))
            return [stem for word in words for stem in stems[word]]

    def _terms(self, word: str) -> list[str]:
        if self._normalising:
            return terms(word, STOPWORDS)
        return [] if word in STOPWORDS else [word]
