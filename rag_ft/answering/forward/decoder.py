"""The forward passes behind a reader: a shared prefix, ragged rows, trees of continuations, one cache.

On a CPU prompts are read as flat rows (`rows.py`), and passages that were read before come from a cache. Elsewhere, and
for models whose attention is not the ordinary one, they are padded to one length (`padded.py`), with explicit position
ids and 4-D additive masks (0 or the type's minimum). Either way a row's numbers do not depend on its neighbours, up to
rounding. No choice of tokens is made here: `decoding/` does that.
"""

from __future__ import annotations

import inspect
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from rag_ft.answering.forward.padded import ForwardResult, Session
from rag_ft.answering.forward.prefix_cache import PrefixCache
from rag_ft.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from rag_ft.answering.forward.row_cache import RowCache
    from rag_ft.answering.forward.rows import RowSession
    from rag_ft.models.loading import LoadedModel

T = TypeVar("T")


AnySession: TypeAlias = "Session | RowSession"
"""Prompts that have been read, as flat rows or padded."""


_ROOM = 64
"""Tokens that a row's cache has room for behind its prompt, before it is copied to grow."""


_HEADS_KEPT = 4
"""Prompt heads whose keys and values are kept; a reader has one."""


class Decoder:
    """Runs a loaded causal language model."""

    def __init__(
        self,
        loaded: LoadedModel,
        activate: Callable[[], AbstractContextManager[None]] | None = None,
        prefixes: PrefixCache | None = None,
        owner: Hashable = None,
    ) -> None:
        """`activate`: gives a context in which the model computes with the right adapter, for this thread alone.

        `prefixes`: keeps what prompts start with, for each `owner`, which names one state of the weights.
        """
        self._loaded = loaded
        self._activate = activate or nullcontext
        self._config = self._model.config.get_text_config(decoder=True)
        kinds = set(getattr(self._config, "layer_types", None) or ["full_attention"])
        if kinds - {"full_attention", "sliding_attention"}:
            raise UsageError(
                f"{loaded.weights.name} has layers of the kind {sorted(kinds)}: the reader needs a model with"
                " ordinary attention, whose keys and values can be shared between prompts"
            )
        self._heads: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        self._reading_head = threading.Lock()
        self._prefixes = PrefixCache(0) if prefixes is None else prefixes
        self._owner = owner

    @property
    def _model(self) -> Any:
        """What reads now: it changes where an adapter is added to a base that `PlainLlama` reads."""
        return self._loaded.network

    @property
    def window(self) -> int:
        """Tokens that the model can attend to at once."""
        return window_of(self._model)

    @property
    def vocabulary(self) -> int:
        """Width of the logits."""
        return int(self._model.get_output_embeddings().weight.shape[0])

    def unread(self, head: tuple[int, ...], row: Sequence[int], context: int) -> int:
        """Number of a row's tokens that are left to read after a head: without its context if that is kept."""
        return len(row) - (context if self._key(head, tuple(row[:context])) in self._prefixes else 0)

    def start(
        self,
        head: tuple[int, ...],
        rows: Sequence[Sequence[int]],
        keep: int = 1,
        contexts: Sequence[int] | None = None,
    ) -> AnySession:
        """Read prompts: a head shared by all, then one run of at least `keep` token ids per row.

        `contexts`: number of leading tokens of each run that other prompts may start with, too, here or later.
        """
        if self.flat:
            return self._start_rows(head, rows, keep, contexts or [0] * len(rows))
        prefix = self._head(head, self._read_head) if head else []
        return Session(self._forward, self._model.device, prefix, len(head), rows, keep)

    @cached_property
    def flat(self) -> bool:
        """Whether prompts are read as flat rows: not on a GPU, where a hundred small products wait for each other."""
        from rag_ft.answering.forward.rows import takes_rows

        if self._model.device.type != "cpu":
            return False
        with self._activate():
            return takes_rows(self._model)

    def _start_rows(
        self, head: tuple[int, ...], rows: Sequence[Sequence[int]], keep: int, contexts: Sequence[int]
    ) -> RowSession:
        from rag_ft.answering.forward.row_cache import RowCache

        prefix = [self._head(head, self._read_head_row)] if head else []
        layers = int(self._config.num_hidden_layers)
        # What each row shares with others; empty where no other row may start with it.
        shareable = [
            tuple(row[:length]) if 0 < length <= len(row) - keep else ()
            for row, length in zip(rows, contexts, strict=True)
        ]
        parts = {context: self._prefixes.get(self._key(head, context)) for context in shareable if context}
        # An extra pass that saves others: a context that several rows start with is read once for all of them.
        repeated = [
            context for context, count in Counter(shareable).items() if count > 1 and context and parts[context] is None
        ]
        for context, part in zip(repeated, self._read_contexts(head, prefix, repeated), strict=True):
            parts[context] = part
            self._prefixes.put(self._key(head, context), part)
        caches: list[RowCache] = []
        unread: list[Sequence[int]] = []
        for row, context in zip(rows, shareable, strict=True):
            known = parts.get(context)
            room, shared = len(head) + len(row) + _ROOM, (len(head), len(head) + len(context))
            caches.append(RowCache(layers, room, [*prefix, *([] if known is None else [known])], shared))
            unread.append(row if known is None else row[len(context) :])
        session = self._row_session(caches, unread, keep)
        if self._prefixes.max_bytes:
            for context, cache in zip(shareable, caches, strict=True):
                if context and parts[context] is None:
                    self._prefixes.put(self._key(head, context), cache.part(len(head), len(head) + len(context)))
        return session

    def _key(self, head: tuple[int, ...], context: tuple[int, ...]) -> Hashable:
        """Key of a context after a head in the prefix cache."""
        return self._owner, head, context

    def _read_contexts(
        self, head: tuple[int, ...], prefix: Sequence[Tensor], contexts: Sequence[tuple[int, ...]]
    ) -> list[Tensor]:
        """Keys and values that each context leaves in the caches, after a head that is read already."""
        from rag_ft.answering.forward.row_cache import RowCache

        if not contexts:
            return []
        layers = int(self._config.num_hidden_layers)
        caches = [
            RowCache(
                layers, len(head) + len(context), prefix, (len(head), len(head) + len(context)) if head else (0, 0)
            )
            for context in contexts
        ]
        self._row_session(caches, contexts, 1)
        return [cache.part(len(head), cache.length) for cache in caches]

    def _read_head_row(self, head: tuple[int, ...]) -> Tensor:
        return self._read_contexts((), (), [head])[0]

    def _row_session(self, caches: Sequence[RowCache], rows: Sequence[Sequence[int]], keep: int) -> RowSession:
        from rag_ft.answering.forward.rows import RowSession, rows_forward

        def forward(*given: Any) -> Tensor:
            # Active for one pass, not for a whole reading: a stream that nobody reads any more must not stop others.
            with self._activate():
                return rows_forward(self._model, *given)

        return RowSession(forward, self._dtype, caches, rows, keep)

    @property
    def _dtype(self) -> torch.dtype:
        """The type that the model computes in."""
        dtype = self._model.get_input_embeddings().weight.dtype
        return dtype if dtype.is_floating_point else self._config.dtype  # type: ignore[no-any-return]

    def _head(self, head: tuple[int, ...], read: Callable[[tuple[int, ...]], T]) -> T:
        """Keys and values that a head's tokens leave in the caches, read once."""
        with self._reading_head:
            known: T | None = self._heads.get(head)
            if known is None:
                known = self._heads[head] = read(head)
                while len(self._heads) > _HEADS_KEPT:
                    self._heads.popitem(last=False)
            return known

    def _read_head(self, head: tuple[int, ...]) -> list[tuple[Tensor, Tensor]]:
        import torch

        device = self._model.device
        ids = torch.tensor([head], device=device)
        positions = torch.arange(len(head), device=device)[None]
        allowed = torch.ones(1, len(head), len(head), dtype=torch.bool, device=device).tril()
        return self._forward([], ids, positions, allowed, keep=1).cache

    def _forward(
        self, cache: list[tuple[Tensor, Tensor]], ids: Tensor, positions: Tensor, allowed: Tensor, keep: int
    ) -> ForwardResult:
        """Logits of the last `keep` positions (0: of all positions) and the cache grown by these tokens.

        ids, positions (B, Q) int64; allowed (B, Q, K) bool, K = cached + Q; logits (B, keep, V) float32.
        """
        import torch
        from transformers import DynamicCache

        mask = torch.zeros(allowed.shape, dtype=self._dtype, device=ids.device)
        mask.masked_fill_(~allowed, torch.finfo(self._dtype).min)
        past = DynamicCache(ddp_cache_data=cache) if cache else DynamicCache()
        # Active for one pass, not for a whole reading: a stream that nobody reads any more must not stop others.
        with self._activate(), torch.inference_mode():
            out = self._model(
                input_ids=ids,
                attention_mask=mask[:, None],
                position_ids=positions,
                use_cache=True,
                # As indices: of a slice's view torch multiplies a copy of the output head for each row of the batch.
                logits_to_keep=torch.arange(ids.shape[1] - keep, ids.shape[1], device=ids.device) if keep else 0,
                **{_cache_argument(self._model): past},
            )
        grown = [(layer.keys, layer.values) for layer in past.layers]  # the cache grows in place
        return ForwardResult(out.logits.float(), grown)


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
