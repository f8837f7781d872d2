"""Keys and values of rows of different lengths, kept without padding."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from torch import Tensor

_LARGEST = torch.finfo(torch.float16).max


class RowCache:
    """Keys and values of one prompt in every layer, with room behind them."""

    def __init__(self, layers: int, room: int, known: Sequence[Tensor] = (), shared: tuple[int, int] = (0, 0)) -> None:
        """`room`: tokens that it can hold. `known`: parts of caches to start with, of consecutive runs of tokens, each
        (layers, 2, K, tokens, D); they are copied.

        `shared`: the run of tokens whose part other prompts may start with. In a 32-bit model its keys and values are
        rounded to 16 bits (11 significant ones) whether they are kept or not, so that a part takes half the memory and
        it makes no other difference that it was.
        """
        self._shared = shared
        self.length = sum(one.shape[3] for one in known)
        """Tokens held."""
        self._layers = layers
        self._room = max(room, self.length)
        self._values: Tensor | None = None  # (layers, 2, K, room, D)
        if known:
            dtype = functools.reduce(torch.promote_types, (one.dtype for one in known))
            self._values = self._empty(known[0].to(dtype), known[0].shape[2], known[0].shape[4])
            torch.cat(list(known), 3, out=self._values[:, :, :, : self.length])

    def _empty(self, like: Tensor, groups: int, width: int) -> Tensor:
        return like.new_empty(self._layers, 2, groups, self._room, width)

    def make_room(self, tokens: int) -> None:
        """Make sure that so many tokens fit behind those held."""
        if self.length + tokens > self._room:
            self._room = self.length + 2 * tokens
            before = self._values
            if before is not None:
                self._values = self._empty(before, before.shape[2], before.shape[4])
                self._values[:, :, :, : self.length] = before[:, :, :, : self.length]

    def put(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Write the keys and values (K, L, D) of new tokens of a layer behind those held; all of them, (K, S, D).

        They are overwritten by the next ones unless `length` is raised.
        """
        if self._values is None:
            self._values = self._empty(key, key.shape[0], key.shape[2])
        end = self.length + key.shape[1]
        own = self._values[layer]
        own[0, :, self.length : end] = key
        own[1, :, self.length : end] = value
        begin, stop = max(self.length, self._shared[0]), min(end, self._shared[1])
        if begin < stop and own.dtype == torch.float32:
            new = own[:, :, begin:stop]
            new.copy_(new.clamp(-_LARGEST, _LARGEST).to(torch.float16))
        return own[0, :, :end], own[1, :, :end]

    def part(self, begin: int, end: int) -> Tensor:
        """A copy of the cache of a run of tokens: (layers, 2, K, end - begin, D), in 16 bits where it is shared."""
        if self._values is None:
            raise ValueError("nothing was read into this cache yet")
        found = self._values[:, :, :, begin:end]
        rounded = found.dtype == torch.float32 and self._shared[0] <= begin and end <= self._shared[1]
        return found.to(torch.float16) if rounded else found.clone()


class RowPiece(NamedTuple):
    """One prompt's share of a pass."""

    cache: RowCache
    tokens: int
    mask: Tensor | None
    """(tokens, tokens), 0 where a new token sees another new one, else the type's minimum; None: all see all. Every
    token that the cache holds is seen."""
