"""Rich text of a message, as Outlook packs it → plain text, or the HTML that it was made from."""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

_FIRST_DICTIONARY = (
    rb"{\rtf1\ansi\mac\deff0\deftab720{\fonttbl;}{\f0\fnil \froman \fswiss \fmodern \fscript \fdecor MS Sans Serif"
    rb"SymbolArialTimes New RomanCourier{\colortbl\red0\green0\blue0"
    + b"\r\n"
    + rb"\par \pard\plain\f0\fs20\b\i\u\tab\tx"
)
_PACKED, _UNPACKED = b"LZFu", b"MELA"
_TURN = 4096


class RtfText(NamedTuple):
    """The text of a message, and whether it is HTML."""

    text: str
    is_html: bool


def unpacked(data: bytes) -> bytes:
    """Unpack rich text (MS-OXRTFCP); what a damaged one holds up to the damage."""
    if len(data) < 16:
        return b""
    size = struct.unpack_from("<I", data, 4)[0]
    if data[8:12] == _UNPACKED:
        return data[16 : 16 + size]
    if data[8:12] != _PACKED:
        return b""
    window = bytearray(_TURN)
    window[: len(_FIRST_DICTIONARY)] = _FIRST_DICTIONARY
    write = len(_FIRST_DICTIONARY)
    out = bytearray()
    position = 16
    while position < len(data):
        control = data[position]
        position += 1
        for bit in range(8):
            if control >> bit & 1:
                if position + 1 >= len(data):
                    return bytes(out)
                reference = data[position] << 8 | data[position + 1]
                position += 2
                offset, length = reference >> 4, (reference & 15) + 2
                if offset == write % _TURN:
                    return bytes(out)
                for i in range(length):
                    byte = window[(offset + i) % _TURN]
                    out.append(byte)
                    window[write % _TURN] = byte
                    write += 1
            else:
                if position >= len(data):
                    return bytes(out)
                out.append(data[position])
                window[write % _TURN] = data[position]
                write += 1
                position += 1
    return bytes(out)


_TOKEN = re.compile(
    rb"\\(?P<word>[a-zA-Z]{1,32})(?P<number>-?\d{1,9})?[ ]?|\\'(?P<byte>[0-9a-fA-F]{2})|\\(?P<sign>[^a-zA-Z])"
    rb"|(?P<brace>[{}])|[\r\n]+|(?P<text>[^\\{}\r\n]+)"
)
_NO_TEXT = frozenset(
    b"fonttbl colortbl stylesheet info pict object header footer headerl headerr footerl footerr listtable generator"
    b" listoverridetable rsidtbl themedata colorschememapping datastore latentstyles xmlnstbl mhtmltag".split()
)
_SIGNS = {b"par": "\n", b"line": "\n", b"row": "\n", b"tab": "\t", b"cell": "\t", b"emdash": "—", b"endash": "–"}
_SIGNS |= {b"lquote": "‘", b"rquote": "’", b"ldblquote": "“", b"rdblquote": "”", b"bullet": "•"}


class _Group(NamedTuple):
    """What holds within braces."""

    hidden: bool = False
    tag: bool = False
    skip: int = 1


def rtf_text(data: bytes) -> RtfText:
    """Read rich text; of text that was HTML before (MS-OXRTFEX), that HTML."""
    html = b"\\fromhtml" in data[:400]
    page = re.search(rb"\\ansicpg(\d{1,5})", data[:400])
    charset = f"cp{int(page[1])}" if page is not None else "cp1252"
    parts: list[str] = []
    pending = bytearray()  # bytes of text that are not decoded yet
    groups = [_Group()]
    muted = False  # within what is only rich text
    skipping = 0  # characters that stand for one written in Unicode before
    star = False
    for token in _TOKEN.finditer(data):
        group = groups[-1]
        if token["byte"] is None and token["text"] is None and pending:
            parts.append(_decoded(pending, charset))
        if token["brace"] == b"{":
            groups.append(group)
        elif token["brace"] == b"}":
            if len(groups) > 1:
                groups.pop()
        elif token["sign"] is not None:
            star = token["sign"] == b"*"
            if token["sign"] in (b"\\", b"{", b"}", b"~") and not group.hidden and not muted:
                parts.append("\u00a0" if token["sign"] == b"~" else token["sign"].decode())
            continue
        elif token["word"] is not None:
            word, number = token["word"], token["number"]
            if word == b"htmltag" and star:
                groups[-1] = group._replace(hidden=not html, tag=True)
            elif word in _NO_TEXT or star:
                groups[-1] = group._replace(hidden=True)
            elif word == b"htmlrtf":
                muted = html and number != b"0"
            elif word == b"uc":
                groups[-1] = group._replace(skip=int(number or 1))
            elif word == b"u" and number is not None and not group.hidden and not muted:
                code = int(number) % 65536
                parts.append(chr(code))
                skipping = group.skip
            elif word in _SIGNS and not group.hidden and not muted:
                parts.append(_SIGNS[word])
        elif token["byte"] is not None or token["text"] is not None:
            text = token["text"] if token["byte"] is None else bytes([int(token["byte"], 16)])
            if skipping:
                text, skipping = text[skipping:], max(skipping - len(text), 0)
            if text and not group.hidden and not muted:
                pending += text
        star = False
    parts.append(_decoded(pending, charset))
    text = "".join(parts).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return RtfText(text, html)


def _decoded(pending: bytearray, charset: str) -> str:
    try:
        text = pending.decode(charset, "replace")
    except LookupError:
        text = pending.decode("cp1252", "replace")
    pending.clear()
    return text
