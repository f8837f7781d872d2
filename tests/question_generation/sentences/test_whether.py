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
