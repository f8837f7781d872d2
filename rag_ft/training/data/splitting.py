"""A row's groups divided among several processes, so that together they compute what one process would."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import NamedTuple

from rag_ft.training.data.collator import IGNORE_INDEX, Branch, Group, Row, flatten, group_spans


class _Division(NamedTuple):
    """Groups dealt out to several processes."""

    parts: tuple[tuple[Group, ...], ...]

    @property
    def longest(self) -> int:
        """Number of the part with the most tokens, which the others wait for."""
        return max(range(len(self.parts)), key=lambda i: _tokens(self.parts[i]))

    @property
    def wait(self) -> int:
        """Tokens of the longest part."""
        return _tokens(self.parts[self.longest])


def split_row(row: Row, parts: int) -> list[Row]:
    """The row as one row for each process: every labelled token is in exactly one, tokens are as even as can be.

    Groups go to the shortest part so far, the longest group first. The longest part's longest group is then cut
    between its questions, its context repeated, as long as that shortens the wait. A part without a question of its
    own repeats the row's shortest one without labels: all processes must run the same passes, and it adds nothing to
    loss or gradients. Depends on the row and on the number of parts alone.
    """
    if parts == 1:
        return [row]
    head, groups = groups_of(row)
    division = _deal(groups, parts)
    while True:
        cut = _cut_longest(division)
        shorter = None if cut is None else _deal(cut, parts)
        if shorter is None or shorter.wait >= division.wait:
            break
        division = shorter
    return [flatten(head, part or (_unlabelled(groups),)) for part in division.parts]


def groups_of(row: Row) -> tuple[tuple[int, ...], list[Group]]:
    """The head and the groups that `flatten` made a row of."""
    head = tuple(token for token, segment in zip(row.input_ids, row.segments, strict=True) if segment == 0)
    records = iter(row.records)
    groups = []
    for start, end in group_spans(row):
        tokens: dict[int, list[int]] = {}
        for i in range(start, end):
            tokens.setdefault(row.segments[i], []).append(i)
        context = next((positions for segment, positions in tokens.items() if row.parents[segment] == 0), [])
        branches = [
            Branch(
                next(records),
                tuple(row.input_ids[i] for i in positions if row.labels[i] == IGNORE_INDEX),
                tuple(row.input_ids[i] for i in positions if row.labels[i] != IGNORE_INDEX),
            )
            for segment, positions in tokens.items()
            if row.parents[segment] > 0
        ]
        groups.append(Group(tuple(row.input_ids[i] for i in context), tuple(branches)))
    return head, groups


def _deal(groups: Sequence[Group], parts: int) -> _Division:
    """Each group, the longest first, to the part with the fewest tokens; of equal parts, to the first."""
    dealt: list[list[Group]] = [[] for _ in range(parts)]
    loads = [(0, part) for part in range(parts)]
    for group in sorted(groups, key=lambda group: -group.tokens):
        tokens, part = loads[0]
        dealt[part].append(group)
        heapq.heapreplace(loads, (tokens + group.tokens, part))
    return _Division(tuple(map(tuple, dealt)))


def _cut_longest(division: _Division) -> list[Group] | None:
    """All groups, with the longest one of the longest part cut in two; None if none there has two questions."""
    longest = [group for group in division.parts[division.longest] if len(group.branches) > 1]
    if not longest:
        return None
    cut = max(longest, key=lambda group: group.tokens)
    halves = [Group(cut.context, tuple(branches)) for branches in _halves(cut.branches)]
    return [group for part in division.parts for group in part if group is not cut] + halves


def _halves(branches: Sequence[Branch]) -> tuple[list[Branch], list[Branch]]:
    """The questions of a group in two parts of about as many tokens, none of them empty."""
    halves: tuple[list[Branch], list[Branch]] = ([], [])
    for branch in sorted(branches, key=lambda branch: -_length(branch)):
        min(halves, key=lambda half: sum(map(_length, half))).append(branch)
    return halves


def _unlabelled(groups: Sequence[Group]) -> Group:
    """The shortest question of all under its context, with nothing to learn."""
    group, branch = min(
        ((group, branch) for group in groups for branch in group.branches),
        key=lambda pair: len(pair[0].context) + _length(pair[1]),
    )
    return Group(group.context, (Branch(branch.record_id, branch.question + branch.completion, ()),))


def _length(branch: Branch) -> int:
    return len(branch.question) + len(branch.completion)


def _tokens(groups: Sequence[Group]) -> int:
    return sum(group.tokens for group in groups)
