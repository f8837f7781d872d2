"""Trees of tokens that a model scores in one pass; each token sees only its own branch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

NODES_PER_PASS = 256
"""Tree nodes that one pass scores: their logits take 25 MB in 16 bits at a vocabulary of 49,152."""

_POSITIONS_AT_ONCE = 32
"""Positions whose logits are held in 32 bits at once: 6 MB."""


class TreeNode(NamedTuple):
    """A token to score after a parent token of the same row's tree."""

    token: int
    parent: int
    """Index of the parent in the row's list, where it comes first; -1 for a child of the row's last token."""


def tree_shape(tree: Sequence[TreeNode]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Depth of each node (N,), and which nodes each node sees (N, N): its ancestors and itself."""
    depth = np.zeros(len(tree), dtype=np.int64)
    sees = np.zeros((len(tree), len(tree)), dtype=bool)
    for node, (_, parent) in enumerate(tree):
        if parent >= 0:
            depth[node] = depth[parent] + 1
            sees[node] = sees[parent]
        sees[node, node] = True
    return depth, sees


def logprobs_of(logits: Tensor, positions: Sequence[int], wanted: Sequence[Sequence[int]]) -> list[NDArray[np.float64]]:
    """Log-probabilities of the tokens wanted at each position of (T, V) logits."""
    import torch

    sizes = [len(tokens) for tokens in wanted]
    at = torch.from_numpy(np.repeat(np.array(positions, dtype=np.int64), sizes)).to(logits.device)
    tokens = torch.tensor([token for tokens in wanted for token in tokens], dtype=torch.long, device=logits.device)
    # A few positions at a time: in 32 bits all would take memory that the system has to clear for every pass. One
    # gather for all wanted tokens, too: thousands of small ones would take as long as the layers.
    normaliser = torch.cat([part.float().logsumexp(-1) for part in torch.split(logits, _POSITIONS_AT_ONCE)])
    flat = (logits[at, tokens].float() - normaliser[at]).double().cpu().numpy()
    return np.split(flat, np.cumsum(sizes)[:-1])
