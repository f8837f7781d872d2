"""The forward passes behind a reader: a shared prefix, ragged rows, trees of continuations, one cache.

Everything goes through explicit position ids and 4-D additive masks (0 or the type's minimum), so a row's numbers do
not depend on how it was batched or padded. No choice of tokens is made here: `span_search` and `grammar` do that.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

from rag_ft.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from rag_ft.model import LoadedModel

_NODES_PER_PASS = 512
"""Tree nodes, padding included, that one pass scores: their logits take 100 MB at a vocabulary of 49,152."""

_HEADS_KEPT = 4
"""Prompt heads whose keys and values are kept: one is enough for one reader, an evaluation alternates a few."""


class TreeNode(NamedTuple):
    """A token to score after a parent token of the same row's tree."""

    token: int
    parent: int
    """Index of the parent in the row's list, before this one; -1 for a child of the row's last token."""


class Decoder:
    """Runs a loaded causal language model."""

    def __init__(self, loaded: LoadedModel, worn: Callable[[], AbstractContextManager[None]] | None = None) -> None:
        """`worn`: a context in which the model has the adapter to compute with, for this thread alone."""
        self._model = loaded.model
        self._worn = worn or nullcontext
        self._config = loaded.model.config.get_text_config(decoder=True)
        kinds = set(getattr(self._config, "layer_types", None) or ["full_attention"])
        if kinds - {"full_attention", "sliding_attention"}:
            raise UsageError(
                f"{loaded.weights.name} has layers of the kind {sorted(kinds)}: the reader needs a model with"
                " ordinary attention, whose keys and values can be shared between prompts"
            )
        self._heads: OrderedDict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = OrderedDict()
        self._cache_argument = _cache_argument(loaded.model)

    @property
    def window(self) -> int:
        """Tokens that the model can attend to at once."""
        return window_of(self._model)

    @property
    def vocabulary(self) -> int:
        """Width of the logits."""
        return int(self._model.get_output_embeddings().weight.shape[0])

    def start(self, head: tuple[int, ...], rows: Sequence[Sequence[int]], keep: int = 1) -> Session:
        """Read prompts: a head shared by all, then one run of at least `keep` token ids for each row."""
        return Session(self._forward, self._model.device, self._head(head), len(head), rows, keep)

    def _head(self, head: tuple[int, ...]) -> list[tuple[Tensor, Tensor]]:
        if not head:
            return []
        known = self._heads.get(head)
        if known is None:
            import torch

            device = self._model.device
            ids = torch.tensor([head], device=device)
            positions = torch.arange(len(head), device=device)[None]
            allowed = torch.ones(1, len(head), len(head), dtype=torch.bool, device=device).tril()
            known = self._forward([], ids, positions, allowed, keep=1).cache
            self._heads[head] = known
            while len(self._heads) > _HEADS_KEPT:
                self._heads.popitem(last=False)
        return known

    def _forward(
        self, cache: list[tuple[Tensor, Tensor]], ids: Tensor, positions: Tensor, allowed: Tensor, keep: int
    ) -> _Forward:
        """Logits of the last `keep` positions (0: of all) and the cache grown by these tokens.

        ids, positions (B, Q) int64; allowed (B, Q, K) bool, K = cached + Q; logits (B, keep, V) float32.
        """
        import torch
        from transformers import DynamicCache

        dtype = self._model.get_input_embeddings().weight.dtype
        if not dtype.is_floating_point:
            dtype = self._config.dtype
        mask = torch.zeros(allowed.shape, dtype=dtype, device=ids.device)
        mask.masked_fill_(~allowed, torch.finfo(dtype).min)
        past = DynamicCache(ddp_cache_data=cache) if cache else DynamicCache()
        # Held for one pass, not for a whole reading: a stream that nobody reads on must not stop the others.
        with self._worn(), torch.inference_mode():
            out = self._model(
                input_ids=ids,
                attention_mask=mask[:, None],
                position_ids=positions,
                use_cache=True,
                # As indices: of a slice's view torch multiplies a copy of the output head for each row of the batch.
                logits_to_keep=torch.arange(ids.shape[1] - keep, ids.shape[1], device=ids.device) if keep else 0,
                **{self._cache_argument: past},
            )
        grown = [(layer.keys, layer.values) for layer in past.layers]  # the cache grows in place
        return _Forward(out.logits.float(), grown)


def window_of(model: Any) -> int:
    """Tokens that a model can attend to at once."""
    config = model.config.get_text_config(decoder=True)
    window = int(config.max_position_embeddings)
    sliding = getattr(config, "sliding_window", None)
    return min(window, int(sliding)) if sliding else window


def _cache_argument(model: Any) -> str:
    """`cache` from transformers 5.24 on, `past_key_values` before; an adapter's wrapper takes anything."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "cache" if "cache" in inspect.signature(base.forward).parameters else "past_key_values"


class _Forward(NamedTuple):
    logits: Tensor
    cache: list[tuple[Tensor, Tensor]]


class Session:
    """Prompts that have been read and can be continued, row by row."""

    def __init__(
        self,
        forward: Callable[..., _Forward],
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
        """How many prompts there are."""
        return int(self._valid.shape[0])

    def extend(self, rows: Sequence[Sequence[int]], keep: int = 1) -> Tensor:
        """Append tokens to each row (a row may be empty) and return logits after its last `keep`: (B, keep, V).

        The logits of a row that was given fewer than `keep` tokens are meaningless at the missing places.
        """
        import torch

        device = self._valid.device
        longest = max(keep, *(len(row) for row in rows))
        ids = torch.zeros(len(rows), longest, dtype=torch.long, device=device)
        real = torch.zeros(len(rows), longest, dtype=torch.bool, device=device)
        for number, row in enumerate(rows):
            if row:  # padded on the left, so that the last tokens of all rows stand at the same places
                ids[number, -len(row) :] = torch.tensor(row, device=device)
                real[number, -len(row) :] = True
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
        found: list[list[NDArray[np.float64]]] = [[] for _ in trees]
        # Rows without a tree cost nothing, and a few rows at a time keep the logits small: (rows, nodes, vocabulary).
        waiting = sorted((row for row in range(len(trees)) if trees[row]), key=lambda row: len(trees[row]))
        while waiting:
            size = max(1, _NODES_PER_PASS // len(trees[waiting[-1]]))
            chosen, waiting = waiting[-size:], waiting[:-size]
            scored = self._score(chosen, [trees[row] for row in chosen], [wanted[row] for row in chosen])
            for row, values in zip(chosen, scored, strict=True):
                found[row] = values
        return found

    def _score(
        self, rows: list[int], trees: Sequence[Sequence[TreeNode]], wanted: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[NDArray[np.float64]]]:
        import numpy as np
        import torch

        device = self._valid.device
        count, longest = len(trees), max(len(tree) for tree in trees)
        ids = np.zeros((count, longest), dtype=np.int64)
        depth = np.zeros((count, longest), dtype=np.int64)
        sees = np.zeros((count, longest, longest), dtype=bool)  # node → its ancestors and itself
        for row, tree in enumerate(trees):
            for node, (token, parent) in enumerate(tree):
                ids[row, node] = token
                if parent >= 0:
                    depth[row, node] = depth[row, parent] + 1
                    sees[row, node] = sees[row, parent]
                sees[row, node, node] = True
        select = torch.tensor(rows, device=device)
        cache = self._cache
        if rows != list(range(self.rows)):
            cache = [(keys[select], values[select]) for keys, values in self._cache]
        positions = self._next[select][:, None] + torch.from_numpy(depth).to(device)
        seen = self._valid[select][:, None, :].expand(-1, longest, -1)
        allowed = torch.cat([seen, torch.from_numpy(sees).to(device)], dim=2)
        logits = self._forward(cache, torch.from_numpy(ids).to(device), positions, allowed, 0).logits
        # One gather for all that is wanted: thousands of small ones would take as long as the layers.
        sizes = [len(tokens) for row_wanted in wanted for tokens in row_wanted]
        places = [(row, node) for row, row_wanted in enumerate(wanted) for node in range(len(row_wanted))]
        at = np.repeat(np.array(places, dtype=np.int64).reshape(-1, 2), sizes, axis=0)
        tokens = [token for row_wanted in wanted for node_wanted in row_wanted for token in node_wanted]
        row_at, node_at = (torch.from_numpy(column.copy()).to(device) for column in at.T)
        normaliser = logits.logsumexp(-1)  # (B, N)
        values = logits[row_at, node_at, torch.tensor(tokens, dtype=torch.long, device=device)]
        flat = (values - normaliser[row_at, node_at]).double().cpu().numpy()
        pieces = iter(np.split(flat, np.cumsum(sizes)[:-1]))
        return [[next(pieces) for _ in row_wanted] for row_wanted in wanted]
