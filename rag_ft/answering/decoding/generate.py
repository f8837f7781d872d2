"""Completions token by token under a grammar."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rag_ft.answering.decoding.grammar import Matcher

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from rag_ft.answering.forward.decoder import AnySession


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
