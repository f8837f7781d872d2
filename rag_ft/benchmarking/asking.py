"""Reading one question's passages, beside `generate` of transformers with the same weights and prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from rag_ft.benchmarking.comparison import Comparison, compared, in_turns

if TYPE_CHECKING:
    from rag_ft.answering.reading import ReadRequest
    from rag_ft.models.loading import LoadedModel

GENERATE = "transformers' generate, same weights and prompt, greedy"
MOST_TOKENS = 48
"""Most tokens that `generate` may write; the packaged reader ends its answers before."""


def reading_speed(loaded: LoadedModel, requests: Sequence[ReadRequest], rounds: int) -> Iterator[Comparison]:
    """Seconds of a question whose passages were never read, and of one whose passages were."""
    from rag_ft.answering.reader import Reader

    cold, warm = Reader(loaded, passage_cache_mb=0), Reader(loaded)
    for what, reader in (("passages new", cold), ("passages read before", warm)):
        mine: list[list[float]] = []
        theirs: list[list[float]] = []
        for request in requests:
            prompt = reader.prompts.build(request.question, request.passages, reader.budget)
            ours, peer = partial(reader.read_batch, [request]), partial(generate, loaded, prompt.ids)
            ours()
            peer()
            seconds = in_turns(ours, peer, rounds)
            mine.append(seconds.ours)
            theirs.append(seconds.peer)
        yield compared(f"read a question, {what}", "s", _means(mine), _means(theirs), GENERATE)


def generate(loaded: LoadedModel, ids: Sequence[int], max_new_tokens: int = MOST_TOKENS) -> list[int]:
    """What transformers writes after a prompt, token by token, greedily; with the end-of-turn token if it wrote one."""
    import torch

    prompt = torch.tensor([list(ids)], device=loaded.model.get_input_embeddings().weight.device)
    with torch.inference_mode():
        written = loaded.model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=loaded.tokenizer.eos_token_id,
        )
    return [int(token) for token in written[0, len(ids) :]]


def _means(rounds_of_each: list[list[float]]) -> list[float]:
    """The mean over questions for each round."""
    return [sum(one) / len(one) for one in zip(*rounds_of_each, strict=True)]
