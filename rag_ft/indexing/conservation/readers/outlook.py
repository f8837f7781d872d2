"""Outlook's messages: the streams that hold headers, text and attachments, found by the end of their names."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from rag_ft.indexing.conservation.readers.html import add_page
from rag_ft.indexing.conservation.readers.mail import OTHER_FORMS
from rag_ft.indexing.conservation.source import Source
from rag_ft.indexing.conservation.words import words_of

_HEADERS = ("0037", "0C1A", "0E04", "0E03")
_BODY, _HTML, _DATA, _NAMES = "1000", "1013", "37010102", ("3707", "3704", "3001")


def outlook_source(data: bytes, read: Callable[[str, bytes], Source | None]) -> Source:
    """Read a message with those within it. `read`: the simple reading of a file by its name, None if there is none."""
    import olefile

    source = Source()
    with olefile.OleFileIO(io.BytesIO(data)) as container:
        by_folder: dict[tuple[str, ...], dict[str, bytes]] = {}
        for path in container.listdir():
            name = path[-1].removeprefix("__substg1.0_")
            by_folder.setdefault(tuple(path[:-1]), {})[name] = container.openstream(path).read()
    for folder, streams in sorted(by_folder.items()):
        if folder and folder[-1].startswith("__attach"):
            _add_attachment(source, streams, read)
        elif not folder or folder[-1].endswith("000D"):
            _add_message(source, streams)
    return source


def _text(streams: dict[str, bytes], name: str) -> str:
    if f"{name}001F" in streams:
        return streams[f"{name}001F"].decode("utf-16-le", "replace").rstrip("\0")
    return streams.get(f"{name}001E", b"").decode("cp1252", "replace").rstrip("\0")


def _add_message(source: Source, streams: dict[str, bytes]) -> None:
    from selectolax.lexbor import LexborHTMLParser

    for name in _HEADERS:
        source.add(_text(streams, name) + "\n", ordered=False)
    plain = _text(streams, _BODY)
    page: Any = None
    html = streams.get(f"{_HTML}0102") or _text(streams, _HTML)
    shown = Source()
    if html:
        page = LexborHTMLParser(html).body
        if page is not None:
            add_page(shown, page)
    words = sum(len(words_of(piece.text).keys) for piece in shown.pieces if not piece.reason)
    best = words * 1.1 >= len(words_of(plain).keys)
    source.add(plain + "\n", reason=OTHER_FORMS if best else "", ordered=False)
    for piece in shown.pieces:
        source.add(piece.text, reason=piece.reason or ("" if best else OTHER_FORMS), ordered=False)


def _add_attachment(source: Source, streams: dict[str, bytes], read: Callable[[str, bytes], Source | None]) -> None:
    name = next((shown for shown in (_text(streams, key) for key in _NAMES) if shown.strip()), "")
    source.add(name + "\n", ordered=False)
    data = streams.get(_DATA, b"")
    inner = read(PurePosixPath(name).name, data) if data.strip() else None
    for piece in inner.pieces if inner is not None else []:
        source.add(piece.text, part=name, reason=piece.reason, ordered=piece.ordered)
