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
    """Keys and values of one prompt in every layer, with room for more."""

    def __init__(self, layers: int, room: int, known: Sequence[Tensor] = (), shared: tuple[int, int] = (0, 0)) -> None:
        """`room`: number of tokens that it can hold. `known`: parts of caches to start with, of consecutive runs of
        tokens, each (layers, 2, K, tokens, D); they are copied.

        `shared`: the run of tokens whose part other prompts may start with. In a 32-bit model its keys and values are
        rounded to 16 bits (11 significant ones), kept or not: a part takes half the memory, and a prompt reads the same
        whether its part came from the cache or was computed.
        """
        self._shared = shared
        self.length = sum(part.shape[3] for part in known)
        """Number of tokens held."""
        self._layers = layers
        self._room = max(room, self.length)
        self._values: Tensor | None = None  # (layers, 2, K, room, D)
        if known:
            dtype = functools.reduce(torch.promote_types, (part.dtype for part in known))
            self._values = self._empty(known[0].to(dtype), known[0].shape[2], known[0].shape[4])
            torch.cat(list(known), 3, out=self._values[:, :, :, : self.length])

    def _empty(self, like: Tensor, groups: int, width: int) -> Tensor:
        return like.new_empty(self._layers, 2, groups, self._room, width)

    def make_room(self, tokens: int) -> None:
        """Make sure that `tokens` more tokens fit after those held."""
        if self.length + tokens > self._room:
            self._room = self.length + 2 * tokens
            before = self._values
            if before is not None:
                self._values = self._empty(before, before.shape[2], before.shape[4])
                self._values[:, :, :, : self.length] = before[:, :, :, : self.length]

    def put(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Write a layer's keys and values (K, L, D) of new tokens after those held, and return all: (K, S, D).

        The next call overwrites them unless `length` is raised.
        """
        if self._values is None:
            self._values = self._empty(key, key.shape[0], key.shape[2])
        end = self.length + key.shape[1]
        values = self._values[layer]
        values[0, :, self.length : end] = key
        values[1, :, self.length : end] = value
        start, stop = max(self.length, self._shared[0]), min(end, self._shared[1])
        if start < stop and values.dtype == torch.float32:
            shared = values[:, :, start:stop]
            shared.copy_(shared.clamp(-_LARGEST, _LARGEST).to(torch.float16))
        return values[0, :, :end], values[1, :, :end]

    def part(self, start: int, end: int) -> Tensor:
        """A copy of the cache of a run of tokens: (layers, 2, K, end - start, D), in 16 bits if it is shared."""
        if self._values is None:
            raise ValueError("nothing was read into this cache yet")
        part = self._values[:, :, :, start:end]
        rounded = part.dtype == torch.float32 and self._shared[0] <= start and end <= self._shared[1]
        return part.to(torch.float16) if rounded else part.clone()


class RowPiece(NamedTuple):
    """One prompt's share of a pass."""

    cache: RowCache
    tokens: int
    mask: Tensor | None
    """(tokens, tokens): 0 where a new token sees another new one, else the type's minimum; None: all see all. Every
    token that the cache holds is seen."""
