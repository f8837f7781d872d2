"""Examples → rows of token ids with labels, positions and a tree attention mask.

A row is a tree of segments. The prompt's head is the root; each context (the passages) is its child; each question
with its completion is a branch that sees the head, its own context and itself, and nothing else. Positions of a
branch go on from its context's end, so that every branch computes what its own sequence would. Labels cover the
completion and its end-of-turn token by position, never by token id: pad and end-of-turn are one token in some models.
Labels stand at the positions of their tokens; the shift by one is done where the loss is computed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rag_ft.answering.prompt import PromptBuilder, TokenBudget
from rag_ft.errors import DatasetError, PromptTooLongError
from rag_ft.training.data.examples import Example

if TYPE_CHECKING:
    from torch import Tensor

IGNORE_INDEX = -100
"""Label of a token that is not learned."""

_OPEN_ROWS = 64
"""Rows that are still looked at when a group is placed."""


class Branch(NamedTuple):
    """One example's own tokens, after the context that it may share with others."""

    record_id: str
    question: tuple[int, ...]
    completion: tuple[int, ...]
    """Ends with the end-of-turn token."""


class Group(NamedTuple):
    """A context and the branches that grow from it."""

    context: tuple[int, ...]
    branches: tuple[Branch, ...]

    @property
    def tokens(self) -> int:
        """Tokens to compute."""
        return len(self.context) + sum(len(one.question) + len(one.completion) for one in self.branches)


class Encoded(NamedTuple):
    """All examples as groups under one head."""

    head: tuple[int, ...]
    groups: tuple[Group, ...]
    left_out: dict[str, int]
    """Record id → passages that did not fit its prompt; the gold passage is never among them."""


def encode(examples: Sequence[Example], prompts: PromptBuilder, budget: TokenBudget) -> Encoded:
    """Token ids of the examples, those with the same context in one group, in the order of first use.

    Passages that do not fit are left out, the lowest-ranked first, never the gold one. Raises DatasetError with the
    record's id where question, completion and gold passage do not fit together, or where nothing would be labelled.
    """
    grouped: dict[tuple[int, ...], list[Branch]] = {}
    left_out: dict[str, int] = {}
    for example in examples:
        passages = _fitting(example, prompts, budget)
        left = len(example.passages) - len(passages)
        if left:
            left_out[example.record_id] = left
        numbers = tuple(passages.index(example.passages[number - 1]) + 1 for number in example.numbers)
        prompt = prompts.build(example.question, passages, budget)
        completion = prompts.completion_ids(example.answer, numbers)
        if len(completion) > budget.completion:
            raise DatasetError(
                f"record {example.record_id}: its completion has {len(completion):,} tokens and there is room for"
                f" {budget.completion:,}: shorten its answer, or raise max_answer_tokens"
            )
        grouped.setdefault(prompt.context, []).append(Branch(example.record_id, prompt.question, completion))
    return Encoded(prompts.head, tuple(Group(context, tuple(ones)) for context, ones in grouped.items()), left_out)


def _fitting(example: Example, prompts: PromptBuilder, budget: TokenBudget) -> list[Any]:
    """The example's passages without those that do not fit, in the example's order."""
    kept = list(example.passages)
    by_rank = [example.passages[place] for place in example.by_rank] or kept[:]
    cited = {example.passages[number - 1].id for number in example.numbers}
    while kept:
        try:
            if not prompts.build(example.question, kept, budget).left_out:
                return kept
        except PromptTooLongError as error:
            if len(kept) <= max(len(cited), 1):
                raise DatasetError(f"record {example.record_id} does not fit the prompt: {error}") from error
        others = [one for one in by_rank if one in kept and one.id not in cited]
        if not others:
            raise DatasetError(
                f"record {example.record_id}: its question and gold passage do not fit {budget.window:,} tokens:"
                " shorten them, raise max_prompt_tokens, or build the index with smaller passages"
            )
        kept.remove(others[-1])
    return kept


class Row(NamedTuple):
    """One row of a batch, flat: int lists of equal length, and the tree of its segments."""

    input_ids: list[int]
    labels: list[int]
    position_ids: list[int]
    segments: list[int]
    """Segment of each token; 0 is the head."""
    parents: list[int]
    """Parent of each segment; -1 for the head."""
    records: list[str]
    """Record id of each branch, in the order of their segments."""


def flatten(head: Sequence[int], groups: Sequence[Group]) -> Row:
    """A row from a head and groups."""
    row = Row([], [], [], [], [], [branch.record_id for group in groups for branch in group.branches])

    def add(ids: Sequence[int], labelled: Sequence[int], parent: int, position: int) -> int:
        segment = len(row.parents)
        row.parents.append(parent)
        for offset, (token, label) in enumerate(zip((*ids, *labelled), [*_ignored(ids), *labelled], strict=True)):
            row.input_ids.append(token)
            row.labels.append(label)
            row.position_ids.append(position + offset)
            row.segments.append(segment)
        return segment

    root = add(head, (), -1, 0)
    for group in groups:
        context = add(group.context, (), root, len(head))
        for branch in group.branches:
            add(branch.question, branch.completion, context, len(head) + len(group.context))
    return row


def branches_of(row: Row) -> list[tuple[str, list[int], list[int]]]:
    """For each branch of a row: record id, all its token ids, and its labels, as the trainer will see them."""
    found: dict[int, tuple[list[int], list[int]]] = {}
    inner = set(row.parents)
    for token, label, segment in zip(row.input_ids, row.labels, row.segments, strict=True):
        if segment not in inner:
            tokens, labels = found.setdefault(segment, ([], []))
            tokens.append(token)
            labels.append(label)
    return [(record, *found[segment]) for record, segment in zip(row.records, sorted(found), strict=True)]


def context_of(row: Row, place: int) -> tuple[str, list[int], list[int]]:
    """One branch of a row as its own sequence: record id, head + context + question + completion, and its labels."""
    record = row.records[place]
    inner = set(row.parents)
    segment = sorted(set(row.segments) - inner)[place]
    path = {segment}
    while segment >= 0:
        path.add(segment)
        segment = row.parents[segment]
    chosen = [number for number, one in enumerate(row.segments) if one in path]
    return record, [row.input_ids[one] for one in chosen], [row.labels[one] for one in chosen]


def _ignored(ids: Sequence[int]) -> list[int]:
    return [IGNORE_INDEX] * len(ids)


def pack(encoded: Encoded, row_tokens: int, seed: int, *, shared: bool = True) -> list[Row]:
    """Rows of at most `row_tokens` (a single longer example gets a row of its own), in random order.

    Groups are placed first fit; one too long for a row is cut between branches, its context repeated. `shared=False`:
    every branch is its own group and will be a sequence of its own (`Collator`), so that a row holds sequences of
    like length that take `row_tokens` together, head and padding counted: for models that take no trees.
    """
    chooser = random.Random(seed)
    if not shared:
        return _like_lengths(encoded, row_tokens, chooser)
    room = row_tokens - len(encoded.head)
    pieces = [piece for group in encoded.groups for piece in _cut(group, room)]
    chooser.shuffle(pieces)
    rows: list[list[Group]] = []
    free: list[int] = []
    for piece in pieces:
        first = max(0, len(rows) - _OPEN_ROWS)
        place = next((number for number in range(first, len(rows)) if free[number] >= piece.tokens), None)
        if place is None:
            rows.append([piece])
            free.append(room - piece.tokens)
        else:
            rows[place].append(piece)
            free[place] -= piece.tokens
    return [flatten(encoded.head, groups) for groups in rows]


def _like_lengths(encoded: Encoded, row_tokens: int, chooser: random.Random) -> list[Row]:
    pieces = [Group(group.context, (branch,)) for group in encoded.groups for branch in group.branches]
    chooser.shuffle(pieces)  # so that equal lengths stand in random order
    pieces.sort(key=lambda piece: piece.tokens)
    rows: list[list[Group]] = []
    for piece in pieces:
        length = len(encoded.head) + piece.tokens  # the longest so far
        if not rows or length * (len(rows[-1]) + 1) > row_tokens:
            rows.append([])
        rows[-1].append(piece)
    chooser.shuffle(rows)
    return [flatten(encoded.head, groups) for groups in rows]


def _cut(group: Group, room: int) -> Iterable[Group]:
    chosen: list[Branch] = []
    for branch in group.branches:
        if chosen and Group(group.context, (*chosen, branch)).tokens > room:
            yield Group(group.context, tuple(chosen))
            chosen = []
        chosen.append(branch)
    yield Group(group.context, tuple(chosen))


def allowed_mask(segments: Sequence[int], parents: Sequence[int]) -> Tensor:
    """Which token sees which: bool (T, T), True where the column is at or before the row, in its segment or above."""
    import torch

    count = len(parents)
    above = torch.eye(count, dtype=torch.bool)
    for segment, parent in enumerate(parents):
        if parent >= 0:
            above[segment] |= above[parent]  # parents come first
    places = torch.tensor(segments)
    return above[places][:, places].tril()


class Collator:
    """Rows → one batch of tensors.

    Shared (the default): one flat sequence for `tree_attention`, the head once and then all groups: input_ids, labels,
    position_ids (1, T) and the `tree`, whose masks are in `dtype`; nothing is padding. Otherwise: a sequence for each
    branch: input_ids, labels, attention_mask (B, T), padded on the right with labels of IGNORE_INDEX.
    """

    def __init__(self, pad_id: int, *, shared: bool = True, dtype: str = "float32") -> None:
        self.pad_id = pad_id
        self.shared = shared
        self.dtype = dtype

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The batch."""
        made = [Row(**row) for row in rows]
        return self._flat(made) if self.shared else self._apart(made)

    def _flat(self, rows: Sequence[Row]) -> dict[str, Any]:
        import torch

        head = sum(segment == 0 for segment in rows[0].segments)
        ids, labels, positions = rows[0].input_ids[:head], rows[0].labels[:head], rows[0].position_ids[:head]
        dtype = getattr(torch, self.dtype)
        sizes, masks = [head], [_additive(torch.ones(head, head, dtype=torch.bool).tril(), dtype)]
        for row in rows:
            ids, labels = ids + row.input_ids[head:], labels + row.labels[head:]
            positions = positions + row.position_ids[head:]
            for begin, end in group_spans(row):
                own = allowed_mask(row.segments[begin:end], row.parents)
                seen = torch.cat((torch.ones(end - begin, head, dtype=torch.bool), own), 1)
                sizes.append(end - begin)
                masks.append(_additive(seen, dtype))
        return {
            "input_ids": torch.tensor([ids]),
            "labels": torch.tensor([labels]),
            "position_ids": torch.tensor([positions]),
            "tree": {"sizes": sizes, "masks": masks},
        }

    def _apart(self, rows: Sequence[Row]) -> dict[str, Any]:
        import torch

        each = [context_of(row, place) for row in rows for place in range(len(row.records))]
        length = max(len(tokens) for _, tokens, _ in each)
        ids = torch.full((len(each), length), self.pad_id)
        labels = torch.full((len(each), length), IGNORE_INDEX)
        mask = torch.zeros(len(each), length, dtype=torch.long)
        for number, (_, tokens, own) in enumerate(each):
            ids[number, : len(tokens)] = torch.tensor(tokens)
            labels[number, : len(own)] = torch.tensor(own)
            mask[number, : len(tokens)] = 1
        return {"input_ids": ids, "labels": labels, "attention_mask": mask}


def group_spans(row: Row) -> list[tuple[int, int]]:
    """Where each group of a row begins and ends, the head left out."""
    spans: list[tuple[int, int]] = []
    before = 0
    for place, segment in enumerate(row.segments):
        group = segment if row.parents[segment] <= 0 else row.parents[segment]
        if group == 0:
            continue
        if group != before:
            spans.append((place, place))
            before = group
        spans[-1] = (spans[-1][0], place + 1)
    return spans


def _additive(allowed: Tensor, dtype: Any) -> Tensor:
    """(1, Q, K): 0 where allowed, else minus infinity."""
    import torch

    return torch.zeros(allowed.shape, dtype=dtype).masked_fill_(~allowed, -math.inf)[None]
