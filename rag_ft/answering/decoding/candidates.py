"""What a reader may answer from the passages of a prompt: candidate spans as texts, token ids and a trie of them.

`answer_spans` lists the spans, `find_parts` the parts of passages. Candidates depend on the passages alone, and spans
take as long to find as a short pass through the model. The question only excludes those that repeat it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rag_ft.answering.decoding.span_search import SpanTrie
from rag_ft.answering.forward.prefix_cache import PrefixCache
from rag_ft.answering.prompt import PromptBuilder
from rag_ft.questions.wording import repeats_question
from rag_ft.schema import Passage
from rag_ft.text.parts import passage_units, unit_leads, unit_runs
from rag_ft.text.sentences import sentence_spans
from rag_ft.text.spans import Span, candidate_spans

_BYTES_PER_NODE = 280
_BYTES_PER_TEXT = 650
_BYTES_PER_PLACE = 32
"""Measured with tracemalloc in CPython 3.11, on passages of 60 words."""


def answer_spans(passage: Passage) -> list[Span]:
    """Where in a passage an answer may stand, in reading order."""
    return candidate_spans(passage.text, sentence_spans(passage.text))


class PlacedSpans(NamedTuple):
    """Where the candidates stand: a line per occurrence, in the order of the candidates."""

    candidates: NDArray[np.int64]
    """(occurrences,)"""
    passages: NDArray[np.int64]
    """Index of the passage, (occurrences,)."""
    spans: NDArray[np.int64]
    """Start and end in its text, (occurrences, 2)."""

    def span(self, occurrence: int) -> Span:
        """Where an occurrence stands in its passage."""
        start, end = self.spans[occurrence].tolist()
        return Span(start, end)


@dataclass(frozen=True)
class Candidates:
    """All answers that a reader may give from a prompt's passages."""

    occurrences: dict[str, list[tuple[int, Span]]]
    """Passage index and span of every occurrence of a text, in reading order. Includes texts that are too long."""
    texts: tuple[str, ...]
    """The texts that are short enough to be an answer."""
    bodies: tuple[tuple[int, ...], ...]
    """Token ids of each of `texts` as it stands in the completion."""

    @cached_property
    def trie(self) -> SpanTrie:
        """The bodies as a trie; candidate numbers are indices into `texts`."""
        return SpanTrie(self.bodies)

    @cached_property
    def placed(self) -> PlacedSpans:
        """Every occurrence of `texts`."""
        found = [
            (candidate, passage_index, *span)
            for candidate, text in enumerate(self.texts)
            for passage_index, span in self.occurrences[text]
        ]
        table = np.array(found, dtype=np.int64).reshape(-1, 4)
        return PlacedSpans(table[:, 0], table[:, 1], table[:, 2:])

    @property
    def nbytes(self) -> int:
        """Approximate memory of all of it."""
        texts, places = len(self.occurrences), sum(map(len, self.occurrences.values()))
        return _BYTES_PER_NODE * len(self.trie.tokens) + _BYTES_PER_TEXT * texts + _BYTES_PER_PLACE * places

    def repeating(self, question: str) -> frozenset[int]:
        """Candidates that only repeat the question, and so do not answer it."""
        repeats = repeats_question(question)
        return frozenset(candidate for candidate, text in enumerate(self.texts) if repeats(text))

    def first_occurrences(self, text: str) -> dict[int, Span]:
        """The first occurrence of a text in each passage that holds it, by passage index."""
        first: dict[int, Span] = {}
        for passage_index, span in self.occurrences.get(text, []):
            first.setdefault(passage_index, span)
        return first


def find_candidates(
    passages: Sequence[Passage], body_ids: Callable[[Sequence[str]], list[tuple[int, ...]]], max_tokens: int
) -> Candidates:
    """Candidates of all passages, each at most `max_tokens` long; `body_ids` is the prompt builder's."""
    occurrences: dict[str, list[tuple[int, Span]]] = {}
    for passage_index, passage in enumerate(passages):
        for span in answer_spans(passage):
            occurrences.setdefault(passage.text[span.start : span.end], []).append((passage_index, span))
    bodies = body_ids(list(occurrences)) if occurrences else []
    kept = [(text, body) for text, body in zip(occurrences, bodies, strict=True) if 0 < len(body) <= max_tokens]
    return Candidates(occurrences, tuple(text for text, _ in kept), tuple(body for _, body in kept))


class Part(NamedTuple):
    """A part of a passage that may be the answer, and what it would say."""

    passage_index: int
    span: Span
    leads: tuple[str, ...]
    """Words that name its first unit, and its last if that is another one."""
    yes: bool | None


@dataclass(frozen=True)
class PartCandidates:
    """All parts of a prompt's passages that a reader may answer with, each as a statement, a yes and a no."""

    parts: tuple[Part, ...]
    bodies: tuple[tuple[int, ...], ...]
    """Token ids of each part as the completion names it, up to the token that tells its ending from the others."""
    closings: tuple[int, ...]
    """That token."""

    @cached_property
    def trie(self) -> SpanTrie:
        """The bodies as a trie; candidate numbers are indices into `parts`."""
        return SpanTrie(self.bodies, self.closings)


def find_parts(passages: Sequence[Passage], prompts: PromptBuilder) -> PartCandidates:
    """Every run of up to `MOST_UNITS` units of a passage; of runs that are named alike, the first."""
    listed: dict[tuple[tuple[int, ...], int], Part] = {}
    endings = [(yes, *prompts.part_ending(yes)) for yes in (None, True, False)]
    for passage_index, passage in enumerate(passages):
        units = passage_units(passage.text, passage.headings)
        leads = unit_leads(passage.text, units)
        ids = prompts.body_ids(leads) if leads else []
        for first, last in unit_runs(passage.text, units):
            single = first == last
            named = (leads[first],) if single else (leads[first], leads[last])
            body = ids[first] if single else (*ids[first], *prompts.through, *ids[last])
            span = Span(units[first].start, units[last].end)
            for yes, ending, closing in endings:
                listed.setdefault(((*body, *ending), closing), Part(passage_index, span, named, yes))
    return PartCandidates(
        tuple(listed.values()), tuple(body for body, _ in listed), tuple(closing for _, closing in listed)
    )


class CandidateFinder:
    """Finds candidates, and keeps those of a single passage beside its keys and values."""

    def __init__(self, prompts: PromptBuilder, max_tokens: int, cache: PrefixCache) -> None:
        self._prompts = prompts
        self._max_tokens = max_tokens
        self._cache = cache

    def find(self, passages: Sequence[Passage]) -> Candidates:
        """Candidates of the passages of one prompt."""
        if len(passages) != 1:
            return find_candidates(passages, self._prompts.body_ids, self._max_tokens)
        key = ("candidates", passages[0].text, self._max_tokens)
        candidates: Candidates | None = self._cache.get(key)
        if candidates is None:
            candidates = find_candidates(passages, self._prompts.body_ids, self._max_tokens)
            self._cache.put(key, candidates)
        return candidates
