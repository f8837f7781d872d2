"""A document's bytes and the text extracted from them → what was lost on the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rag_ft.indexing.conservation.compare import compare
from rag_ft.indexing.conservation.readers.asciidoc import asciidoc_source
from rag_ft.indexing.conservation.readers.delimited import delimited_source
from rag_ft.indexing.conservation.readers.epub import epub_source
from rag_ft.indexing.conservation.readers.html import html_source
from rag_ft.indexing.conservation.readers.mail import mail_source
from rag_ft.indexing.conservation.readers.markdown import markdown_source
from rag_ft.indexing.conservation.readers.notebook import notebook_source
from rag_ft.indexing.conservation.readers.office import docx_source
from rag_ft.indexing.conservation.readers.opendocument import opendocument_source
from rag_ft.indexing.conservation.readers.outlook import outlook_source
from rag_ft.indexing.conservation.readers.pdf import pdf_source
from rag_ft.indexing.conservation.readers.plain_text import plain_source
from rag_ft.indexing.conservation.readers.presentation import pptx_source
from rag_ft.indexing.conservation.readers.rst import rst_source
from rag_ft.indexing.conservation.readers.spreadsheet import xlsx_source
from rag_ft.indexing.conservation.record import Conservation
from rag_ft.indexing.conservation.source import Source
from rag_ft.indexing.formats.extracted import Extracted
from rag_ft.indexing.formats.program.source import SOURCE_SUFFIXES

MAX_CHECKED_CHARS = 20_000_000
"""Texts with more characters are not checked: their words would take more memory than reading them."""


def check(name: str, data: bytes, extracted: Extracted) -> Conservation | None:
    """Compare the text of a file with its source; None for a format without a check, or a source it cannot read."""
    read = SOURCES.get(Path(name).suffix.lower())
    if read is None or len(extracted.text) > MAX_CHECKED_CHARS:
        return None
    try:
        source = read(data, extracted)
        if sum(len(piece.text) for piece in source.pieces) > MAX_CHECKED_CHARS:
            return None
        source.pages_without_text = [
            number for number in source.pages_without_text if not _page(extracted, number).strip()
        ]
        return compare(source, extracted.text)
    except Exception:  # the reader made a document of it, so it is kept, only not checked
        return None


def _page(extracted: Extracted, number: int) -> str:
    """The text of a page, which may have been recognised in its image."""
    starts = (*extracted.page_starts, len(extracted.text))
    return extracted.text[starts[number - 1] : starts[number]] if number < len(starts) else ""


def _encoding(extracted: Extracted) -> str:
    encoding = extracted.metadata.get("encoding")
    return encoding.split()[0] if isinstance(encoding, str) and encoding.strip() else "utf-8"


def _plain(data: bytes, extracted: Extracted) -> Source:
    return plain_source(data, _encoding(extracted))


def _markdown(data: bytes, extracted: Extracted) -> Source:
    return markdown_source(data, _encoding(extracted))


def _delimited(data: bytes, extracted: Extracted) -> Source:
    return delimited_source(data, _encoding(extracted))


def _rst(data: bytes, extracted: Extracted) -> Source:
    return rst_source(data, _encoding(extracted))


def _asciidoc(data: bytes, extracted: Extracted) -> Source:
    return asciidoc_source(data, _encoding(extracted))


def _mail(data: bytes, extracted: Extracted, read_mail: Callable[..., Source] = mail_source) -> Source:
    """Read a mail, and name the attachments of which nothing could be read."""
    unread = extracted.metadata.get("unread_parts")
    unread_parts = tuple(map(str, unread)) if isinstance(unread, list) else ()
    unreadable = []

    def read(name: str, attached: bytes) -> Source | None:
        if any(part.startswith(f"{name} ") for part in unread_parts):
            unreadable.append(name)
            return None
        reader = SOURCES.get(Path(name).suffix.lower())
        return None if reader is None else reader(attached, Extracted(""))

    source = read_mail(data, read)
    source.unreadable += unreadable
    return source


SOURCES: dict[str, Callable[[bytes, Extracted], Source]] = {
    ".txt": _plain,
    ".text": _plain,
    ".csv": _delimited,
    ".tsv": _delimited,
    ".md": _markdown,
    ".markdown": _markdown,
    ".rst": _rst,
    ".rest": _rst,
    ".adoc": _asciidoc,
    ".asciidoc": _asciidoc,
    ".ipynb": lambda data, _: notebook_source(data),
    ".html": lambda data, _: html_source(data),
    ".htm": lambda data, _: html_source(data),
    ".xhtml": lambda data, _: html_source(data),
    ".epub": lambda data, _: epub_source(data),
    ".docx": lambda data, _: docx_source(data),
    ".xlsx": lambda data, _: xlsx_source(data),
    ".xlsm": lambda data, _: xlsx_source(data),
    ".pptx": lambda data, _: pptx_source(data),
    ".pptm": lambda data, _: pptx_source(data),
    ".ppsx": lambda data, _: pptx_source(data),
    ".eml": _mail,
    ".odt": lambda data, _: opendocument_source(data),
    ".ods": lambda data, _: opendocument_source(data),
    ".odp": lambda data, _: opendocument_source(data),
    ".msg": lambda data, extracted: _mail(data, extracted, outlook_source),
    ".pdf": lambda data, _: pdf_source(data),
} | dict.fromkeys(SOURCE_SUFFIXES, _plain)
"""The simple reading of each suffix, in lower case."""
