"""The cross-encoder as a torch module: an encoder with heads for the passage, its sentences, its spans, yes and no."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from rag_ft.errors import PromptTooLongError, WeightsError, first_line
from rag_ft.models.cross_encoder_files import changes_between
from rag_ft.models.plain_bert import PlainBert, load_plain_bert
from rag_ft.models.weights import Weights

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MAX_TOKENS = 512
"""Positions of the encoder, for a question and a passage together."""

_MOST_OF_A_QUESTION = MAX_TOKENS - 4
"""Tokens of a question beside three special ones and one of a passage."""

_LEAST = -1e4


class ScoredPairs(NamedTuple):
    """What the network gives for a batch of pairs, with gradients while it is trained."""

    relevance: Tensor
    """(pairs,)"""
    evidence: Tensor
    """(pairs, tokens)"""
    says: Tensor
    """(pairs, 3): logits of neither, yes, no."""
    ends: Tensor
    """(pairs, tokens, 2): logits that an answer in a few words starts, and ends, at each token. The first token stands
    for no such answer in the passage."""


class PairTokens(NamedTuple):
    """A batch of pairs as the network takes it, padded to the longest."""

    inputs: dict[str, Tensor]
    offsets: Tensor
    """(pairs, tokens, 2): where each token stands in the passage's shown text."""
    in_passage: Tensor
    """(pairs, tokens): which tokens belong to the passage."""
    cut: tuple[bool, ...]
    """Whether the passage of each pair lost its end."""


class CrossEncoderNetwork(nn.Module):
    """Question and passage in, `ScoredPairs` out."""

    def __init__(self, encoder: PlainBert) -> None:
        super().__init__()
        size = encoder.size
        self.encoder = encoder
        self.relevance = nn.Linear(size, 1)
        """On the first token's state."""
        self.evidence = nn.Linear(size, 1)
        """On each token's state."""
        self.decision = nn.Linear(2 * size, 3)
        """On the first token's state and the mean state of the evidence: it reads the evidence, then decides."""
        self.ends = nn.Linear(size, 2)
        """On each token's state, as Devlin et al., "BERT", 2019, section 4.3. Zero, so that an older file, which has no
        such head, says nothing of spans."""
        nn.init.zeros_(self.ends.weight)
        nn.init.zeros_(self.ends.bias)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor, attention_mask: Tensor) -> ScoredPairs:
        """Score pairs of token ids, (pairs, tokens), of which type 1 is the passage."""
        states = self.encoder(input_ids, token_type_ids, attention_mask)
        evidence = self.evidence(states)[:, :, 0]
        outside = (token_type_ids * attention_mask) == 0
        # Detached: the evidence is learned from where the answer stands, not from what it says.
        weights = evidence.detach().clamp(-20, 20).masked_fill(outside, _LEAST).softmax(-1)
        read = (weights[:, :, None] * states).sum(1)
        first = states[:, 0]
        says = self.decision(torch.cat([first, read], -1))
        return ScoredPairs(self.relevance(first)[:, 0], evidence, says, self.ends(states))


def new_network(embedder: Weights) -> tuple[CrossEncoderNetwork, Tokenizer]:
    """The embedder's encoder with new heads, and its tokenizer. The heads are random. Raises WeightsError."""
    from tokenizers import Tokenizer

    encoder = load_plain_bert(embedder.path)
    try:
        tokenizer = Tokenizer.from_file(str(embedder.path / "tokenizer.json"))
    except Exception as error:  # tokenizers raises bare Exception on a broken file
        raise WeightsError(f"the tokenizer in {embedder.path} cannot be loaded ({first_line(error)})") from error
    return CrossEncoderNetwork(encoder), tokenizer


def encode_pairs(tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]]) -> PairTokens:
    """Tokens of questions and shown passages; a pair beyond the encoder's positions loses the passage's end.

    With the packaged embedder a passage of an index fits: both it and a question have at most half of the positions.
    Raises PromptTooLongError for a question that leaves no room for any passage.
    """
    tokenizer.enable_truncation(MAX_TOKENS, strategy="only_second")
    tokenizer.enable_padding()
    try:
        encoded = tokenizer.encode_batch(list(pairs))
    except Exception:  # tokenizers raises a bare one
        _refuse_long(tokenizer, [question for question, _ in pairs])
        raise
    types = torch.tensor([one.type_ids for one in encoded])
    offsets = torch.tensor([one.offsets for one in encoded])
    cut = tuple(bool(pair.overflowing) for pair in encoded)
    inputs = {
        "input_ids": torch.tensor([one.ids for one in encoded]),
        "token_type_ids": types,
        "attention_mask": torch.tensor([one.attention_mask for one in encoded]),
    }
    return PairTokens(inputs, offsets, (types == 1) & (offsets[:, :, 1] > offsets[:, :, 0]), cut)


def _refuse_long(tokenizer: Tokenizer, questions: Sequence[str]) -> None:
    """Raise PromptTooLongError for the first question that no passage fits beside."""
    tokenizer.no_truncation()
    for question in questions:
        length = len(tokenizer.encode(question, add_special_tokens=False).ids)
        if length > _MOST_OF_A_QUESTION:
            raise PromptTooLongError(
                f"the question has {length:,} tokens, but the cross-encoder reads at most {_MOST_OF_A_QUESTION}:"
                " shorten it"
            )


def changes_since(embedder: Weights, network: CrossEncoderNetwork, rank: int | None = None) -> dict[str, Tensor]:
    """What a network changed of the embedder's encoder, and its heads, as `write_cross_encoder` keeps it."""
    return changes_between(new_network(embedder)[0].state_dict(), network.state_dict(), rank)
