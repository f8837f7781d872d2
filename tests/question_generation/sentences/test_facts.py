import pytest
from turned_sentences import turned


@pytest.mark.parametrize(
    ("sentence", "question", "answer"),
    [
        ("The default rank in PEFT is 8, which is small.", "What is the default rank in PEFT?", "8"),
        (
            "Homebrew's cache defaults to ~/Library/Caches.",
            "What does Homebrew's cache default to?",
            "~/Library/Caches",
        ),
        (
            "HNSW stands for hierarchical navigable small world.",
            "What does HNSW stand for?",
            "hierarchical navigable small world",
        ),
        ("SmolLM2-135M has 30 layers and 9 heads.", "How many layers does SmolLM2-135M have?", "30 layers"),
        ("WSL distributions have two parts:", "How many parts do WSL distributions have?", "two parts"),
    ],
)
def test_values_and_numbers(sentence, question, answer):
    assert turned(sentence)[question] == answer


@pytest.mark.parametrize(
    ("sentence", "question"),
    [
        ("The following formats are supported on Linux:", "Which formats are supported on Linux?"),
        ("Homebrew supports the following shells:", "Which shells does Homebrew support?"),
    ],
)
def test_lists_are_asked_for_as_a_whole(sentence, question):
    assert turned(sentence) == {question: None}


@pytest.mark.parametrize(
    "sentence",
    [
        'PostgreSQL defaults to locale: "en_US.UTF-8" and can set another.',
        "The default port is used in tests.",
        "SmolLM2-135M has 30 layers that share weights.",
        "It stands for hierarchical navigable small world.",
    ],
)
def test_what_is_no_value_is_not_asked_for(sentence):
    assert turned(sentence) == {}


@pytest.mark.parametrize(
    ("sentence", "question", "answer"),
    [
        ("A build of Homebrew takes about 10 minutes.", "How long does a build of Homebrew take?", "about 10 minutes"),
        (
            "It usually takes 3 to 5 hours to build PostgreSQL.",
            "How long does it take to build PostgreSQL?",
            "3 to 5 hours",
        ),
        ("Homebrew was first released in May 2009, for macOS.", "When was Homebrew released?", "May 2009"),
        (
            "PostgreSQL was developed by Michael Stonebraker in 1986.",
            "Who was PostgreSQL developed by?",
            "Michael Stonebraker",
        ),
    ],
)
def test_durations_dates_and_makers(sentence, question, answer):
    assert turned(sentence)[question] == answer


@pytest.mark.parametrize(
    "sentence",
    [
        "A build takes a while.",
        "It takes 5 minutes.",
        "It was released in 2009.",
        "Homebrew was built by hand in a week.",
    ],
)
def test_what_names_no_time_and_no_maker_gives_nothing(sentence):
    assert turned(sentence) == {}
