"""Texts put into a document at their pages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rag_ft.indexing.ocr.insertion import with_pages
from rag_ft.indexing.ocr.words import RecognisedPage, Word, page_of
from rag_ft.schema import Block, Document, Heading

part = st.text("ab\n .", min_size=1, max_size=12).filter(str.strip)


@st.composite
def documents(draw):
    """A document of pages, some of them empty, with headings and blocks between the paragraphs."""
    text, starts, headings, blocks = "", [], [], []
    for _ in range(draw(st.integers(1, 6))):
        starts.append(len(text) if not text or draw(st.booleans()) else len(text) + 2)
        if starts[-1] > len(text):
            text += "\n\n"
        for _ in range(draw(st.integers(0, 2))):
            piece = draw(part).strip()
            if text and not text.endswith("\n\n"):
                text += "\n\n"
            kind = draw(st.sampled_from(["heading", "list", "prose"]))
            if kind == "heading":
                headings.append(Heading(start=len(text), level=1, text=piece))
            elif kind == "list":
                blocks.append(Block(start=len(text), end=len(text) + len(piece), kind="list"))
            text += piece
    return Document(id="d", text=text, page_starts=tuple(starts), headings=tuple(headings), blocks=tuple(blocks))


@given(documents(), st.data())
def test_what_was_there_stays_and_what_comes_starts_its_page(document, data):
    pages = data.draw(st.sets(st.integers(1, len(document.page_starts))))
    texts = {page: f"<{page}>" for page in pages}
    boxes = b"".join(bytes([code % 251, 1] * 4) for code in map(ord, document.text))
    added = {page: page_of([Word(text, 0.9, (1, 1), 1, (1, 2, 3, 4))]) for page, text in texts.items()}
    result, moved = with_pages(document, added, boxes)
    assert len(moved) == 8 * len(result.text)
    kept = [bytes([code % 251, 1] * 4) for code in map(ord, document.text)]
    assert [moved[i : i + 8] for i in range(0, len(moved), 8) if moved[i + 1] == 1] == kept
    remains = result.text
    for text in texts.values():
        assert remains.count(text) == 1
        remains = remains.replace(text, "")
    assert "".join(remains.split()) == "".join(document.text.split())
    assert len(result.page_starts) == len(document.page_starts)
    assert list(result.page_starts) == sorted(result.page_starts)
    for page, text in texts.items():
        assert result.text[result.page_starts[page - 1] :].startswith(text)
    assert all(start <= len(result.text) for start in result.page_starts)
    for heading in result.headings:
        assert result.text[heading.start : heading.start + len(heading.text)] == heading.text
    assert len(result.headings) == len(document.headings)
    end = 0
    for block in result.blocks:
        assert end <= block.start < block.end <= len(result.text)
        end = block.end
    Document.model_validate(result.model_dump())


def test_a_page_in_the_middle_stands_between_its_neighbours():
    document = Document(id="d", text="One.\n\nThree.", page_starts=(0, 6, 6))
    result, _ = with_pages(document, {2: RecognisedPage("Two.", 0.9)})
    assert result.text == "One.\n\nTwo.\n\nThree." and result.page_starts == (0, 6, 12)


def test_a_list_that_a_page_interrupts_ends_before_it():
    document = Document(id="d", text="- a\n- b", page_starts=(0, 3, 4), blocks=(Block(start=0, end=7, kind="list"),))
    result, _ = with_pages(document, {2: RecognisedPage("Two.", 0.9)})
    assert result.text[result.blocks[0].start : result.blocks[0].end] == "- a"


def test_a_document_of_scans_alone_has_all_its_pages():
    document = Document(id="d", text="", page_starts=(0,) * 4)
    result, _ = with_pages(document, {2: RecognisedPage("Two.", 0.9), 4: RecognisedPage("Four.", 0.9)})
    assert result.text == "Two.\n\nFour." and result.page_starts == (0, 0, 4, 6)
