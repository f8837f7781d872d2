"""Recognised pages put into a document at their pages, with everything after them moved along."""

from __future__ import annotations

from collections.abc import Mapping

from rag_ft.schema import Block, Document, Heading

_BETWEEN = "\n\n"


def with_pages(document: Document, texts: Mapping[int, str]) -> Document:
    """The document with texts for some of its pages, counted from 1, each a part of its own. Pages stay as they are.

    A heading or block that a page with a new text interrupts ends before it.
    """
    for page in sorted(texts):
        document = _with_page(document, page - 1, texts[page])
    return document


def _with_page(document: Document, index: int, added: str) -> Document:
    text, starts = document.text, document.page_starts
    at = starts[index]
    before = "" if not text[:at].strip() or text[:at].endswith(_BETWEEN) else _BETWEEN
    after = _BETWEEN if text[at:].strip() else ""
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


def new_document(pages: int, texts: Mapping[int, str], *, name: str, title: str, source: str) -> Document:
    """A document of pages that have no text but these."""
    text, starts = "", []
    for page in range(1, pages + 1):
        added = texts.get(page, "")
        if added and text:
            text += _BETWEEN
        starts.append(len(text))
        text += added
    return Document(id=name, text=text, title=title, source=source, page_starts=tuple(starts) if pages > 1 else ())
