import io
import zipfile

import pytest
from indexing.formats.sheets.packing import BASE, MAIN, cell, relations, row, sheet, workbook

from rag_ft.indexing.conservation.check import check
from rag_ft.indexing.formats import extract
from rag_ft.indexing.formats.extracted import Unreadable
from rag_ft.indexing.formats.limits import ReadLimits, limited_by

HEADER = row("Berth", "Season", "Price")


def read(data):
    return extract("a.xlsx", data)


def lines(*rows, formats=(), **around):
    return read(workbook({"Prices": sheet(*rows, **around)}, formats)).text.splitlines()[2:]


def test_sheets_are_headings_and_rows_repeat_the_names_of_their_columns():
    found = read(
        workbook(
            {
                "Prices": sheet(HEADER, row("North quay", "winter", 18), row("South quay", "summer", 22)),
                "Depths": sheet(row("Berth", "Depth"), row("North quay", 9)),
            }
        )
    )
    assert found.text == (
        "Prices\n\nBerth: North quay | Season: winter | Price: 18\nBerth: South quay | Season: summer | Price: 22\n\n"
        "Depths\n\nBerth: North quay | Depth: 9"
    )
    assert [heading.text for heading in found.headings] == ["Prices", "Depths"]
    assert [location.label for location in found.locations] == ["sheet Prices", "sheet Depths"]
    assert found.title == ""


def test_numbers_are_written_as_they_are_shown():
    formats = ('#,##0.00 "EUR"', "0%", "dd.mm.yyyy")
    table = (
        row("Berth", "Price", "Share", "From"),
        row("North", cell(1234.5, style=1), cell(0.18, style=2), cell(46146, style=3)),
    )
    assert lines(*table, formats=formats) == ["Berth: North | Price: 1,234.50 EUR | Share: 18% | From: 04.05.2026"]


def test_formulas_give_their_saved_values_and_those_without_are_named():
    data = workbook(
        {
            "Prices": sheet(
                HEADER,
                row("North", "winter", cell(18, "C2", formula="A1*2"), number=2),
                row("South", "summer", cell(None, "C3", formula="A1*3"), number=3),
            )
        }
    )
    found = read(data)
    assert found.text.endswith("Berth: North | Season: winter | Price: 18\nBerth: South | Season: summer")
    assert found.metadata["formulas_without_value"] == ["Prices!C3"]
    report = check("a.xlsx", data, found)
    assert report.worth_reporting and not report.complete and not report.lacks_parts
    assert report.in_words() == (
        "1 formula has no saved value, such as Prices!C3: open the file in a spreadsheet program and save it"
    )


def test_merged_cells_are_repeated_in_each_of_their_rows():
    merged = '<mergeCells><mergeCell ref="A2:A3"/><mergeCell ref="B3:C3"/></mergeCells>'
    table = (
        HEADER,
        row("North", "winter", 18, number=2),
        row(cell("on request", "B3"), number=3),
        row("South", "summer", 20, number=4),
    )
    assert lines(*table, after=merged) == [
        "Berth: North | Season: winter | Price: 18",
        "Berth: North | Season: on request | Price: on request",
        "Berth: South | Season: summer | Price: 20",
    ]


def test_a_merged_title_stands_above_its_table():
    merged = '<mergeCells><mergeCell ref="A1:C1"/></mergeCells>'
    table = row("Prices of 2026"), row("Berth", "Season", "Price"), row("North", "winter", 18)
    assert lines(*table, after=merged) == ["Prices of 2026", "Berth: North | Season: winter | Price: 18"]


def test_empty_rows_part_tables():
    table = row("Berth", "Price"), row("North", 18), row(), row("Port", "Depth"), row("East", 9)
    assert lines(*table) == ["Berth: North | Price: 18", "", "Port: East | Depth: 9"]


def test_what_nobody_sees_is_left_out_and_counted():
    columns = '<cols><col min="2" max="2" hidden="1"/></cols>'
    secret = row("Berth", "Cost", "Price"), row("North", "nothing", 18), row("ghost", "", 1, attributes='hidden="1"')
    data = workbook({"Prices": sheet(*secret, before=columns), "Old": sheet(row("gone"))}, states={"Old": "hidden"})
    found = read(data)
    assert found.text == "Prices\n\nBerth: North | Price: 18"
    assert found.metadata["hidden_sheets"] == ["Old"]
    report = check("a.xlsx", data, found)
    assert report.complete and report.left_out == {"hidden cells": 5}


@pytest.mark.parametrize(
    "table",
    [
        {"after": '<autoFilter ref="A1:B9"><filterColumn colId="0"/></autoFilter>', "attributes": 'hidden="1"'},
        {"attributes": 'hidden="1" outlineLevel="1"'},
    ],
)
def test_what_a_click_shows_is_read(table):
    attributes = table.pop("attributes")
    assert lines(row("Berth", "Price"), row("North", 18, attributes=attributes), **table) == [
        "Berth: North | Price: 18"
    ]


def test_a_table_part_names_its_header():
    part = f'<table {MAIN} ref="A1:B3" headerRowCount="1"/>'
    data = workbook(
        {"Prices": sheet(row("2001", "2002"), row("a", "b"), row("c", "d"))},
        related=[("table", "../tables/table1.xml")],
        more={"xl/tables/table1.xml": part},
    )
    assert read(data).text.endswith("2001: a | 2002: b\n2001: c | 2002: d")


def test_comments_stand_at_their_row():
    notes = (
        f"<comments {MAIN}><authors><author>Ann</author></authors><commentList><comment ref='B2' authorId='0'><text>"
        "<r><t>Ann:</t></r><r><t xml:space='preserve'> pilots only</t></r></text></comment></commentList></comments>"
    )
    data = workbook(
        {"Prices": sheet(row("Berth", "Price"), row("North", 18), row("South", 20))},
        related=[("comments", "../comments1.xml")],
        more={"xl/comments1.xml": notes},
    )
    assert read(data).text.splitlines()[2] == "Berth: North | Price: 18 | Comment by Ann: pilots only"


def test_shared_texts_are_read_without_their_pronunciation():
    texts = [
        "plain",
        "<r><t>10</t></r><r><rPr><vertAlign val='superscript'/></rPr><t>6</t></r><rPh><t>x</t></rPh>",
        "a_x000D_b",
    ]
    shared = row(*[f'<c t="s"><v>{i}</v></c>' for i in (0, 1, 2, 99)])
    assert read(workbook({"S": sheet(shared)}, texts=texts)).text == "S\n\nplain | 10^6 | a b"


def test_truth_errors_and_dates_by_themselves():
    values = row(True, '<c t="e"><v>#N/A</v></c>', '<c t="d"><v>2026-05-04T00:00:00</v></c>', '<c t="str"><v>x</v></c>')
    assert lines(values) == ["TRUE | #N/A | 2026-05-04 | x"]


def test_cells_are_located():
    (location,) = read(workbook({"S": sheet(row(cell("North", "C7"), cell(9, "AB7"), number=7))})).locations
    assert location.cells == (3, 7, 3, 8, 0, 28)


def test_a_damaged_sheet_is_named_and_the_others_are_read():
    data = workbook({"A": sheet(row("kept")), "B": f"<worksheet {MAIN}><sheetData><row><c", "C": sheet(row("too"))})
    found = read(data)
    assert found.text == "A\n\nkept\n\nC\n\ntoo"
    assert found.metadata["unread_parts"] == ["sheet B is damaged"]
    assert check("a.xlsx", data, found).missing_parts == ("sheet B",)


def test_macros_are_ignored_and_named():
    data = workbook({"A": sheet(row("kept"))}, more={"xl/vbaProject.bin": "x"})
    assert extract("a.xlsm", data).metadata == {"macros": "ignored"}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xd0\xcf\x11\xe0" + "EncryptedPackage".encode("utf-16-le"), "is encrypted: save a copy without a password"),
        (b"\xd0\xcf\x11\xe0" + bytes(99), "is encrypted, or an old .xls: save a copy as .xlsx without a password"),
        (b"PK\3\4 and no more", "is not a zip container, or is cut off"),
        (workbook({})[:-30], "is not a zip container, or is cut off"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(data, reason):
    with pytest.raises(Unreadable, match=f"^{reason}"):
        read(data)


def test_entities_are_not_expanded():
    entities = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10 if i else "words"}">' for i in range(12))
    bomb = f"<!DOCTYPE worksheet [{entities}]>{sheet(row(cell('x').replace('x', '&e11;')), row('kept'))}"
    found = read(workbook({"A": bomb, "B": sheet(row("read"))}))
    assert "wordswords" not in found.text and found.text.endswith("B\n\nread")


def test_a_text_that_many_cells_show_is_counted():
    shared = row(*['<c t="s"><v>0</v></c>'] * 3_000)
    data = workbook({"A": sheet(shared)}, texts=["long " * 2_000])
    with limited_by(ReadLimits(max_chars=1_000_000)), pytest.raises(Unreadable, match="gives more text than is read"):
        read(data)


def test_a_part_that_says_less_than_it_unpacks_to_ends_there():
    data = workbook({"A": sheet(*[row("some words")] * 5_000)})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        size = archive.getinfo("xl/worksheets/sheet1.xml").file_size
    found = read(data.replace(size.to_bytes(4, "little"), (2_000).to_bytes(4, "little")))
    assert "sheet A is damaged" in str(found.metadata["unread_parts"])


def test_shapes_pictures_and_titles_of_charts_follow_the_rows():
    names = f'xmlns:a="{BASE}/drawingml/2006/main" xmlns:c="{BASE}/drawingml/2006/chart"'
    drawing = f'<wsDr {names}><sp><a:p><a:r><a:t>Mind the step</a:t></a:r></a:p></sp><cNvPr descr="A crane"/></wsDr>'
    title = "<c:title><a:p><a:r><a:t>Arrivals</a:t></a:r></a:p></c:title>"
    data = workbook(
        {"A": sheet(row("kept"))},
        related=[("drawing", "../drawings/drawing1.xml")],
        more={
            "xl/drawings/drawing1.xml": drawing,
            "xl/drawings/_rels/drawing1.xml.rels": relations(("chart", "../charts/chart1.xml")),
            "xl/charts/chart1.xml": f"<c:chartSpace {names}>{title}</c:chartSpace>",
        },
    )
    assert read(data).text.split("\n\n") == ["A", "kept", "Mind the step", "[Image: A crane]", "Arrivals"]
    assert check("a.xlsx", data, read(data)).complete
