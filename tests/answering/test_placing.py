import numpy as np
import pytest
from fakes import HashingEmbedder

from rag_ft.answering.citation import Claim, verify
from rag_ft.answering.placing import place
from rag_ft.indexing.formats.extracted import Extracted, LineAnchor
from rag_ft.indexing.index import Index
from rag_ft.indexing.places import encode_places
from rag_ft.indexing.sources.events import ReadDocument
from rag_ft.schema import Document

TEXT = "The harbour crane lifts forty-two tonnes. It was built in 1931."
"""Drawn on two lines and two pages: the second sentence begins page 2."""


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    second = TEXT.index("It was")
    boxes = np.zeros((len(TEXT), 4), dtype="<u2")
    for i in range(len(TEXT)):
        line, column = (0, i) if i < 24 else (1, i - 24) if i < second else (0, i - second)
        boxes[i] = (column * 600, line * 1000, column * 600 + 600, line * 1000 + 800)
    extracted = Extracted(
        TEXT,
        page_starts=(0, second),
        page_sizes=((655.35, 655.35), (1310.7, 655.35)),
        char_boxes=boxes.tobytes(),
    )
    printed = Document(id="crane.pdf", text=TEXT, source="docs/crane.pdf", page_starts=extracted.page_starts)
    plain = Document(id="crane.txt", text="The lock is opened at noon.", source="docs/crane.txt")
    documents = [ReadDocument(printed, places=encode_places(extracted)), plain]
    path = tmp_path_factory.mktemp("index") / "i"
    return Index.build(documents, path, embedder=HashingEmbedder(), progress=False)


def cited(index, document_id, answer):
    passages = index.passages_of(document_id)
    (citation,) = verify(answer, [Claim(passages[0], None)], passages)
    return place(citation, index)


def edges(boxes):
    return [(box.page, box.x0, box.y0, box.x1, box.y1) for box in boxes]


def test_quote_and_answer_have_a_box_for_each_line(index):
    citation = cited(index, "crane.pdf", "forty-two tonnes")
    assert edges(citation.boxes) == [(1, 0, 0, 138, 8), (1, 0, 10, 102, 18)]
    assert edges(citation.answer_boxes) == [(1, 0, 10, 96, 18)]
    assert [(size.page, size.width, size.height) for size in citation.page_sizes] == [(1, 655.35, 655.35)]


def test_a_passage_over_a_page_break_has_boxes_on_both_pages(index):
    citation = cited(index, "crane.pdf", "an answer that stands nowhere")
    assert citation.quote == TEXT and citation.answer_boxes == ()
    assert [box.page for box in citation.boxes] == [1, 1, 2]
    assert [size.width for size in citation.page_sizes] == [655.35, 1310.7]


def test_formats_without_a_layout_have_no_boxes(index):
    citation = cited(index, "crane.txt", "noon")
    assert (citation.boxes, citation.answer_boxes, citation.page_sizes) == ((), (), ())


def test_text_has_lines_and_web_pages_have_links(tmp_path):
    notes = "One line.\r\nThe second line is here.\n\n  The fourth begins with spaces."
    documents = [
        ReadDocument(
            Document(id="notes.txt", text=notes, source="docs/notes.txt"),
            places=encode_places(Extracted(notes, line_anchors=(LineAnchor(0, 1),))),
        ),
        Document(id="web", text="The quay is open.", source="https://example.org/quay"),
        Document(id="local", text="The gate is shut.", source="docs/gate.html"),
    ]
    index = Index.build(documents, tmp_path / "index", embedder=HashingEmbedder(), progress=False)
    assert [cited(index, "notes.txt", word).line for word in ("One", "second", "fourth")] == [1, 2, 4]
    assert cited(index, "notes.txt", "One").link is None
    assert cited(index, "web", "open").link == "https://example.org/quay#:~:text=The%20quay%20is%20open."
    assert cited(index, "local", "shut").link == "docs/gate.html#:~:text=The%20gate%20is%20shut."
    assert cited(index, "web", "open").line is None


def test_a_pdf_links_to_the_page(index):
    assert cited(index, "crane.pdf", "forty-two tonnes").link == "docs/crane.pdf#page=1"


def test_a_document_that_the_index_does_not_hold_keeps_its_citation(index):
    citation = cited(index, "crane.txt", "noon").model_copy(update={"document_id": "elsewhere"})
    assert place(citation, index) == citation
