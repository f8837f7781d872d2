import pytest
from turned_sentences import turned


@pytest.mark.parametrize(
    ("sentence", "question"),
    [
        ("Padding is harmless, because the mask hides it.", "Why is padding harmless?"),
        ("Answers must not be cut, so that quotes stay whole.", "Why must answers not be cut?"),
        ("Removing stop words makes little difference, because their weight is low.", None),
        ("Sorting helps because a batch is padded to its longest member.", "Why does sorting help?"),
        ("You should keep your key private, since anyone can use it.", "Why should I keep my key private?"),
        (
            "Do not replace system libraries because doing so breaks updates.",
            "Why should I not replace system libraries?",
        ),
        ("Avoid global state: it makes tests depend on each other.", "Why should I avoid global state?"),
        ("An index is rebuilt in order to avoid stale vectors.", "Why is an index rebuilt?"),
        ("An index has to be rebuilt to avoid stale vectors.", "Why does an index have to be rebuilt?"),
    ],
)
def test_it_asks_why_where_a_reason_is_given(sentence, question):
    found = turned(sentence)
    if question is None:
        assert all(each.startswith("Why does removing stop words make") for each in found)
    else:
        assert question in found and found[question] is None


@pytest.mark.parametrize(
    "sentence",
    [
        "It is harmless, because the mask hides it.",
        "Padding is only harmless because of that.",
        "Do not open or merge a request because it is dangerous.",  # two things
        "If you pad, the batch is larger, because rows are as long as the longest.",
        "Padding is harmless.",
    ],
)
def test_without_a_reason_or_a_subject_nothing_is_asked(sentence):
    assert not [question for question in turned(sentence) if question.startswith("Why")]


@pytest.mark.parametrize(
    ("reason", "none"),
    [
        ("Plugins are disabled, since they are slow.", "Plugins are disabled since version 20."),
        ("Plugins are stopped to save memory on Linux.", "Plugins are configured to save memory on Linux."),
        ("You should test a backup to avoid surprises.", "You should try to avoid surprises."),
        ("Homebrew stops builds to save memory.", "Homebrew attempts to save memory."),
        ("Homebrew has a cache because builds are slow.", "Homebrew has been changed because builds are slow."),
        ("Code is easier to test than to read, because it runs.", "Code is easier to read, because it runs."),
        ("Padding is harmless, because the mask hides it.", "Padding is mostly harmless, because the mask hides it."),
    ],
)
def test_what_is_no_reason_gives_no_why(reason, none):
    assert [question for question in turned(reason) if question.startswith("Why")]
    assert not [question for question in turned(none) if question.startswith("Why")]


def test_many_things_have_a_reason_too():
    assert turned("Larger caches raise costs, because memory is expensive.") == {}
    assert turned("Old caches raise costs, because memory is expensive.") == {"Why do old caches raise costs?": None}
