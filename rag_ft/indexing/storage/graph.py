"""Removing vectors from an HNSW graph of FAISS, which only adds: the nodes go with every link to them; none is masked.

Who linked to a removed node is linked to neighbours of that node instead, chosen by the rule of HNSW's own additions.
So does FreshDiskANN (Singh et al., 2021, https://arxiv.org/abs/2105.09613, algorithm 4) with another kind of graph.
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_BLOCK = 65_536
"""Nodes whose links are looked through at a time."""


class _Graph(NamedTuple):
    """The arrays of an HNSW graph, copied out of FAISS."""

    levels: NDArray[np.int32]
    """Number of levels that each node is on."""
    offsets: NDArray[np.int64]
    """Where each node's links start in `links`, those of level 0 first."""
    links: NDArray[np.int32]
    """Neighbours; a list ends at its first -1."""
    ends: NDArray[np.int64]
    """Where the links of each level start, from the start of a node's."""

    def width(self, level: int) -> int:
        """Most neighbours of a node on a level."""
        return int(self.ends[level + 1] - self.ends[level])

    def at(self, nodes: NDArray[np.int64], level: int) -> NDArray[np.int64]:
        """Positions in `links` of the neighbours of some nodes, shape (n, width)."""
        first: NDArray[np.int64] = self.offsets[nodes] + self.ends[level]
        return first[:, None] + np.arange(self.width(level), dtype=np.int64)

    def of(self, node: int, level: int) -> NDArray[np.int32]:
        """The neighbours of a node on a level."""
        start = int(self.offsets[node] + self.ends[level])
        found = self.links[start : start + self.width(level)]
        return found[found >= 0]

    def put(self, node: int, level: int, neighbours: NDArray[np.int32]) -> None:
        """Replace the neighbours of a node on a level."""
        start = int(self.offsets[node] + self.ends[level])
        self.links[start : start + self.width(level)] = -1
        self.links[start : start + len(neighbours)] = neighbours


def remove_from_graph(index: Any, removed: NDArray[np.bool_], vectors: NDArray[np.float32]) -> None:
    """Remove nodes from an `IndexHNSWFlat` in memory; the others keep their order and are numbered from 0.

    `vectors`: those of the index, which is not empty afterwards.
    """
    faiss = importlib.import_module("faiss")
    hnsw = index.hnsw
    graph = _Graph(
        faiss.vector_to_array(hnsw.levels),
        faiss.vector_to_array(hnsw.offsets).astype(np.int64),
        faiss.vector_to_array(hnsw.neighbors),
        faiss.vector_to_array(hnsw.cum_nneighbor_per_level).astype(np.int64),
    )
    linked_before = _linked(graph, np.zeros_like(removed))
    for level in range(int(graph.levels.max())):
        _bridge(graph, level, removed, vectors)
    _link_again(graph, np.flatnonzero(linked_before & ~_linked(graph, removed) & ~removed))
    _compact(hnsw, graph, removed)
    index.storage.remove_ids(selector(removed))
    index.ntotal = index.storage.ntotal


def selector(chosen: NDArray[np.bool_]) -> Any:
    """FAISS's selector of the ids at which `chosen` is true."""
    faiss = importlib.import_module("faiss")
    return faiss.IDSelectorBatch(np.flatnonzero(chosen))


def _bridge(graph: _Graph, level: int, removed: NDArray[np.bool_], vectors: NDArray[np.float32]) -> None:
    """Replace links to removed nodes on a level."""
    around: dict[int, NDArray[np.int32]] = {}
    nodes = np.flatnonzero((graph.levels > level) & ~removed)
    for start in range(0, len(nodes), _BLOCK):
        block = nodes[start : start + _BLOCK]
        lists = graph.links[graph.at(block, level)]
        lost = removed[lists] & (lists >= 0)
        for row in np.flatnonzero(lost.any(axis=1)).tolist():
            node = int(block[row])
            former = lists[row]
            kept = former[(former >= 0) & ~lost[row]]
            gone = former[lost[row]]
            for neighbour in gone.tolist():
                if neighbour not in around:
                    around[neighbour] = _alive_around(graph, level, neighbour, removed)
            candidates = np.setdiff1d(np.concatenate([around[neighbour] for neighbour in gone.tolist()]), kept)
            candidates = candidates[candidates != node]
            if not len(kept) and not len(candidates):
                candidates = _nearest(graph, level, node, removed, vectors)
            graph.put(node, level, np.concatenate([kept, _chosen(node, candidates, len(gone), vectors)]))


def _alive_around(graph: _Graph, level: int, node: int, removed: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Neighbours that remain of a removed node, and of its removed neighbours if it has few others."""
    near = graph.of(node, level)
    alive = near[~removed[near]]
    if 2 * len(alive) < len(near):
        further = [graph.of(neighbour, level) for neighbour in near[removed[near]].tolist()]
        alive = np.unique(np.concatenate([alive, *(beyond[~removed[beyond]] for beyond in further)]))
    return alive


def _nearest(
    graph: _Graph, level: int, node: int, removed: NDArray[np.bool_], vectors: NDArray[np.float32]
) -> NDArray[np.int32]:
    """The nearest nodes of a level that remain, by exact search: for a node all of whose surroundings were removed."""
    others = np.flatnonzero((graph.levels > level) & ~removed)
    others = others[others != node]
    near = np.empty(len(others), dtype=np.float32)
    for start in range(0, len(others), _BLOCK):
        near[start : start + _BLOCK] = vectors[others[start : start + _BLOCK]] @ vectors[node]
    found: NDArray[np.int32] = others[np.argsort(-near, kind="stable")[: graph.width(level)]].astype(np.int32)
    return found


def _chosen(node: int, candidates: NDArray[np.int32], most: int, vectors: NDArray[np.float32]) -> NDArray[np.int32]:
    """Up to `most` candidates, nearest first, each nearer to the node than to those chosen before.

    The neighbours that a node keeps have no say: with them too few pass, and after a graph's nodes were replaced once
    its recall was .967 where a new one's was .985, and .985 without.
    """
    ours = vectors[candidates]
    near = ours @ vectors[node]
    to_chosen = np.full(len(candidates), -np.inf, dtype=np.float32)
    chosen: list[int] = []
    for place in np.argsort(-near, kind="stable").tolist():
        if len(chosen) == most:
            break
        if near[place] > to_chosen[place]:
            chosen.append(place)
            np.maximum(to_chosen, ours @ ours[place], out=to_chosen)
    found: NDArray[np.int32] = candidates[chosen]
    return found


def _linked(graph: _Graph, removed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which nodes some node that remains links to on level 0."""
    linked = np.zeros(len(graph.levels), dtype=np.bool_)
    nodes = np.flatnonzero(~removed)
    for start in range(0, len(nodes), _BLOCK):
        lists = graph.links[graph.at(nodes[start : start + _BLOCK], 0)]
        linked[lists[lists >= 0]] = True
    return linked


def _link_again(graph: _Graph, lonely: NDArray[np.int64]) -> None:
    """Link to nodes that nothing links to any more, from the first neighbour with a free place, or in a last one."""
    for node in lonely.tolist():
        neighbours = graph.of(node, 0).tolist()
        lists = [graph.of(neighbour, 0) for neighbour in neighbours]
        width = graph.width(0)
        free = next((place for place, links in enumerate(lists) if len(links) < width), 0)
        if neighbours:
            links = np.append(lists[free][: width - 1], np.int32(node))
            graph.put(neighbours[free], 0, links)


def _compact(hnsw: Any, graph: _Graph, removed: NDArray[np.bool_]) -> None:
    """Give FAISS the arrays without the removed nodes."""
    faiss = importlib.import_module("faiss")
    kept = ~removed
    number = np.where(kept, np.cumsum(kept) - 1, -1).astype(np.int32)
    sizes = np.diff(graph.offsets)
    links = graph.links[np.repeat(kept, sizes)]
    levels = graph.levels[kept]
    faiss.copy_array_to_vector(np.where(links >= 0, number[links], -1).astype(np.int32), hnsw.neighbors)
    faiss.copy_array_to_vector(levels, hnsw.levels)
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(sizes[kept])])
    faiss.copy_array_to_vector(offsets.astype(np.uint64), hnsw.offsets)
    entry = int(hnsw.entry_point)
    hnsw.entry_point = int(levels.argmax()) if removed[entry] else int(number[entry])
    hnsw.max_level = int(levels.max()) - 1
