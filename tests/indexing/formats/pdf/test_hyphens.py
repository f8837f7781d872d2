import pytest

from rag_ft.indexing.formats.pdf.hyphens import Hyphens


def after(before, line, *others):
    """Two lines as one, in a document of these other lines too."""
    taken, gap = Hyphens([before, line, *others]).join(before, line)
    return before[: len(before) - taken] + gap + line


@pytest.mark.parametrize(
    ("before", "line", "joined"),
    [
        ("use the --dry-", "run option", "use the --dry-run option"),
        ("part AB-", "1200 of", "part AB-1200 of"),
        ("since COVID-", "19 came", "since COVID-19 came"),
        ("write to service-", "desk@example.org today", "write to service-desk@example.org today"),
        ("see https://example.org/long-", "path/page for", "see https://example.org/long-path/page for"),
        ("open my-", "file.txt now", "open my-file.txt now"),
        ("set max-", "crane_load to", "set max-crane_load to"),
        ("a state-of-the-", "art pump", "a state-of-the-art pump"),
        ("the Anglo-", "French fleet", "the Anglo-French fleet"),
        ("the years 1998-", "2001 were", "the years 1998-2001 were"),
        ("a well-", "known harbour", "a well-known harbour"),
        ("wind-", "driven pumps", "wind-driven pumps"),
        ("input-", "and output devices", "input- and output devices"),
        ("Vor-", "und Nachteile", "Vor- und Nachteile"),
        ("two words -", "with a dash", "two words - with a dash"),
        ("within five min-", "utes of", "within five minutes of"),
        ("the Schiff-", "fahrt ruht", "the Schifffahrt ruht"),
        ("a soft\u00ad", "ware", "a software"),
        ("no hyphen", "here", "no hyphen here"),
    ],
)
def test_a_hyphen_at_the_end_of_a_line(before, line, joined):
    assert after(before, line) == joined


def test_the_documents_own_words_decide_first():
    assert after("by e-", "mail today", "An email came.") == "by email today"
    assert after("by e-", "mail today", "An e-mail came.") == "by e-mail today"
    assert after("the data-", "base is", "All databases: the database.") == "the database is"
    assert after("the crane-", "driver is", "A crane moved. A driver came.") == "the crane-driver is"


def test_words_that_a_line_cuts_are_no_evidence():
    assert after("the key-", "board is", "on the key-", "board of") == "the keyboard is"
