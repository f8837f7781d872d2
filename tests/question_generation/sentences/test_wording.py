import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_ft.question_generation.sentences.wording import (
    Names,
    about_me,
    bare_sentence,
    begins_with_verb,
    is_numbered,
    statement,
    without_connective,
)


@pytest.mark.parametrize(
    ("sentence", "bare"),
    [
        ("- Run **`make`** (twice)\n  and wait .", "Run make and wait."),
        ("3. [Read the manual](https://example.com/a) first.", "Read the manual first."),
        ("> **Note**: Files are *kept*.", "Files are kept."),
        ("snake_case and __init__ stay.", "snake_case and init stay."),
    ],
)
def test_a_sentence_without_marks(sentence, bare):
    assert bare_sentence(sentence) == bare


def test_what_ties_a_sentence_to_another_is_left_out():
    assert without_connective("However, note that files are kept.") == "Files are kept."
    assert without_connective("Otherwise, files are kept.") == "Otherwise, files are kept."  # other than what?
    assert without_connective("Second drafts are kept.") == "Second drafts are kept."


@pytest.mark.parametrize(
    ("said", "mine"),
    [
        ("edit your file", "edit my file"),
        ("if you're a user of it", "if I am a user of it"),
        ("a tool that lets you edit what you wrote yourself", "a tool that lets me edit what I wrote myself"),
        ("what the server sends you", "what the server sends me"),
        ("files you've kept", "files I've kept"),
        ("whatever suits you", "whatever suits me"),
        ("bayou and yours", "bayou and mine"),
    ],
)
def test_what_is_said_to_you_is_said_of_me(said, mine):
    assert about_me(said) == mine


@pytest.mark.parametrize(
    ("rest", "stated"),
    [
        ("enabled, which is slow.", "enabled"),
        ("enabled because it is fast", "enabled"),
        ("run: it is fast", "run"),
        ("install tools, libraries and fonts", ""),  # one of several
        ("install it with", ""),
        ("install a tool or", ""),
        ("install a tool.", "install a tool"),
    ],
)
def test_the_first_statement_is_whole_or_nothing(rest, stated):
    assert statement(rest) == stated


def test_verbs_begin_an_order():
    assert begins_with_verb("install a tool") and begins_with_verb("safely remove it")
    assert not begins_with_verb("the tool") and not begins_with_verb("")


def test_numbers_mark_steps():
    assert is_numbered("2. Open it.") and is_numbered(" (3) Open it.") and not is_numbered("2 tools are there.")


def test_names_keep_their_capital_letter():
    names = Names(["Use Homebrew here, or a Formula.", "A formula is Ruby's. The formula is in Ruby."])
    assert names.in_a_question("Homebrew's cache") == "Homebrew's cache"
    assert names.in_a_question("Formula authors") == "formula authors"  # written small elsewhere
    assert names.in_a_question("The cache") == "the cache" and names.in_a_question("An index") == "an index"
    assert names.in_a_question("Visual Studio") == "Visual Studio"  # the name goes on
    assert names.in_a_question("HTTP/2 support") == "HTTP/2 support" and names.in_a_question("iOS") == "iOS"


@given(st.text(max_size=200))
def test_no_text_breaks_the_wording(text):
    bare = bare_sentence(text)
    assert "\n" not in bare and bare == bare.strip()
    assert isinstance(about_me(without_connective(bare)), str) and statement(bare) in bare
