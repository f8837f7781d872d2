"""Mode `quote`: the likeliest candidate of each request, by one search over the candidates of all its prompts.

A reader that was tuned on parts, too, first says by its opening which kind of answer the question wants: the kind with
the best odds against null in any passage. Candidates of that kind are searched.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from rag_ft.answering.decoding.candidates import CandidateFinder, Candidates, find_parts
from rag_ft.answering.decoding.encoder_spans import EncoderSpans, SpanOpinion
from rag_ft.answering.decoding.prompt_rows import PromptRow, PromptRows, StartedRows
from rag_ft.answering.decoding.span_search import SpanSearch, SpanTrie, search_spans
from rag_ft.answering.forward.decoder import AnySession
from rag_ft.answering.forward.token_tree import TreeNode
from rag_ft.answering.prompt import PromptBuilder
from rag_ft.answering.reading import Cited


class QuoteSearch:
    """Answers rows by span search.

    `parts`: whether the reader was tuned to answer with parts of passages, too. `encoder`: a second model whose
    log-odds of spans are added.
    """

    def __init__(
        self,
        rows: PromptRows,
        prompts: PromptBuilder,
        candidates: CandidateFinder,
        *,
        parts: bool = False,
        encoder: EncoderSpans | None = None,
    ) -> None:
        self._parts = parts
        self._encoder = encoder
        self._rows = rows
        self._prompts = prompts
        self._candidates = candidates

    def run(self, requests: Sequence[Sequence[PromptRow]]) -> None:
        """Find the best answer of each request. Its rows compete: a row that cannot win is not searched to the end."""
        rows = [row for request_rows in requests for row in request_rows]
        started = self._rows.start(rows)
        if self._parts:
            wanting = [request_rows for request_rows in requests if _wants_part(request_rows)]
            if wanting:
                self._run_parts(wanting)
                requests = [request_rows for request_rows in requests if not _wants_part(request_rows)]
                rows = [row for request_rows in requests for row in request_rows]
                if not rows:
                    return
                started = self._rows.start(rows)
        candidates = [self._candidates.find(row.prompt.passages) for row in rows]
        excluded = [listed.repeating(row.question) for row, listed in zip(rows, candidates, strict=True)]
        tries = [listed.trie for listed in candidates]
        opinions: Sequence[SpanOpinion] = self._encoder.of(rows, candidates) if self._encoder is not None else ()
        added = [opinion.added for opinion in opinions]
        searches = iter(_searches(rows, tries, started, self._prompts.close_ids((1,))[0], excluded, added))
        results = search_spans(started.session, [[next(searches) for _ in request_rows] for request_rows in requests])
        for i, (row, listed, result) in enumerate(zip(rows, candidates, results, strict=True)):
            row.scored = {listed.texts[candidate]: logprob for candidate, logprob in result.logprobs.items()}
            row.passes = result.passes
            if result.best >= 0:
                row.best = listed.texts[result.best]
                if opinions:
                    row.cited = (opinions[i].cite(row, result.best),)
                    row.added_odds = added[i][result.best]
                else:
                    row.cited = (self._cite(started.session, i, row, listed, result.best),)
            row.completion_tokens = len(self._prompts.completion_ids(row.best, (1,)))

    def _run_parts(self, requests: Sequence[Sequence[PromptRow]]) -> None:
        """Find the likeliest part for each request."""
        rows = [row for request_rows in requests for row in request_rows]
        started = self._rows.start_parts(rows)
        candidates = [find_parts(row.prompt.passages, self._prompts) for row in rows]
        # Each part has a closing token of its own: the one given here is never scored.
        searches = iter(_searches(rows, [listed.trie for listed in candidates], started, self._prompts.part_open[0]))
        results = search_spans(started.session, [[next(searches) for _ in request_rows] for request_rows in requests])
        for row, listed, result in zip(rows, candidates, results, strict=True):
            row.passes = result.passes
            if result.best < 0:
                continue
            part = listed.parts[result.best]
            passage = row.prompt.passages[part.passage_index]
            row.kind, row.yes, row.leads = "part", part.yes, part.leads
            row.best = passage.text[part.span.start : part.span.end]
            row.scored = {row.best: result.best_logprob}
            row.cited = (Cited(passage, part.span),)
            row.completion_tokens = len(self._prompts.part_ids(part.leads, (1,), part.yes))

    def _cite(self, session: AnySession, i: int, row: PromptRow, candidates: Candidates, best: int) -> Cited:
        """The passage to cite for an answer: of several that hold it, the one that the model prefers."""
        spans = candidates.first_occurrences(candidates.texts[best])
        cited = next(iter(spans))
        if len(spans) > 1:
            closings = {passage_index: self._prompts.close_ids((passage_index + 1,)) for passage_index in spans}
            scores = _score_endings(session, i, candidates.bodies[best], list(closings.values()))
            cited = max(zip(closings, scores, strict=True), key=lambda pair: (pair[1], -pair[0]))[0]
        return Cited(row.prompt.passages[cited], spans[cited])


def _searches(
    rows: Sequence[PromptRow],
    tries: Sequence[SpanTrie],
    started: StartedRows,
    close: int,
    excluded: Sequence[Collection[int]] = (),
    added: Sequence[Sequence[float]] = (),
) -> list[SpanSearch]:
    """A search per row over its trie, whose first tokens are scored already; `excluded`, `added`: of each row."""
    first = started.session.logits[:, -1].log_softmax(-1)
    searches: list[SpanSearch] = []
    for i, (row, trie) in enumerate(zip(rows, tries, strict=True)):
        starts = sorted(trie.children[0])
        after = dict(zip(starts, first[i, starts].tolist(), strict=True)) if starts else {}
        without, more = excluded[i] if excluded else (), added[i] if added else ()
        # A span of a passage that stands behind must be so much likelier.
        null = row.null - row.standing
        searches.append(SpanSearch(trie, float(started.opened[i]), after, close, null, without, more))
    return searches


def _wants_part(rows: Sequence[PromptRow]) -> bool:
    """Whether a part is opened with better odds against null than a span, each in the passage where it is best."""
    return max(row.part_open - row.null for row in rows) > max(row.span_open - row.null for row in rows)


def _score_endings(
    session: AnySession, row: int, lead: tuple[int, ...], endings: Sequence[tuple[int, ...]]
) -> list[float]:
    """Log-probability of each ending after a row's tokens and `lead`, in one pass."""
    tree: list[TreeNode] = []
    for token in lead:
        tree.append(TreeNode(token, len(tree) - 1))
    paths: list[list[int]] = []
    for ending in endings:
        parent, path = len(lead) - 1, []
        for token in ending[:-1]:
            path.append(parent)
            tree.append(TreeNode(token, parent))
            parent = len(tree) - 1
        paths.append([*path, parent])
    wanted: list[list[int]] = [[] for _ in tree]
    slots: list[list[tuple[int, int]]] = []
    for ending, path in zip(endings, paths, strict=True):
        slots.append([])
        for token, node in zip(ending, path, strict=True):
            slots[-1].append((node, len(wanted[node])))
            wanted[node].append(token)
    empty: list[Any] = [[] for _ in range(session.rows)]
    trees, wanted_tokens = list(empty), list(empty)
    trees[row], wanted_tokens[row] = tree, wanted
    logprobs = session.score_trees(trees, wanted_tokens)[row]
    return [float(sum(logprobs[node][slot] for node, slot in ending_slots)) for ending_slots in slots]
