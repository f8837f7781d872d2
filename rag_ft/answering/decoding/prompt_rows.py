"""The prompts of a request: how they are built and read, and what comes of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from rag_ft.answering.forward.decoder import AnySession, Decoder
from rag_ft.answering.prompt import Prompt, PromptBuilder, TokenBudget
from rag_ft.answering.reading import Cited, Mode, ReadingWay, ReadRequest, check_threshold, standings
from rag_ft.errors import PromptTooLongError
from rag_ft.schema import AnswerKind, Passage

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class PromptRow:
    """One prompt of a batch, and what came of it. Log-probabilities are those after the completion's head."""

    question: str
    prompt: Prompt
    positions: tuple[int, ...]
    """Positions in the request of the passages that the prompt holds."""
    ids: list[int]
    context: int
    """Number of leading ids that stand for the passages."""
    null: float = -math.inf
    """Log-probability of null."""
    span_open: float = -math.inf
    part_open: float = -math.inf
    """Log-probabilities of the first token that opens a span, or a part."""
    scored: dict[str, float] = field(default_factory=dict)
    """Log-probability of each answer that was scored: of opening quote, answer and closing quote."""
    best: str | None = None
    """The likeliest answer; None where there is no answer."""
    kind: AnswerKind = "span"
    yes: bool | None = None
    leads: tuple[str, ...] = ()
    """Words that name the part, if the best answer is one."""
    cited: tuple[Cited, ...] = ()
    """Passages cited for the best answer."""
    complete: bool = True
    """False where the completion was cut off or is not valid JSON."""
    decided: bool = False
    """Whether the completion is free text, which says an answer or null, however unlikely that was."""
    text: str = ""
    """The completion, if it is not to be rendered from the best answer."""
    completion_tokens: int = 0
    passes: int = 0
    """Tree passes of the span search."""
    second_look: PromptRow | None = None
    """The sentence of the best answer alone, if it was read."""
    standing: float = 0.0
    """Log-odds of its passage in the reranking, added to those of its answers where rows compete: 0 for the first
    passage, negative for the others; 0 without a reranking. docs/answers.md says what that gains."""
    added_odds: float = 0.0
    """Log-odds of the best answer by the cross-encoder, against no answer in its passage, weighed; 0 where it was not
    asked about spans."""

    @property
    def odds(self) -> float:
        """Log-odds of the best answer against null."""
        return self.scored[self.best] - self.null if self.best is not None else -math.inf

    @property
    def standing_odds(self) -> float:
        """By how much the row's best answer is ahead of null, with the cross-encoder's say: what rows compete by."""
        return self.odds + self.added_odds + self.standing


def best_row(rows: Sequence[PromptRow]) -> PromptRow | None:
    """The complete row whose answer stands best; the first of equal ones, None where no row is complete."""
    complete = [row for row in rows if row.complete]
    return max(complete, key=lambda row: (row.standing_odds, -row.null), default=None)


class StartedRows(NamedTuple):
    """Prompts that have been read up to the opening of an answer."""

    session: AnySession
    opened: Tensor
    """Log-probability of the opening for each row: (B,)."""


class PromptRows:
    """Builds the prompts of requests and reads them with the model."""

    def __init__(self, prompts: PromptBuilder, decoder: Decoder, budget: TokenBudget, mode: Mode) -> None:
        self._prompts = prompts
        self._decoder = decoder
        self._budget = budget
        # Read with the prompt, since every completion starts with it; free text starts as it likes.
        self._lead = (*prompts.completion_head, *prompts.completion_open) if mode != "free" else ()

    def of_request(self, request: ReadRequest, reading: ReadingWay) -> list[PromptRow]:
        """The prompts of a request: one for joint reading, one per passage for separate reading.

        There are none without passages. Raises PromptTooLongError where no passage fits.
        """
        check_threshold(request.threshold)
        if reading == "joint" or not request.passages:
            row = self.build(request.question, request.passages, range(len(request.passages)))
            return [row] if request.passages else []
        rows: list[PromptRow] = []
        too_long = None
        for position, passage in enumerate(request.passages):
            try:
                rows.append(self.build(request.question, [passage], [position]))
            except PromptTooLongError as error:  # the other passages may fit
                too_long = error
        if not rows and too_long is not None:
            raise too_long
        if reranked := standings(request.margins, len(request.passages)):
            for row in rows:
                row.standing = reranked[row.positions[0]]
        return rows

    def build(self, question: str, passages: Sequence[Passage], positions: Sequence[int] = ()) -> PromptRow:
        """One prompt of passages; `positions` are theirs in the request. Raises PromptTooLongError."""
        prompt = self._prompts.build(question, passages, self._budget)
        left_out = {id(passage) for passage in prompt.left_out}
        held = tuple(i for i, passage in zip(positions, passages, strict=False) if id(passage) not in left_out)
        return PromptRow(question, prompt, held, [*prompt.context, *prompt.question, *self._lead], len(prompt.context))

    def read(self, rows: Sequence[PromptRow], keep: int = 1) -> AnySession:
        """Read prompts; the session has the logits after the last `keep` tokens of each."""
        contexts = [row.context for row in rows]
        return self._decoder.start(self._prompts.head, [row.ids for row in rows], keep, contexts)

    def start(self, rows: Sequence[PromptRow]) -> StartedRows:
        """Read prompts up to the opening quote and note each row's probability of null."""
        null, opening = self._prompts.completion_null, self._prompts.completion_open
        session = self.read(rows, keep=len(opening) + 1)
        logprobs = session.logits.log_softmax(-1)  # (B, open + 1, V)
        for i, row in enumerate(rows):
            row.null = float(logprobs[i, 0, null[0]])
            row.span_open = float(logprobs[i, 0, opening[0]])
            if self._prompts.part_open:
                row.part_open = float(logprobs[i, 0, self._prompts.part_open[0]])
        return StartedRows(session, logprobs[:, range(len(opening)), list(opening)].sum(1))

    def start_parts(self, rows: Sequence[PromptRow]) -> StartedRows:
        """Read prompts, whose null is noted already, up to the opening of a part."""
        opening, spans = self._prompts.part_open, len(self._prompts.completion_open)
        ids = [[*row.ids[: len(row.ids) - spans], *opening] for row in rows]
        session = self._decoder.start(self._prompts.head, ids, len(opening) + 1, [row.context for row in rows])
        logprobs = session.logits.log_softmax(-1)  # (B, open + 1, V)
        return StartedRows(session, logprobs[:, range(len(opening)), list(opening)].sum(1))

    def unread_tokens(self, row: PromptRow) -> int:
        """Number of a row's tokens that the model still has to read: without a context that is in the cache."""
        return self._decoder.unread(self._prompts.head, row.ids, row.context)

    @property
    def flat(self) -> bool:
        """Whether the model reads prompts as flat rows, without padding."""
        return self._decoder.flat
