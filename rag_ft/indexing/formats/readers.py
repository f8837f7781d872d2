"""The readers of all formats, by suffix.

Importing this module imports them all, which the reading process must do before it gives up its rights and a question
has no use for: `rag_ft.indexing.formats` imports it only where a name of it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rag_ft.errors import MissingExtraError
from rag_ft.indexing.formats.extracted import Extracted, Unreadable
from rag_ft.indexing.formats.mail.eml import read_eml
from rag_ft.indexing.formats.mail.msg import read_msg
from rag_ft.indexing.formats.markup.asciidoc import read_asciidoc
from rag_ft.indexing.formats.markup.markdown import read_markdown
from rag_ft.indexing.formats.markup.notebook import read_notebook
from rag_ft.indexing.formats.markup.rst import read_rst
from rag_ft.indexing.formats.opendocument.odp import read_odp
from rag_ft.indexing.formats.opendocument.ods import read_ods
from rag_ft.indexing.formats.opendocument.odt import read_odt
from rag_ft.indexing.formats.pdf.reading import read_pdf
from rag_ft.indexing.formats.plain_text import read_text
from rag_ft.indexing.formats.program.source import LANGUAGES, source_reader
from rag_ft.indexing.formats.sheets.delimited import read_csv, read_tsv
from rag_ft.indexing.formats.sheets.xlsx import read_xlsx
from rag_ft.indexing.formats.slides.pptx import read_pptx
from rag_ft.indexing.formats.web.epub import read_epub
from rag_ft.indexing.formats.web.html import read_html
from rag_ft.indexing.formats.word.docx import read_docx


def extract(name: str, data: bytes) -> Extracted:
    """Extract the text of a file's bytes by its suffix, in this process; for untrusted files use `parsing.worker`.

    Raises Unreadable, MemoryError.
    """
    read = READERS[Path(name).suffix.lower()]
    try:
        return read(data)
    except (Unreadable, MemoryError):
        raise
    except MissingExtraError as error:
        raise Unreadable(str(error)) from error
    except RecursionError as error:
        raise Unreadable("is nested too deeply") from error
    except Exception as error:  # parsers raise anything on a damaged file, and one file must not stop the others
        lines = str(error).strip().splitlines()
        raise Unreadable(f"is damaged ({(lines[0] if lines else type(error).__name__)[:120]})") from error


READERS: dict[str, Callable[[bytes], Extracted]] = {
    ".txt": read_text,
    ".text": read_text,
    ".md": read_markdown,
    ".markdown": read_markdown,
    ".rst": read_rst,
    ".rest": read_rst,
    ".adoc": read_asciidoc,
    ".asciidoc": read_asciidoc,
    ".ipynb": read_notebook,
    ".html": read_html,
    ".htm": read_html,
    ".xhtml": read_html,
    ".pdf": read_pdf,
    ".docx": read_docx,
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".xlsx": read_xlsx,
    ".xlsm": read_xlsx,
    ".odt": read_odt,
    ".ods": read_ods,
    ".odp": read_odp,
    ".pptx": read_pptx,
    ".pptm": read_pptx,
    ".ppsx": read_pptx,
    ".epub": read_epub,
    ".eml": read_eml,
    ".msg": read_msg,
} | {suffix: source_reader(language) for language, suffixes in LANGUAGES.items() for suffix in suffixes}
"""Reader of each suffix, in lower case. Of a folder, those of source code are read only on request."""
