"""Modes `schema` and `free`: completions token by token, with or without a grammar."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from rag_ft.answering import completion
from rag_ft.answering.config import ReaderConfig
from rag_ft.answering.decoding.candidates import CandidateFinder
from rag_ft.answering.decoding.grammar import GrammarCompiler, Matcher, answer_grammar, quote_grammar
from rag_ft.answering.decoding.prompt_rows import PromptRow, PromptRows
from rag_ft.answering.forward.decoder import Decoder
from rag_ft.answering.prompt import PromptBuilder, TokenBudget
from rag_ft.answering.reading import Cited
from rag_ft.errors import AnswerParseError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from rag_ft.answering.forward.decoder import AnySession


class TokenDecoder:
    """Answers rows by decoding token by token."""

    def __init__(
        self,
        rows: PromptRows,
        prompts: PromptBuilder,
        decoder: Decoder,
        candidates: CandidateFinder,
        budget: TokenBudget,
        config: ReaderConfig,
    ) -> None:
        self._rows = rows
        self._prompts = prompts
        self._decoder = decoder
        self._candidates = candidates
        self._budget = budget
        self._config = config

    def run(self, requests: Sequence[Sequence[PromptRow]]) -> None:
        """Decode all rows together."""
        for _ in self.steps([row for request_rows in requests for row in request_rows]):
            pass

    def steps(self, rows: Sequence[PromptRow]) -> Iterator[GeneratedTokens]:
        """The tokens of each step as they come; the rows are filled in when the iterator is exhausted."""
        import torch

        if self._config.mode == "free":
            session, opened = self._rows.read(rows), None
            matchers: list[Matcher | None] = [None] * len(rows)
        else:
            session, opened = self._rows.start(rows)
            matchers = [self._compiler.matcher(self._grammar(row)) for row in rows]
        generated = yield from generate(
            session,
            session.logits[:, -1],
            matchers,
            max_tokens=self._budget.completion,
            stop_ids=self._stop_ids,
            temperature=self._config.temperature,
            random=torch.Generator().manual_seed(self._config.seed),
        )
        for i, (row, tokens) in enumerate(zip(rows, generated, strict=True)):
            self.settle(row, tokens, None if opened is None else float(opened[i]))

    def settle(self, row: PromptRow, generated: Generated, opened: float | None) -> None:
        """Fill in a row from its tokens. `opened`: log-probability of the opening quote; None in free text."""
        lead = "" if opened is None else completion.HEAD + completion.OPEN
        row.decided = opened is None
        row.text = lead + self._prompts.tokenizer.decode(generated.tokens, skip_special_tokens=False)
        read_ahead = 0 if opened is None else len(self._prompts.completion_head) + 1
        row.completion_tokens = len(generated.tokens) + read_ahead
        try:
            parsed = completion.parse(row.text, max(len(row.prompt.passages), 1))  # no passage: closed book
        except AnswerParseError:
            row.complete = False
            return
        length = self._answer_length(lead, generated.tokens)
        logprob = (opened or 0.0) + sum(generated.logprobs[:length])
        # The grammar closes an answer that has come to its limit: valid JSON, but a text cut short.
        row.complete = generated.finished and not (opened is not None and length > self._config.max_answer_tokens)
        if opened is None:
            # Free text says null or an answer, not both: what it did not say has the rest of the probability.
            rest = math.log(max(-math.expm1(logprob), 1e-300))
            row.null = logprob if parsed.answer is None else rest
        if parsed.answer is not None and row.complete:
            row.best, row.scored = parsed.answer, {parsed.answer: logprob}
            row.cited = self._cited(row, parsed.answer, parsed.citations)

    def _cited(self, row: PromptRow, answer: str, numbers: Sequence[int]) -> tuple[Cited, ...]:
        """The passages of citation numbers, with the answer's span where mode `quote` knows it."""
        passages = row.prompt.passages
        if not passages:
            return ()
        quoted = self._config.mode == "quote"
        spans = self._candidates.find(passages).first_occurrences(answer) if quoted else {}
        return tuple(Cited(passages[number - 1], spans.get(number - 1)) for number in numbers)

    def _answer_length(self, lead: str, tokens: list[int]) -> int:
        """Number of tokens up to the one that closes the answer."""
        decode = self._prompts.tokenizer.decode
        low, high = 1, len(tokens)
        while low < high:
            middle = (low + high) // 2
            if answer_closed(lead + decode(tokens[:middle])):
                high = middle
            else:
                low = middle + 1
        return low

    def _grammar(self, row: PromptRow) -> str:
        if self._config.mode == "schema":
            return answer_grammar(max(len(row.prompt.passages), 1), self._config.max_answer_tokens)
        candidates = self._candidates.find(row.prompt.passages)
        excluded = candidates.repeating(row.question)
        texts = [text for candidate, text in enumerate(candidates.texts) if candidate not in excluded]
        return quote_grammar(
            [(text, sorted({passage_index + 1 for passage_index, _ in candidates.occurrences[text]})) for text in texts]
        )

    @cached_property
    def _compiler(self) -> GrammarCompiler:
        return GrammarCompiler(self._prompts.tokenizer, self._decoder.vocabulary, self._prompts.end_of_turn_id)

    @property
    def _stop_ids(self) -> frozenset[int]:
        eos = self._prompts.tokenizer.eos_token_id
        return frozenset({self._prompts.end_of_turn_id, *([] if eos is None else [int(eos)])})


def answer_closed(text: str) -> bool:
    """Whether an unfinished completion holds its whole answer: the string is closed, or null is written out."""
    start = text.find('"answer"')
    rest = text[start + len('"answer"') :].lstrip().removeprefix(":").lstrip() if start >= 0 else ""
    if rest.startswith("null"):
        return True
    escaped = False
    for character in rest[1:] if rest.startswith('"') else "":
        if not escaped and character == '"':
            return True
        escaped = character == "\\" and not escaped
    return False


class Generated(NamedTuple):
    """One row's tokens, in order, without the end-of-turn token."""

    tokens: list[int]
    logprobs: list[float]
    """Log-probability of each token under the model, unconstrained, at temperature 1."""
    finished: bool
    """False where the token limit came before the end."""


class GeneratedTokens(NamedTuple):
    """Tokens that one step brought to one row."""

    row: int
    tokens: list[int]


def generate(
    session: AnySession,
    first_logits: Tensor,
    matchers: Sequence[Matcher | None],
    *,
    max_tokens: int,
    stop_ids: frozenset[int],
    temperature: float = 0.0,
    random: torch.Generator | None = None,
    choose: Callable[[int, Tensor], int] | None = None,
) -> Generator[GeneratedTokens, None, list[Generated]]:
    """Continue every row of a session until its grammar is satisfied, a stop token comes, or it has `max_tokens`.

    `first_logits` (B, V): after each row's last token. Greedy at temperature 0, else sampled with `random`; or as
    `choose` does, which gets the row's number and its logits (V,). Yields tokens as they come and returns all rows.
    """
    rows = [Generated([], [], False) for _ in matchers]
    active = set(range(len(rows)))
    logits = first_logits
    while active:
        feed: list[list[int]] = [[] for _ in rows]
        for row in sorted(active):
            matcher = matchers[row]
            scores = logits[row]
            token = _choose(scores, matcher, temperature, random) if choose is None else choose(row, scores)
            if token in stop_ids:
                rows[row] = rows[row]._replace(finished=matcher is None or matcher.done)
                active.discard(row)
                continue
            feed[row] = [token, *(matcher.take(token) if matcher else [])]
            rows[row].tokens.extend(feed[row])
            rows[row].logprobs.append(float(scores[token] - scores.logsumexp(-1)))
            yield GeneratedTokens(row, feed[row])
            if matcher is not None and matcher.done:
                rows[row] = rows[row]._replace(finished=True)
            if rows[row].finished or len(rows[row].tokens) >= max_tokens:
                active.discard(row)
        # The last tokens of a finished row are fed once more only if their own probabilities are still wanted.
        if not any(feed):
            break
        longest = max(len(tokens) for tokens in feed)
        if not active and longest == 1:
            break
        after = session.extend(feed, keep=longest)  # (B, longest, V)
        for row, tokens in enumerate(feed):
            for position, forced in enumerate(tokens[1:]):
                before = after[row, longest - len(tokens) + position]
                rows[row].logprobs.append(float(before[forced] - before.logsumexp(-1)))
        logits = after[:, -1]
    return rows


def _choose(scores: Tensor, matcher: Matcher | None, temperature: float, random: torch.Generator | None) -> int:
    import torch

    if matcher is not None:
        allowed = matcher.allowed()
        masked = torch.full_like(scores, -torch.inf)
        size = min(len(allowed), len(scores))
        masked[:size] = scores[:size].masked_fill(~allowed[:size].to(scores.device), -torch.inf)
        scores = masked
    if temperature <= 0:
        return int(scores.argmax())
    probabilities = (scores / temperature).softmax(-1).cpu()
    return int(torch.multinomial(probabilities, 1, generator=random))
