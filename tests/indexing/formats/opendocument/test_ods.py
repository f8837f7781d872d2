import pytest
from indexing.formats.opendocument.packing import cell, opened, p, row, style, table

from rag_ft.indexing.conservation.check import check
from rag_ft.indexing.formats import extract
from rag_ft.indexing.formats.extracted import Unreadable
from rag_ft.indexing.formats.limits import ReadLimits, limited_by


def read(*tables, styles=""):
    data = opened("spreadsheet", "".join(tables), styles=styles)
    found = extract("a.ods", data)
    assert check("a.ods", data, found).complete
    return found


def test_sheets_are_headings_and_rows_repeat_the_names_of_their_columns():
    found = read(table(row("Berth", "Price"), row("North", "18.00 EUR"), name="Prices"), table(row("x"), name="Other"))
    assert found.text == "Prices\n\nBerth: North | Price: 18.00 EUR\n\nOther\n\nx"
    assert [location.label for location in found.locations] == ["sheet Prices", "sheet Other"]


def test_merged_and_repeated_cells_and_comments():
    comment = f"<office:annotation><dc:creator>Ann</dc:creator>{p('pilots')}</office:annotation>"
    merged = cell("North", attributes='table:number-rows-spanned="2"')
    priced = f"<table:table-cell>{comment}{p('18')}</table:table-cell>"
    twice = cell("same", attributes='table:number-columns-repeated="2"')
    rows = row("Berth", "Price", "a", "b"), row(merged, priced, twice), row("<table:covered-table-cell/>", "20")
    assert read(table(*rows)).text.splitlines()[2:] == [
        "Berth: North | Price: 18 | a: same | b: same | Comment by Ann: pilots",
        "Berth: North | Price: 20",
    ]


def test_repeated_rows_are_repeated_and_cells_are_located():
    found = read(
        table(row("Berth", "Price"), row("North", "18", attributes='table:number-rows-repeated="2"'), row("S", "9"))
    )
    assert found.text.splitlines()[2:] == ["Berth: North | Price: 18"] * 2 + ["Berth: S | Price: 9"]
    assert found.locations[0].cells[1::3] == (2, 0, 1, 0, 1, 0)


def test_what_nobody_sees_is_left_out():
    styles = style("t", "table", "table", 'table:display="false"')
    column = '<table:table-column/><table:table-column table:visibility="collapse"/>'
    rows = row("Berth", "", "Price"), row("North", "", "18"), row("ghost", attributes='table:visibility="collapse"')
    found = read(table(column, *rows), table(row("gone"), name="Old", attributes='table:style-name="t"'), styles=styles)
    assert found.text == "A\n\nBerth: North | Price: 18"
    assert found.metadata["hidden_sheets"] == ["Old"]


def test_empty_rows_and_columns_without_end_cost_nothing():
    cells = '<table:table-cell table:number-columns-repeated="16384"/>'
    empty = row(cells, attributes='table:number-rows-repeated="500000"')
    assert read(table(row("a", "b"), empty * 2, row("c"))).text == "A\n\na | b\n\nc"


def test_texts_that_repeat_without_end_are_counted():
    cells = cell("some words", attributes='table:number-columns-repeated="16000"')
    many = row(cells, attributes='table:number-rows-repeated="99999"')
    with limited_by(ReadLimits(max_chars=1_000_000)), pytest.raises(Unreadable, match="gives more text than is read"):
        read(table(many))
