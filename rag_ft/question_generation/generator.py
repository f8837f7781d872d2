"""The packaged question generator: a small adapter on the reader's base that writes questions and answers them.

It continues the reader's own prompt: after a passage and `Question:` it writes the question, token by token, and then
answers it by the reader's span search, so that every answer stands in the passage word for word.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rag_ft.answering.decoding.generate import Generated, generate
from rag_ft.answering.reader import Reader
from rag_ft.answering.reading import ReadRequest
from rag_ft.environment import packaged_generator_path
from rag_ft.errors import PromptTooLongError, UsageError
from rag_ft.models.adapter_record import adapter_record
from rag_ft.models.weights import DEFAULT, NO_ADAPTER
from rag_ft.question_generation.source import WriteRequest, WrittenQuestion
from rag_ft.text.openings import OPENINGS, AskedFor, asked_for
from rag_ft.text.sentences import sentences_around
from rag_ft.text.spans import Span

if TYPE_CHECKING:
    from torch import Tensor

    from rag_ft.answering.decoding.prompt_rows import PromptRow

MOST_QUESTION_TOKENS = 48

_BESIDE = "question generator"
"""Name of the packaged generator among a reader's adapters."""

_DIFFERENCE = re.compile(r"what(?:'s|\s+is|\s+are)\s+the\s+differences?\b", re.IGNORECASE)
"""Read one by one, 7 of 34 such questions of the packaged generator were good: it asks so where nothing is compared."""

_MOST_CHOICES = 64
"""Likeliest tokens that one is drawn from."""

_ROWS_TOGETHER = 32
"""Drafts that are drawn together: each holds its passage's keys and values, about 12 MB."""

_TAKES_SENTENCES: frozenset[AskedFor] = frozenset({"how", "why", "whether", "what"})
"""Questions that some words of a sentence do not answer."""


class SamplingConfig(NamedTuple):
    """How a question's tokens are drawn."""

    temperature: float = 0.4
    top_p: float = 0.9
    """Tokens are drawn from the likeliest ones that have this probability together (Holtzman et al., 2020)."""
    drafts: int = 2
    """Questions drawn for each request: the likeliest one is asked."""
    least_logprob: float = -0.65
    """Smallest mean log-probability of a token, at temperature 1 and without the constraint on how a question begins: a
    question that its passage does not lead to is mostly not answered there."""


class _Draft(NamedTuple):
    """A question that was drawn."""

    text: str
    logprob: float
    """Mean log-probability of its tokens."""


class QuestionGenerator:
    """Writes questions with an adapter that `benchmarks/train_question_generator.py` or the like trained."""

    def __init__(self, reader: Reader, sampling: SamplingConfig | None = None) -> None:
        """`reader`: reads with the generator's adapter. Raises UsageError for an adapter that writes no questions."""
        adapter = reader.loaded.adapter
        if adapter is None or not adapter_record(adapter).get("writes_questions"):
            named = "the untuned base" if adapter is None else str(adapter.path)
            raise UsageError(f"{named} was not trained to write questions: give a question generator's adapter")
        self._reader = reader
        self._sampling = sampling or SamplingConfig()
        self._adapter = adapter

    @classmethod
    def from_pretrained(
        cls, adapter: str | Path | None = None, *, base: str = DEFAULT, sampling: SamplingConfig | None = None
    ) -> QuestionGenerator:
        """The packaged generator, or that of an adapter's folder, on its own copy of the base model's weights.

        Raises WeightsError, UsageError.
        """
        folder = packaged_generator_path() if adapter is None else Path(adapter)
        return cls(Reader.from_pretrained(base, adapter=folder, cross_encoder=NO_ADAPTER), sampling)

    @classmethod
    def beside(cls, reader: Reader, sampling: SamplingConfig | None = None) -> QuestionGenerator:
        """The packaged generator on a reader's base model, which is then in memory once.

        Raises WeightsError where the reader holds another base, or holds it in another way.
        """
        reader.add_adapter(_BESIDE, packaged_generator_path())
        return cls(reader.with_adapter(_BESIDE), sampling)

    @cached_property
    def fingerprint(self) -> str:
        """Changes with the weights and the way of drawing."""
        return "-".join([self._adapter.fingerprint, *(f"{value:g}" for value in self._sampling)])

    def write(self, requests: Sequence[WriteRequest]) -> list[WrittenQuestion | str]:
        """The question of each request, or why there is none."""
        contexts = [self._context(request) for request in requests]
        best = self._best_drafts(requests, contexts)
        asked = [(i, draft) for i, draft in enumerate(best) if isinstance(draft, _Draft)]
        rows = self._reader.read_rows([ReadRequest(draft.text, (requests[i].passage,), 0.0) for i, draft in asked])
        answered = {i: _answered(draft, own_rows[0]) for (i, draft), own_rows in zip(asked, rows, strict=True)}
        return [answered[i] if isinstance(draft, _Draft) else draft for i, draft in enumerate(best)]

    def _best_drafts(
        self, requests: Sequence[WriteRequest], contexts: Sequence[tuple[int, ...] | None]
    ) -> list[_Draft | str]:
        """The likeliest draft of each request, or why there is none."""
        best: list[_Draft | str] = []
        together = max(_ROWS_TOGETHER // self._sampling.drafts, 1)
        for start in range(0, len(requests), together):
            chosen = list(zip(requests, contexts, strict=True))[start : start + together]
            drawn = iter(self._draw([pair for pair in chosen if pair[1] is not None]))
            for _, context in chosen:
                drafts = [next(drawn) for _ in range(0 if context is None else self._sampling.drafts)]
                best.append(self._best(drafts) if drafts else "the passage is too long for the generator")
        return best

    def _best(self, drafts: Sequence[Generated]) -> _Draft | str:
        decode = self._reader.loaded.tokenizer.decode
        whole = [
            _Draft(decode(drawn.tokens, skip_special_tokens=True).strip(), sum(drawn.logprobs) / len(drawn.logprobs))
            for drawn in drafts
            if drawn.finished and drawn.logprobs
        ]
        questions = [draft for draft in whole if draft.text.endswith("?") and not _DIFFERENCE.match(draft.text)]
        if not questions:
            return "it is no question" if whole else "the question has no end"
        likeliest = max(questions, key=lambda draft: draft.logprob)
        return likeliest if likeliest.logprob >= self._sampling.least_logprob else "the passage does not lead to it"

    def _context(self, request: WriteRequest) -> tuple[int, ...] | None:
        try:
            return self._reader.prompts.build("?", [request.passage], self._reader.budget).context
        except PromptTooLongError:
            return None

    def _draw(self, requests: Sequence[tuple[WriteRequest, tuple[int, ...] | None]]) -> list[Generated]:
        """The tokens of each request's drafts, those of one request together."""
        if not requests:
            return []
        prompts, drafts = self._reader.prompts, self._sampling.drafts
        contexts = [context or () for _, context in requests for _ in range(drafts)]
        rows = [[*context, *prompts.question_opening] for context in contexts]
        session = self._reader.decoder.start(prompts.head, rows, 1, [len(context) for context in contexts])
        choosers = [
            _Chooser(self._openings[request.asked_for], request.seed * drafts + draft, self._sampling)
            for request, _ in requests
            for draft in range(drafts)
        ]
        steps = generate(
            session,
            session.logits[:, -1],
            [None] * len(rows),
            max_tokens=MOST_QUESTION_TOKENS,
            stop_ids=frozenset({prompts.question_end}),
            choose=lambda row, scores: choosers[row].choose(scores),
        )
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                drawn: list[Generated] = stop.value
                return drawn

    @cached_property
    def _openings(self) -> dict[AskedFor, _Opening]:
        """The tokens that questions of each kind may begin with."""
        openings: dict[AskedFor, _Opening] = {}
        for kind, texts in OPENINGS.items():
            openings[kind] = _Opening()
            for ids in self._reader.prompts.body_ids([f" {text}" for text in texts]):
                opening = openings[kind]
                for token in ids:
                    opening = opening.after.setdefault(token, _Opening())
                opening.free = True
        return openings


@dataclass
class _Opening:
    """What may follow the first tokens of a question."""

    after: dict[int, _Opening] = field(default_factory=dict)
    free: bool = False
    """Whether the opening is whole: any token may follow."""


class _Chooser:
    """Draws one question's tokens, first along the openings of its kind."""

    def __init__(self, opening: _Opening, seed: int, sampling: SamplingConfig) -> None:
        import torch

        self._opening: _Opening | None = opening
        self._sampling = sampling
        self._random = torch.Generator().manual_seed(seed)

    def choose(self, scores: Tensor) -> int:
        """The next token, from its logits (V,)."""
        import torch

        opening = self._opening
        if opening is not None:
            allowed = torch.full_like(scores, -math.inf)
            tokens = list(opening.after)
            allowed[tokens] = scores[tokens]
            scores = allowed
        # To sort the whole vocabulary takes a quarter of the time, and the tail is cut off anyway.
        best = (scores.float() / self._sampling.temperature).topk(min(_MOST_CHOICES, len(scores)))
        ranked = best.values.softmax(-1).cpu()
        kept = (ranked.cumsum(0) - ranked) < self._sampling.top_p
        token = int(best.indices[torch.multinomial(ranked * kept, 1, generator=self._random)])
        if opening is not None:
            following = opening.after[token]
            self._opening = None if following.free else following
        return token


def _answered(draft: _Draft, row: PromptRow) -> WrittenQuestion | str:
    """The question with the answer that the search found, or why there is none."""
    if row.best is None or not row.cited or row.cited[0].span is None:
        return "the passage has no answer that could be quoted"
    kind, yes, span = row.kind, row.yes, row.cited[0].span
    wanted = asked_for(draft.text)
    if wanted == "whether" and yes is None:
        return "its answer says neither yes nor no"
    if wanted != "whether":
        yes = None
    if wanted in _TAKES_SENTENCES and kind == "span":
        # Some words answer no how or why: the sentences that hold them do.
        span, kind = Span(*sentences_around(row.cited[0].passage.text, *span)), "part"
    return WrittenQuestion(draft.text, span, kind, yes, draft.logprob)
