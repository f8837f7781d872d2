"""The likeliest span by search, with its exact probability, instead of one token at a time.

All candidate spans of a prompt form a trie of token ids. The model scores whole parts of the trie in one tree-masked
pass; a span's probability is the product over its tokens and the closing quote. A subtree whose first probability is
below that of the best span so far cannot hold a better one, so the search stops with a proof that its answer is the
likeliest of all candidates. Often the first pass proves it; a reader with flat probabilities needs two or three.

Several prompts may compete for one answer, each span against the null of its own prompt. Then the most promising prompt
is searched first, and those that can no longer beat its best span are left: most passages are never searched at all.

Another model's log-odds for each candidate can be added to this one's: a subtree is then bounded by its first
probability and the most that is added to a candidate in it.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rag_ft.answering.forward.token_tree import TreeNode

NODES_IN_FIRST_PASS = 16
"""Trie nodes that the first pass scores for one prompt; each later pass scores twice as many as the one before. The
first pass mostly proves a tuned reader right, and where the passages are cached a pass costs by its nodes
(benchmarks/reading_speed.py)."""

MOST_NODES_PER_PASS = 128

_GUESSED_LOG_STEP = -0.9
"""Guess at the log-probability of a token not scored yet. It orders the work and never changes the result."""

SAME_PASS_MARGIN = 1.0
"""Prompts of one group share a pass where their upper bounds differ by no more log-probability than this: the others
probably need no search at all."""


class TreeScorer(Protocol):
    """What the search needs from a model: `forward.padded.Session` is one."""

    def score_trees(
        self, trees: Sequence[Sequence[TreeNode]], wanted: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[NDArray[np.float64]]]:
        """Log-probabilities of the wanted next tokens after every node of every row's tree."""
        ...


class SpanTrie:
    """Candidate texts as token ids, sharing their prefixes. Node 0 is the root, before the first token."""

    def __init__(self, bodies: Sequence[Sequence[int]], closings: Sequence[int] = ()) -> None:
        """`closings`: the token that ends each candidate, where it is not the same for all."""
        self.closings = closings
        self.tokens: list[int] = [-1]
        self.parents: list[int] = [-1]
        self.children: list[dict[int, int]] = [{}]
        self.ends: list[int] = [-1]
        """The candidate that ends at each node, else -1."""
        for candidate, body in enumerate(bodies):
            node = 0
            for token in body:
                child = self.children[node].get(token)
                if child is None:
                    child = len(self.tokens)
                    self.tokens.append(token)
                    self.parents.append(node)
                    self.children.append({})
                    self.ends.append(-1)
                    self.children[node][token] = child
                node = child
            if node and self.ends[node] < 0:
                self.ends[node] = candidate

    def most_below(self, values: Sequence[float]) -> list[float]:
        """For each node the highest value of a candidate that ends at it or below it."""
        most = [values[candidate] if candidate >= 0 else -math.inf for candidate in self.ends]
        for node in range(len(most) - 1, 0, -1):  # children come after their parents
            parent = self.parents[node]
            most[parent] = max(most[parent], most[node])
        return most


class SearchResult(NamedTuple):
    """Natural log-probabilities after the prompt and the completion's head."""

    best: int
    """The likeliest candidate, as an index into the trie's bodies; -1 where there is none."""
    best_logprob: float
    """Log-probability of the opening quote, the best candidate and the closing quote, without what was added to it."""
    logprobs: dict[int, float]
    """Log-probability of each candidate that was scored, without what was added to it."""
    passes: int


class SpanSearch:
    """The search over one prompt's trie; `search_spans` drives many of them in step.

    `null_logprob`: what its spans are measured against where several prompts compete. `excluded`: candidates that
    cannot be the answer; longer ones may start with them. `added`: what is added to the log-probability of each
    candidate in the choice of the best.
    """

    def __init__(
        self,
        trie: SpanTrie,
        open_logprob: float,
        first_logprobs: dict[int, float],
        close: int,
        null_logprob: float = 0.0,
        excluded: Collection[int] = (),
        added: Sequence[float] = (),
    ) -> None:
        self.trie = trie
        self._added = added
        self._most = trie.most_below(added) if added else ()
        self._excluded = excluded
        self._close = close
        self._null = null_logprob
        self._logprob: dict[int, float] = {0: open_logprob}  # up to and including the node's token
        self._scored: dict[int, float] = {}  # candidates
        self._frontier: set[int] = set()  # nodes whose own probability is known and what follows them is not
        self._passes = 0
        self._settle(0, first_logprobs)

    def _settle(self, node: int, after: dict[int, float]) -> None:
        """The log-probabilities after `node` have come in."""
        self._frontier.discard(node)
        base = self._logprob[node]
        if self.trie.ends[node] >= 0 and self.trie.ends[node] not in self._excluded:
            self._scored[self.trie.ends[node]] = base + after[self._closing(node)]
        for token, child in self.trie.children[node].items():
            self._logprob[child] = base + after[token]
            self._frontier.add(child)

    def _total(self, candidate: int) -> float:
        """What a scored candidate is chosen by."""
        return self._scored[candidate] + (self._added[candidate] if self._added else 0.0)

    def _bound(self, node: int) -> float:
        """What no candidate at a node or below it can exceed."""
        return self._logprob[node] + (self._most[node] if self._added else 0.0)

    def _closing(self, node: int) -> int:
        """The token that ends the candidate of a node."""
        candidate = self.trie.ends[node]
        return self.trie.closings[candidate] if self.trie.closings and candidate >= 0 else self._close

    @property
    def passes(self) -> int:
        """Number of passes through the model that it took part in."""
        return self._passes

    @property
    def best_odds(self) -> float:
        """Log-odds against null of the best candidate that was scored."""
        return max(map(self._total, self._scored), default=-math.inf) - self._null

    @property
    def upper_bound(self) -> float:
        """Log-odds against null that no candidate still to be scored can exceed."""
        return max(map(self._bound, self._frontier), default=-math.inf) - self._null

    def finished(self, rival: float = -math.inf) -> bool:
        """Whether it is proved that no unscored candidate beats the best one, or reaches a rival prompt's log-odds."""
        bound = self.upper_bound
        return bound <= self.best_odds or bound < rival

    def next_nodes(self, limit: int) -> list[int]:
        """Nodes to score next, parents before children: the frontier by likelihood, and below it by a guess."""
        chosen: list[int] = []
        guesses: list[tuple[float, int]] = []
        frontier = [(-self._bound(node), node) for node in self._frontier]
        heapq.heapify(frontier)
        while len(chosen) < limit and (frontier or guesses):
            source = guesses if not frontier or (guesses and guesses[0] < frontier[0]) else frontier
            cost, node = heapq.heappop(source)
            chosen.append(node)
            for child in self.trie.children[node].values():
                less = self._most[node] - self._most[child] if self._added else 0.0
                heapq.heappush(guesses, (cost + less - _GUESSED_LOG_STEP, child))
        return chosen

    def request(self, limit: int) -> tuple[list[int], list[TreeNode], list[list[int]]]:
        """The nodes to score, the tree to feed (with their scored ancestors) and the tokens wanted after each node."""
        chosen = self.next_nodes(limit)
        tree_index: dict[int, int] = {}
        tree: list[TreeNode] = []
        for node in chosen:
            path = []
            while node and node not in tree_index:
                path.append(node)
                node = self.trie.parents[node]
            for step in reversed(path):
                parent = self.trie.parents[step]
                tree_index[step] = len(tree)
                tree.append(TreeNode(self.trie.tokens[step], tree_index[parent] if parent else -1))
        order = sorted(tree_index, key=tree_index.__getitem__)
        wanted = [[*self.trie.children[node], self._closing(node)] for node in order]
        return order, tree, wanted

    def receive(
        self, order: Sequence[int], wanted: Sequence[Sequence[int]], logprobs: Sequence[NDArray[np.float64]]
    ) -> None:
        """Take in the scores of one pass."""
        for node, tokens, values in zip(order, wanted, logprobs, strict=True):
            if node in self._frontier:  # else an ancestor, fed again only to be seen by its descendants
                self._settle(node, dict(zip(tokens, values.tolist(), strict=True)))
        self._passes += 1

    def result(self) -> SearchResult:
        """The outcome so far; the answer once `finished`."""
        # Of equal probabilities the first candidate wins, so that a run can be repeated.
        best = max(self._scored, key=lambda candidate: (self._total(candidate), -candidate), default=-1)
        return SearchResult(best, self._scored.get(best, -math.inf), dict(self._scored), self._passes)


def search_spans(
    scorer: TreeScorer, groups: Sequence[Sequence[SpanSearch]], nodes_in_first_pass: int = NODES_IN_FIRST_PASS
) -> list[SearchResult]:
    """Run the searches of a batch in step, and give the result of each in the scorer's order of rows.

    `groups`: searches that compete for one answer stand together. The winner, the one whose best span has the highest
    odds against its null, is searched until it is finished. The others are left as soon as it is certain that they
    lose: their `best` is the best of what was scored by then.
    """
    searches = [search for group in groups for search in group]
    while busy := {id(search) for group in groups for search in _promising(group)}:
        requests = []
        for search in searches:
            nodes = max(nodes_in_first_pass, min(nodes_in_first_pass << search.passes, MOST_NODES_PER_PASS))
            requests.append(search.request(nodes) if id(search) in busy else ([], [], []))
        logprobs = scorer.score_trees([tree for _, tree, _ in requests], [wanted for _, _, wanted in requests])
        for search, (order, _, wanted), values in zip(searches, requests, logprobs, strict=True):
            if order:
                search.receive(order, wanted, values)
    return [search.result() for search in searches]


def _promising(group: Sequence[SpanSearch]) -> list[SpanSearch]:
    """The searches of a group that are worth a pass now; none where the group is decided."""
    best = max((search.best_odds for search in group), default=-math.inf)
    unfinished = [search for search in group if not search.finished(best)]
    highest = max((search.upper_bound for search in unfinished), default=-math.inf)
    return [search for search in unfinished if search.upper_bound >= highest - SAME_PASS_MARGIN]
