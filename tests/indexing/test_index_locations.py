"""Slides, sheets and cells from the files of a folder to the passages of an index and the citations of an answer."""

import pytest
from fakes import HashingEmbedder
from indexing.formats.sheets.packing import row, sheet, workbook
from indexing.formats.slides.packing import deck, shape, slide

from rag_ft.answering.citation import Claim, verify
from rag_ft.indexing.index import Index

PRICES = sheet(row("Berth", "Price"), row("North quay", "18 EUR"), row("South quay", "22 EUR"))


@pytest.fixture
def folder(tmp_path):
    documents = tmp_path / "docs"
    documents.mkdir()
    (documents / "prices.xlsx").write_bytes(workbook({"Notes": sheet(row("read me")), "Prices": PRICES}))
    (documents / "deck.pptx").write_bytes(
        deck(slide(shape("one")), slide(shape("Fire", kind="title"), shape("Call 112")))
    )
    (documents / "depths.csv").write_text("Berth,Depth\nNorth quay,9 m\nSouth quay,7 m\n")
    (documents / "plain.txt").write_text("The pump is on.")
    return documents


def build(folder, path):
    return Index.build(folder, path, embedder=HashingEmbedder(), progress=False)


@pytest.mark.parametrize(
    ("answer", "location"),
    [
        ("22 EUR", "sheet Prices, cell B3"),
        ("Berth: South quay | Price: 22 EUR", "sheet Prices, row 3"),
        ("Call 112", "slide 2"),
        ("7 m", "cell B3"),
        ("pump", None),
    ],
)
def test_a_citation_says_where_its_answer_stands(folder, tmp_path, answer, location):
    build(folder, tmp_path / "index")
    index = Index.load(tmp_path / "index", embedder=HashingEmbedder())
    passages = [hit.passage for hit in index.as_retriever(k=20, mode="bm25").retrieve(answer)]
    (passage,) = [passage for passage in passages if answer in passage.text]
    (citation,) = verify(answer, [Claim(passage, None)], passages)
    assert citation.location == location
    assert index.document(passage.document_id).text[citation.answer_start : citation.answer_end] == answer


def test_an_index_with_locations_is_whole_and_stays_as_it_is(folder, tmp_path):
    index = build(folder, tmp_path / "index")
    assert index.verify().ok
    assert build(folder, tmp_path / "index").build_report.unchanged == 4


def test_another_place_of_the_same_text_is_a_change(folder, tmp_path):
    build(folder, tmp_path / "index")
    shown = slide(shape("Fire", kind="title"), shape("Call 112"), attributes='show="0"')
    (folder / "deck.pptx").write_bytes(deck(slide(shape("one")), shown))
    report = build(folder, tmp_path / "index").build_report
    assert report.changed == ("deck.pptx",) and report.passages_embedded == 0
