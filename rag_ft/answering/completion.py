"""The completion: the JSON that the reader emits, its parts, and the one strict parser.

`{"answer": "<text>", "citations": [n, ...]}` or `{"answer": null, "citations": []}`, n counted from 1 in the order of
the prompt. It is tokenised part by part (`HEAD`, then `NULL` or `OPEN` + body + `close(...)`), in training as in
decoding, so that null and an answer diverge at the same token everywhere.

A reader that was tuned on them also names parts of passages: `{"answer": ["<first words>", "<first words of the last
unit>"], "citations": [n]}`, one string for a single unit, with `"yes": true` or `false` before the citations where the
question asks for it. Only mode `quote` reads these.
"""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from rag_ft.errors import AnswerParseError, first_problem

HEAD = '{"answer":'
NULL = ' null, "citations": []}'
OPEN = ' "'
OPEN_PART = ' ["'
THROUGH = '", "'
"""Between the words that name a part's first unit and those that name its last."""


def close(numbers: tuple[int, ...]) -> str:
    """What follows the answer's text, for passages counted from 1."""
    return '", "citations": [' + ", ".join(str(number) for number in numbers) + "]}"


def close_part(numbers: tuple[int, ...], yes: bool | None = None) -> str:
    """What follows the words that name a part; `yes`: what the part says to a question of yes or no."""
    polarity = "" if yes is None else f'"yes": {"true" if yes else "false"}, '
    return f'"], {polarity}"citations": [' + ", ".join(str(number) for number in numbers) + "]}"


def escape(text: str) -> str:
    """The body of the JSON string for a text: quotes, backslashes and control characters escaped, nothing else."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


class Completion(BaseModel):
    """The content of a completion, checked."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    answer: str | None
    """The answer's text, or null where the passages do not hold one."""
    citations: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False)]
    """Numbers of the passages that hold the answer, counted from 1; empty for null and only then."""

    @model_validator(mode="after")
    def _null_cites_nothing(self) -> Completion:
        if self.answer is None and self.citations:
            raise ValueError("a null answer cites passages")
        if self.answer is not None and not self.citations:
            raise ValueError("an answer cites no passage")
        if self.answer is not None and not self.answer.strip():
            raise ValueError("the answer is empty")
        return self


SCHEMA: dict[str, JsonValue] = {
    "type": "object",
    "properties": {
        "answer": {"type": ["string", "null"]},
        "citations": {"type": "array", "items": {"type": "integer"}},
    },
    "required": ["answer", "citations"],
    "additionalProperties": False,
}
"""JSON schema of a completion, for servers that decode under one; `parse` checks more."""


class PartCompletion(BaseModel):
    """What a completion that names a part says, checked."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    answer: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1, max_length=2, strict=False)]
    """Words that name the part's first unit, and its last if that is another one."""
    yes: bool | None = None
    citations: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1, strict=False)]


def render(answer: str | None, numbers: tuple[int, ...] = ()) -> str:
    """The completion for an answer: byte for byte the parts above, joined."""
    if answer is None:
        return HEAD + NULL
    return HEAD + OPEN + escape(answer) + close(numbers)


def render_part(leads: tuple[str, ...], numbers: tuple[int, ...], yes: bool | None = None) -> str:
    """The completion that names a part: byte for byte what its pieces above join to."""
    return HEAD + OPEN_PART + THROUGH.join(escape(lead) for lead in leads) + close_part(numbers, yes)


def parse_part(text: str) -> PartCompletion:
    """What a completion that names a part says. Raises AnswerParseError."""
    try:
        return PartCompletion.model_validate_json(text.strip())
    except ValidationError as error:
        raise AnswerParseError(
            f"the completion {text[:80]!r} does not name a part of a passage ({first_problem(error)})"
        ) from error


def parse(text: str, passage_count: int) -> Completion:
    """The content of a completion: exactly one JSON object with its two fields, and citations that exist.

    A passage cited twice counts once. Raises AnswerParseError with the first problem.
    """
    try:
        parsed = Completion.model_validate_json(text.strip())
    except ValidationError as error:
        raise AnswerParseError(
            f"the completion {text[:80]!r} is not the JSON of an answer ({first_problem(error)}): use mode 'quote' or"
            " 'schema', or tune the reader"
        ) from error
    beyond = [number for number in parsed.citations if number > passage_count]
    if beyond:
        raise AnswerParseError(
            f"the completion cites passage {beyond[0]}, but the prompt holds {passage_count}:"
            " use mode 'quote' or 'schema', or tune the reader"
        )
    return Completion(answer=parsed.answer, citations=tuple(dict.fromkeys(parsed.citations)))
