"""Token-by-token decoding, with or without a grammar; what a grammar forces is fed at once, not generated."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rag_ft import completion
from rag_ft.errors import ReaderError

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from rag_ft.decoder import AnySession


class Generated(NamedTuple):
    """One row's tokens, in order, without the end-of-turn token."""

    tokens: list[int]
    logprobs: list[float]
    """Of each token under the model, unconstrained, at temperature 1."""
    finished: bool
    """False where the token limit came before the end."""


class GeneratedTokens(NamedTuple):
    """Tokens that one step brought to one row."""

    row: int
    tokens: list[int]


def answer_grammar(passage_count: int, max_answer_tokens: int) -> str:
    """Lark grammar of what follows the opening quote in `schema` mode: any text, then citations that exist.

    `body` ends after `max_answer_tokens` tokens at the latest, so a completion always closes within its budget.
    """
    numbers = " | ".join(json.dumps(str(number)) for number in range(1, passage_count + 1))
    more = f' (", " number)~0..{min(passage_count, 3) - 1}' if passage_count > 1 else ""
    return (
        'start: body "\\", \\"citations\\": [" number' + more + ' "]}"\n'
        f"body[max_tokens={max_answer_tokens}]: BODY\n"
        'BODY: /[^"\\\\\\x00-\\x20\\x7f]([^"\\\\\\x00-\\x1f\\x7f]|\\\\["\\\\\\/])*/\n'
        f"number: {numbers}\n"
    )


def quote_grammar(choices: Iterable[tuple[str, Sequence[int]]]) -> str:
    """Lark grammar of what follows the opening quote in `quote` mode: one of the texts, then a passage that holds it.

    `choices` gives each text with the numbers of its passages. The reference that the span search is tested against.
    """
    by_numbers: dict[tuple[int, ...], list[str]] = {}
    for text, numbers in choices:
        by_numbers.setdefault(tuple(numbers), []).append(completion.escape(text))
    parts: list[str] = []
    rules: list[str] = []
    for group, (numbers, texts) in enumerate(by_numbers.items()):
        # One regular expression for each set of passages: as alternatives of the grammar the texts of three passages
        # come to more items than llguidance's parser takes.
        bodies = "|".join(_literal(text) for text in sorted(texts))
        closings = " | ".join(json.dumps(completion.close((number,))) for number in numbers)
        parts.append(f"BODY_{group} ({closings})")
        rules.append(f"BODY_{group}: /{bodies}/")
    return "start: " + " | ".join(parts) + "\n" + "\n".join(rules) + "\n"


def _literal(text: str) -> str:
    """A text as a regular expression that matches it alone, between slashes."""
    return "".join(one if one.isalnum() or one == " " else f"\\x{{{ord(one):x}}}" for one in text)


class GrammarCompiler:
    """Turns grammars into matchers for one tokenizer; making one costs a third of a second, so it is kept."""

    def __init__(self, tokenizer: Any, vocabulary: int, end_of_turn_id: int) -> None:
        from llguidance.hf import from_tokenizer

        self._vocabulary = vocabulary
        self._tokenizer = from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=end_of_turn_id)

    def matcher(self, lark: str) -> Matcher:
        """A fresh matcher for a Lark grammar. Raises ReaderError where llguidance refuses it."""
        from llguidance import LLMatcher

        inner = LLMatcher(self._tokenizer, "%llguidance {}\n" + lark)
        if inner.is_error():
            raise ReaderError(f"llguidance refuses the completion's grammar ({inner.get_error().splitlines()[0]})")
        return Matcher(inner, self._vocabulary)


class Matcher:
    """Where one completion stands in its grammar."""

    def __init__(self, inner: Any, vocabulary: int) -> None:
        from llguidance.numpy import allocate_token_bitmask

        self._inner = inner
        self._bits = allocate_token_bitmask(1, vocabulary)
        self._vocabulary = vocabulary

    def allowed(self) -> Tensor:
        """Which tokens may come next: (V,) bool."""
        import numpy as np
        import torch
        from llguidance.numpy import fill_next_token_bitmask

        fill_next_token_bitmask(self._inner, self._bits)
        unpacked = np.unpackbits(self._bits.view(np.uint8), bitorder="little")[: self._vocabulary]
        return torch.from_numpy(unpacked.astype(bool))

    def take(self, token: int) -> list[int]:
        """Consume a token; returns the tokens that the grammar then forces, already consumed."""
        if not self._inner.consume_token(token):
            raise ReaderError(f"llguidance refuses token {token} ({str(self._inner.get_error()).splitlines()[0]})")
        forced = [int(one) for one in self._inner.compute_ff_tokens()]
        if forced and not self._inner.consume_tokens(forced):
            raise ReaderError(f"llguidance refuses the tokens {forced} that it forced")
        return forced

    @property
    def done(self) -> bool:
        """The completion is whole."""
        return bool(self._inner.is_stopped() or (self._inner.is_accepting() and int(self.allowed().sum()) <= 1))


def generate(
    session: AnySession,
    first_logits: Tensor,
    matchers: Sequence[Matcher | None],
    *,
    max_tokens: int,
    stop_ids: frozenset[int],
    temperature: float = 0.0,
    generator: Generator | None = None,
) -> Iterator[GeneratedTokens | list[Generated]]:
    """Continue every row of a session until its grammar is satisfied, a stop token comes, or `max_tokens` are made.

    `first_logits` (B, V): after each row's last token. Greedy at temperature 0, else sampled with `generator`.
    Yields tokens as they come and, last, the list of all rows.
    """
    rows = [Generated([], [], False) for _ in matchers]
    active = set(range(len(rows)))
    logits = first_logits
    while active:
        feed: list[list[int]] = [[] for _ in rows]
        for row in sorted(active):
            matcher = matchers[row]
            scores = logits[row]
            token = _choose(scores, matcher, temperature, generator)
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
            for place, forced in enumerate(tokens[1:]):
                before = after[row, longest - len(tokens) + place]
                rows[row].logprobs.append(float(before[forced] - before.logsumexp(-1)))
        logits = after[:, -1]
    yield rows


def _choose(scores: Tensor, matcher: Matcher | None, temperature: float, generator: Generator | None) -> int:
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
    return int(torch.multinomial(probabilities, 1, generator=generator))
