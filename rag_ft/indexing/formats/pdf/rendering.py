"""A page of a PDF as an image, drawn by pdfium with its notes and form values."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from rag_ft.extras import require_extra
from rag_ft.indexing.formats.extracted import Unreadable

MAX_SIDE = 4_000
MAX_PIXELS = 4_000_000
"""An image of a page has at most this many pixels: a letter page of 1,700 by 2,200."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_IMAGE_HEADER = struct.Struct(">II5B")
_LENGTH = struct.Struct(">I")
_EIGHT_BITS, _RGB = 8, 2


def render_page(data: bytes, page_number: int, width: int) -> bytes:
    """Draw a page, counted from 1, as a PNG of about this width. Raises Unreadable."""
    require_extra("formats", "reading PDF files", "pypdfium2")
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        raise Unreadable("is not a readable PDF") from error
    try:
        if not 1 <= page_number <= len(document):
            raise Unreadable(f"has no page {page_number}")
        document.init_forms()
        try:
            page = document[page_number - 1]
        except pypdfium2.PdfiumError as error:
            raise Unreadable(f"has a damaged page {page_number}") from error
        page_width, page_height = page.get_size()
        scale = _scale(page_width, page_height, width)
        bitmap = page.render(scale=scale, rev_byteorder=True, prefer_bgrx=False)
        image = png(bytes(bitmap.buffer), bitmap.width, bitmap.height, bitmap.stride, bitmap.n_channels)
        bitmap.close()
        page.close()
        return image
    finally:
        document.close()


def _scale(page_width: float, page_height: float, width: int) -> float:
    """Pixels per point for an image of this width, or of less where it would have too many pixels."""
    if page_width <= 0 or page_height <= 0:
        raise Unreadable("has a page without a size")
    pixels: float = (MAX_PIXELS / (page_width * page_height)) ** 0.5
    # A little less: sides are rounded up to whole pixels.
    return float(min(width / page_width, pixels, MAX_SIDE / max(page_width, page_height)) * 0.999)


def png(pixels: bytes, width: int, height: int, stride: int, channels: int) -> bytes:
    """Encode red, green and blue of 8 bits each, or grey as these, as a PNG."""
    rows = bytearray()
    for row in range(height):
        line = pixels[row * stride : row * stride + width * channels]
        rows.append(0)  # no filter: text on white compresses well as it is
        rows += _colours(line, channels)
    header = _IMAGE_HEADER.pack(width, height, _EIGHT_BITS, _RGB, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(rows))), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(kind, content) for kind, content in chunks)


def _colours(line: bytes, channels: int) -> bytes:
    if channels == 3:
        return line
    colours = bytearray(len(line) // channels * 3)
    for colour in range(3):
        colours[colour::3] = line[(colour if channels > 3 else 0) :: channels]
    return bytes(colours)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return _LENGTH.pack(len(content)) + kind + content + _LENGTH.pack(zlib.crc32(kind + content))


def check_png(image: bytes) -> None:
    """Raise ValueError unless these bytes have the form that `png` gives, chunk by chunk, with an allowed size."""
    chunks = list(_chunks(image))
    if [kind for kind, _ in chunks] != [b"IHDR", b"IDAT", b"IEND"] or len(chunks[0][1]) != _IMAGE_HEADER.size:
        raise ValueError("not an image of a page")
    width, height, *form = _IMAGE_HEADER.unpack(chunks[0][1])
    if form != [_EIGHT_BITS, _RGB, 0, 0, 0] or not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise ValueError("an image of another form")
    if width * height > MAX_PIXELS:
        raise ValueError(f"an image of {width * height:,} pixels")


def _chunks(image: bytes) -> Iterator[tuple[bytes, bytes]]:
    if not image.startswith(_SIGNATURE):
        raise ValueError("not an image of a page")
    start = len(_SIGNATURE)
    while start < len(image):
        if start + 12 > len(image):
            raise ValueError("an image that is cut off")
        (length,) = _LENGTH.unpack_from(image, start)
        kind, content = image[start + 4 : start + 8], image[start + 8 : start + 8 + length]
        if _chunk(kind, content) != image[start : start + 12 + length]:
            raise ValueError("an image with a damaged part")
        yield kind, content
        start += 12 + length
