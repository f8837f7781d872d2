"""What a cross-encoder learns from an example: the passage that answers, its sentences, its words, and yes or no."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from rag_ft.models.compute import half_products_on_cpu
from rag_ft.models.cross_encoder import shown_text
from rag_ft.models.cross_encoder_network import CrossEncoderNetwork, PairTokens, ScoredPairs, encode_pairs
from rag_ft.text.spans import Span
from rag_ft.training.cross_encoder.examples import PairExample

if TYPE_CHECKING:
    from torch import Tensor

EVIDENCE_WEIGHT = 2.0
SPAN_WEIGHT, NO_SPAN_WEIGHT = 1.5, 0.6
DECIDED_WEIGHT, UNDECIDED_WEIGHT = 1.5, 0.3
"""Few records say yes or no, and most say neither."""

_NEVER = -1e4
"""Logit of a token that no answer starts or ends at."""


def losses(network: CrossEncoderNetwork, tokenizer: Any, examples: Sequence[PairExample]) -> Tensor:
    """The loss of each example, (examples,): the sum of four.

    The cross-entropy of choosing the passage that answers among all and none (whose log-odds are 0); the mean binary
    cross-entropy of the words of that passage belonging to the evidence; the cross-entropy of neither, yes and no; the
    cross-entropies of the answer's first and last word, or of none in passages that do not answer.
    Products are computed in bfloat16 where the CPU is faster with it.
    """
    pairs = [(example.question, shown_text(passage)) for example in examples for passage in example.passages]
    tokens = encode_pairs(tokenizer, pairs)
    with half_products_on_cpu():
        scored = network(**tokens.inputs)
    scored = ScoredPairs(*(scores.float() for scores in scored))
    each: list[Tensor] = []
    first = 0
    for example in examples:
        last = first + len(example.passages)
        choices = torch.cat([scored.relevance[first:last], scored.relevance.new_zeros(1)])
        target = len(example.passages) if example.evidence is None else 0
        loss = cross_entropy(choices[None], torch.tensor([target]))
        if example.evidence is not None:
            inside = tokens.in_passage[first]
            labels = evidence_labels(tokens, first, example.evidence)[inside]
            if len(labels):  # a passage of signs that the tokenizer drops has none
                loss = loss + EVIDENCE_WEIGHT * binary_cross_entropy_with_logits(scored.evidence[first][inside], labels)
            says = 0 if example.yes is None else 1 if example.yes else 2
            weight = DECIDED_WEIGHT if says else UNDECIDED_WEIGHT
            loss = loss + weight * cross_entropy(scored.says[first][None], torch.tensor([says]))
            if example.words is not None and (ends := _end_tokens(tokens, first, example.words)) is not None:
                loss = loss + SPAN_WEIGHT * _ends_loss(scored, tokens, first, ends)
        others = range(first if example.evidence is None else first + 1, last)
        if others:
            unmarked = torch.stack([_ends_loss(scored, tokens, pair, (0, 0)) for pair in others])
            loss = loss + NO_SPAN_WEIGHT * unmarked.mean()
        each.append(loss)
        first = last
    return torch.stack(each)


def _end_tokens(tokens: PairTokens, pair: int, words: Span) -> tuple[int, int] | None:
    """The first and the last token of the words in a pair's passage; None where the model does not see them all."""
    of_words = evidence_labels(tokens, pair, words).nonzero()[:, 0].tolist()
    if tokens.cut[pair] and words.end > int(tokens.offsets[pair, :, 1][tokens.in_passage[pair]].max()):
        return None
    return (of_words[0], of_words[-1]) if of_words else None


def _ends_loss(scored: ScoredPairs, tokens: PairTokens, pair: int, ends: tuple[int, int]) -> Tensor:
    """The mean cross-entropy of choosing two tokens of a pair's passage as start and end; token 0: there is none."""
    choices = tokens.in_passage[pair].clone()
    choices[0] = True
    logits = scored.ends[pair].masked_fill(~choices[:, None], _NEVER)
    return cross_entropy(logits.T, torch.tensor(ends))


def evidence_labels(tokens: PairTokens, pair: int, evidence: Span) -> Tensor:
    """1 for the tokens of a pair's passage that share a character with the evidence, 0 for all others, (tokens,)."""
    starts, ends = tokens.offsets[pair, :, 0], tokens.offsets[pair, :, 1]
    return (tokens.in_passage[pair] & (starts < evidence.end) & (evidence.start < ends)).float()
