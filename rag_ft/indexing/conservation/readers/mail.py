"""Mail: the headers that a program shows, every text part, and every attachment of a kind that is checked."""

from __future__ import annotations

from collections.abc import Callable
from email import message_from_bytes
from email.header import decode_header
from email.message import Message
from pathlib import PurePosixPath
from typing import Any

from rag_ft.indexing.conservation.readers.html import add_page
from rag_ft.indexing.conservation.source import Source
from rag_ft.indexing.conservation.words import words_of

HEADERS = ("subject", "from", "to", "cc", "date")
OTHER_FORMS = "other forms of the text"
DEEPER = "mails within mails"

_DEEPEST = 3


def mail_source(data: bytes, read: Callable[[str, bytes], Source | None], depth: int = 0) -> Source:
    """Read a mail. `read`: the simple reading of a file by its name, None if there is none for its kind."""
    source = Source()
    message = message_from_bytes(data)
    for name in HEADERS:
        source.add(_decoded(message.get(name, "")) + "\n")
    _add(source, message, read, depth, "")
    return source


def _decoded(value: Any) -> str:
    text = str(value)
    try:
        parts = decode_header(text)
    except ValueError:
        return text
    return "".join(
        part if isinstance(part, str) else part.decode(charset or "utf-8", "replace") for part, charset in parts
    )


def _add(source: Source, part: Message, read: Callable[[str, bytes], Source | None], depth: int, reason: str) -> None:
    kind = part.get_content_type()
    payload: Any = part.get_payload()
    children = payload if isinstance(payload, list) else []
    if kind in ("multipart/encrypted", "application/pkcs7-mime"):
        return
    if kind == "message/rfc822" and children:
        inner = mail_source(children[0].as_bytes(), read, depth + 1)
        for piece in inner.pieces:
            source.add(
                piece.text, part=piece.part, reason=reason or piece.reason or (DEEPER if depth > _DEEPEST else "")
            )
    elif kind == "multipart/alternative" and children:
        forms = []
        for child in children:
            form = Source()
            _add(form, child, read, depth, "")
            forms.append(form)
        best = max(range(len(forms)), key=lambda i: _weight(forms[i], i), default=0)
        for i, form in enumerate(forms):
            for piece in form.pieces:
                source.add(
                    piece.text, part=piece.part, reason=reason or piece.reason or ("" if i == best else OTHER_FORMS)
                )
    elif children:
        for child in children:
            _add(source, child, read, depth, reason)
    else:
        _add_leaf(source, part, read, reason)


def _weight(form: Source, position: int) -> float:
    """The words of a form; of two with about as many, the later counts, which is the better one."""
    return sum(len(words_of(piece.text).keys) for piece in form.pieces if not piece.reason) * (1.1 if position else 1.0)


def _add_leaf(source: Source, part: Message, read: Callable[[str, bytes], Source | None], reason: str) -> None:
    from selectolax.lexbor import LexborHTMLParser

    kind = part.get_content_type()
    name = _decoded(part.get_filename() or "")
    data = part.get_payload(decode=True)
    if not isinstance(data, bytes):
        return
    if name or part.get_content_disposition() == "attachment":
        source.add(name + "\n", reason=reason)
        inner = read(PurePosixPath(name).name, data) if data.strip() else None
        for piece in inner.pieces if inner is not None else []:
            source.add(piece.text, part=name, reason=reason or piece.reason, ordered=piece.ordered)
        return
    if not kind.startswith("text/"):
        return
    try:
        text = data.decode(part.get_content_charset() or "utf-8", "replace")
    except LookupError:
        text = data.decode("utf-8", "replace")
    if kind == "text/html":
        body = LexborHTMLParser(text).body
        if body is not None:
            pages = Source()
            add_page(pages, body)
            for piece in pages.pieces:
                source.add(piece.text, reason=reason or piece.reason)
    elif kind == "text/plain":
        source.add(text + "\n", reason=reason)
