"""Mail as Outlook keeps it (`.msg`): properties in the streams of an OLE container, read by olefile."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from email import message_from_string
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

from rag_ft.extras import require_extra
from rag_ft.indexing.formats.extracted import Extracted, Unreadable
from rag_ft.indexing.formats.limits import MAX_ATTACHMENTS, MAX_MAIL_DEPTH
from rag_ft.indexing.formats.mail.letter import Attachment, Letter, letter_text, text_of
from rag_ft.indexing.formats.mail.rtf import RtfText, rtf_text, unpacked

_SUBJECT, _SENDER, _SENDER_ADDRESS, _SENDER_SMTP = 0x0037, 0x0C1A, 0x0C1F, 0x5D01
_TO, _CC, _SENT, _RECEIVED, _SENT_HEADERS = 0x0E04, 0x0E03, 0x0039, 0x0E06, 0x007D
_BODY, _HTML, _RTF, _CLASS, _CODE_PAGE, _BODY_CODE_PAGE = 0x1000, 0x1013, 0x1009, 0x001A, 0x3FFD, 0x3FDE
_DATA, _LONG_NAME, _SHORT_NAME, _SHOWN_NAME, _MEDIA_TYPE = 0x3701, 0x3707, 0x3704, 0x3001, 0x370E
_TIME = 0x40
_FIRST_DAY = datetime(1601, 1, 1, tzinfo=timezone.utc)
_MOST_ENTRIES = 50_000


def read_msg(data: bytes) -> Extracted:
    """Read a message with its attachments. Raises Unreadable if it is not one, or encrypted."""
    require_extra("formats", "reading MSG files", "olefile")
    import io

    import olefile

    if not olefile.isOleFile(data=data):
        raise Unreadable("is not a message of Outlook, or is cut off: use a complete copy")
    try:
        container = olefile.OleFileIO(io.BytesIO(data))
        entries = container.listdir(streams=True, storages=True)
    except (OSError, ValueError, IndexError, TypeError, struct.error) as error:
        raise Unreadable("is damaged (its list of parts cannot be read): use a complete copy") from error
    with container:
        if len(entries) > _MOST_ENTRIES:
            raise Unreadable(f"has more than the {_MOST_ENTRIES:,} parts that are read")
        if not any(entry[0].startswith("__substg1.0_") for entry in entries):
            raise Unreadable("is not a message of Outlook: it has no headers and no text")
        return letter_text(_Message(container, entries, (), 32).letter(0))


class _Message:
    """One message of a container: what stands under one of its storages."""

    def __init__(self, container: Any, entries: Sequence[list[str]], path: tuple[str, ...], header: int) -> None:
        self._container = container
        self._entries = entries
        self._path = path
        self._numbers = self._properties(path, header)
        pages = [self._numbers.get((name, 3)) for name in (_CODE_PAGE, _BODY_CODE_PAGE)]
        self._charset = next((_charset(page) for page in pages if page), "cp1252")

    def letter(self, depth: int) -> Letter:
        """Read the message."""
        letter = Letter()
        kind = self._text(_CLASS).upper()
        sender, address = self._text(_SENDER), self._text(_SENDER_SMTP) or self._text(_SENDER_ADDRESS)
        if "@" in address and address.lower() not in sender.lower():
            sender = f"{sender} <{address}>" if sender else address
        shown = {"Subject": self._text(_SUBJECT), "From": sender, "To": self._text(_TO), "Cc": self._text(_CC)}
        letter.headers = {name: " ".join(value.split()) for name, value in shown.items() if value.strip()}
        self._add_date(letter)
        self._add_body(letter)
        for storage in self._storages("__attach_version1.0_#")[: MAX_ATTACHMENTS * 10]:
            self._add_attachment(letter, storage, depth)
        if "SMIME" in kind and "MULTIPARTSIGNED" not in kind and not "".join(letter.plain).strip():
            letter.metadata["encrypted"] = "S/MIME"
            letter.locked = "is encrypted, or signed so that only Outlook can read it (S/MIME): save a copy of its text"
            letter.attachments = [kept for kept in letter.attachments if not kept.name.lower().endswith(".p7m")]
        return letter

    def _add_date(self, letter: Letter) -> None:
        date: datetime | None = None
        headers = self._text(_SENT_HEADERS)
        if headers:
            try:
                date = parsedate_to_datetime(str(message_from_string(headers).get("Date", "")))
            except (ValueError, TypeError, IndexError, OverflowError):
                date = None
        ticks = self._numbers.get((_SENT, _TIME)) or self._numbers.get((_RECEIVED, _TIME))
        if date is None and ticks:
            try:
                date = _FIRST_DAY + timedelta(microseconds=ticks // 10)
            except OverflowError:
                date = None
        if date is not None:
            letter.headers["Date"] = format_datetime(date)
            letter.date = date.isoformat()

    def _add_body(self, letter: Letter) -> None:
        letter.plain = [self._text(_BODY).replace("\r\n", "\n").replace("\r", "\n")]
        html = self._stream(self._path, _HTML, "0102")
        if html.strip():
            letter.html = [text_of(html, "", html=True)]
        elif self._text(_HTML).strip():
            letter.html = [self._text(_HTML)]
        elif not letter.plain[0].strip():
            packed = self._stream(self._path, _RTF, "0102")
            rtf = rtf_text(unpacked(packed)) if packed else RtfText("", False)
            if rtf.is_html:
                letter.html = [rtf.text]
            else:
                letter.plain = [rtf.text]

    def _add_attachment(self, letter: Letter, storage: str, depth: int) -> None:
        path = (*self._path, storage)
        names = (self._text(name, path) for name in (_LONG_NAME, _SHORT_NAME, _SHOWN_NAME))
        name = next(
            (" ".join(name.replace("\\", "/").rpartition("/")[2].split()) for name in names if name.strip()), ""
        )
        kind = self._text(_MEDIA_TYPE, path).lower()
        inner = (*path, f"__substg1.0_{_DATA:04X}000D")
        if list(inner) in self._entries:
            if depth >= MAX_MAIL_DEPTH:
                letter.attachments.append(Attachment(name or "message.msg", kind, b""))
                return
            message = _Message(self._container, self._below(inner), inner, 24).letter(depth + 1)
            name = name or f"{message.headers.get('Subject', 'message')}.msg"
            letter.attachments.append(Attachment(name[:200], "application/vnd.ms-outlook", b"", message))
            return
        if kind == "multipart/signed":  # the message itself, as it was sent
            letter.metadata["signed"] = "S/MIME"
            kind, name = "message/rfc822", f"{name or 'message'}.eml"
        data = self._stream(path, _DATA, "0102")
        letter.attachments.append(Attachment(name[:200] or f"attachment ({kind or 'unknown'})", kind, data))

    def _below(self, path: tuple[str, ...]) -> list[list[str]]:
        return [entry for entry in self._entries if tuple(entry[: len(path)]) == path]

    def _storages(self, prefix: str) -> list[str]:
        place = len(self._path)
        return sorted(
            {
                entry[place]
                for entry in self._entries
                if len(entry) > place and tuple(entry[:place]) == self._path and entry[place].startswith(prefix)
            }
        )

    def _text(self, name: int, path: tuple[str, ...] | None = None) -> str:
        path = self._path if path is None else path
        wide = self._stream(path, name, "001F")
        if wide:
            return wide.decode("utf-16-le", "replace").rstrip("\0")
        narrow = self._stream(path, name, "001E")
        return text_of(narrow, self._charset).rstrip("\0") if narrow else ""

    def _stream(self, path: tuple[str, ...], name: int, kind: str) -> bytes:
        return self._read([*path, f"__substg1.0_{name:04X}{kind}"])

    def _read(self, place: list[str]) -> bytes:
        try:
            if self._container.get_type(place) != 2:
                return b""
            data = self._container.openstream(place).read()
            return data if isinstance(data, bytes) else b""
        except (OSError, ValueError, IndexError, struct.error):
            return b""

    def _properties(self, path: tuple[str, ...], header: int) -> dict[tuple[int, int], int]:
        """Numbers and times among the properties, by name and type."""
        data = self._read([*path, "__properties_version1.0"])
        found: dict[tuple[int, int], int] = {}
        for start in range(header, len(data) - 15, 16):
            kind, name, _, value = struct.unpack_from("<HHIQ", data, start)
            found[name, kind] = value & 0xFFFFFFFF if kind == 3 else value
        return found


def _charset(page: int) -> str:
    return "utf-8" if page == 65001 else f"cp{page}" if page < 65001 else "cp1252"
