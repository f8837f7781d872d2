"""One call for many, or one for each."""

import pytest

from rag_ft.answering.together import together_or_apart


def halves(numbers):
    if any(number % 2 for number in numbers):
        raise ValueError(f"odd: {list(numbers)}")
    return [number // 2 for number in numbers]


def test_an_error_stays_with_what_caused_it():
    assert together_or_apart([2, 4], halves) == [1, 2]
    first, second, third = together_or_apart([2, 3, 4], halves)
    assert (first, third) == (1, 2) and str(second) == "odd: [3]"
    assert together_or_apart([], halves) == []


def test_an_error_that_is_not_excused_is_raised():
    with pytest.raises(ValueError, match=r"odd: \[2, 3\]"):
        together_or_apart([2, 3], halves, lambda error: isinstance(error, TypeError))
