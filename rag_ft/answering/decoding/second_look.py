"""The sentence of the best answer, read once more on its own: does it answer the question there, too?

The text around an answer can make it look like one. A second look at the answer's sentence recognises unanswerable
questions better (Hu et al., Read + Verify, 2019, whose verifier is a model of its own).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from rag_ft.answering.decoding.prompt_rows import PromptRow, PromptRows, best_row
from rag_ft.errors import PromptTooLongError
from rag_ft.text.sentences import sentences_around


def second_looks(rows: PromptRows, requests: Sequence[Sequence[PromptRow]]) -> list[PromptRow]:
    """The prompts still to be read: one for each request whose best answer stands in a part of its passage.

    Each becomes the `second_look` of the row that it belongs to.
    """
    looks: list[PromptRow] = []
    for request_rows in requests:
        best = best_row(request_rows)
        if best is None or not best.cited:
            continue
        passage, span = best.cited[0]
        if span is None:
            continue
        sentence = sentences_around(passage.text, *span)
        if sentence == (0, len(passage.text)):
            continue
        alone = passage.model_copy(update={"text": passage.text[sentence.start : sentence.end]})
        with suppress(PromptTooLongError):  # a part can have more tokens than the whole, which filled the prompt
            best.second_look = rows.build(best.question, [alone])
            looks.append(best.second_look)
    return looks
