import pytest

from rag_ft.indexing.formats.sheets.cells import Cell
from rag_ft.indexing.formats.sheets.header import named_rows, names_of


def rows(*texts, bold=0):
    return [
        [Cell(column, text, bold=number < bold) for column, text in enumerate(row.split("|"), start=1) if text]
        for number, row in enumerate(texts)
    ]


@pytest.mark.parametrize(
    ("named", "table"),
    [
        (1, ["Berth|Depth", "North|9", "South|7"]),  # numbers below words
        (1, ["Berth|Opened", "North|2026-05-04", "South|2026-06-01"]),  # dates below words
        (1, ["|Depth", "North|9", "South|7"]),  # names of rows have no name themselves
        (1, ["Port|Crane", "North|K", "North|L", "South|M", "South|N"]),  # a choice of few
        (1, ["who|what", "Ann Berg|opens the northern gates", "Bo Dahl|closes the southern gates", "C D|rests a bit"]),
        (1, ["first_name|last_name", "Ann|Berg", "Bo|Dahl"]),  # identifiers
        (1, ["Name|City", "Ann|Bergen", "Bo|Oslo"]),  # usual names
        (1, ["Region|2024|2025", "North|5|6"]),  # years in a row
        (0, ["Ann|Bergen", "Bo|Oslo", "Cy|Rome"]),  # nothing tells
        (0, ["North|9", "South|7"]),  # a value
        (0, ["Depth:|9 m", "Length:|300 m"]),  # names stand beside their values
        (0, ["Berth|Berth", "North|9", "South|7"]),  # twice the same name
        (0, ["North|open", "South|shut", "North|open"]),  # a value of its own column
        (0, ["Berth|Depth"]),  # no rows
    ],
)
def test_rows_that_name_columns_are_told_by_evidence(named, table):
    assert named_rows(rows(*table)) == named


def test_bold_type_is_evidence():
    table = ["Pilot|Ship", "Ann|Aurora", "Bo|Berta"]
    assert (named_rows(rows(*table)), named_rows(rows(*table, bold=1)), named_rows(rows(*table, bold=3))) == (0, 1, 0)


def test_what_the_file_says_counts():
    assert named_rows(rows("1|2", "3|4"), marked=True) == 1


def test_a_name_over_several_columns_is_joined_with_those_below():
    table = [[Cell(2, "Season", span=2)], *rows("Berth|Summer|Winter", "North|22|18", "South|20|15")]
    table[0].insert(0, Cell(1, "Harbour"))
    assert named_rows(table) == 2
    assert names_of(table[:2]) == {1: "Harbour Berth", 2: "Season Summer", 3: "Season Winter"}


def test_tables_side_by_side_may_have_the_same_names():
    table = [[Cell(1, "Berth"), Cell(2, "Depth"), Cell(4, "Berth"), Cell(5, "Depth")]]
    table += [[Cell(1, "North"), Cell(2, "9"), Cell(4, "South"), Cell(5, "7")]]
    assert named_rows(table) == 1
