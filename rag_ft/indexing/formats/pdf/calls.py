"""pdfium's functions that are called for every character, by address: a third of the time with pypdfium2's objects."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any, NamedTuple


class TextCalls(NamedTuple):
    """Each takes the address of a text page and a character's number, unless it says otherwise."""

    object_of: Any
    """The address of the text object that draws a character, which can be compared; none for what pdfium adds."""
    unicode_of: Any
    box_of: Any
    """Writes a character's loose box to an address of an `FS_RECTF`; false if it has none."""
    origin_of: Any
    """Writes where a character is drawn from to the addresses of two doubles."""
    is_generated: Any
    """1 for a space that pdfium adds."""
    font_of: Any
    """The font of a text object, by its address."""


@cache
def text_calls() -> TextCalls:
    """The functions."""
    import pypdfium2.raw as pdfium

    address, number = ctypes.c_void_p, ctypes.c_int

    def function(of: Any, result: Any, *arguments: Any) -> Any:
        return ctypes.CFUNCTYPE(result, *arguments)(ctypes.cast(of, address).value or 0)

    return TextCalls(
        object_of=function(pdfium.FPDFText_GetTextObject, address, address, number),
        unicode_of=function(pdfium.FPDFText_GetUnicode, ctypes.c_uint, address, number),
        box_of=function(pdfium.FPDFText_GetLooseCharBox, number, address, number, address),
        origin_of=function(pdfium.FPDFText_GetCharOrigin, number, address, number, address, address),
        is_generated=function(pdfium.FPDFText_IsGenerated, number, address, number),
        font_of=function(pdfium.FPDFTextObj_GetFont, address, address),
    )


def address_of(content: Any) -> int | None:
    """The address of a pdfium text page."""
    return ctypes.cast(content.raw, ctypes.c_void_p).value
