import csv
import io
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rag_ft.indexing.chunking import Chunker, ChunkingConfig
from rag_ft.indexing.conservation.check import check
from rag_ft.indexing.formats.extracted import Unreadable
from rag_ft.indexing.formats.sheets.delimited import read_csv, read_tsv
from rag_ft.indexing.formats.sheets.dialect import Dialect, dialect_of, records
from rag_ft.indexing.formats.sheets.tables import one_line
from rag_ft.indexing.locations import location_of
from rag_ft.schema import Document
from rag_ft.text.spans import Span

BERTHS = "Berth;Season;Price\nNorth quay;winter;18 EUR\nSouth quay;summer;22,50 EUR\n"


def lines(text):
    return read_csv(text.encode()).text.splitlines()


def test_rows_repeat_the_names_of_their_columns():
    assert lines(BERTHS) == [
        "Berth: North quay | Season: winter | Price: 18 EUR",
        "Berth: South quay | Season: summer | Price: 22,50 EUR",
    ]


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("a,b\n1,2\n", "a: 1 | b: 2"),
        ("sep=|\nname|price\nrope|3\n", "name: rope | price: 3"),
        ("name;price\nrope;1,5\nbuoy;2,5\nchain;3,5\n", "name: rope | price: 1,5"),
        ('name, price, note\nrope, 3, "thin, long"\n', "name: rope | price: 3 | note: thin, long"),
        ('name,note\nrope,"he said ""go"""\n', 'name: rope | note: he said "go"'),
        ('name,note\nrope,"he said \\"go\\" twice"\n', 'name: rope | note: he said "go" twice'),
        ('name,price\nrope 27",3\nbuoy 12",4\n', 'name: rope 27" | price: 3'),
    ],
)
def test_the_way_that_cells_are_parted_is_found(text, cells):
    assert lines(text)[0] == cells


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings_are_recognised(encoding):
    data = "Maß\tPreis\nGröße für Süd\t3\nÜber Höhe\t4\n".encode(encoding)
    assert read_tsv(data).text.splitlines()[0] == "Maß: Größe für Süd | Preis: 3"


def test_without_evidence_of_a_header_cells_stand_alone():
    assert lines("Alice,Berlin\nBob,Paris\nCarol,Rome\n")[0] == "Alice | Berlin"
    assert lines("3,4\n5,6\n")[0] == "3 | 4"


def test_years_can_name_columns():
    assert lines("Region,2023,2024\nNorth,5,6\nSouth,7,8\n")[0] == "Region: North | 2023: 5 | 2024: 6"


def test_lines_about_the_table_are_no_rows_of_it():
    text = "Prices of the harbour\nBerth,Price\nNorth quay,18\nSouth quay,22\n"
    assert lines(text) == ["Prices of the harbour", "Berth: North quay | Price: 18", "Berth: South quay | Price: 22"]


def test_a_name_that_no_row_uses_is_kept():
    assert lines("name,price,notes\nrope,3,\nbuoy,4,\n")[-1] == "notes"


def test_tables_are_parted_by_empty_lines():
    found = read_csv(b"name,price\nrope,3\n\nport,depth\nNorth,9\n")
    assert found.text == "name: rope | price: 3\n\nport: North | depth: 9"
    assert [found.text[block.start : block.end] for block in found.blocks] == found.text.split("\n\n")


def test_a_quote_that_is_never_closed_keeps_its_row():
    assert lines('name,price\n"rope,3\nbuoy,4\n') == ['name: "rope | price: 3', "name: buoy | price: 4"]


def located(text, answer):
    found = read_csv(text.encode())
    document = Document(id="a.csv", text=found.text, blocks=found.blocks, locations=found.locations)
    for passage in Chunker(ChunkingConfig(max_tokens=40), lambda part: len(part.split())).passages(document):
        start = passage.text.find(answer)
        if start >= 0:
            return location_of(passage, Span(start, start + len(answer)))
    return None


def test_a_quote_is_located_in_its_cell():
    assert located(BERTHS, "22,50 EUR") == "cell C3"
    assert located(BERTHS, "South quay | Season: summer") == "row 3"
    assert located(BERTHS, "winter | Price: 18 EUR\nBerth: South") == "rows 2 to 3"


def test_many_rows_are_located_without_reading_on():
    text = "name,price\n" + "".join(f"rope number {i},{i}\n" for i in range(5_000))
    assert located(text, "rope number 4321 | price") == "row 4323"


def test_binary_data_is_refused():
    with pytest.raises(Unreadable, match="binary"):
        read_csv(b"\0\1\2" * 50)


def test_words_are_compared_with_the_file():
    data = ("sep=;\n" + BERTHS).encode()
    found = check("a.csv", data, read_csv(data))
    assert found.complete and found.words == 14 and not found.moved


CELLS = st.text(st.sampled_from("ab1 \",;|\t\n\r'.é"), max_size=8)
TABLES = st.lists(st.lists(CELLS, min_size=2, max_size=4), min_size=1, max_size=6)


@settings(deadline=None)
@given(TABLES, st.sampled_from(",;\t|"), st.sampled_from(["\n", "\r\n"]))
@example([["", '"'], ['""', "a"]], ",", "\n")
def test_every_table_that_a_program_writes_is_read_back(table, delimiter, line_end):
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter, lineterminator=line_end, quoting=csv.QUOTE_ALL).writerows(table)
    assert list(records(file.getvalue(), Dialect(delimiter))) == table


@settings(deadline=None)
@given(TABLES, st.sampled_from(",;\t|"))
def test_every_cell_is_in_the_text_at_its_place(table, delimiter):
    file = io.StringIO()
    file.write(f'"sep={delimiter}"\n')
    csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(table)
    if not any(one_line(cell) for row in table for cell in row):
        return
    found = read_csv(file.getvalue().encode())
    values = {
        (row, column): one_line(cell) for row, cells in enumerate(table, 1) for column, cell in enumerate(cells, 1)
    }
    (location,) = found.locations
    offset, row = location.start, 0
    cells = []
    for i in range(0, len(location.cells), 3):
        offset, row = offset + location.cells[i], row + location.cells[i + 1]
        cells.append((offset, row, location.cells[i + 2]))
    for (start, row, column), (end, _, _) in zip(cells, [*cells[1:], (len(found.text), 0, 0)], strict=True):
        assert values[row, column] in found.text[start:end]
    shown = {(row, column) for _, row, column in cells}
    header = {place for place, text in values.items() if text} - shown
    assert len({row for row, _ in header}) <= 1 + found.text.count("\n\n")  # names of columns, which rows repeat
    assert all(values[place] in found.text or values[place].rstrip(": ") in found.text for place in header)


@settings(deadline=None)
@given(st.text(st.sampled_from('a",;\n\\ '), max_size=60))
def test_any_text_gives_records_that_hold_its_letters(text):
    held = "".join("".join(record) for record in records(text, dialect_of(text, ",")))
    assert held.count("a") == text.count("a")


@pytest.mark.parametrize("piece", ['"a\n', '"a,', '""a\n', 'a"\n', '"', '",', "a,\n", '"a"b,', '\\"'])
def test_time_grows_with_the_file_alone(piece):
    def seconds(count):
        began = time.process_time()
        for _ in records(piece * count, Dialect(",")):
            pass
        return time.process_time() - began

    few = min(seconds(2_000) for _ in range(3))
    assert min(seconds(20_000) for _ in range(3)) < 60 * few + 0.05
