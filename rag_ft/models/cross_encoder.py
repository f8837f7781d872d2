"""A second small model that reads a question and a passage together: does it answer, with which words, yes or no?

The packaged embedder's encoder (all-MiniLM-L6-v2, 22 million parameters) with four heads, tuned as a cross-encoder
(Nogueira and Cho, "Passage Re-ranking with BERT", 2019). An embedder reads each passage before anybody asks; this model
reads it with the question, so it is better and can only be afforded for the few passages that a search has found.

`cross_encoder_network.py` holds the network, `cross_encoder_files.py` its files. The network is imported where one is
made, because torch is slow to import and a reader's settings do not need it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rag_ft.environment import packaged_cross_encoder_path
from rag_ft.models.compute import half_products_on_cpu
from rag_ft.models.cross_encoder_files import add_changes, check_base, read_changes, read_record
from rag_ft.models.weights import PACKAGED, Weights, resolve_embedder, weights_in
from rag_ft.text.spans import Span

if TYPE_CHECKING:
    from rag_ft.models.cross_encoder_network import CrossEncoderNetwork
    from rag_ft.schema import Passage

LEAST_ODDS = -50.0
"""Log-odds of a span whose words the model did not see."""

TOKENS_PER_BATCH = 4096
"""Padded tokens per forward pass."""

SCORES_KEPT = 2048
"""Question and passage pairs whose scores are remembered: what was reranked is then read again at no cost."""


class PassageScores(NamedTuple):
    """What the cross-encoder says of one passage for one question."""

    relevance: float
    """Log-odds that the passage answers the question; comparable between passages and questions."""
    evidence: NDArray[np.float32]
    """Log-odds of each token that it belongs to what answers the question, (tokens,)."""
    tokens: tuple[Span, ...]
    """Where each token stands in the passage's text."""
    says: tuple[float, float, float]
    """Probability that the passage says neither yes nor no, that it says yes, and that it says no."""
    starts: NDArray[np.float32]
    ends: NDArray[np.float32]
    """Log-odds that an answer in a few words starts, and ends, at each token, against there being none in the passage;
    (tokens,). All 0 without a head for spans."""
    cut: bool = False
    """Whether the model did not see the passage's end, which is beyond its positions."""

    def span_odds(self, spans: NDArray[np.int64]) -> NDArray[np.float64]:
        """Log-odds of each span being the answer, against none in the passage, (spans,).

        `spans`: start and end of each in the passage's text, (spans, 2). The least there is where the model did not
        see the span's words.
        """
        if not self.tokens or not len(spans):
            return np.full(len(spans), LEAST_ODDS)
        starts, ends = np.array(self.tokens).T
        first = np.searchsorted(ends, spans[:, 0], side="right")
        last = np.searchsorted(starts, spans[:, 1], side="left") - 1
        seen = (first < len(starts)) & (last >= first)
        if self.cut:
            seen &= spans[:, 1] <= ends[-1]
        odds = np.full(len(spans), LEAST_ODDS)
        odds[seen] = self.starts[first[seen]].astype(float) + self.ends[last[seen]]
        return odds

    def evidence_of(self, span: Span) -> float:
        """The mean evidence of the tokens of a span; minus infinity where no token lies in it."""
        inside = [i for i, token in enumerate(self.tokens) if token.start < span.end and span.start < token.end]
        return float(self.evidence[inside].mean()) if inside else -np.inf


def shown_start(passage: Passage) -> int:
    """Where the passage's own text begins in what the model is shown: after the document's title."""
    return len(passage.title) + 2 if passage.title else 0


def shown_text(passage: Passage) -> str:
    """A passage as the model is shown it: the document's title, then the text."""
    return f"{passage.title}. {passage.text}" if passage.title else passage.text


class CrossEncoder:
    """Scores passages for a question. Threads may share it; they compute one at a time."""

    def __init__(
        self, network: CrossEncoderNetwork, tokenizer: Any, weights: Weights | None, record: Mapping[str, Any]
    ) -> None:
        """`from_pretrained` makes one. `weights`: the tuned files; None for a network that is being trained."""
        self.network = network
        self.tokenizer = tokenizer
        self.weights = weights
        self.record = record
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str, str], PassageScores] = OrderedDict()

    @classmethod
    def from_pretrained(cls, name: str | Path = PACKAGED) -> CrossEncoder:
        """The packaged cross-encoder, or one from a folder that `write_cross_encoder` wrote. Raises WeightsError."""
        folder = packaged_cross_encoder_path() if str(name) == PACKAGED else Path(name)
        record = read_record(folder)
        embedder = resolve_embedder()
        check_base(folder, record, embedder)
        from rag_ft.models.cross_encoder_network import new_network

        network, tokenizer = new_network(embedder)
        add_changes(network, read_changes(folder), folder)
        network.eval()
        return cls(network, tokenizer, weights_in(folder, "cross-encoder"), record)

    def with_record(self, record: Mapping[str, Any]) -> CrossEncoder:
        """The same network under another record; both keep their scores together."""
        other = copy(self)
        other.record = record
        return other

    def apart(self) -> CrossEncoder:
        """The same network, which remembers scores of its own."""
        other = copy(self)
        other._kept = OrderedDict()
        return other

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the tuned files; empty while it is being trained."""
        return self.weights.fingerprint if self.weights is not None else ""

    def score(self, question: str, passages: Sequence[Passage]) -> list[PassageScores]:
        """The scores of some passages for a question, in their order."""
        return self.score_batch([(question, passage) for passage in passages])

    def score_batch(self, pairs: Sequence[tuple[str, Passage]]) -> list[PassageScores]:
        """The scores of pairs of a question and a passage, in their order; pairs that were scored lately are kept.

        Products are computed in bfloat16 where the CPU is faster with it.
        """
        import torch

        keys = [(question, passage.title, passage.text) for question, passage in pairs]
        with self._lock, torch.inference_mode(), half_products_on_cpu():
            known = {key: self._kept[key] for key in keys if key in self._kept}
            new = list(dict.fromkeys(key for key in keys if key not in known))
            missing = {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in known}
            for batch in _batches([len(missing[key][0]) + len(missing[key][1].text) for key in new]):
                known.update(zip((new[i] for i in batch), self._read([missing[new[i]] for i in batch]), strict=True))
            for key in keys:
                self._kept[key] = known[key]
                self._kept.move_to_end(key)
            while len(self._kept) > SCORES_KEPT:
                self._kept.popitem(last=False)
        return [known[key] for key in keys]

    def relevance_batch(self, pairs: Sequence[tuple[str, Passage]]) -> list[float]:
        """Log-odds that the passage of each pair answers the pair's question: this is how a retriever reranks."""
        return [scores.relevance for scores in self.score_batch(pairs)]

    def _read(self, pairs: Sequence[tuple[str, Passage]]) -> list[PassageScores]:
        from rag_ft.models.cross_encoder_network import encode_pairs

        tokens = encode_pairs(self.tokenizer, [(question, shown_text(passage)) for question, passage in pairs])
        scored = self.network(**tokens.inputs)
        says = scored.says.float().softmax(-1).tolist()
        ends = scored.ends.float()
        ends = ends - ends[:, :1]  # (pairs, tokens, 2), against the first token's: no answer
        results = []
        for i, (_, passage) in enumerate(pairs):
            start = shown_start(passage)
            of_text = tokens.in_passage[i] & (tokens.offsets[i, :, 0] >= start)
            spans = (tokens.offsets[i][of_text] - start).tolist()
            results.append(
                PassageScores(
                    relevance=float(scored.relevance[i]),
                    evidence=scored.evidence[i][of_text].float().numpy(),
                    tokens=tuple(Span(*span) for span in spans),
                    says=tuple(says[i]),
                    starts=ends[i, of_text, 0].numpy(),
                    ends=ends[i, of_text, 1].numpy(),
                    cut=tokens.cut[i],
                )
            )
        return results


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Positions of texts by length, longest first, in batches of a bounded number of padded tokens."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    batches: list[list[int]] = []
    for i in order:
        longest = lengths[batches[-1][0]] if batches else 0
        # A token has about four characters.
        if batches and longest * (len(batches[-1]) + 1) <= 4 * TOKENS_PER_BATCH and 3 * lengths[i] >= longest:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches
