import pytest
from indexing.formats.word.packing import paragraph, run, style, table, text, word

from rag_ft.indexing.formats import ReadLimits, Unreadable
from rag_ft.indexing.formats.limits import limited_by

BERTHS = (["Berth", "Season", "Price"], ["North quay", "winter", "18 EUR"], ["South quay", "summer", "25 EUR"])
LINES = "Berth: North quay | Season: winter | Price: 18 EUR\nBerth: South quay | Season: summer | Price: 25 EUR"
HEAD = "<w:tblHeader/>"


def test_rows_repeat_the_names_of_their_columns():
    assert text(table(*BERTHS)) == LINES
    assert text(table((HEAD, ["Role", "Contact"]), ["Guide", "Ann"])) == "Role: Guide | Contact: Ann"


def bold(content):
    return paragraph(run(content, "<w:b/>"))


def test_two_columns_have_names_where_something_says_so():
    assert text(table(["Phone", "123"], ["Owner", "Ann"])) == "Phone | 123\nOwner | Ann"
    assert text(table(["Role", "Contact"], ["Guide", "Ann"])) == "Role | Contact\nGuide | Ann"
    assert text(table([bold("Role"), bold("Contact")], ["Guide", "Ann"])) == "Role: Guide | Contact: Ann"
    assert text(table(["Role", "Fee"], ["Guide", "120 EUR"], ["Driver", "55 EUR"])).startswith("Role: Guide | Fee: 120")
    styles = (
        '<w:style w:type="table" w:styleId="Grid"><w:tblStylePr w:type="firstRow"><w:rPr/></w:tblStylePr></w:style>'
    )
    look = '<w:tblStyle w:val="Grid"/><w:tblLook w:val="04A0"/>'
    found = text(table(["Role", "Contact"], ["Guide", "Ann"], properties=look), styles=styles)
    assert found == "Role: Guide | Contact: Ann"


def test_a_table_that_wants_no_first_row_has_no_names():
    look = '<w:tblLook w:firstRow="0" w:val="0000"/>'
    assert text(table(["Ann", "Berlin", "pilot"], ["Bob", "Bonn", "cook"], properties=look)).startswith("Ann | Berlin")


def test_a_table_of_numbers_or_sentences_has_no_names():
    assert text(table(["1", "2", "3"], ["4", "5", "6"])) == "1 | 2 | 3\n4 | 5 | 6"
    assert (
        text(table(["Ask first.", "Then wait.", "Go."], ["a", "b", "c"])) == "Ask first. | Then wait. | Go.\na | b | c"
    )


def test_names_in_two_rows_are_joined_and_wide_cells_repeated():
    wide = ('<w:gridSpan w:val="2"/>', paragraph("Price"))
    down, below = ('<w:vMerge w:val="restart"/>', paragraph("Berth")), ("<w:vMerge/>", "<w:p/>")
    closed = ('<w:gridSpan w:val="2"/>', paragraph("closed"))
    rows = table((HEAD, [down, wide]), (HEAD, [below, "winter", "summer"]), ["North", "18", "25"], ["South", closed])
    assert text(rows) == (
        "Berth: North | Price winter: 18 | Price summer: 25\nBerth: South | Price winter: closed | Price summer: closed"
    )


def test_a_cell_as_wide_as_the_table_is_a_line():
    def wide(content):
        return [('<w:gridSpan w:val="3"/>', paragraph(content))]

    lines = text(table(wide("Fees"), BERTHS[0], BERTHS[1], wide("From May on"), BERTHS[2])).splitlines()
    assert lines == ["Fees", LINES.splitlines()[0], "From May on", LINES.splitlines()[1]]


def test_a_cell_over_several_rows_is_repeated():
    down = ('<w:vMerge w:val="restart"/>', paragraph("Team"))
    rows = table((HEAD, ["Plan", "What"]), [down, "seats"], [("<w:vMerge/>", "<w:p/>"), "price"])
    assert text(rows) == "Plan: Team | What: seats\nPlan: Team | What: price"


def test_a_table_in_a_cell_stands_apart_after_it():
    inside = paragraph("Sizes") + table(["S", "1 m"], ["L", "2 m"]) + "<w:p/>"
    assert text(table(["Case", inside], ["Bag", "small"])) == "Case | Sizes\nBag | small\n\nS | 1 m\nL | 2 m"


def test_a_table_of_one_cell_is_a_frame():
    inside = paragraph("Notice", style="H") + paragraph("Closed.") + table(*BERTHS)
    found = word(table([inside]), styles=style("H", "heading 1"))
    assert found.text == f"Notice\n\nClosed.\n\n{LINES}" and found.headings[0].text == "Notice"


def test_deleted_and_hidden_rows_and_cells_are_left_out():
    gone = ('<w:del w:id="1"/>', ["Driver", "55 EUR"])
    hidden = ("<w:hidden/>", ["Cook", "60 EUR"])
    cell = ['<w:cellDel w:id="2"/>', paragraph("old")]
    assert (
        text(table(["Guide", "120 EUR"], gone, hidden, ["Pilot", tuple(cell), "80 EUR"]))
        == "Guide | 120 EUR\nPilot | 80 EUR"
    )


def test_very_wide_cells_and_long_names_do_not_multiply_text():
    wide = ('<w:gridSpan w:val="999999999"/>', paragraph("a word " * 100))
    rows = table((HEAD, ["x"]), *([wide, wide] for _ in range(40)))
    with limited_by(ReadLimits(max_chars=100_000)), pytest.raises(Unreadable, match="gives more text than is read"):
        text(rows)
    long = table((HEAD, ["name " * 100, "b"]), *(["x", "y"] for _ in range(50)))
    assert len(text(long)) < 2_000
