"""Prompts read as flat rows: no padding, caches that grow in place, and no passage read twice."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from rag_ft.answering.forward.row_attention import attend_rows, attending_rows
from rag_ft.answering.forward.row_cache import RowCache, RowPiece
from rag_ft.answering.forward.token_tree import NODES_PER_PASS, TreeNode, logprobs_of, tree_shape
from rag_ft.models.attention import close_enough, plain_attention
from rag_ft.models.plain_llama import PlainLlama

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

RowsForward = Callable[[Sequence[RowPiece], Sequence[int], Sequence[int], Sequence[int]], "Tensor"]
"""Rows, token ids, positions, and the indices whose logits are wanted → logits (wanted, V) in the model's type."""


def rows_forward(
    model: Any, rows: Sequence[RowPiece], ids: Sequence[int], positions: Sequence[int], wanted: Sequence[int]
) -> Tensor:
    """One pass over flat rows: logits (wanted, V). The rows' caches get the new tokens after those held."""
    if isinstance(model, PlainLlama):
        return model.read(ids, positions, partial(attend_rows, rows), wanted)
    device = model.device
    with attending_rows(model), torch.inference_mode():
        out = model(
            input_ids=torch.tensor([ids], device=device),
            position_ids=torch.tensor([positions], device=device),
            rows=rows,
            use_cache=False,
            logits_to_keep=torch.tensor(wanted, device=device),
        )
    return out.logits[0]  # type: ignore[no-any-return]


class RowSession:
    """Prompts that have been read and can be continued, with the methods of `padded.Session`."""

    def __init__(
        self,
        forward: RowsForward,
        dtype: torch.dtype,
        caches: Sequence[RowCache],
        rows: Sequence[Sequence[int]],
        keep: int,
    ) -> None:
        """`caches`: what each prompt starts with; `rows`: what is read now."""
        self._forward = forward
        self._dtype = dtype
        self._caches = list(caches)
        self.logits: Tensor = self.extend(rows, keep)
        """After the last `keep` tokens of each row: (B, keep, V) float32."""

    @property
    def rows(self) -> int:
        """Number of prompts."""
        return len(self._caches)

    def extend(self, rows: Sequence[Sequence[int]], keep: int = 1) -> Tensor:
        """Append tokens to each row (a row may be empty) and return logits after its last `keep`: (B, keep, V).

        The logits of a row that was given fewer than `keep` tokens are meaningless at the missing positions.
        """
        pieces: list[RowPiece] = []
        ids: list[int] = []
        positions: list[int] = []
        wanted: list[int] = []
        for cache, row in zip(self._caches, rows, strict=True):
            start = len(ids)
            ids += row
            positions += range(cache.length, cache.length + len(row))
            wanted += [max(start, len(ids) - keep + i) for i in range(keep)]
            if row:
                cache.make_room(len(row))
                seen = np.tri(len(row), dtype=bool) if len(row) > 1 else None
                pieces.append(RowPiece(cache, len(row), None if seen is None else self._mask(seen)))
        wanted = [min(index, len(ids) - 1) for index in wanted]
        logits = self._forward(pieces, ids, positions, wanted)
        for cache, row in zip(self._caches, rows, strict=True):
            cache.length += len(row)
        return torch.unflatten(logits.float(), 0, (len(rows), keep))

    def score_trees(
        self, trees: Sequence[Sequence[TreeNode]], wanted: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[NDArray[np.float64]]]:
        """Log-probabilities of the wanted next tokens after each node of each row's tree.

        `wanted[row][node]` lists token ids. The session is left as it was: the trees are not kept.
        """
        logprobs: list[list[NDArray[np.float64]]] = [[] for _ in trees]
        waiting = [row for row in range(len(trees)) if trees[row]]
        while waiting:
            chosen = [waiting.pop(0)]
            nodes = len(trees[chosen[0]])
            while waiting and nodes + len(trees[waiting[0]]) <= NODES_PER_PASS:
                nodes += len(trees[waiting[0]])
                chosen.append(waiting.pop(0))
            logits = self._score(chosen, [trees[row] for row in chosen])
            tokens_wanted = [tokens for row in chosen for tokens in wanted[row]]
            values = iter(logprobs_of(logits, range(nodes), tokens_wanted))
            for row in chosen:
                logprobs[row] = [next(values) for _ in wanted[row]]
        return logprobs

    def _score(self, rows: Sequence[int], trees: Sequence[Sequence[TreeNode]]) -> Tensor:
        pieces: list[RowPiece] = []
        ids: list[int] = []
        positions: list[int] = []
        for row, tree in zip(rows, trees, strict=True):
            cache = self._caches[row]
            cache.make_room(len(tree))
            depth, sees = tree_shape(tree)
            pieces.append(RowPiece(cache, len(tree), self._mask(sees)))
            ids += [node.token for node in tree]
            positions += (depth + cache.length).tolist()
        return self._forward(pieces, ids, positions, range(len(ids)))

    def _mask(self, seen: NDArray[np.bool_]) -> Tensor:
        hidden = torch.from_numpy(~seen)
        return torch.zeros(hidden.shape, dtype=self._dtype).masked_fill_(hidden, torch.finfo(self._dtype).min)


_takes_rows: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
_trying = threading.Lock()


def takes_rows(model: Any) -> bool:
    """Whether a model reads flat rows as it reads each row alone, tried once on a few tokens.

    Whatever a model adds to its attention (a window, a cap on scores, sinks, a mask of its own) is refused there, by
    whatever name its config has for it; the trial finds the rest, as far as a few tokens show it.
    """
    if isinstance(model, PlainLlama):
        return True
    with _trying:  # no rows are read beside the trial, which compares them with the model's own attention
        known = _takes_rows.get(model)
        if known is None:
            known = _takes_rows[model] = plain_attention(model) and _reads_rows(model)
        return known


def _reads_rows(model: Any) -> bool:
    config = model.config.get_text_config(decoder=True)
    prompts = [[token % config.vocab_size for token in tokens] for tokens in (range(100, 130), range(200, 212))]

    def forward(*given: Any) -> Tensor:
        return rows_forward(model, *given)

    try:
        caches = [RowCache(config.num_hidden_layers, len(prompt)) for prompt in prompts]
        session = RowSession(forward, torch.float32, caches, [prompt[:-1] for prompt in prompts], 1)
        together = session.extend([prompt[-1:] for prompt in prompts])[:, 0]
        for i, prompt in enumerate(prompts):
            with torch.inference_mode():
                alone = model(input_ids=torch.tensor([prompt], device=model.device), use_cache=False).logits[0, -1]
            if not close_enough(together[i].to(alone.dtype), alone):
                return False
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        logger.info("prompts are padded, because this model does not read flat rows: %s", error)
        return False
    return True
