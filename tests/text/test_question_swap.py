import random

import pytest

from rag_ft.text.question_swap import near_misses, number_swaps, opposite_swaps, stemmed, swapped, word_forms


def numbers(question, seed=0):
    return [swap.question for swap in number_swaps(question, random.Random(seed))]


def test_a_year_becomes_another_year_near_it():
    for seed in range(30):
        (changed,) = numbers("Who ruled in 1664?", seed)
        year = int(changed[-5:-1])
        assert year != 1664 and abs(year - 1664) < 12
        assert int(numbers("Who won in 2015?", seed)[0][-5:-1]) < 2015


def test_a_day_stays_a_day_and_grouped_digits_stay_grouped():
    for seed in range(30):
        day = int(numbers("What began on April 15?", seed)[0].split()[-1].strip("?"))
        assert day != 15 and 1 <= day <= 28
    assert "," in numbers("Who counted 12,000 birds?")[0]


@pytest.mark.parametrize(
    "question",
    [
        "Which of over 80 societies?",  # also over 48
        "What was sold between 1990 and then?",
        "Who has 90% of it?",
        "Which A-380 flew?",
        "What is 1940–1965?",
        "Which two countries?",
        "What happened at 10:30?",
    ],
)
def test_a_number_that_stands_for_others_or_in_something_else_is_left(question):
    assert numbers(question) == []


def test_a_number_answers_only_as_a_whole():
    (swap,) = number_swaps("Who has 20 cats?", random.Random(0))
    assert swap.answered_by.search(f"They have {swap.new} cats.")
    assert not swap.answered_by.search(f"They have 1{swap.new} cats or {swap.new},000 or {swap.new}5.")


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Which is the highest peak?", ["Which is the lowest peak?"]),
        ("Who is Chopin's sister?", ["Who is Chopin's brother?"]),
        ("How strongest is it?", []),
        ("Which is no longer sold?", []),
        ("Which first lady spoke?", []),
        ("When did he begin to write?", []),
        ("When did the war begin?", ["When did the war end?"]),
        ("What is above?", []),
    ],
)
def test_opposites_are_exchanged_where_that_reads_well(question, expected):
    assert [swap.question for swap in opposite_swaps(question)] == expected


def test_a_near_miss_asks_for_something_else():
    assert [swap.question for swap in near_misses("When did Oslo burn?")] == [
        "On what day of the week did Oslo burn?",
        "Where did Oslo burn?",
    ]
    (month,) = near_misses("In what year was it built?")
    assert month.question == "In what month was it built?"
    assert month.answered_by.search("built in March 1900") and not month.answered_by.search("built in 1900")
    assert not list(near_misses("When is it open?"))


def test_the_article_fits_the_new_word():
    assert swapped("Who has a car?", 10, 13, "engine", "name", word_forms("engine")).question == "Who has an engine?"
    assert swapped("Who has an engine?", 11, 17, "car", "name", word_forms("car")).question == "Who has a car?"


def test_forms_of_a_word_are_found():
    assert stemmed("opened") == stemmed("opens") == stemmed("open")
    for text in ("it closed", "Closing time", "they close"):
        assert word_forms("closed").search(text)
    assert not word_forms("closed").search("a closet") and not word_forms("end").search("a friend")
