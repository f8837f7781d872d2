"""One call for many, or one call for each where that fails: one bad question must not fail the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Asked = TypeVar("Asked")
Result = TypeVar("Result")


def together_or_apart(
    asked: Sequence[Asked],
    call: Callable[[Sequence[Asked]], Sequence[Result]],
    excused: Callable[[Exception], bool] = lambda error: True,
) -> list[Result | Exception]:
    """The results of one call for all; if it fails, those of one call for each, with each error in its place.

    An error that is not `excused` is raised.
    """
    try:
        return list(call(asked))
    except Exception as error:
        if not excused(error):
            raise
        if len(asked) == 1:
            return [error]
    return [outcome for item in asked for outcome in together_or_apart([item], call, excused)]
