"""Examples in, rows of token ids out, with labels, positions and a tree attention mask.

A row is a tree of segments. The prompt's head is the root; each context (the passages) is its child; each question
with its completion is a branch that sees the head, its own context and itself, and nothing else. Positions of a
branch continue from the end of its context, so every branch computes what its own sequence would. Labels are masked:
they cover only the completion and its end-of-turn token, because a loss over the prompt would teach the model to
reproduce passages. Labels are set by position, never by token id: in some models pad and end-of-turn are one token,
and masking every pad would leave a model that never stops. A label stands at its own token; the shift by one is done
where the loss is computed.
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
"""Label of a token that the loss ignores."""

_OPEN_ROWS = 64
"""Newest rows that a group may still be packed into."""


class Branch(NamedTuple):
    """The tokens of one example after the context that it may share with others."""

    record_id: str
    question: tuple[int, ...]
    completion: tuple[int, ...]
    """Token ids of the completion; the last is the end-of-turn token."""


class Group(NamedTuple):
    """A context and the branches that grow from it."""

    context: tuple[int, ...]
    branches: tuple[Branch, ...]

    @property
    def tokens(self) -> int:
        """Tokens to compute for the context and its branches."""
        return len(self.context) + sum(len(branch.question) + len(branch.completion) for branch in self.branches)


class Encoded(NamedTuple):
    """All examples as groups under one head."""

    head: tuple[int, ...]
    groups: tuple[Group, ...]
    left_out: dict[str, int]
    """Record id → number of passages that did not fit its prompt; the gold passage is never among them."""


def encode(examples: Sequence[Example], prompts: PromptBuilder, budget: TokenBudget) -> Encoded:
    """Token ids of the examples, grouped by context in the order of first use.

    Passages that do not fit are left out, the lowest-ranked first, never the gold one. Raises DatasetError with the
    record's id if question, completion and gold passage do not fit together.
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
        if example.leads:
            completion = prompts.part_ids(example.leads, numbers, example.yes)
        else:
            completion = prompts.completion_ids(example.answer, numbers)
        if len(completion) > budget.completion:
            raise DatasetError(
                f"record {example.record_id}: its completion has {len(completion):,} tokens and the limit is"
                f" {budget.completion:,}: shorten its answer, or give train_reader a higher max_answer_tokens"
            )
        grouped.setdefault(prompt.context, []).append(Branch(example.record_id, prompt.question, completion))
    return Encoded(
        prompts.head, tuple(Group(context, tuple(branches)) for context, branches in grouped.items()), left_out
    )


def _fitting(example: Example, prompts: PromptBuilder, budget: TokenBudget) -> list[Any]:
    """The passages of an example that fit its prompt, in the example's order."""
    kept = list(example.passages)
    by_rank = [example.passages[position] for position in example.by_rank] or kept[:]
    cited = {example.passages[number - 1].id for number in example.numbers}
    while kept:
        try:
            if not prompts.build(example.question, kept, budget).left_out:
                return kept
        except PromptTooLongError as error:
            if len(kept) <= max(len(cited), 1):
                raise DatasetError(f"record {example.record_id} does not fit the prompt: {error}") from error
        removable = [passage for passage in by_rank if passage in kept and passage.id not in cited]
        if not removable:
            raise DatasetError(
                f"record {example.record_id}: its question and gold passage do not fit {budget.window:,} tokens:"
                " shorten them, raise max_prompt_tokens, or build the index with smaller passages"
            )
        kept.remove(removable[-1])
    return kept


class Row(NamedTuple):
    """One row of a batch: flat lists with an entry per token, and the tree of its segments."""

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
    """Lay a head and groups out as one row."""
    row = Row([], [], [], [], [], [branch.record_id for group in groups for branch in group.branches])

    def add(ids: Sequence[int], labelled: Sequence[int], parent: int, position: int) -> int:
        segment = len(row.parents)
        row.parents.append(parent)
        labels = [*[IGNORE_INDEX] * len(ids), *labelled]
        for offset, (token, label) in enumerate(zip((*ids, *labelled), labels, strict=True)):
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
    """Record id, token ids and labels of each branch of a row, as the trainer will see them."""
    branches: dict[int, tuple[list[int], list[int]]] = {}
    inner = set(row.parents)
    for token, label, segment in zip(row.input_ids, row.labels, row.segments, strict=True):
        if segment not in inner:
            tokens, labels = branches.setdefault(segment, ([], []))
            tokens.append(token)
            labels.append(label)
    return [(record, *branches[segment]) for record, segment in zip(row.records, sorted(branches), strict=True)]


def sequence_of(row: Row, branch: int) -> tuple[str, list[int], list[int]]:
    """One branch of a row as its own sequence: record id, head + context + question + completion, and its labels."""
    record = row.records[branch]
    inner = set(row.parents)
    segment = sorted(set(row.segments) - inner)[branch]
    path = {segment}
    while segment >= 0:
        path.add(segment)
        segment = row.parents[segment]
    positions = [i for i, segment in enumerate(row.segments) if segment in path]
    return record, [row.input_ids[i] for i in positions], [row.labels[i] for i in positions]


def pack(encoded: Encoded, row_tokens: int, seed: int, *, shared: bool = True) -> list[Row]:
    """Pack groups into rows of at most `row_tokens`, in random order; a longer example gets a row of its own.

    Groups are placed first fit; one too long for a row is cut between branches, its context repeated. `shared=False`
    is for models that take no trees: every branch becomes a sequence of its own (`Collator`), and a row holds
    sequences of similar length that take `row_tokens` together, head and padding counted.
    """
    chooser = random.Random(seed)
    if not shared:
        return _pack_by_length(encoded, row_tokens, chooser)
    room = row_tokens - len(encoded.head)
    pieces = [piece for group in encoded.groups for piece in _cut(group, room)]
    chooser.shuffle(pieces)
    rows: list[list[Group]] = []
    free: list[int] = []
    for piece in pieces:
        first = max(0, len(rows) - _OPEN_ROWS)
        row = next((i for i in range(first, len(rows)) if free[i] >= piece.tokens), None)
        if row is None:
            rows.append([piece])
            free.append(room - piece.tokens)
        else:
            rows[row].append(piece)
            free[row] -= piece.tokens
    return [flatten(encoded.head, groups) for groups in rows]


def _pack_by_length(encoded: Encoded, row_tokens: int, chooser: random.Random) -> list[Row]:
    pieces = [Group(group.context, (branch,)) for group in encoded.groups for branch in group.branches]
    chooser.shuffle(pieces)  # puts equal lengths in random order
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
    """Pieces of a group that fit the room where a single branch does, each with the whole context."""
    chosen: list[Branch] = []
    for branch in group.branches:
        if chosen and Group(group.context, (*chosen, branch)).tokens > room:
            yield Group(group.context, tuple(chosen))
            chosen = []
        chosen.append(branch)
    yield Group(group.context, tuple(chosen))


def allowed_mask(segments: Sequence[int], parents: Sequence[int]) -> Tensor:
    """The tree's attention mask: bool (T, T), True where the row's token sees the column's.

    A token sees those at or before it in its own segment and in the segments above.
    """
    import torch

    count = len(parents)
    above = torch.eye(count, dtype=torch.bool)
    for segment, parent in enumerate(parents):
        if parent >= 0:
            above[segment] |= above[parent]  # parents come first
    segment_of = torch.tensor(segments)
    return above[segment_of][:, segment_of].tril()


class Collator:
    """Turns rows into one batch of tensors.

    Shared (the default): one flat sequence for `tree_attention`, the head once and then all groups: input_ids, labels,
    position_ids (1, T) and the `tree`, whose masks are in `dtype`; nothing is padding. Otherwise: a sequence for each
    branch: input_ids, labels, attention_mask (B, T), padded on the right with labels of IGNORE_INDEX.
    """

    def __init__(self, pad_id: int, *, shared: bool = True, dtype: str = "float32") -> None:
        self.pad_id = pad_id
        self.shared = shared
        self.dtype = dtype

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The batch for rows given as dicts, as `datasets` hands them out."""
        read = [Row(**row) for row in rows]
        return self._flat(read) if self.shared else self._separate(read)

    def _flat(self, rows: Sequence[Row]) -> dict[str, Any]:
        import torch

        head = sum(segment == 0 for segment in rows[0].segments)
        ids, labels, positions = rows[0].input_ids[:head], rows[0].labels[:head], rows[0].position_ids[:head]
        dtype = getattr(torch, self.dtype)
        sizes, masks = [head], [_additive(torch.ones(head, head, dtype=torch.bool).tril(), dtype)]
        for row in rows:
            ids, labels = ids + row.input_ids[head:], labels + row.labels[head:]
            positions = positions + row.position_ids[head:]
            for start, end in group_spans(row):
                within = allowed_mask(row.segments[start:end], row.parents)
                seen = torch.cat((torch.ones(end - start, head, dtype=torch.bool), within), 1)
                sizes.append(end - start)
                masks.append(_additive(seen, dtype))
        return {
            "input_ids": torch.tensor([ids]),
            "labels": torch.tensor([labels]),
            "position_ids": torch.tensor([positions]),
            "tree": {"sizes": sizes, "masks": masks},
        }

    def _separate(self, rows: Sequence[Row]) -> dict[str, Any]:
        import torch

        sequences = [sequence_of(row, branch)[1:] for row in rows for branch in range(len(row.records))]
        shape = (len(sequences), max(len(tokens) for tokens, _ in sequences))
        ids = torch.full(shape, self.pad_id)
        labels = torch.full(shape, IGNORE_INDEX)
        mask = torch.zeros(shape, dtype=torch.long)
        for i, (tokens, sequence_labels) in enumerate(sequences):
            ids[i, : len(tokens)] = torch.tensor(tokens)
            labels[i, : len(tokens)] = torch.tensor(sequence_labels)
            mask[i, : len(tokens)] = 1
        return {"input_ids": ids, "labels": labels, "attention_mask": mask}


def group_spans(row: Row) -> list[tuple[int, int]]:
    """Start and end of each group of a row; the head is not in any."""
    spans: list[tuple[int, int]] = []
    before = 0
    for position, segment in enumerate(row.segments):
        group = segment if row.parents[segment] <= 0 else row.parents[segment]
        if group == 0:
            continue
        if group != before:
            spans.append((position, position))
            before = group
        spans[-1] = (spans[-1][0], position + 1)
    return spans


def _additive(allowed: Tensor, dtype: Any) -> Tensor:
    """The mask to add to scores (1, Q, K): 0 where allowed, else minus infinity."""
    import torch

    return torch.zeros(allowed.shape, dtype=dtype).masked_fill_(~allowed, -math.inf)[None]
