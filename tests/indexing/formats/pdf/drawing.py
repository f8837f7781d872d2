"""PDFs drawn for tests, and their text read back from the boxes of characters."""

import bisect
import io
import struct
import unicodedata

import pypdfium2

from rag_ft.indexing.formats import extract


def drawn(*pages, title=None, size=(595, 842)):
    """The bytes of a document; each page is a function that draws on a canvas."""
    from reportlab.pdfgen import canvas

    file = io.BytesIO()
    made = canvas.Canvas(file, pagesize=size)
    if title is not None:
        made.setTitle(title)
    for draw in pages:
        draw(made)
        made.showPage()
    made.save()
    return file.getvalue()


def lines_at(*lines, font="Helvetica", size=11):
    """A function that draws lines, each (x, y, text) or (x, y, text, font) or (x, y, text, font, size)."""

    def draw(canvas):
        for x, y, text, *own in lines:
            canvas.setFont(own[0] if own else font, own[1] if len(own) > 1 else size)
            canvas.drawString(x, y, text)

    return draw


def column(x, top, lines, pitch=14):
    """Lines below one another, for `lines_at`."""
    return [(x, top - pitch * row, line) for row, line in enumerate(lines)]


def read(*pages, **settings):
    """What is extracted of a document."""
    return extract("a.pdf", drawn(*pages, **settings))


def boxes_of(extracted):
    """Box of each character in points from the top left corner of its page; None for those that are not drawn."""
    values = struct.unpack(f"<{4 * len(extracted.text)}H", extracted.char_boxes)
    boxes = []
    for offset in range(len(extracted.text)):
        x0, y0, x1, y1 = values[4 * offset : 4 * offset + 4]
        width, height = extracted.page_sizes[page_at(extracted, offset)]
        box = (x0 * width / 65535, y0 * height / 65535, x1 * width / 65535, y1 * height / 65535)
        boxes.append(None if (x0, y0, x1, y1) == (0, 0, 0, 0) else box)
    return boxes


def page_at(extracted, offset):
    return bisect.bisect_right(extracted.page_starts, offset) - 1


class ReadBack:
    """Reads what pdfium finds inside the boxes."""

    def __init__(self, data, extracted):
        self._document = pypdfium2.PdfDocument(data)
        self._pages = list(self._document)
        self._texts = [page.get_textpage() for page in self._pages]
        self._extracted = extracted
        self._boxes = boxes_of(extracted)

    def differs(self, offset):
        """The character at an offset and what is read in its box, if they differ; letters and digits only."""
        box = self._boxes[offset]
        wanted = levelled(self._extracted.text[offset])
        if box is None or not wanted:
            return None
        page = page_at(self._extracted, offset)
        x0, y0, x1, y1 = self._on_page(page, box)
        across, up = 0.3 * (x1 - x0), 0.35 * (y1 - y0)
        inside = levelled(self._texts[page].get_text_bounded(x0 + across, y0 + up, x1 - across, y1 - up))
        return None if wanted in inside else (offset, wanted, inside)

    def _on_page(self, number, box):
        page = self._pages[number]
        left, bottom, right, top = page.get_bbox()
        points = []
        for x, y in ((box[0], box[1]), (box[2], box[3])):
            points.append(
                {
                    0: (left + x, top - y),
                    90: (left + y, bottom + x),
                    180: (right - x, bottom + y),
                    270: (right - y, top - x),
                }[page.get_rotation()]
            )
        (ax, ay), (bx, by) = points
        return min(ax, bx), min(ay, by), max(ax, bx), max(ay, by)


def levelled(text):
    return "".join(character for character in unicodedata.normalize("NFKC", text) if character.isalnum())
