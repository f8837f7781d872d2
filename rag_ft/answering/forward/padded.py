"""A decoding session over rows of different lengths, padded: works with every causal model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rag_ft.answering.forward.token_tree import NODES_PER_PASS, TreeNode, logprobs_of, tree_shape

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


class ForwardResult(NamedTuple):
    """What a session needs of a model's forward pass."""

    logits: Tensor
    cache: list[tuple[Tensor, Tensor]]


class Session:
    """Prompts that have been read and can be continued, row by row."""

    def __init__(
        self,
        forward: Callable[..., ForwardResult],
        device: Any,
        head: list[tuple[Tensor, Tensor]],
        head_length: int,
        rows: Sequence[Sequence[int]],
        keep: int,
    ) -> None:
        import torch

        self._forward = forward
        count = len(rows)
        self._cache = [(keys.expand(count, -1, -1, -1), values.expand(count, -1, -1, -1)) for keys, values in head]
        self._valid = torch.ones(count, head_length, dtype=torch.bool, device=device)  # (B, cached)
        self._next = torch.full((count,), head_length, dtype=torch.long, device=device)  # (B,) next position
        self.logits: Tensor = self.extend(rows, keep)
        """After the last `keep` tokens of each row: (B, keep, V) float32."""

    @property
    def rows(self) -> int:
        """Number of prompts."""
        return int(self._valid.shape[0])

    def extend(self, rows: Sequence[Sequence[int]], keep: int = 1) -> Tensor:
        """Append tokens to each row (a row may be empty) and return logits after its last `keep`: (B, keep, V).

        The logits of a row that was given fewer than `keep` tokens are meaningless at the missing positions.
        """
        import torch

        device = self._valid.device
        longest = max(keep, *(len(row) for row in rows))
        ids = torch.zeros(len(rows), longest, dtype=torch.long, device=device)
        real = torch.zeros(len(rows), longest, dtype=torch.bool, device=device)
        for i, row in enumerate(rows):
            if row:  # padded on the left, so that the last tokens of all rows stand at the same positions
                ids[i, -len(row) :] = torch.tensor(row, device=device)
                real[i, -len(row) :] = True
        positions = (self._next[:, None] + real.cumsum(1) - 1).clamp(min=0) * real
        causal = torch.ones(longest, longest, dtype=torch.bool, device=device).tril()
        allowed = torch.cat(
            [
                self._valid[:, None, :].expand(-1, longest, -1),
                causal[None] & real[:, None, :],
            ],
            dim=2,
        )  # (B, Q, K)
        out = self._forward(self._cache, ids, positions, allowed, keep)
        self._cache = out.cache
        self._valid = torch.cat([self._valid, real], dim=1)
        self._next = self._next + real.sum(1)
        return out.logits

    def score_trees(
        self, trees: Sequence[Sequence[TreeNode]], wanted: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[NDArray[np.float64]]]:
        """Log-probabilities of the wanted next tokens after each node of each row's tree, in one pass.

        `wanted[row][node]` lists token ids. The session is left as it was: the trees are not kept.
        """
        logprobs: list[list[NDArray[np.float64]]] = [[] for _ in trees]
        # Rows without a tree cost nothing, and a few rows at a time keep the logits small: (rows, nodes, vocabulary).
        waiting = sorted((row for row in range(len(trees)) if trees[row]), key=lambda row: len(trees[row]))
        while waiting:
            size = max(1, NODES_PER_PASS // len(trees[waiting[-1]]))
            chosen, waiting = waiting[-size:], waiting[:-size]
            scored = self._score(chosen, [trees[row] for row in chosen], [wanted[row] for row in chosen])
            for row, values in zip(chosen, scored, strict=True):
                logprobs[row] = values
        return logprobs

    def _score(
        self, rows: list[int], trees: Sequence[Sequence[TreeNode]], wanted: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[NDArray[np.float64]]]:
        import numpy as np
        import torch

        device = self._valid.device
        count, longest = len(trees), max(len(tree) for tree in trees)
        ids = np.zeros((count, longest), dtype=np.int64)
        depth = np.zeros((count, longest), dtype=np.int64)
        sees = np.zeros((count, longest, longest), dtype=bool)
        for row, tree in enumerate(trees):
            ids[row, : len(tree)] = [node.token for node in tree]
            depth[row, : len(tree)], sees[row, : len(tree), : len(tree)] = tree_shape(tree)
        select = torch.tensor(rows, device=device)
        cache = self._cache
        if rows != list(range(self.rows)):
            cache = [(keys[select], values[select]) for keys, values in self._cache]
        positions = self._next[select][:, None] + torch.from_numpy(depth).to(device)
        seen = self._valid[select][:, None, :].expand(-1, longest, -1)
        allowed = torch.cat([seen, torch.from_numpy(sees).to(device)], dim=2)
        logits = self._forward(cache, torch.from_numpy(ids).to(device), positions, allowed, 0).logits
        positions_wanted = [
            row * longest + node for row, row_wanted in enumerate(wanted) for node in range(len(row_wanted))
        ]
        tokens_wanted = [tokens for row_wanted in wanted for tokens in row_wanted]
        logprobs = iter(logprobs_of(logits.flatten(0, 1), positions_wanted, tokens_wanted))
        return [[next(logprobs) for _ in row_wanted] for row_wanted in wanted]
