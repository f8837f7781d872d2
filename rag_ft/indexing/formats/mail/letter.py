"""A message, whichever program kept it → headers, text and attachments as one document."""

from __future__ import annotations

import re
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import NamedTuple

from rag_ft.indexing.formats.blocks import Blocks
from rag_ft.indexing.formats.decoding import decode, decode_html
from rag_ft.indexing.formats.extracted import Extracted, Unreadable
from rag_ft.indexing.formats.limits import MAX_ATTACHMENTS, MAX_MAIL_DEPTH, check_document_size
from rag_ft.indexing.formats.web.dom import dom_blocks
from rag_ft.schema import Metadata

_SUFFIXES = {
    "text/plain": ".txt",
    "text/markdown": ".md",
    "text/html": ".html",
    "application/pdf": ".pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/epub+zip": ".epub",
    "message/rfc822": ".eml",
    "application/vnd.ms-outlook": ".msg",
}
_TNEF = "holds attachments that only Outlook can open: save them there, and add them"
_MOST_NAMED = 100
_FEWER_WORDS = 0.8
"""Share of the plain text's words that the same text as HTML must have to be read."""

_PGP = re.compile(r"\s*-----BEGIN PGP MESSAGE-----[^-]*-----END PGP MESSAGE-----\s*\Z")


_LATIN = re.compile(r"(?:iso-?8859|windows-?125|cp125|latin|us-ascii|ascii)", re.IGNORECASE)


class Attachment(NamedTuple):
    """A file within a message."""

    name: str
    media_type: str
    data: bytes
    letter: Letter | None = None
    """A message that the program keeps within this one, where it is no file."""


@dataclass
class Letter:
    """A message as its sender wrote it."""

    headers: dict[str, str] = field(default_factory=dict)
    """`Subject`, `From`, `To`, `Cc` and `Date`, decoded."""
    date: str = ""
    """The date in ISO 8601, if it is known."""
    plain: list[str] = field(default_factory=list)
    """Its text, in parts."""
    html: list[str] = field(default_factory=list)
    """The same text as HTML; empty if there is none."""
    attachments: list[Attachment] = field(default_factory=list)
    metadata: Metadata = field(default_factory=dict)
    locked: str = ""
    """Why nothing but its headers can be read; completes a sentence."""


_depth: ContextVar[int] = ContextVar("depth", default=0)


def letter_text(letter: Letter) -> Extracted:
    """Write a message as a document: its subject as the title, headers, text, and attachments below their names.

    What cannot be read of it is named in the metadata, other files under `left_out`. Raises Unreadable if it holds
    nothing but headers that say who wrote it, and its text is locked.
    """
    body = _body(letter)
    if letter.locked and not body.text.strip() and not letter.attachments:
        raise Unreadable(letter.locked)
    blocks = Blocks()
    blocks.add(letter.headers.get("Subject", ""), level=1)
    lines = [f"{name}: {value}" for name, value in letter.headers.items() if name != "Subject"]
    names = [attachment.name for attachment in letter.attachments]
    if names:
        lines.append(f"Attachments: {', '.join(names[:_MOST_NAMED])}")
    blocks.add("\n".join(lines))
    blocks.append(body, deeper=1)
    metadata = {name.lower(): value for name, value in letter.headers.items() if name not in ("Subject", "Date")}
    kept: Metadata = {**metadata, **({"date": letter.date} if letter.date else {}), **letter.metadata}
    _add_attachments(letter, blocks, kept)
    return blocks.extracted(letter.headers.get("Subject", ""), kept)


def _body(letter: Letter) -> Extracted:
    """The message's text: as HTML, which has its tables and lists, unless that lacks words of the plain text."""
    from selectolax.lexbor import LexborHTMLParser

    plain = "\n\n".join(part.strip("\n") for part in letter.plain if part.strip())
    if _PGP.match(plain):
        letter.metadata["encrypted"] = "PGP"
        letter.locked = letter.locked or "is encrypted (PGP): save a copy of its text that is not"
        plain = ""
    if letter.html:
        blocks = Blocks()
        for page in letter.html:
            dom_blocks(LexborHTMLParser(page).body, blocks)
        shown = blocks.extracted()
        if len(shown.text.split()) >= _FEWER_WORDS * len(plain.split()):
            return Extracted(shown.text, headings=shown.headings, blocks=shown.blocks)
    return Extracted(plain)


def _add_attachments(letter: Letter, blocks: Blocks, metadata: Metadata) -> None:
    from rag_ft.indexing.formats import READERS, extract

    left_out: list[str] = []
    unread: list[str] = []
    depth = _depth.get()
    for position, attachment in enumerate(letter.attachments):
        suffix = PurePosixPath(attachment.name).suffix.lower()
        suffix = suffix if suffix in READERS else _SUFFIXES.get(attachment.media_type, "")
        if attachment.letter is None and (suffix not in READERS or not attachment.data.strip()):
            tnef = attachment.media_type.endswith("ms-tnef") or attachment.name.lower() == "winmail.dat"
            unread += [f"{attachment.name} {_TNEF}"] if tnef else []
            left_out += [] if tnef else [attachment.name]
            continue
        if position >= MAX_ATTACHMENTS or depth >= MAX_MAIL_DEPTH:
            left_out.append(attachment.name)
            continue
        token = _depth.set(depth + 1)
        try:
            inner = attachment.letter
            part = extract(f"a{suffix}", attachment.data) if inner is None else letter_text(inner)
        except Unreadable as error:
            unread.append(f"{attachment.name} {error}")
            continue
        finally:
            _depth.reset(token)
        nested = part.metadata.get("unread_parts")
        unread += [str(name) for name in nested] if isinstance(nested, list) else []
        blocks.add(attachment.name, level=2)
        blocks.append(part, deeper=2)
        check_document_size(blocks.length, len(blocks.headings), 0)
    for name, values in (("left_out", left_out), ("unread_parts", unread)):
        if values:
            metadata[name] = [*values[:_MOST_NAMED]]


def text_of(data: bytes, charset: str, *, html: bool = False) -> str:
    """Decode a part by the character set that it names, or else by what its bytes show."""
    # Text in another encoding for Latin letters is practically never valid UTF-8, and programs often name a wrong one.
    for name in ("utf-8", charset) if _LATIN.match(charset) else (charset or "utf-8",):
        try:
            return data.decode(name).removeprefix("\ufeff")
        except (LookupError, UnicodeError, ValueError):
            continue
    try:
        return (decode_html if html else decode)(data)[0]
    except Unreadable:
        return data.decode("utf-8", "replace")
