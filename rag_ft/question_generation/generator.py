"""The packaged question generator: a small adapter on the reader's base that writes questions and answers them.

It continues the reader's own prompt: after a passage and `Question:` it writes the question, token by token, and then
answers it by the reader's span search, so that every answer stands in the passage word for word.
"""

from __future__ import annotations

import math
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
from rag_ft.text.sentences import sentence_spans

if TYPE_CHECKING:
    from torch import Tensor

    from rag_ft.answering.decoding.prompt_rows import PromptRow

MOST_QUESTION_TOKENS = 48

_TAKES_SENTENCES: frozenset[AskedFor] = frozenset({"how", "why", "whether", "what"})
"""Questions that some words of a sentence do not answer."""


class SamplingConfig(NamedTuple):
    """How a question's tokens are drawn."""

    temperature: float = 0.7
    top_p: float = 0.9
    """Tokens are drawn from the likeliest ones that have this probability together (Holtzman et al., 2020)."""
    least_logprob: float = -1.0
    """Smallest mean log-probability of a token, at temperature 1 and without the constraint on how a question begins: a
    question that its passage does not lead to is mostly not answered there."""


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
    def from_pretrained(cls, adapter: str | Path | None = None, *, base: str = DEFAULT) -> QuestionGenerator:
        """The packaged generator, or that of an adapter's folder, on its own copy of the base model's weights.

        The packaged one was trained on NF4 values, so it cannot share those of the default reader. Raises WeightsError,
        UsageError.
        """
        folder = packaged_generator_path() if adapter is None else Path(adapter)
        return cls(Reader.from_pretrained(base, adapter=folder, cross_encoder=NO_ADAPTER))

    @cached_property
    def fingerprint(self) -> str:
        """Changes with the weights and the way of drawing."""
        return "-".join([self._adapter.fingerprint, *(f"{value:g}" for value in self._sampling)])

    def write(self, requests: Sequence[WriteRequest]) -> list[WrittenQuestion | str]:
        """The question of each request, or why there is none."""
        contexts: list[tuple[int, ...] | None] = [self._context(request) for request in requests]
        fitting = [i for i, context in enumerate(contexts) if context is not None]
        written: list[WrittenQuestion | str] = ["the passage is too long for the generator"] * len(requests)
        drawn = self._draw([requests[i] for i in fitting], [context for context in contexts if context is not None])
        asked: list[tuple[int, str, float]] = []
        for i, generated in zip(fitting, drawn, strict=True):
            question = self._reader.loaded.tokenizer.decode(generated.tokens, skip_special_tokens=True).strip()
            logprob = sum(generated.logprobs) / max(len(generated.logprobs), 1)
            if not generated.finished:
                written[i] = "the question has no end"
            elif not question.endswith("?"):
                written[i] = "it is no question"
            elif logprob < self._sampling.least_logprob:
                written[i] = "the passage does not lead to it"
            else:
                asked.append((i, question, logprob))
        rows = self._reader.read_rows([ReadRequest(question, (requests[i].passage,), 0.0) for i, question, _ in asked])
        for (i, question, logprob), own_rows in zip(asked, rows, strict=True):
            written[i] = _answered(question, own_rows[0], logprob)
        return written

    def _context(self, request: WriteRequest) -> tuple[int, ...] | None:
        try:
            return self._reader.prompts.build("?", [request.passage], self._reader.budget).context
        except PromptTooLongError:
            return None

    def _draw(self, requests: Sequence[WriteRequest], contexts: Sequence[tuple[int, ...]]) -> list[Generated]:
        """The tokens of each request's question."""
        if not requests:
            return []
        prompts = self._reader.prompts
        rows = [[*context, *prompts.question_opening] for context in contexts]
        session = self._reader.decoder.start(prompts.head, rows, 1, [len(context) for context in contexts])
        choosers = [_Chooser(self._openings[request.asked_for], request.seed, self._sampling) for request in requests]
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
        probabilities = (scores.float() / self._sampling.temperature).softmax(-1).cpu()
        ranked, order = probabilities.sort(descending=True, stable=True)
        kept = (ranked.cumsum(0) - ranked) < self._sampling.top_p
        token = int(order[torch.multinomial(ranked * kept, 1, generator=self._random)])
        if opening is not None:
            following = opening.after[token]
            self._opening = None if following.free else following
        return token


def _answered(question: str, row: PromptRow, logprob: float) -> WrittenQuestion | str:
    """The question with the answer that the search found, or why there is none."""
    if row.best is None or not row.cited or row.cited[0].span is None:
        return "the passage has no answer that could be quoted"
    kind, yes, span = row.kind, row.yes, row.cited[0].span
    wanted = asked_for(question)
    if wanted == "whether" and yes is None:
        return "its answer says neither yes nor no"
    if wanted != "whether":
        yes = None
    if wanted in _TAKES_SENTENCES and kind == "span":
        # Some words answer no how or why: the sentences that hold them do.
        text = row.cited[0].passage.text
        around = [unit for unit in sentence_spans(text) if unit[0] < span.end and span.start < unit[1]]
        span, kind = type(span)(around[0][0], around[-1][1]), "part"
    return WrittenQuestion(question, span, kind, yes, logprob)
