"""Whether the boxes of quotes in PDFs hold exactly their words: pdfium reads back what stands inside each box.

    python benchmarks/quote_boxes.py [FOLDER] [--quotes 500] [--show 10]

FOLDER: PDFs of your own, searched with all folders below. Without one, pages of the bundled handbook are printed by
Chromium, in one column and in two, and by LibreOffice, as far as these are installed. Quotes are sentences, table rows
and items taken at random from all files; letters and digits are compared, since what joins the cells of a row and the
hyphen at a line's end are not on the page. Each box is drawn in by a fraction of a point, because pdfium also reads
what only touches it.
"""

from __future__ import annotations

import argparse
import ctypes
import random
import shutil
import subprocess
import tempfile
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rag_ft.environment import handbook_path
from rag_ft.indexing.formats import Unreadable
from rag_ft.indexing.formats.pdf.reading import read_pdf
from rag_ft.indexing.line_boxes import quote_boxes
from rag_ft.indexing.places import Places, encode_places
from rag_ft.schema import Box
from rag_ft.text.sentences import sentence_spans

FEWEST_LETTERS = 12
_HANDBOOK_PAGES = 8
_DEVICE = 100_000
_DRAWN_IN = 0.3


class Quote(NamedTuple):
    """A sentence of a PDF."""

    path: Path
    start: int
    end: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--quotes", type=int, default=500)
    parser.add_argument("--show", type=int, default=10, help="quotes to print whose boxes hold other words")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        if given.folder is None:
            print_handbook(Path(made))
        measure(given.folder or Path(made), given.quotes, given.show)


def measure(folder: Path, count: int, show: int) -> None:
    """Print how many quotes are read back."""
    paths = sorted(folder.rglob("*.pdf"))
    quotes = [quote for path in paths for quote in quotes_of(path)]
    chosen = random.Random(1).sample(quotes, min(count, len(quotes)))
    right = boxes = stored = chars = nowhere = 0
    wrong: list[tuple[Quote, str, str]] = []
    for path in sorted({quote.path for quote in chosen}):
        data = path.read_bytes()
        extracted = read_pdf(data)
        packed = encode_places(extracted)
        stored, chars = stored + len(packed), chars + len(extracted.text)
        places = Places.decode(packed)
        with _Pages(data) as pages:
            for quote in (quote for quote in chosen if quote.path == path):
                text = extracted.text[quote.start : quote.end]
                found = quote_boxes(places, quote.start, quote.end, text)
                if not found:  # a note that the page does not draw
                    nowhere += 1
                    continue
                boxes += len(found)
                read = " ".join(pages.text_in(box) for box in found)
                if letters(read) == letters(text):
                    right += 1
                else:
                    wrong.append((quote, text, read))
    for quote, text, read in wrong[:show]:
        print(f"{quote.path.name} {quote.start}-{quote.end}\n  quote {text!r}\n  boxes {read!r}")
    print(f"{len(paths)} files, {len(quotes):,} quotes; of {len(chosen)}, {right} are read back from {boxes:,} boxes")
    print(f"{nowhere} are not drawn on their page, {len(wrong)} have other words in their boxes")
    print(f"{stored / max(chars, 1):.2f} bytes of places per character")


def quotes_of(path: Path) -> Iterator[Quote]:
    """The sentences, rows and items of a file that have some letters."""
    try:
        extracted = read_pdf(path.read_bytes())
    except Unreadable as error:
        print(f"not read: {path} {error}")
        return
    if not extracted.char_boxes:
        print(f"without boxes: {path}")
        return
    for start, end in sentence_spans(extracted.text):
        if len(letters(extracted.text[start:end])) >= FEWEST_LETTERS:
            yield Quote(path, start, end)


def letters(text: str) -> str:
    """Letters and digits alone."""
    folded = unicodedata.normalize("NFKC", text)
    return "".join(character for character in folded if character.isalnum())


class _Pages:
    """A PDF whose words are read by boxes of the page as displayed."""

    def __init__(self, data: bytes) -> None:
        import pypdfium2

        self._document: Any = pypdfium2.PdfDocument(data)
        self._open: dict[int, tuple[Any, Any]] = {}

    def __enter__(self) -> _Pages:
        return self

    def __exit__(self, *error: object) -> None:
        self._document.close()

    def text_in(self, box: Box) -> str:
        """What pdfium reads inside a box."""
        page, content = self._page(box.page)
        x0, y0 = self._on_page(page, box.x0 + _DRAWN_IN, box.y0 + _DRAWN_IN)
        x1, y1 = self._on_page(page, box.x1 - _DRAWN_IN, box.y1 - _DRAWN_IN)
        text: str = content.get_text_bounded(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
        return text

    def _page(self, number: int) -> tuple[Any, Any]:
        if number not in self._open:
            page = self._document[number - 1]
            self._open[number] = page, page.get_textpage()
        return self._open[number]

    @staticmethod
    def _on_page(page: Any, x: float, y: float) -> tuple[float, float]:
        """A point of the page as displayed, from its top left corner, in the page's own coordinates."""
        import pypdfium2.raw as pdfium

        width, height = page.get_size()
        own_x, own_y = ctypes.c_double(), ctypes.c_double()
        pdfium.FPDF_DeviceToPage(
            page, 0, 0, _DEVICE, _DEVICE, 0, round(x / width * _DEVICE), round(y / height * _DEVICE), own_x, own_y
        )
        return own_x.value, own_y.value


def print_handbook(folder: Path) -> None:
    """Print some pages of the handbook to PDF with the programs that are installed."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").enable("table")
    # Code wraps: what runs out of its column would be drawn over the next one.
    wrapped = "pre { white-space: pre-wrap; overflow-wrap: anywhere }"
    looks = {"one": "", "two": "columns: 2; font-size: 11px", "small": "font: 8px serif; text-align: justify"}
    for path in sorted(handbook_path().glob("*.md"))[:_HANDBOOK_PAGES]:
        body = parser.render(path.read_text(encoding="utf-8").rpartition("\n---\n")[2])
        for name, style in looks.items():
            page = folder / f"{path.stem}-{name}.html"
            page.write_text(
                f"<html><style>{wrapped} body {{ {style} }}</style><body>{body}</body></html>", encoding="utf-8"
            )
    pages = sorted(folder.glob("*.html"))
    if chromium := shutil.which("chromium"):
        for page in pages:
            options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"]
            target = page.with_suffix(".pdf")
            _run(chromium, *options, f"--print-to-pdf={target}", str(page))
    if soffice := shutil.which("soffice"):
        (folder / "office").mkdir()
        printed = [str(page) for page in pages if page.stem.endswith("-one")]
        _run(
            soffice, "--headless", "--convert-to", "pdf:writer_web_pdf_Export", "--outdir", f"{folder}/office", *printed
        )


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=300)


if __name__ == "__main__":
    main()
