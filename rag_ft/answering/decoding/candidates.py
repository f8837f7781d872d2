"""What a reader may answer from the passages of a prompt: candidate spans as texts, token ids and a trie of them.

`answer_spans` lists them: another kind of answer is added there, and competes in the same search. Candidates depend on
the passages alone, and take as long to find as a short pass through the model. The question only excludes those that
repeat it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from rag_ft.answering.decoding.span_search import SpanTrie
from rag_ft.answering.forward.prefix_cache import PrefixCache
from rag_ft.answering.prompt import PromptBuilder
from rag_ft.questions.wording import repeats_question
from rag_ft.schema import Passage
from rag_ft.text.sentences import sentence_spans
from rag_ft.text.spans import Span, candidate_spans

_BYTES_PER_NODE = 280
_BYTES_PER_TEXT = 650
"""Measured with tracemalloc in CPython 3.11, on passages of 60 words."""


def answer_spans(passage: Passage) -> list[Span]:
    """Where in a passage an answer may stand, in reading order."""
    return candidate_spans(passage.text, sentence_spans(passage.text))


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

    @property
    def nbytes(self) -> int:
        """Approximate memory of all of it."""
        return _BYTES_PER_NODE * len(self.trie.tokens) + _BYTES_PER_TEXT * len(self.occurrences)

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
