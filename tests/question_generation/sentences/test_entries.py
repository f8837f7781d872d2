import pytest

from rag_ft.question_generation.sentences.entries import entry_name, entry_question


@pytest.mark.parametrize(
    ("entry", "question"),
    [
        ("- --dry-run: Shows what would be done, and does nothing.", "What does the --dry-run option do?"),
        ("--packages=<path> : Specifies the path of the configuration.", "What does the --packages option do?"),
        ("* NO_CACHE (optional) – disable every cache of the build.", "What does NO_CACHE do?"),
        ("symlink_tree: recursively symlink the contents of a directory.", "What does symlink_tree do?"),
        ("-v, --verbose: Prints the names of all files.", "What does the --verbose option do?"),
        ("**`--jobs N`**: Runs several jobs beside each other.", "What does the --jobs option do?"),
        ("openWindow(): Opens a window beside the others.", "What does openWindow() do?"),
    ],
)
def test_an_entry_says_what_its_name_does(entry, question):
    turned = entry_question(entry)
    assert turned is not None and turned.question == question and turned.yes is None and not turned.words
    assert entry_name(entry) in question


@pytest.mark.parametrize(
    "entry",
    [
        "- --port: The port to listen at.",  # says what it is
        "--format: Format of the output of a command.",
        "- --quiet: Shows nothing.",  # too little
        "- --all: Shows the same as above for all packages.",
        "Note: Shows what would be done, and does nothing.",  # no name of code
        "To resume, repeat the command.",
        "",
    ],
)
def test_what_says_not_what_a_name_does_gives_nothing(entry):
    assert entry_question(entry) is None
