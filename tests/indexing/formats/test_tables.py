from rag_ft.indexing.formats.tables import table_rows


def test_data_rows_carry_the_names_of_their_columns():
    rows = [["Berth", "Season", ""], ["North quay", "winter", "full"], ["South quay", "", ""]]
    assert table_rows(rows, True) == ["Berth: North quay | Season: winter | full", "Berth: South quay"]


def test_rows_without_names_are_joined():
    assert table_rows([["a", "b"], ["", " c "]], False) == ["a | b", "c"]
    assert table_rows([], True) == [] == table_rows([[""]], False)
