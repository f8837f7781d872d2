"""The text layer of a PDF by pdfium: lines → paragraphs, without running headers and footers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from itertools import islice

from pydantic import JsonValue

from rag_ft.extras import require_extra
from rag_ft.indexing.formats.blocks import Blocks
from rag_ft.indexing.formats.extracted import Extracted, Unreadable
from rag_ft.indexing.formats.limits import check_output
from rag_ft.schema import Metadata


def read_pdf(data: bytes) -> Extracted:
    """The paragraphs of a document, where its pages begin, and what it says of itself."""
    require_extra("formats", "reading PDF files", "pypdfium2")
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise Unreadable("is encrypted: save a copy without a password") from error
        raise Unreadable("is not a PDF that can be read, or is cut off") from error
    try:
        pages: list[list[str]] = []
        labels: list[JsonValue] = []
        chars = 0
        check_output(0, 0, len(document))
        for number in range(len(document)):
            page = document[number]
            content = page.get_textpage()
            text = content.get_text_bounded().replace("\r\n", "\n").replace("\r", "\n")
            # After a hyphen pdfium goes on in the same line, with the page's footer too.
            text = re.sub(f"([{_LINE_HYPHENS}])\n?", r"\1\n", text)
            chars += len(text)
            check_output(chars, 0, len(pages))
            pages.append([line.rstrip() for line in text.split("\n")])
            labels.append(document.get_page_label(number) or str(number + 1))
            content.close()
            page.close()
        said = document.get_metadata_dict(skip_empty=True)
        metadata: Metadata = {
            key.lower(): value for key, value in said.items() if key in ("Author", "Subject", "Keywords")
        }
        if labels != [str(number + 1) for number in range(len(labels))]:
            metadata["page_labels"] = labels
        found = _page_blocks(_without_running_lines(pages)).extracted(str(said.get("Title", "")), metadata)
    finally:
        document.close()
    if not found.text:
        raise Unreadable("has no text layer (scanned pages?): recognise its text first")
    return found


_EDGE_LINES = 3
_NUMBER = re.compile(r"\d+")


def _without_running_lines(pages: list[list[str]]) -> list[list[str]]:
    """Pages less their running headers and footers: lines at the edges of at least 40% of the pages (left and right
    pages may differ) and of three, alike but for a page number. The first lines of "Step 1", "Step 2" are none.
    """
    places: dict[str, dict[int, list[int]]] = {}  # by line without its numbers: page → the numbers there
    for page, lines in enumerate(pages):
        kept = [line for line in lines if line.strip()]
        for line in kept[:_EDGE_LINES] + kept[-_EDGE_LINES:]:
            numbers = [int(number) for number in islice(_numbers(line), 9)]
            places.setdefault(_unnumbered(line), {}).setdefault(page, numbers)
    least = max(3, 0.4 * _with_text(pages))
    running = {line for line, found in places.items() if len(found) >= least and _is_frame(line, found)}
    trimmed = [_trimmed(_trimmed(lines, running)[::-1], running)[::-1] for lines in pages]
    # Pages alike from top to bottom are no frames around nothing.
    return trimmed if _with_text(trimmed) * 2 > _with_text(pages) else pages


_LONGEST_NUMBER = 18


def _numbers(line: str) -> Iterator[str]:
    """The numbers of a line; of one that no page has, its first digits."""
    return (match[0][:_LONGEST_NUMBER] for match in _NUMBER.finditer(line))


def _with_text(pages: list[list[str]]) -> int:
    return sum(any(map(str.strip, lines)) for lines in pages)


def _unnumbered(line: str) -> str:
    return _NUMBER.sub("0", " ".join(line.split()))


_LETTERS = re.compile(r"[^\W\d_]+")
_PAGE_WORDS = frozenset("page pages pg p seite seiten s página pagina pág pag folio sida side strona".split())


def _is_frame(line: str, found: dict[int, list[int]]) -> bool:
    """Whether each number of a line is on all pages the same, or goes up with the pages. A single word that does so
    must be one for a page: "Step 1" and "Chapter 1" are titles.
    """
    columns = [*zip(*found.values(), strict=True)]
    changing = [column for column in columns if len(set(column)) > 1]
    words = _LETTERS.findall(line.lower())
    if changing and len(words) == 1 and words[0] not in _PAGE_WORDS:
        return False
    return all(len({value - page for value, page in zip(column, found, strict=True)}) == 1 for column in changing)


def _trimmed(lines: list[str], running: Set[str]) -> list[str]:
    """Lines less the running ones among the first."""
    first = seen = 0
    for number, line in enumerate(lines):
        if seen == _EDGE_LINES or (line.strip() and _unnumbered(line) not in running):
            break
        seen += bool(line.strip())
        first = number + 1
    return lines[first:]


_SENTENCE_END = re.compile(r"[.!?:;\u2026][\"'”’»)\]]*$")
_LIST_MARK = re.compile(r"\w{1,4}[.)]")


def _page_blocks(pages: list[list[str]]) -> Blocks:
    """The paragraphs of pages; one that a page's end cuts in the middle of a sentence is one block."""
    blocks = Blocks()
    paragraph = _Paragraph()
    begins: list[int] = []  # where in the paragraph a page begins

    def add() -> None:
        for offset in begins:
            blocks.begin_page(offset)
        blocks.add(paragraph.text().rstrip(_LINE_HYPHENS))
        begins.clear()

    for number, lines in enumerate(pages):
        found = list(_paragraphs(lines))
        goes_on = found and found[0][:1].islower() and not _LIST_MARK.match(found[0])
        if paragraph.length and goes_on and not _SENTENCE_END.search(paragraph.last_line()):
            first = found.pop(0)
            paragraph.join(first)
            begins.append(paragraph.length - len(first))
        else:
            if number:
                add()
            paragraph = _Paragraph()
            begins.append(0)
        for one in found:
            if paragraph.length:
                add()
            paragraph = _Paragraph(one)
    add()
    return blocks


# pdfium writes these for a hyphen that the layout put at a line's end.
_LINE_HYPHENS = "\ufffe\x02"


class _Paragraph:
    """Lines joined to a paragraph, piece by piece: one text that grew by each of them would be copied as often."""

    def __init__(self, text: str = "") -> None:
        self._pieces = [text] if text else []
        self.length = len(text)

    def join(self, line: str) -> None:
        """Go on with a line: a hyphen at the end of the one before is the layout's."""
        before = self.last_line()
        hyphen = before.endswith(tuple(_LINE_HYPHENS))
        if hyphen or (before.endswith("-") and line[:1].islower() and before[-2:-1].isalpha()):
            self._pieces[-1] = before[:-1]
            self.length -= 1
        elif before:
            self._pieces.append(" ")
            self.length += 1
        self._pieces.append(line)
        self.length += len(line)

    def last_line(self) -> str:
        """The end of the text: all that decides how it goes on."""
        return self._pieces[-1] if self._pieces else ""

    def text(self) -> str:
        """All of it."""
        return "".join(self._pieces)


def _paragraphs(lines: list[str]) -> Iterator[str]:
    """Lines of a PDF page as paragraphs: a line that ends a sentence well short of the others ends a paragraph."""
    widths = sorted(len(line) for line in lines if line)
    usual = widths[len(widths) * 3 // 4] if widths else 0
    current = _Paragraph()
    for line in lines:
        if line.strip():
            current.join(line.lstrip())
        if not line.strip() or (len(line) < usual * 0.8 and line.endswith((".", "!", "?", ":"))):
            if current.length:
                yield current.text()
            current = _Paragraph()
    if current.length:
        yield current.text()
