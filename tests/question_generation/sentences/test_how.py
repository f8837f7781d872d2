import pytest
from turned_sentences import turned


@pytest.mark.parametrize(
    ("sentence", "question"),
    [
        ("To resume a run, repeat the same command.", "How do I resume a run?"),
        ("In order to resume a run, you should repeat the command.", "How do I resume a run?"),
        ("If you want to edit your config file, open it with nano.", "How do I edit my config file?"),
        ("- To list **installed** packages, run `brew list`.", "How do I list installed packages?"),
        ("Run `brew upgrade` to reinstall outdated packages.", "How do I reinstall outdated packages?"),
        ("You can disable all filters with the `--no-ignore` flag.", "How do I disable all filters?"),
        ("You can change the default port by setting PORT.", "How do I change the default port?"),
        ("On Windows, you can open a terminal by pressing Ctrl+T.", "How do I open a terminal on Windows?"),
        ("Matrix A is initialised with small random values.", "How is Matrix A initialised?"),
        ("Extensions are stored in ~/.local/share by default.", "Where are extensions stored?"),
    ],
)
def test_it_asks_how_what_is_told_is_done(sentence, question):
    found = turned(sentence)
    assert question in found and found[question] is None


def test_ways_of_doing_something():
    assert turned("There are two ways to install PostgreSQL:") == {"How can I install PostgreSQL?": None}


@pytest.mark.parametrize(
    "sentence",
    [
        "To learn more, read the manual.",  # nobody asks how to learn more
        "To do this, repeat the command.",
        "To resume it, repeat the command.",
        "To run the tool, see the installation guide.",  # the answer stands elsewhere
        "To fix the issue, restart the server.",  # which issue?
        "To resume a run, the command must be repeated.",  # nothing is told to be done
        "You can install everything you need to run PostgreSQL with a single command.",
        "You must use this method to edit a config file.",
        "To install, run pip.",
    ],
)
def test_what_says_not_how_gives_nothing(sentence):
    assert turned(sentence) == {}


@pytest.mark.parametrize(
    ("told", "not_told"),
    [
        ("To list packages, run `brew list`.", "To list packages, see the manual."),
        ("To list packages, run `brew list`.", "To list packages, first open a shell."),  # and then?
        ("To list packages, run `brew list`.", "To list packages, run the following command."),
        ("To list packages, run `brew list`.", "To understand packages, run `brew list`."),
        ("Run `make` to build an image.", "Run everything you need to build an image."),
        ("Run `make` to build an image.", "Open a file to build in an editor."),
        ("You can stop a build by pressing Ctrl+C.", "You could stop a build by pressing Ctrl+C."),  # an accident
        ("You can stop a build by pressing Ctrl+C.", "You can stop a build which runs by pressing Ctrl+C."),
        ("You can stop a build by pressing Ctrl+C.", "You can break a build by pressing Ctrl+C."),
        ("Passwords are stored in a database.", "Passwords are stored in plain text."),
        ("To list packages, open a shell.", "To list packages, you need to open a shell."),  # and then?
        ("- Run `make` to build an image.", "- Click a button to build an image."),  # one of several steps
        ("Run `make` to build an image.", "2. Run `make` to build an image."),
        ("Run `make` to build an image.", "Run make(all) to build an image."),  # brackets are taken out
    ],
)
def test_one_word_decides_whether_it_says_how(told, not_told):
    asks = ("How", "Where")
    assert [question for question in turned(told) if question.startswith(asks)]
    assert not [question for question in turned(not_told) if question.startswith(asks)]
