import pytest
from turned_sentences import turned


@pytest.mark.parametrize(
    ("sentence", "question"),
    [
        ("If a package is missing, Homebrew searches its metadata.", "What happens if a package is missing?"),
        ("If you encounter a merge conflict, you must resolve it in a branch.", None),
        (
            "If your server does not start, delete the lock file by hand.",
            "What should I do if my server does not start?",
        ),
        ("Before installing PostgreSQL, stop the old server.", "What should I do before installing PostgreSQL?"),
        ("Without masking, 95% of the gradient would teach the prompt.", "What happens without masking?"),
        ("An adapter is a small set of weights beside a model.", "What is an adapter?"),
        ("Homebrew Bundle lets you install packages from a file.", "What is Homebrew Bundle used for?"),
        ("Checksums are used to verify that downloads are whole.", "What are checksums used for?"),
        ("The main advantage of sharding is that builds run in parallel.", "What is the main advantage of sharding?"),
        ("Unlike GNU grep, ripgrep stays fast with Unicode.", "How does ripgrep differ from GNU grep?"),
        ("A checksum contains the size and the hash of its file.", "What does a checksum contain?"),
        ("Memory leaks are caused by handles that stay open.", "What causes memory leaks?"),
        ("A cask should be removed if it has been disabled for a year.", "When should a cask be removed?"),
        ("A model overfits when it gets worse on other examples.", "When does a model overfit?"),
        ("Disable optional features when they add large dependencies.", "When should I disable optional features?"),
    ],
)
def test_it_asks_what_is_defined_or_follows(sentence, question):
    found = turned(sentence)
    if question is None:
        assert all(value is None for value in found.values())
    else:
        assert question in found and found[question] is None


@pytest.mark.parametrize(
    "sentence",
    [
        "If you want to use Linux, install it.",  # no event
        "If the command fails, see below.",
        "If a package is missing, this is a sign of a broken cache.",
        "A readable alternative is the coverage at a fixed risk.",  # no term
        "An adapter is a good choice for small data sets.",  # no definition
        "A model overfits when necessary.",
        "The adapter is the program that writes them.",
        "Use blocks when needed.",
        "An adapter is small.",
    ],
)
def test_what_defines_nothing_gives_nothing(sentence):
    assert turned(sentence) == {}


@pytest.mark.parametrize(
    ("answers", "does_not"),
    [
        ("If a build fails, Homebrew keeps its log.", "If a build fails, the reason is its log."),
        ("If a build fails, Homebrew keeps its log.", "If a build is possible, Homebrew keeps its log."),
        ("If a build fails, Homebrew keeps its log.", "If a build runs on Linux, Homebrew keeps its log."),
        ("If a build fails, remove its cache by hand.", "If a build fails, read on."),
        ("A build stops when its log is full.", "A build stops even when its log is full."),
        ("A build stops if its log is full.", "A build checks if its log is full."),
        ("The main risk of a cache is that it grows.", "The main risks of a cache are described by Homebrew."),
        ("Unlike GNU grep, Homebrew scales builds by load.", "Unlike before, Homebrew scales builds by load."),
        ("An adapter is a small set of weights beside a model.", "An adapter is a small set."),
        ("An adapter is a small set of weights beside a model.", "The use of an adapter is a small set of weights."),
        ("Disable features when they add dependencies.", "Disable features and builds define when they add some."),
        ("The body of a checksum contains a hash and a size.", "The output file contains a hash and a checksum."),
        ("A checksum contains the size of its file.", "A checksum contains only the size of its file."),
    ],
)
def test_one_word_decides_whether_it_says_what(answers, does_not):
    assert turned(answers) and not turned(does_not)


def test_how_things_differ_takes_the_whole_verb():
    assert turned("Unlike GNU grep, Homebrew scales builds by load.") == {
        "How does Homebrew differ from GNU grep?": None
    }


def test_a_choice_of_two_is_asked_for():
    found = turned("Use static checks instead of manual tests.")
    assert found == {"Should I use static checks or manual tests?": None}
    assert turned("Use static checks instead of them.") == turned("Use it instead of manual tests.") == {}


def test_many_things_do_what_one_does():
    assert turned("Large models overfit when they get few examples.") == {"When do large models overfit?": None}
