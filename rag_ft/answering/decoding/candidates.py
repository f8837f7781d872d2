"""What a reader may answer from the passages of a prompt: candidate spans as texts, token ids and a trie of them.

They depend on the passages alone and take as long to find as a short pass through the model. The question only bars
those that say it again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from rag_ft.answering.decoding.span_search import SpanTrie
from rag_ft.questions.wording import repeats_question
from rag_ft.schema import Passage
from rag_ft.text.sentences import sentence_spans
from rag_ft.text.spans import Span, candidate_spans

_BYTES_A_NODE = 280
_BYTES_A_TEXT = 650
"""Measured with tracemalloc in CPython 3.11, on passages of 60 words."""


@dataclass(frozen=True)
class Candidates:
    """All answers that a reader may give from a prompt's passages, at most so many tokens long."""

    places: dict[str, list[tuple[int, Span]]]
    """Text → where it stands, in reading order: passage index and span. Texts that are too long are among them."""
    texts: tuple[str, ...]
    bodies: tuple[tuple[int, ...], ...]
    """Token ids of each text as it stands in the completion."""

    @cached_property
    def trie(self) -> SpanTrie:
        """The bodies, numbered as the texts are."""
        return SpanTrie(self.bodies)

    @property
    def nbytes(self) -> int:
        """Memory that all of it takes, about."""
        return _BYTES_A_NODE * len(self.trie.tokens) + _BYTES_A_TEXT * len(self.places)

    def repeating(self, question: str) -> frozenset[int]:
        """Numbers of the texts that only say the question again, and so are no answers to it."""
        repeats = repeats_question(question)
        return frozenset(number for number, text in enumerate(self.texts) if repeats(text))

    def first_places(self, text: str) -> dict[int, Span]:
        """The first place of a text in each passage that holds it."""
        first: dict[int, Span] = {}
        for passage, span in self.places.get(text, []):
            first.setdefault(passage, span)
        return first


def find_candidates(
    passages: Sequence[Passage], body_ids: Callable[[Sequence[str]], list[tuple[int, ...]]], max_tokens: int
) -> Candidates:
    """Candidate spans of all passages; `body_ids` is the prompt builder's."""
    places: dict[str, list[tuple[int, Span]]] = {}
    for number, passage in enumerate(passages):
        for span in candidate_spans(passage.text, sentence_spans(passage.text)):
            places.setdefault(passage.text[span.start : span.end], []).append((number, span))
    bodies = body_ids(list(places)) if places else []
    kept = [(text, body) for text, body in zip(places, bodies, strict=True) if 0 < len(body) <= max_tokens]
    return Candidates(places, tuple(text for text, _ in kept), tuple(body for _, body in kept))
