"""Places of characters on their way through an index: built, kept, replaced, removed, damaged."""

import numpy as np
import pytest
from fakes import HashingEmbedder
from small_indexes import DOCUMENTS, build

from rag_ft.errors import IndexCorruptError
from rag_ft.indexing.formats.extracted import Extracted, LineAnchor
from rag_ft.indexing.index import Index
from rag_ft.indexing.places import encode_places
from rag_ft.indexing.sources.events import ReadDocument
from rag_ft.indexing.storage.folder import FORMAT
from rag_ft.schema import Document

TEXT = "The harbour crane lifts forty-two tonnes. It was built in 1931."


def printed(name="crane.pdf", text=TEXT, top=100):
    boxes = np.array([(i, top, i + 1, top + 50) for i in range(len(text))], dtype="<u2").tobytes()
    extracted = Extracted(text, page_starts=(0,), page_sizes=((600.0, 800.0),), char_boxes=boxes)
    return ReadDocument(Document(id=name, text=text, page_starts=(0,)), places=encode_places(extracted))


def lined(name="notes.md", text=TEXT):
    places = encode_places(Extracted(text, line_anchors=(LineAnchor(0, 7),)))
    return ReadDocument(Document(id=name, text=text), places=places)


def top_of(index, name="crane.pdf"):
    return int(index.places(name).boxes(0, 1)[0, 1])


def test_places_are_kept_beside_the_text_and_open_again(path):
    build([*DOCUMENTS[:2], printed(), lined()], path)
    index = Index.load(path, embedder=HashingEmbedder(), verify="full")
    assert top_of(index) == 100 and index.places("notes.md").lines == (7,)
    assert index.places(DOCUMENTS[0].id) is None
    assert index.manifest.format == FORMAT and "places.bin" in index.manifest.files
    report = index.verify()
    assert report.ok and any("2 documents have the places" in check.detail for check in report.checks)


def test_an_index_without_layouts_has_no_file_of_places(path):
    index = build(DOCUMENTS, path)
    assert "places.bin" not in index.manifest.files and index.verify().ok


def test_the_same_text_at_another_place_is_noticed_without_embedding(path):
    build([*DOCUMENTS[:2], printed()], path)
    index = build([*DOCUMENTS[:2], printed(top=900)], path)
    assert top_of(index) == 900 and index.build_report.passages_embedded == 0
    assert index.build_report.unchanged == 3 and index.verify().ok
    generation = index.manifest.generation
    assert build([*DOCUMENTS[:2], printed(top=900)], path).manifest.generation == generation


def test_places_stay_with_their_documents_when_others_come_and_go(path):
    index = build([printed("b.pdf"), lined("c.md")], path)
    index.add([printed("a.pdf", top=300), DOCUMENTS[0]], progress=False)
    assert [top_of(index, name) for name in ("a.pdf", "b.pdf")] == [300, 100]
    index.remove("a.pdf")
    assert top_of(index, "b.pdf") == 100 and index.places("c.md").lines == (7,) and index.verify().ok


def test_places_go_with_their_document(path):
    index = build([printed(), DOCUMENTS[0]], path)
    index.remove("crane.pdf")
    assert "places.bin" not in index.manifest.files
    assert not [*path.rglob("places.bin")] and index.verify().ok


def test_readers_with_groups_see_the_places_of_their_documents(path):
    secret = printed("a.pdf", top=500)
    secret = secret._replace(document=secret.document.model_copy(update={"metadata": {"access": ["board"]}}))
    part = build([secret, printed("b.pdf")], path).visible_to(["staff"])
    assert [*part.documents()] == ["b.pdf"] and top_of(part, "b.pdf") == 100


def test_documents_that_were_read_before_may_be_damaged(path):
    index = build([printed(), DOCUMENTS[0]], path)
    (file,) = path.rglob("places.bin")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 255
    file.write_bytes(data)
    with pytest.raises(IndexCorruptError, match=r"places\.bin was edited or damaged"):
        Index.load(path, verify="full")
    report = index.verify()
    assert not report.ok
    file.unlink()
    with pytest.raises(IndexCorruptError, match=r"places\.bin is missing"):
        Index.load(path)
