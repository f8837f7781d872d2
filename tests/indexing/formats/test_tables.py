from rag_ft.indexing.formats.tables import table_rows


def test_each_row_repeats_the_names_of_its_columns():
    rows = [["Berth", "Season", "Price"], ["North quay", "winter", "18 EUR"], ["South", "", "20 EUR"]]
    assert table_rows(rows, True) == [
        "Berth: North quay | Season: winter | Price: 18 EUR",
        "Berth: South | Price: 20 EUR",
    ]


def test_without_names_cells_are_joined_and_a_cell_without_a_name_stands_alone():
    assert table_rows([["a", "", "b"], ["", ""]], False) == ["a | b"]
    assert table_rows([["", "min:"], ["North", "3", "more"]], True) == ["North | min: 3 | more"]


def test_names_that_no_row_uses_are_not_lost():
    assert table_rows([["Name", "Note"], ["Ann", ""]], True) == ["Name | Note", "Name: Ann"]
    assert table_rows([["Name", "Note"]], True) == ["Name | Note"]
    assert table_rows([], True) == []
