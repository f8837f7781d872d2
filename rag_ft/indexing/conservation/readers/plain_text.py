"""Plain text: all of it."""

from __future__ import annotations

import codecs
import re

from rag_ft.indexing.conservation.source import Source

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_UTF8 = re.compile(rb"[\xc3-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")


def plain_source(data: bytes, encoding: str) -> Source:
    """Read all of a text. `encoding`: the one that its reader found, used where the bytes do not say it."""
    source = Source()
    source.add(decoded(data, encoding))
    return source


def decoded(data: bytes, encoding: str) -> str:
    """Decode by the mark at the start, as UTF-8 if most bytes beyond ASCII are, and else by `encoding`."""
    for mark, name in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(name, "replace")
    try:
        return data.decode()
    except UnicodeDecodeError:
        pass
    text = data.decode("utf-8", "replace")
    if sum(1 for _ in _UTF8.finditer(data)) > text.count("\ufffd"):
        return text
    try:
        return data.decode(encoding, "replace")
    except LookupError:
        return text
