"""Pages without text and image files, drawn as grey images of bounded size for text recognition."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from rag_ft.extras import require_extra
from rag_ft.indexing.formats.extracted import Unreadable
from rag_ft.indexing.formats.limits import check_document_size

IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")
"""Suffixes of the image files that are read, in lower case."""

MAX_PIXELS = 20_000_000
"""A page is drawn with at most so many pixels: A3 in 300 dots per inch."""

PAGES_AT_ONCE = 8
"""Pages that one request draws: each request has the time limit of a file."""

_DPI = 300
_SMALL_SIDE = 1500
"""An image whose longer side has fewer pixels is drawn larger: the program wants letters of 20 pixels and more."""
_MOST_SOURCE_PIXELS = 400_000_000


class Scan(NamedTuple):
    """One page as an image."""

    page: int
    """Counted from 1."""
    pages: int
    """Pages of the whole file."""
    width: int
    height: int
    pixels: bytes
    """Rows of grey values, a byte each, without padding."""
    page_size: tuple[float, float] = (0.0, 0.0)
    """Width and height of a PDF's page in points; zeros for an image file."""


def draw_scans(name: str, data: bytes, first: int) -> Iterator[Scan]:
    """Draw a file's pages that have no text, from a page on, up to `PAGES_AT_ONCE`. Raises Unreadable, MemoryError."""
    try:
        is_image = PurePosixPath(name).suffix.lower() in IMAGES
        yield from _image_pages(data, first) if is_image else _pdf_pages(data, first)
    except (Unreadable, MemoryError):
        raise
    except Exception as error:  # parsers raise anything on a damaged file
        lines = str(error).strip().splitlines()
        raise Unreadable(f"is damaged ({(lines[0] if lines else type(error).__name__)[:120]})") from error


def _pdf_pages(data: bytes, first: int) -> Iterator[Scan]:
    require_extra("formats", "reading PDF files", "pypdfium2")
    import pypdfium2

    document = pypdfium2.PdfDocument(data)
    try:
        pages, drawn = len(document), 0
        check_document_size(0, 0, pages)
        for index in range(first - 1, pages):
            page = document[index]
            try:
                if _is_scan(page):
                    yield _drawn(page, index + 1, pages)
                    drawn += 1
            finally:
                page.close()
            if drawn == PAGES_AT_ONCE:
                return
    finally:
        document.close()


def _is_scan(page: Any) -> bool:
    """Whether a page shows something and has no text."""
    content = page.get_textpage()
    try:
        return not content.get_text_bounded().strip() and any(True for _ in page.get_objects(max_depth=1))
    finally:
        content.close()


def _drawn(page: Any, number: int, pages: int) -> Scan:
    width, height = page.get_size()
    scale = min(_DPI / 72, math.sqrt(MAX_PIXELS / max(width * height, 1.0)))
    bitmap = page.render(scale=scale, grayscale=True)
    try:
        rows, stride = bytes(bitmap.buffer), bitmap.stride
        if bitmap.n_channels != 1 or bitmap.width * bitmap.height > MAX_PIXELS + stride + bitmap.height:
            raise Unreadable("has a page that cannot be drawn")
        if stride != bitmap.width:
            rows = b"".join(rows[row * stride : row * stride + bitmap.width] for row in range(bitmap.height))
        return Scan(number, pages, bitmap.width, bitmap.height, rows, (width, height))
    finally:
        bitmap.close()


def _image_pages(data: bytes, first: int) -> Iterator[Scan]:
    require_extra("ocr", "recognising text", "PIL")
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = _MOST_SOURCE_PIXELS
    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "TIFF", "WEBP")) as image:
        pages = getattr(image, "n_frames", 1)
        check_document_size(0, 0, pages)
        for index in range(first - 1, min(first - 1 + PAGES_AT_ONCE, pages)):
            image.seek(index)
            if image.width * image.height > _MOST_SOURCE_PIXELS:
                raise Unreadable(f"has more than {_MOST_SOURCE_PIXELS:,} pixels")
            turned = ImageOps.exif_transpose(image)
            if turned.has_transparency_data:
                turned = Image.alpha_composite(Image.new("RGBA", turned.size, "white"), turned.convert("RGBA"))
            grey = turned.convert("L")
            factor = math.sqrt(MAX_PIXELS / (grey.width * grey.height))
            if max(grey.size) < _SMALL_SIDE:
                factor = min(factor, 2.0)
            elif factor > 1:
                factor = 1.0
            if factor != 1.0:
                size = max(1, int(grey.width * factor)), max(1, int(grey.height * factor))
                grey = grey.resize(size, Image.Resampling.LANCZOS)
            yield Scan(index + 1, pages, grey.width, grey.height, grey.tobytes())
