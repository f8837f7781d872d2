import pytest
from turned_sentences import turned


@pytest.mark.parametrize(
    ("sentence", "question", "yes"),
    [
        ("You can install a package from a local file.", "Can I install a package from a local file?", True),
        ("You cannot remove a package twice.", "Can I remove a package twice?", False),
        ("You should not edit your lock file.", "Should I edit my lock file?", False),
        ("You don't need to restart your server.", "Do I need to restart my server?", False),
        (
            "If you change your port, you must restart your server.",
            "Do I need to restart my server if I change my port?",
            True,
        ),
        ("HTTP/2 is not enabled by default.", "Is HTTP/2 enabled by default?", False),
        ("By default, telemetry is disabled.", "Is telemetry disabled by default?", True),
        ("Static checks are cheaper than dynamic ones.", None, None),
        ("Static checks are cheaper than tests.", "Are static checks cheaper than tests?", True),
        ("Homebrew doesn't use sudo after installation.", "Does Homebrew use sudo after installation?", False),
        ("Formal votes require a simple majority.", "Do formal votes require a simple majority?", True),
        ("Removed names must never be claimed again.", None, None),
        ("Pull requests with failing checks must never be merged.", None, None),
    ],
)
def test_it_asks_whether_what_is_settled(sentence, question, yes):
    found = turned(sentence)
    if question is None:
        assert all(value is not True for value in found.values())
    else:
        assert {asked: said for asked, said in found.items() if said is not None} == {question: yes}


@pytest.mark.parametrize(
    "sentence",
    [
        "You can usually install a package from a local file.",  # sometimes
        "You can install a package from a local file if you trust it.",
        "Telemetry is enabled unless you turn it off.",
        "1. You must convert the virtual size to megabytes.",  # a step of something
        "You may see an error message about the cache.",
        "The file is required for a build.",  # which file?
        "Many packages are supported on Windows.",
        "Telemetry is small and needs no network.",
        "Otherwise, you should use a local file instead.",
        "Telemetry is therefore disabled in tests.",
        "Git repositories must specify branch:.",
        "Comments aren't just allowed in tests.",
        "Subsequent builds are faster due to caching.",
        "Provides support that is required for tests.",
        "The file's contents must follow conventions of YAML.",
        "The myCounter value is optional in tests.",
    ],
)
def test_what_depends_or_points_elsewhere_settles_nothing(sentence):
    assert not [value for value in turned(sentence).values() if value is not None]


@pytest.mark.parametrize(
    ("settled", "unsettled"),
    [
        ("You can rename a package by hand.", "You cannot easily rename a package by hand."),
        ("You should trust your package cache.", "You should not always trust your package cache."),
        ("Backups are encrypted at rest.", "Backups are encrypted at rest (if a key is set)."),
        ("Backups are encrypted at rest.", "Usually, backups are encrypted at rest."),
        ("Backups are encrypted at rest.", "Backups are encrypted at rest, but only on Linux."),
        ("Backups are not encrypted on Windows.", "Backups are not fully encrypted on Windows."),
        ("You can store images on Linux.", "You can store images on Linux or Windows."),
        ("You cannot change a user name.", "For security reasons, you cannot change a user name."),
        ("You cannot delete a shared project.", "Unless you are an admin, you cannot delete a shared project."),
        ("Formal votes require a simple majority.", "Formal votes require two of three votes."),
        ("Formal votes require a simple majority.", "Formal votes require a majority that is simple."),
        ("Static tables are cached on Linux.", "Static tables are used on Linux."),  # no decision
        ("You can rename a package by hand.", "You can use a package to rename files."),
        ("Telemetry is enabled in tests.", "Telemetry is enabled in tests and has no cost."),
        ("Telemetry is not enabled in tests.", "Telemetry is enabled in no tests."),
        (
            "Telemetry is not enabled in tests.",
            "- Telemetry is not enabled in tests.",
        ),  # an item says what its list is about
        ("Static checks can catch errors on Linux.", "Static checks can be tricky on Linux."),
        ("Backups are encrypted at rest.", "Backups are encrypted at rest (as in the example)."),
    ],
)
def test_one_word_that_limits_a_statement_takes_its_question(settled, unsettled):
    assert [value for value in turned(settled).values() if value is not None]
    assert not [value for value in turned(unsettled).values() if value is not None]


def test_must_not_is_asked_with_may():
    assert turned("Plugins must not write to disk.") == {"May plugins write to disk?": False}


def test_what_is_said_of_you_is_asked_of_me():
    assert turned("Data in your cache is not encrypted.") == {"Is data in my cache encrypted?": False}
    assert "Can Homebrew save me time on builds?" in turned("Homebrew can save you time on builds.")
