from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_ft.answering.links import TextSpan, source_link, text_directive

PAGE = "https://example.org/harbour"
TEXT = (
    "Harbour rules\n\nThe crane lifts forty-two tonnes, at most. It was built in 1931.\n\n"
    "- Dogs are kept on a lead.\n- Masters & mates report at the gate.\n\n"
    "Berth: North quay | Season: winter | Price: 18 EUR\n\n"
    "About 10^6 litres are pumped, as the report [4] says. It was built in 1950."
)


def link(quote, source=PAGE, page=None, text=TEXT):
    start = text.index(quote)
    return source_link(source, page, text, TextSpan(start, start + len(quote)))


@pytest.mark.parametrize(
    ("quote", "directive"),
    [
        ("The crane lifts forty-two tonnes, at most.", "The%20crane%20lifts%20forty%2Dtwo%20tonnes%2C%20at%20most."),
        ("Masters & mates report at the gate.", "Masters%20%26%20mates%20report%20at%20the%20gate."),
        ("- Dogs are kept on a lead.", "Dogs%20are%20kept%20on%20a%20lead."),
        ("Berth: North quay | Season: winter | Price: 18 EUR", "North%20quay,18%20EUR"),
        ("About 10^6 litres are pumped, as the report [4] says.", "About,says."),
        ("Harbour rules\n\nThe crane lifts forty-two", "Harbour%20rules,The%20crane%20lifts%20forty%2Dtwo"),
    ],
)
def test_a_quote_is_named_by_what_stands_on_the_page(quote, directive):
    assert link(quote) == f"{PAGE}#:~:text={directive}"


def test_a_long_quote_is_named_by_its_ends():
    text = "One two three four five six seven. " + "Many words follow here. " * 20 + "These are the very last words."
    directive = text_directive(text, TextSpan(0, len(text)))
    assert directive == "text=One%20two%20three%20four%20five%20six,These%20are%20the%20very%20last%20words."


def test_words_around_tell_equal_quotes_apart():
    second = TEXT.rindex("It was built in")
    directive = text_directive(TEXT, TextSpan(second, second + len("It was built in")))
    assert directive == "text=says.-,It%20was%20built%20in,-1950."
    first = TEXT.index("It was built in")
    directive = text_directive(TEXT, TextSpan(first, first + len("It was built in")))
    assert directive == "text=forty%2Dtwo%20tonnes%2C%20at%20most.-,It%20was%20built%20in,-1931."


def test_rows_of_a_table_are_no_words_around():
    text = "Berth: north | Price: 18\nBerth: south | Price: 31\n\nBerth: north | Price: 45"
    start = text.rindex("Berth")
    assert text_directive(text, TextSpan(start, len(text))) == "text=north,45"


def test_a_text_without_spaces_is_named_by_characters():
    text = "".join(chr(0x4E00 + i) for i in range(400))
    directive = text_directive(text, TextSpan(0, 400))
    first, last = unquote(directive.removeprefix("text=")).split(",")
    assert text.startswith(first) and text.endswith(last) and len(first) == len(last) == 18


@pytest.mark.parametrize(
    ("source", "page", "expected"),
    [
        ("docs/crane.pdf", 3, "docs/crane.pdf#page=3"),
        ("docs/my crane #2.pdf", 3, "docs/my%20crane%20%232.pdf#page=3"),
        ("https://example.org/crane.pdf?x=1", 3, "https://example.org/crane.pdf?x=1#page=3"),
        ("docs/a?b.html", None, "docs/a%3Fb.html#:~:text=Harbour%20rules"),
        ("C:notes.html", None, "./C:notes.html#:~:text=Harbour%20rules"),
        ("https://example.org/#part", None, "https://example.org/#part:~:text=Harbour%20rules"),
        ("https://example.org/#a:~:text=b", None, "https://example.org/#a:~:text=Harbour%20rules"),
        ("HTTP://example.org/crane", None, "HTTP://example.org/crane#:~:text=Harbour%20rules"),
        ("docs/crane.txt", None, None),
        ("docs/crane.docx", None, None),
        ("javascript:alert(1)", None, None),
        ("ftp://example.org/crane.txt", None, None),
        ("", None, None),
    ],
)
def test_links_by_source(source, page, expected):
    assert link("Harbour rules", source, page) == expected


@given(st.text(max_size=60), st.data())
def test_a_directive_has_no_sign_that_it_does_not_mean(text, data):
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    directive = text_directive(text, TextSpan(start, end))
    assert directive == "" or directive.startswith("text=")
    body = directive.removeprefix("text=")
    assert body.isascii() and not set(body) & set(' &#"<>')
    parts = body.split(",")
    prefix = parts.pop(0) if parts[0].endswith("-") else ""
    suffix = parts.pop() if parts[-1].startswith("-") else ""
    assert len(parts) in (1, 2) and all("-" not in part for part in parts)
    assert "-" not in prefix[:-1] and "-" not in suffix[1:]
    for part in parts:
        assert "".join(unquote(part).split()) in "".join(text[start:end].split())
