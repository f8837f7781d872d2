"""Grammars of completions, and how they constrain the next token; forced tokens are fed at once, not generated."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rag_ft.answering import completion
from rag_ft.errors import ReaderError
from rag_ft.models.plain_tokenizer import PlainTokenizer

if TYPE_CHECKING:
    from torch import Tensor


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

    `choices`: each text with the numbers of its passages. The span search is tested against this.
    """
    by_numbers: dict[tuple[int, ...], list[str]] = {}
    for text, numbers in choices:
        by_numbers.setdefault(tuple(numbers), []).append(completion.escape(text))
    parts: list[str] = []
    rules: list[str] = []
    for group, (numbers, texts) in enumerate(by_numbers.items()):
        # One regular expression per set of passages: as alternatives of the grammar, the texts of three passages are
        # more items than llguidance's parser takes.
        bodies = "|".join(_literal(text) for text in sorted(texts))
        closings = " | ".join(json.dumps(completion.close((number,))) for number in numbers)
        parts.append(f"BODY_{group} ({closings})")
        rules.append(f"BODY_{group}: /{bodies}/")
    return "start: " + " | ".join(parts) + "\n" + "\n".join(rules) + "\n"


def _literal(text: str) -> str:
    """A regular expression, without its slashes, that matches the text alone."""
    return "".join(
        character if character.isalnum() or character == " " else f"\\x{{{ord(character):x}}}" for character in text
    )


class GrammarCompiler:
    """Turns grammars into matchers for one tokenizer. Making one takes a third of a second, so it is kept."""

    def __init__(self, tokenizer: Any, vocabulary: int, end_of_turn_id: int) -> None:
        from llguidance.hf import from_tokenizer

        self._vocabulary = vocabulary
        if isinstance(tokenizer, PlainTokenizer):
            tokenizer = tokenizer.library
        self._tokenizer = from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=end_of_turn_id)

    def matcher(self, lark: str) -> Matcher:
        """A fresh matcher for a Lark grammar. Raises ReaderError where llguidance refuses it."""
        from llguidance import LLMatcher

        inner = LLMatcher(self._tokenizer, "%llguidance {}\n" + lark)
        if inner.is_error():
            raise ReaderError(f"llguidance refuses the completion's grammar ({inner.get_error().splitlines()[0]})")
        return Matcher(inner, self._vocabulary)


class Matcher:
    """The state of one completion in its grammar."""

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
        """Consume a token; returns the tokens that the grammar then forces, which are consumed too."""
        if not self._inner.consume_token(token):
            raise ReaderError(f"llguidance refuses token {token} ({str(self._inner.get_error()).splitlines()[0]})")
        forced = [int(forced_token) for forced_token in self._inner.compute_ff_tokens()]
        if forced and not self._inner.consume_tokens(forced):
            raise ReaderError(f"llguidance refuses the tokens {forced} that it forced")
        return forced

    @property
    def done(self) -> bool:
        """Whether the completion is whole."""
        return bool(self._inner.is_stopped() or (self._inner.is_accepting() and int(self.allowed().sum()) <= 1))
