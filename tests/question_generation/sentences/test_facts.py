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
