"""PDF: the text layer by pdfium, lines joined to paragraphs, without running headers and footers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from itertools import islice

from pydantic import JsonValue

from rag_ft.extras import require_extra
from rag_ft.indexing.formats.blocks import Blocks
from rag_ft.indexing.formats.extracted import Extracted, Unreadable
from rag_ft.indexing.formats.limits import check_document_size
from rag_ft.schema import Metadata


def read_pdf(data: bytes) -> Extracted:
    """Read the paragraphs of a document, with the starts of its pages and its metadata."""
    require_extra("formats", "reading PDF files", "pypdfium2")
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise Unreadable("is encrypted: save a copy without a password") from error
        raise Unreadable("is not a readable PDF, or is cut off") from error
    try:
        pages: list[list[str]] = []
        labels: list[JsonValue] = []
        chars = 0
        check_document_size(0, 0, len(document))
        for index in range(len(document)):
            page = document[index]
            content = page.get_textpage()
            text = content.get_text_bounded().replace("\r\n", "\n").replace("\r", "\n")
            # After a hyphen pdfium continues on the same line, even with the page's footer.
            text = re.sub(f"([{_LINE_HYPHENS}])\n?", r"\1\n", text)
            chars += len(text)
            check_document_size(chars, 0, len(pages))
            pages.append([line.rstrip() for line in text.split("\n")])
            labels.append(document.get_page_label(index) or str(index + 1))
            content.close()
            page.close()
        properties = document.get_metadata_dict(skip_empty=True)
        metadata: Metadata = {
            key.lower(): value for key, value in properties.items() if key in ("Author", "Subject", "Keywords")
        }
        if labels != [str(index + 1) for index in range(len(labels))]:
            metadata["page_labels"] = labels
        extracted = _page_blocks(_without_running_lines(pages)).extracted(str(properties.get("Title", "")), metadata)
    finally:
        document.close()
    if not extracted.text:
        raise Unreadable("has no text layer (scanned pages?): run text recognition (OCR) on it first")
    return extracted


_EDGE_LINES = 3
_NUMBER = re.compile(r"\d+")


def _without_running_lines(pages: list[list[str]]) -> list[list[str]]:
    """Remove running headers and footers from pages.

    These are lines at the edges of at least 40% of the pages (left and right pages may differ) and of at least three,
    equal except for a page number. First lines such as "Step 1", "Step 2" are kept.
    """
    seen: dict[str, dict[int, list[int]]] = {}  # by line without its numbers: page → its numbers on that page
    for page, lines in enumerate(pages):
        kept = [line for line in lines if line.strip()]
        for line in kept[:_EDGE_LINES] + kept[-_EDGE_LINES:]:
            numbers_there = [int(digits) for digits in islice(_numbers(line), 9)]
            seen.setdefault(_unnumbered(line), {}).setdefault(page, numbers_there)
    least = max(3, 0.4 * _with_text(pages))
    running = {line for line, numbers in seen.items() if len(numbers) >= least and _is_frame(line, numbers)}
    trimmed = [_trimmed(_trimmed(lines, running)[::-1], running)[::-1] for lines in pages]
    # If most pages would lose all their text, these lines are not frames.
    return trimmed if _with_text(trimmed) * 2 > _with_text(pages) else pages


_LONGEST_NUMBER = 18


def _numbers(line: str) -> Iterator[str]:
    """The numbers of a line, each cut after 18 digits, which are more than any page number has."""
    return (match[0][:_LONGEST_NUMBER] for match in _NUMBER.finditer(line))


def _with_text(pages: list[list[str]]) -> int:
    return sum(any(map(str.strip, lines)) for lines in pages)


def _unnumbered(line: str) -> str:
    return _NUMBER.sub("0", " ".join(line.split()))


_LETTERS = re.compile(r"[^\W\d_]+")
_PAGE_WORDS = frozenset("page pages pg p seite seiten s página pagina pág pag folio sida side strona".split())


def _is_frame(line: str, numbers: dict[int, list[int]]) -> bool:
    """Whether each number of a line is equal on all pages or increases with them; `numbers` by page.

    If the line has a single word beside an increasing number, it must mean a page: "Step 1" and "Chapter 1" are titles.
    """
    columns = [*zip(*numbers.values(), strict=True)]
    changing = [column for column in columns if len(set(column)) > 1]
    words = _LETTERS.findall(line.lower())
    if changing and len(words) == 1 and words[0] not in _PAGE_WORDS:
        return False
    return all(len({value - page for value, page in zip(column, numbers, strict=True)}) == 1 for column in changing)


def _trimmed(lines: list[str], running: Set[str]) -> list[str]:
    """Remove the running lines among the first."""
    first = seen = 0
    for i, line in enumerate(lines):
        if seen == _EDGE_LINES or (line.strip() and _unnumbered(line) not in running):
            break
        seen += bool(line.strip())
        first = i + 1
    return lines[first:]


_SENTENCE_END = re.compile(r"[.!?:;\u2026][\"'”’»)\]]*$")
_LIST_MARK = re.compile(r"\w{1,4}[.)]")


def _page_blocks(pages: list[list[str]]) -> Blocks:
    """Join lines to paragraphs; one that a page break cuts in the middle of a sentence is one block."""
    blocks = Blocks()
    paragraph = _Paragraph()
    page_offsets: list[int] = []  # offsets in the paragraph at which a page starts

    def add() -> None:
        for offset in page_offsets:
            blocks.begin_page(offset)
        blocks.add(paragraph.text().rstrip(_LINE_HYPHENS))
        page_offsets.clear()

    for index, lines in enumerate(pages):
        texts = list(_paragraphs(lines))
        continues = texts and texts[0][:1].islower() and not _LIST_MARK.match(texts[0])
        if paragraph.length and continues and not _SENTENCE_END.search(paragraph.last_line()):
            first = texts.pop(0)
            paragraph.join(first)
            page_offsets.append(paragraph.length - len(first))
        else:
            if index:
                add()
            paragraph = _Paragraph()
            page_offsets.append(0)
        for text in texts:
            if paragraph.length:
                add()
            paragraph = _Paragraph(text)
    add()
    return blocks


# pdfium writes these for a hyphen that the layout put at the end of a line.
_LINE_HYPHENS = "\ufffe\x02"


class _Paragraph:
    """Lines joined to a paragraph, kept as pieces: a growing string would be copied for each line."""

    def __init__(self, text: str = "") -> None:
        self._pieces = [text] if text else []
        self.length = len(text)

    def join(self, line: str) -> None:
        """Append a line; a hyphen at the end of the previous line is the layout's and is removed."""
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
        """The last line, which decides how the next is joined."""
        return self._pieces[-1] if self._pieces else ""

    def text(self) -> str:
        """The whole paragraph."""
        return "".join(self._pieces)


def _paragraphs(lines: list[str]) -> Iterator[str]:
    """Join the lines of a page to paragraphs: one that ends a sentence and is much shorter ends a paragraph."""
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
