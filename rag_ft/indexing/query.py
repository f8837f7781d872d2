"""A question as it is searched: alone, or together with the earlier questions that it follows up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rag_ft.errors import UsageError

HISTORY_TURNS = 3
"""Earlier questions that a search uses, the last ones: chosen by measurement, docs/retrieval.md."""


class Query(NamedTuple):
    """A question, and what it is searched with."""

    text: str
    history: tuple[str, ...] = ()
    """The earlier questions that are searched too, oldest first."""
    left_out: int = 0
    """Number of earlier questions that were given and are not searched."""

    @property
    def joined(self) -> str | None:
        """The earlier questions followed by the question, which stands there twice to weigh more; None without any."""
        return " ".join((*self.history, self.text, self.text)) if self.history else None

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts that are searched."""
        return (self.text,) if self.joined is None else (self.text, self.joined)


def make_query(question: str, history: Sequence[str] = (), fits: Callable[[str], bool] | None = None) -> Query:
    """A question with as many of its last earlier questions as are used, and fit together.

    `fits`: whether a text is short enough to be searched; None: every text is. An earlier question is used whole or
    left out, together with all before it, and `left_out` counts these. Raises UsageError.
    """
    turns = checked_history(history)
    used = turns[-HISTORY_TURNS:]
    query = Query(question, used, len(turns) - len(used))
    while fits is not None and query.joined is not None and not fits(query.joined):
        query = Query(question, query.history[1:], query.left_out + 1)
    return query


def checked_history(history: Any) -> tuple[str, ...]:
    """The earlier questions of a conversation, if they are a list of texts. Raises UsageError."""
    if isinstance(history, str | bytes | dict) or not isinstance(history, Sequence):
        raise UsageError(
            f"history is {_kind(history)}: give a list of the conversation's earlier questions, oldest first"
        )
    for position, turn in enumerate(history, start=1):
        if not isinstance(turn, str):
            raise UsageError(f"history's item {position} is {_kind(turn)}: give the text of an earlier question")
        if not turn.strip():
            raise UsageError(f"history's item {position} is empty: leave it out")
        try:
            check_question(turn)
        except UsageError as error:
            raise UsageError(f"history's item {position} is not valid: {error}") from error
    return tuple(turn.strip() for turn in history)


def _kind(value: object) -> str:
    """What a value is, with its article."""
    if value is None:
        return "null"
    name = {"str": "text", "int": "a number", "float": "a number", "bool": "true or false", "dict": "an object"}
    return name.get(type(value).__name__, f"of the type {type(value).__name__}")


def check_question(question: str) -> None:
    """Raise UsageError for a question that is blank or not valid Unicode."""
    if not question.strip():
        raise UsageError("the question is empty: ask something")
    try:
        question.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError(
            f"the question has half of a surrogate pair at character {error.start}: send valid Unicode"
        ) from error
