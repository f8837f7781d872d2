"""Mail as it was sent (`.eml`), by Python's email package."""

from __future__ import annotations

import binascii
import re
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.utils import collapse_rfc2231_value, parsedate_to_datetime

from rag_ft.indexing.formats.extracted import Extracted, Unreadable
from rag_ft.indexing.formats.mail.letter import Attachment, Letter, letter_text, text_of

_SHOWN = ("Subject", "From", "To", "Cc", "Date")
_ANY_MAIL = (*_SHOWN, "Received", "Message-ID", "MIME-Version", "Return-Path", "Content-Type")
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")
_LOCKED = "is encrypted ({}): save a copy of its text that is not"


def read_eml(data: bytes) -> Extracted:
    """Read a message with its attachments. Raises Unreadable if it is not one, or encrypted."""
    # Headers are decoded here: the newer policy's own parser needs minutes for a long list of addresses.
    message = message_from_bytes(data)
    if not any(message.get(name) is not None for name in _ANY_MAIL):
        raise Unreadable("is not a mail: it has no headers")
    return letter_text(_letter(message))


def _letter(message: Message) -> Letter:
    letter = Letter()
    raw: dict[str, str] = {}
    for name, value in message.raw_items():
        raw.setdefault(name.title(), str(value))
    for name in _SHOWN:
        value = " ".join(_decoded(raw.get(name, "")).split())
        if value:
            letter.headers[name] = value
    try:
        letter.date = parsedate_to_datetime(letter.headers.get("Date", "")).isoformat()
    except (ValueError, TypeError, IndexError, OverflowError):
        letter.date = ""
    _add(letter, message)
    return letter


def _decoded(value: str) -> str:
    """A header's value: encoded words decoded, bytes beyond ASCII by what they show."""
    if not value.isascii():
        return text_of(value.encode("utf-8", "surrogateescape"), "utf-8")
    if "=?" not in value:
        return value
    try:
        parts = decode_header(value)
    except (HeaderParseError, ValueError, binascii.Error):
        return value
    return "".join(part if isinstance(part, str) else text_of(part, charset or "") for part, charset in parts)


def _add(letter: Letter, part: Message) -> None:
    """Add a part and what it holds."""
    kind = part.get_content_type()
    if kind == "multipart/encrypted" or (kind.endswith("pkcs7-mime") and not _is_signed_only(part)):
        name = "PGP" if kind == "multipart/encrypted" else "S/MIME"
        letter.metadata["encrypted"] = name
        letter.locked = _LOCKED.format(name)
        return
    if kind.endswith("pkcs7-mime"):
        letter.metadata["signed"] = "S/MIME"
        letter.locked = "holds its text within a signature (S/MIME): save a copy of the text"
        return
    if kind.endswith(("pgp-signature", "pkcs7-signature")):
        letter.metadata["signed"] = "PGP" if "pgp" in kind else "S/MIME"
        return
    if kind == "multipart/alternative" and part.is_multipart():
        _add_best(letter, part)
    elif kind == "message/rfc822" and part.is_multipart():
        _add_message(letter, part)
    elif part.is_multipart():
        for child in _children(part):
            _add(letter, child)
    else:
        _add_leaf(letter, part)


def _children(part: Message) -> list[Message]:
    children = part.get_payload()
    return [child for child in children if isinstance(child, Message)] if isinstance(children, list) else []


def _is_signed_only(part: Message) -> bool:
    kind = part.get_param("smime-type")
    return isinstance(kind, str) and kind.lower() in ("signed-data", "certs-only")


def _add_best(letter: Letter, part: Message) -> None:
    """Add a text that was sent in several forms."""
    plain, html, rest = Letter(), Letter(), Letter()
    for child in _children(part):
        kinds = {inner.get_content_type() for inner in child.walk()} if child.is_multipart() else set()
        kind = child.get_content_type()
        target = html if kind == "text/html" or "text/html" in kinds else plain if kind == "text/plain" else rest
        _add(target, child)
    for inner in (plain, html, rest):
        letter.attachments += inner.attachments
        letter.metadata |= inner.metadata
        letter.locked = letter.locked or inner.locked
    if html.html and not letter.html and not letter.plain:
        letter.html, letter.plain = html.html, plain.plain
    else:  # other text stands around it, of which there is only one form
        letter.plain += plain.plain or rest.plain
        letter.html += [] if plain.plain or rest.plain else html.html


def _add_message(letter: Letter, part: Message) -> None:
    for message in _children(part)[:1]:
        subject = _decoded(str(message.get("Subject", ""))).strip()
        name = _file_name(part) or f"{subject or 'message'}.eml"
        letter.attachments.append(Attachment(name, "message/rfc822", message.as_bytes()))


def _add_leaf(letter: Letter, part: Message) -> None:
    kind = part.get_content_type()
    name = _file_name(part)
    data, damaged = _payload(part)
    if damaged:
        letter.metadata["damaged_parts"] = [*_names(letter), name or "the text"]
    is_text = kind in ("text/plain", "text/html", "message/delivery-status", "message/disposition-notification")
    if is_text and not name and part.get_content_disposition() != "attachment":
        text = text_of(data, part.get_content_charset() or "", html=kind == "text/html")
        if kind == "text/html":
            letter.html.append(text)
        else:
            letter.plain.append(_unflowed(text, part) if part.get_param("format") == "flowed" else _newlines(text))
        return
    letter.attachments.append(Attachment(name or f"attachment ({kind})", kind, data))


def _names(letter: Letter) -> list[str]:
    names = letter.metadata.get("damaged_parts")
    return [str(name) for name in names] if isinstance(names, list) else []


def _file_name(part: Message) -> str:
    for header, parameter in (("content-disposition", "filename"), ("content-type", "name")):
        value = part.get_param(parameter, None, header)
        if value:
            name = _decoded(collapse_rfc2231_value(value)).strip()
            return " ".join(name.replace("\\", "/").rpartition("/")[2].split())[:200]
    return ""


def _payload(part: Message) -> tuple[bytes, bool]:
    """The bytes of a part, and whether its encoding is damaged; as much is decoded as can be."""
    if str(part.get("content-transfer-encoding", "")).strip().lower() != "base64":
        data = part.get_payload(decode=True)
        return data if isinstance(data, bytes) else b"", False
    text = part.get_payload()
    raw = text.encode("ascii", "ignore") if isinstance(text, str) else b""
    decoded = []
    pieces = re.split(rb"=+", raw)
    for piece in pieces:
        letters = _NOT_BASE64.sub(b"", piece)
        whole = len(letters) - (len(letters) % 4 == 1)
        decoded.append(binascii.a2b_base64(letters[:whole] + b"=" * (-whole % 4)))
    odd = _NOT_BASE64.sub(b"", b"".join(pieces[-1:]))
    return b"".join(decoded), bool(re.search(rb"[^A-Za-z0-9+/=\s]", raw)) or len(odd) % 4 == 1


def _newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _unflowed(text: str, part: Message) -> str:
    """Lines that were broken for sending, joined again; those of different quotation depth are not."""
    deletes = str(part.get_param("delsp") or "").lower() == "yes"
    lines: list[str] = []
    open_depth: int | None = None
    for line in _newlines(text).split("\n"):
        content = line.lstrip(">")
        depth = len(line) - len(content)
        content = content.removeprefix(" ")
        if open_depth == depth and line != "-- ":
            lines[-1] += content
        else:
            lines.append(f"{'>' * depth} {content}" if depth else content)
        flows = content.endswith(" ") and content != "-- "
        if flows and deletes:
            lines[-1] = lines[-1][:-1]
        open_depth = depth if flows else None
    return "\n".join(line.rstrip(" ") if line != "-- " else line for line in lines)
