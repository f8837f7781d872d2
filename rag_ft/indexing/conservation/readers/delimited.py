"""Tables of text, such as CSV: all of it, the first line in any order, since rows repeat its names."""

from __future__ import annotations

import re

from rag_ft.indexing.conservation.readers.plain_text import decoded
from rag_ft.indexing.conservation.source import Source

_HINT = re.compile(r'"?sep=."?\s', re.IGNORECASE)


def delimited_source(data: bytes, encoding: str) -> Source:
    """Read a table. A first line such as `sep=;` is for spreadsheet programs."""
    source = Source()
    text = decoded(data, encoding)
    hint = _HINT.match(text)
    begin = hint.end() if hint else 0
    end = text.find("\n", begin) + 1 or len(text)
    source.add(text[begin:end], ordered=False)
    source.add(text[end:])
    return source
