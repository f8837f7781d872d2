import random

import pytest

from rag_ft.training.data.collator import IGNORE_INDEX, Branch, Group, branches_of, flatten, pack, sequence_of
from rag_ft.training.data.splitting import groups_of, split_row


def _sequences(rows):
    """What each question's own sequence would be: record, tokens and labels, where it has any."""
    sequences = [sequence_of(row, branch) for row in rows for branch in range(len(row.records))]
    return sorted(sequence for sequence in sequences if any(label != IGNORE_INDEX for label in sequence[2]))


def _labelled(rows):
    return sum(label != IGNORE_INDEX for row in rows for label in row.labels)


@pytest.mark.parametrize("shared", [True, False], ids=["shared contexts", "separate sequences"])
@pytest.mark.parametrize("parts", [1, 2, 3])
def test_the_parts_of_a_row_hold_its_sequences_each_once(encoded, parts, shared):
    for row in pack(encoded, 800, 0, shared=shared):
        split = split_row(row, parts)
        assert len(split) == parts and all(part.records for part in split)
        assert _sequences(split) == _sequences([row])
        assert flatten(*groups_of(row)) == row


def _row(*groups):
    """A row with a head of two tokens; each group is the length of its context and of its questions."""
    made = []
    for number, (context, questions) in enumerate(groups):
        branches = [
            Branch(f"{number}-{i}", (30 + i,) * (length - 2), (40 + i, 50)) for i, length in enumerate(questions)
        ]
        made.append(Group((10 + number,) * context, tuple(branches)))
    return flatten((1, 2), made)


def test_parts_are_as_even_as_the_groups_allow():
    row = _row((100, [20]), (10, [20]), (60, [20, 20]), (90, [20]), (30, [20]))
    lengths = [len(part.input_ids) - 2 for part in split_row(row, 2)]
    assert sorted(lengths) == [200, 210]
    chooser = random.Random(0)
    for _ in range(50):
        row = _row(*((chooser.randint(20, 200), [20] * chooser.randint(1, 5)) for _ in range(8)))
        lengths = [len(part.input_ids) for part in split_row(row, 2)]
        assert max(lengths) / sum(lengths) < 0.58


def test_a_group_is_cut_between_its_questions_where_that_shortens_the_wait():
    split = split_row(_row((10, [40, 40, 40, 40])), 2)
    assert [len(part.input_ids) for part in split] == [2 + 10 + 80] * 2
    whole = split_row(_row((200, [10, 10]), (200, [10])), 2)
    assert sorted(part.records for part in whole) == [["0-0", "0-1"], ["1-0"]]  # a cut would repeat 200 tokens


def test_a_process_without_a_question_of_its_own_repeats_one_and_learns_nothing_from_it():
    row = _row((10, [20]), (30, [6]))
    split = split_row(row, 4)
    assert _labelled(split) == _labelled([row])
    idle = [part for part in split if not _labelled([part])]
    assert len(idle) == 2
    for part in idle:
        assert [tokens for _, tokens, _ in branches_of(part)] == [[30] * 18 + [40, 50]]
