"""Prompts read as flat rows: nothing padded, caches that grow in place, passages read before not read again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from rag_ft.answering.forward.row_attention import attending_rows
from rag_ft.answering.forward.row_cache import RowCache, RowPiece
from rag_ft.answering.forward.token_tree import NODES_PER_PASS, TreeNode, logprobs_of, tree_shape
from rag_ft.models.attention import close_enough, plain_attention

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

Forward = Callable[[Sequence[RowPiece], Sequence[int], Sequence[int], Sequence[int]], "Tensor"]
"""Rows, token ids, positions, and the places whose logits are wanted → logits (places, V) in the model's type."""


def rows_forward(
    model: Any, rows: Sequence[RowPiece], ids: Sequence[int], positions: Sequence[int], places: Sequence[int]
) -> Tensor:
    """One pass over flat rows: logits (places, V). The rows' caches get the new tokens behind those held."""
    device = model.device
    with attending_rows(model), torch.inference_mode():
        out = model(
            input_ids=torch.tensor([ids], device=device),
            position_ids=torch.tensor([positions], device=device),
            rows=rows,
            use_cache=False,
            logits_to_keep=torch.tensor(places, device=device),
        )
    return out.logits[0]  # type: ignore[no-any-return]


class RowSession:
    """Prompts that have been read and can be continued; does what `decoder.Session` does."""

    def __init__(
        self, forward: Forward, dtype: torch.dtype, caches: Sequence[RowCache], rows: Sequence[Sequence[int]], keep: int
    ) -> None:
        """`caches`: what each prompt begins with; `rows`: what is read now."""
        self._forward = forward
        self._dtype = dtype
        self._caches = list(caches)
        self.logits: Tensor = self.extend(rows, keep)
        """After the last `keep` tokens of each row: (B, keep, V) float32."""

    @property
    def rows(self) -> int:
        """How many prompts there are."""
        return len(self._caches)

    def extend(self, rows: Sequence[Sequence[int]], keep: int = 1) -> Tensor:
        """Append tokens to each row (a row may be empty) and return logits after its last `keep`: (B, keep, V).

        The logits of a row that was given fewer than `keep` tokens are meaningless at the missing places.
        """
        pieces: list[RowPiece] = []
        ids: list[int] = []
        positions: list[int] = []
        places: list[int] = []
        for cache, row in zip(self._caches, rows, strict=True):
            begin = len(ids)
            ids += row
            positions += range(cache.length, cache.length + len(row))
            places += [max(begin, len(ids) - keep + place) for place in range(keep)]
            if row:
                cache.make_room(len(row))
                seen = np.tri(len(row), dtype=bool) if len(row) > 1 else None
                pieces.append(RowPiece(cache, len(row), None if seen is None else self._mask(seen)))
        places = [min(place, len(ids) - 1) for place in places]
        logits = self._forward(pieces, ids, positions, places)
        for cache, row in zip(self._caches, rows, strict=True):
            cache.length += len(row)
        return torch.unflatten(logits.float(), 0, (len(rows), keep))

    def score_trees(
        self, trees: Sequence[Sequence[TreeNode]], wanted: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[NDArray[np.float64]]]:
        """Log-probabilities of the wanted next tokens after each node of each row's tree.

        `wanted[row][node]` lists token ids. The session is left as it was: the trees are not kept.
        """
        found: list[list[NDArray[np.float64]]] = [[] for _ in trees]
        waiting = [row for row in range(len(trees)) if trees[row]]
        while waiting:
            chosen = [waiting.pop(0)]
            nodes = len(trees[chosen[0]])
            while waiting and nodes + len(trees[waiting[0]]) <= NODES_PER_PASS:
                nodes += len(trees[waiting[0]])
                chosen.append(waiting.pop(0))
            logits = self._score(chosen, [trees[row] for row in chosen])
            asked = [tokens for row in chosen for tokens in wanted[row]]
            values = iter(logprobs_of(logits, range(nodes), asked))
            for row in chosen:
                found[row] = [next(values) for _ in wanted[row]]
        return found

    def _score(self, rows: Sequence[int], trees: Sequence[Sequence[TreeNode]]) -> Tensor:
        pieces: list[RowPiece] = []
        ids: list[int] = []
        positions: list[int] = []
        for number, tree in zip(rows, trees, strict=True):
            cache = self._caches[number]
            cache.make_room(len(tree))
            depth, sees = tree_shape(tree)
            pieces.append(RowPiece(cache, len(tree), self._mask(sees)))
            ids += [node.token for node in tree]
            positions += (depth + cache.length).tolist()
        return self._forward(pieces, ids, positions, range(len(ids)))

    def _mask(self, seen: NDArray[np.bool_]) -> Tensor:
        hidden = torch.from_numpy(~seen)
        return torch.zeros(hidden.shape, dtype=self._dtype).masked_fill_(hidden, torch.finfo(self._dtype).min)


_TAKES_ROWS: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
_TRYING = threading.Lock()


def takes_rows(model: Any) -> bool:
    """Whether a model reads flat rows as it reads each of them alone: tried once on a few tokens.

    What a model hands to its attention (a window, a cap on scores, sinks, a mask of its own) is refused there whatever
    its config calls it; the trial finds the rest, as far as a few tokens show it.
    """
    with _TRYING:  # no rows are read beside the trial, which compares them with the model's own attention
        known = _TAKES_ROWS.get(model)
        if known is None:
            known = _TAKES_ROWS[model] = plain_attention(model) and _reads_rows(model)
        return known


def _reads_rows(model: Any) -> bool:
    config = model.config.get_text_config(decoder=True)
    prompts = [[place % config.vocab_size for place in some] for some in (range(100, 130), range(200, 212))]

    def forward(*given: Any) -> Tensor:
        return rows_forward(model, *given)

    try:
        caches = [RowCache(config.num_hidden_layers, len(one)) for one in prompts]
        session = RowSession(forward, torch.float32, caches, [one[:-1] for one in prompts], 1)
        found = session.extend([one[-1:] for one in prompts])[:, 0]
        for number, one in enumerate(prompts):
            with torch.inference_mode():
                alone = model(input_ids=torch.tensor([one], device=model.device), use_cache=False).logits[0, -1]
            if not close_enough(found[number].to(alone.dtype), alone):
                return False
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        logger.info("prompts are padded, because this model does not read flat rows: %s", error)
        return False
    return True
