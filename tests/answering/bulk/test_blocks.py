"""The order in which a block is read, and whose fault an error is."""

import random

import pytest

from rag_ft.answering.bulk.blocks import TOGETHER, is_of_the_question, meeting_order
from rag_ft.errors import (
    AnswerParseError,
    IndexCorruptError,
    MissingExtraError,
    PromptMismatchError,
    PromptTooLongError,
    ReaderUnreachableError,
    UsageError,
)


def distinct(order, passages):
    """Passages that are read, if each batch reads its own once."""
    batches = [order[first : first + TOGETHER] for first in range(0, len(order), TOGETHER)]
    return sum(len({name for i in batch for name in passages[i]}) for batch in batches)


def test_each_question_is_read_once_and_fewer_passages_than_in_the_order_of_the_file():
    chance = random.Random(0)
    starts = [chance.randrange(60) for _ in range(200)]
    passages = {i: tuple(f"p{start + offset}" for offset in range(3)) for i, start in enumerate(starts)}
    order = meeting_order(passages)
    assert sorted(order) == list(passages)
    assert distinct(order, passages) < 0.5 * distinct(list(passages), passages)


def test_questions_without_common_passages_keep_their_order():
    passages = {i: (f"p{i}",) for i in range(40)}
    assert meeting_order(passages) == list(range(40))
    assert meeting_order({3: (), 1: ()}) == [3, 1]
    assert meeting_order({}) == []


def test_the_next_batch_begins_with_what_the_one_before_has_read():
    passages = (
        dict.fromkeys(range(0, 2 * TOGETHER, 2), ("a",)) | dict.fromkeys(range(1, 20, 2), ("b",)) | {99: ("a", "z")}
    )
    order = meeting_order(passages)
    assert order[TOGETHER] == 99


@pytest.mark.parametrize(
    ("error", "excused"),
    [
        (UsageError("empty"), True),
        (PromptTooLongError("long"), True),
        (AnswerParseError("no JSON"), True),
        (ReaderUnreachableError("gone"), False),
        (MissingExtraError("reading", "ray"), False),
        (PromptMismatchError("other"), False),
        (IndexCorruptError("damaged"), False),
        (MemoryError(), False),
    ],
)
def test_an_error_is_one_questions_or_ends_the_run(error, excused):
    assert is_of_the_question(error) == excused
