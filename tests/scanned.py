"""Scans made in the test: pages drawn as images, as PDF or as image files."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen import canvas

CRANE = ("The crane on the north quay lifts forty tons.", "It was built in 1987 by a yard in Riga.")
BERTH = ("Berth seven is closed in winter.",)

needs_tesseract = pytest.mark.skipif(
    shutil.which("tesseract") is None, reason="tesseract is not installed: apt install tesseract-ocr"
)


def drawn(lines: Sequence[str], turn: int = 0) -> Image.Image:
    """A page of 150 dots per inch with these lines."""
    image = Image.new("L", (1240, 1754), 255)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=36)
    for i, line in enumerate(lines):
        draw.text((100, 100 + 60 * i), line, font=font, fill=0)
    return image.rotate(turn, expand=True, fillcolor=255)


def image_file(path: Path, *pages: Sequence[str], turn: int = 0) -> Path:
    """An image file of the kind that its suffix says, with several pages if it is a TIFF."""
    first, *others = [drawn(lines, turn) for lines in pages]
    first.save(path, **({"save_all": True, "append_images": others} if others else {}))
    return path


def pdf(*pages: str | Sequence[str] | None) -> bytes:
    """A PDF whose pages have a text layer (a string), are scans of lines (a sequence), or are empty (None)."""
    buffer = io.BytesIO()
    sheet = canvas.Canvas(buffer, pagesize=(595, 842))
    for page in pages:
        if isinstance(page, str):
            sheet.drawString(72, 700, page)
        elif page is not None:
            sheet.drawImage(ImageReader(drawn(page).convert("RGB")), 0, 0, 595, 842)
        sheet.showPage()
    sheet.save()
    return buffer.getvalue()


def program(folder: Path, action: str) -> str:
    """A script in place of tesseract that names a version and the language eng, and does this for an image."""
    path = folder / "tesseract"
    path.write_text(
        "#!/bin/sh\n"
        'case "$1" in\n'
        '--version) echo "tesseract 9.9.9";;\n'
        '--list-langs) printf "List of available languages (1):\\neng\\n";;\n'
        f"*) {action};;\n"
        "esac\n"
    )
    path.chmod(0o755)
    return str(path)
