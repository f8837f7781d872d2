"""What a page shows by annotations: values of form fields, free text, and comments."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from rag_ft.indexing.formats.pdf.characters import PageText

_MOST = 20_000
_LONGEST = 1_000_000
_HIDDEN = 2 | 32
"""Flags: hidden, not viewed."""
_PASSWORD = 1 << 13
_MOST_OPTIONS = 2_000


class Note(NamedTuple):
    """Text beside the page's own."""

    text: str
    author: str
    is_shown: bool
    """Whether the page itself shows it; a comment is shown by a click."""


def read_annotations(document: Any, page: Any, text: PageText) -> list[Note]:
    """Add the values of fields to the page's characters, at their place; returns its notes."""
    import pypdfium2.raw as pdfium

    notes: list[Note] = []
    for index in range(min(pdfium.FPDFPage_GetAnnotCount(page), _MOST)):
        annotation = pdfium.FPDFPage_GetAnnot(page, index)
        if not annotation:
            continue
        try:
            if pdfium.FPDFAnnot_GetFlags(annotation) & _HIDDEN:
                continue
            kind = pdfium.FPDFAnnot_GetSubtype(annotation)
            if kind == pdfium.FPDF_ANNOT_WIDGET:
                if document.formenv is not None:
                    _add_field(document.formenv, annotation, text)
            elif kind not in (pdfium.FPDF_ANNOT_LINK, pdfium.FPDF_ANNOT_POPUP):
                content = _string(annotation, pdfium.FPDFAnnot_GetStringValue, b"Contents")
                if content.strip():
                    shown = kind == pdfium.FPDF_ANNOT_FREETEXT
                    author = "" if shown else _string(annotation, pdfium.FPDFAnnot_GetStringValue, b"T")
                    notes.append(Note(content, author.strip(), shown))
        finally:
            pdfium.FPDFPage_CloseAnnot(annotation)
    return notes


def _box(annotation: Any, text: PageText) -> tuple[float, float, float, float] | None:
    import pypdfium2.raw as pdfium

    rectangle = pdfium.FS_RECTF()
    if not pdfium.FPDFAnnot_GetRect(annotation, ctypes.byref(rectangle)):
        return None
    box = text.sheet.box(rectangle.left, rectangle.bottom, rectangle.right, rectangle.top)
    return box if text.sheet.shows(box) else None


def _add_field(form: Any, annotation: Any, text: PageText) -> None:
    import pypdfium2.raw as pdfium

    kind = pdfium.FPDFAnnot_GetFormFieldType(form, annotation)
    box = _box(annotation, text)
    if box is None:
        return
    if kind in (pdfium.FPDF_FORMFIELD_CHECKBOX, pdfium.FPDF_FORMFIELD_RADIOBUTTON):
        text.add_mark("[x]" if pdfium.FPDFAnnot_IsChecked(form, annotation) else "[ ]", box)
        return
    if kind in (pdfium.FPDF_FORMFIELD_COMBOBOX, pdfium.FPDF_FORMFIELD_LISTBOX):
        value = "\n".join(_chosen(form, annotation)) or _value(form, annotation)
    elif kind == pdfium.FPDF_FORMFIELD_TEXTFIELD:
        secret = pdfium.FPDFAnnot_GetFormFieldFlags(form, annotation) & _PASSWORD
        value = "" if secret else _value(form, annotation)
    else:
        return
    value = "\n".join(line.strip() for line in value.splitlines()).strip()
    if value:
        text.add_value(value, box)


def _chosen(form: Any, annotation: Any) -> Iterator[str]:
    """The labels of the chosen options."""
    import pypdfium2.raw as pdfium

    for index in range(min(max(pdfium.FPDFAnnot_GetOptionCount(form, annotation), 0), _MOST_OPTIONS)):
        if pdfium.FPDFAnnot_IsOptionSelected(form, annotation, index):
            yield _read(partial(pdfium.FPDFAnnot_GetOptionLabel, form, annotation, index))


def _value(form: Any, annotation: Any) -> str:
    import pypdfium2.raw as pdfium

    return _read(partial(pdfium.FPDFAnnot_GetFormFieldValue, form, annotation))


def _string(annotation: Any, ask: Callable[..., int], key: bytes) -> str:
    return _read(partial(ask, annotation, key))


def _read(ask: Callable[[Any, int], int]) -> str:
    """A text that pdfium writes as UTF-16 into a buffer of the size that it states."""
    import pypdfium2.raw as pdfium

    size = ask(None, 0)
    if not 2 < size <= _LONGEST:
        return ""
    buffer = (pdfium.FPDF_WCHAR * (size // 2 + 1))()
    ask(buffer, size)
    text = bytes(buffer)[: size - 2].decode("utf-16-le", "replace")
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
