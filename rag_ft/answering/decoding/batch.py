"""Many requests at once: which rows one pass reads, and in which thread."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

from rag_ft.answering.decoding.prompt_rows import PromptRow, PromptRows
from rag_ft.answering.decoding.second_look import second_looks
from rag_ft.models.cores import MOST_THREADS, can_compute_alone, even_parts, run_side_by_side

_TOKENS_PER_PASS = 4096
"""Prompt tokens read in one pass of a batch: enough to fill two cores, few enough to stay under 2 GB."""


class RowAnswerer(Protocol):
    """Fills in what comes of rows: `QuoteSearch` or `TokenDecoder`."""

    def run(self, requests: Sequence[Sequence[PromptRow]]) -> None:
        """Answer rows that fit one pass; the rows of a request stand together."""
        ...


class BatchRunner:
    """Runs the rows of any number of requests through the model, a pass at a time."""

    def __init__(self, rows: PromptRows, answerer: RowAnswerer, *, searches: bool, second_look: bool) -> None:
        """`searches`: whether the answerer searches spans instead of decoding token by token."""
        self._rows = rows
        self._answerer = answerer
        self._searches = searches
        self.second_look = second_look
        """Whether the sentence of each best answer is read again. Confidences, and the thresholds chosen for them, are
        of such readings; turn it off only to measure what it costs."""

    def run(self, requests: Sequence[Sequence[PromptRow]]) -> None:
        """Read, and search or decode, the rows of each request. A few processors share the requests among them."""
        self._share_out(requests, self._run)

    def start(self, requests: Sequence[Sequence[PromptRow]]) -> None:
        """Only read the rows of each request, which gives them their probability of null."""
        self._share_out(requests, self._start)

    def _share_out(
        self, requests: Sequence[Sequence[PromptRow]], run: Callable[[Sequence[Sequence[PromptRow]], int], None]
    ) -> None:
        """Call `run` with all requests, or with parts of them in threads; its number is a pass's prompt tokens."""
        import torch

        threads = self.side_threads
        # Autocast, which readings in training use, belongs to its thread.
        if threads == 1 or sum(bool(rows) for rows in requests) < threads or torch.is_autocast_enabled("cpu"):
            run(requests, _TOKENS_PER_PASS)
            return
        order = sorted((i for i, rows in enumerate(requests) if rows), key=lambda i: _reading_order(requests[i]))
        costs = [sum(self._rows.unread_tokens(row) for row in requests[i]) for i in order]
        rounds = math.ceil(sum(costs) / _TOKENS_PER_PASS)
        parts = [[requests[order[position]] for position in part] for part in even_parts(costs, rounds * threads)]
        run_side_by_side([partial(run, part, _TOKENS_PER_PASS // threads) for part in parts], threads)

    @property
    def side_threads(self) -> int:
        """Number of threads, each computing alone, that read as many or more requests faster than one batch would.

        1: none do. Threads help the search on a few processors; token-by-token decoding waits for the memory, which a
        batch asks for least.
        """
        import torch

        threads = torch.get_num_threads()
        fits = 1 < threads <= MOST_THREADS and self._searches and can_compute_alone() and self._rows.flat
        return threads if fits else 1

    def _run(self, requests: Sequence[Sequence[PromptRow]], tokens_per_pass: int) -> None:
        """Run requests in this thread; a pass reads at most `tokens_per_pass` prompt tokens."""
        for group in _groups(requests, tokens_per_pass):
            self._answerer.run(group)
        if self.second_look:
            self._start([[look] for look in second_looks(self._rows, requests)], tokens_per_pass)

    def _start(self, requests: Sequence[Sequence[PromptRow]], tokens_per_pass: int) -> None:
        for group in _groups(requests, tokens_per_pass):
            self._rows.start([row for rows in group for row in rows])


def _reading_order(rows: Sequence[PromptRow]) -> tuple[int, list[int], int]:
    """Sort key of a request: long passages first, and requests about the same passage together."""
    first = rows[0]
    return -first.context, first.ids[: first.context], -len(first.ids)


def _groups(requests: Sequence[Sequence[PromptRow]], tokens_per_pass: int) -> Iterator[list[Sequence[PromptRow]]]:
    """The requests in groups that one pass can read, in order; a request with too many rows for a pass is cut."""
    group: list[Sequence[PromptRow]] = []
    count = longest = 0
    for rows in sorted((rows for rows in requests if rows), key=_reading_order):
        most = max(1, tokens_per_pass // max(len(row.ids) for row in rows))
        for start in range(0, len(rows), most):
            part = rows[start : start + most]
            longest = max(longest, *(len(row.ids) for row in part))
            if group and longest * (count + len(part)) > tokens_per_pass:
                yield group
                group, count, longest = [], 0, max(len(row.ids) for row in part)
            group.append(part)
            count += len(part)
    if group:
        yield group
