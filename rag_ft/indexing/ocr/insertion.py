"""Recognised pages put into a document at their pages, with everything after them moved along."""

from __future__ import annotations

from collections.abc import Mapping

from rag_ft.indexing.ocr.words import RecognisedPage
from rag_ft.schema import Block, Document, Heading

_BETWEEN = "\n\n"
_NO_BOX = bytes(8)


def with_pages(document: Document, pages: Mapping[int, RecognisedPage], boxes: bytes = b"") -> tuple[Document, bytes]:
    """The document with texts for some of its pages, counted from 1, each a part of its own; and its characters' boxes.

    `boxes`: those of the document before (`Extracted.char_boxes`); empty if it has none. A heading or block that a page
    with a new text interrupts ends before it.
    """
    size = len(_NO_BOX)
    boxed = len(boxes) == size * len(document.text)
    for number in sorted(pages):
        at, page = document.page_starts[number - 1], pages[number]
        before, after = _around(document.text, at)
        document = _with_page(document, number - 1, before, page.text, after)
        if boxed:
            added = _NO_BOX * len(before) + page.boxes + _NO_BOX * len(after)
            boxes = boxes[: size * at] + added + boxes[size * at :]
    return document, boxes


def _around(text: str, at: int) -> tuple[str, str]:
    """What stands between a new part and the text before and after it."""
    before = "" if not text[:at].strip() or text[:at].endswith(_BETWEEN) else _BETWEEN
    return before, _BETWEEN if text[at:].strip() else ""


def _with_page(document: Document, index: int, before: str, added: str, after: str) -> Document:
    text, starts = document.text, document.page_starts
    at = starts[index]
    piece = f"{before}{added}{after}"
    return document.model_copy(
        update={
            "text": f"{text[:at]}{piece}{text[at:]}",
            "page_starts": (
                *starts[:index],
                at + len(before),
                *(start + len(piece) for start in starts[index + 1 :]),
            ),
            "headings": tuple(
                _moved_heading(heading, at, len(piece))
                for heading in document.headings
                if not heading.start < at < heading.start + len(heading.text)
            ),
            "blocks": tuple(_moved_block(block, at, len(piece)) for block in document.blocks),
        }
    )


def _moved_heading(heading: Heading, at: int, by: int) -> Heading:
    return heading if heading.start < at else heading.model_copy(update={"start": heading.start + by})


def _moved_block(block: Block, at: int, by: int) -> Block:
    if block.start >= at:
        return block.model_copy(update={"start": block.start + by, "end": block.end + by})
    return block if block.end <= at else block.model_copy(update={"end": at})
