import pytest

from rag_ft.text.question_form import asks, content_words, reads_badly, repeats_itself


@pytest.mark.parametrize(
    "question",
    [
        "How high is the tower",
        "What's the difference between LoRA and DoRA?",
        "Does Lima have a bridge?",
        "In which year was Oslo founded?",
        "packing or shared context, what's the difference",
        "Name three bridges of Lima",
        "The tower of Oslo is how high?",
    ],
)
def test_words_ask_by_a_question_word_a_verb_or_a_request(question):
    assert asks(question)


@pytest.mark.parametrize("words", ["The height of the tower", "Oslo is a city.", "Rank sixteen?", "", "???"])
def test_other_words_do_not_ask(words):
    assert not asks(words)


@pytest.mark.parametrize(
    "question",
    [
        "What is the the tower?",
        "What is rank rank rank of a matrix?",
        "What is the rank of the rank of the rank of the matrix?",
        "How to to install?",
        "Is the cheapest remedy the cheapest remedy?",
    ],
)
def test_words_twice_in_a_row_and_runs_three_times_repeat(question):
    assert repeats_itself(question)


@pytest.mark.parametrize(
    "question",
    [
        "Who lives in Baden Baden?",
        "What did they take part in in 1903?",
        "How does the index find the words of the text?",
    ],
)
def test_names_that_repeat_and_little_words_apart_do_not(question):
    assert not repeats_itself(question)


def test_content_words_are_those_that_say_what_is_asked_about():
    assert content_words("What is the size of `max_tokens`?") == ["size", "max_tokens"]
    assert content_words("What is it that they do?") == []


@pytest.mark.parametrize(
    ("question", "badly"),
    [
        ("Does the same metric must be used for building?", True),
        ("How many percentage of the questions are answered?", True),
        ("Is a weight takes 4 bytes in float32?", True),
        ("Is the question has an answer in the collection?", True),
        ("Why is the reader has two heads?", True),
        ("Is the reader that has two heads slower?", False),
        ("Is it true that a weight takes 4 bytes?", False),
        ("Does the reader that is tuned win more often?", False),
        ("Does a merge change what must be kept?", False),
        ("By how many percentage points did it rise?", False),
    ],
)
def test_a_verb_too_many_and_counts_of_what_has_no_plural_read_badly(question, badly):
    assert reads_badly(question) is badly
