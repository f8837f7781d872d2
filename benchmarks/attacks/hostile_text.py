"""Hostile files of markup, notebooks, mail and source code; put into `MAKERS` of `hostile.py`."""

from __future__ import annotations

import base64
import json
import struct

from hostile import hostile, zipped

BOMB = zipped({"[Content_Types].xml": "<Types/>", "word/document.xml": b"\0" * 400_000_000})
"""A DOCX of which each byte becomes a thousand."""


@hostile("nested-lists.rst")
def _() -> bytes:
    return "".join(f"{' ' * i}* x\n\n" for i in range(0, 6_000, 2)).encode()


@hostile("substitutions-of-substitutions.rst")
def _() -> bytes:
    names = [f".. |a{i}| replace:: {f'|a{i - 1}| ' * 10 if i else 'words '}\n\n" for i in range(20)]
    return "".join([*names, "|a19|\n"]).encode()


@hostile("one-substitution-a-million-times.rst")
def _() -> bytes:
    return b".. |a| replace:: " + b"many words " * 5_000 + b"\n\n" + b"|a| and\n\n" * 100_000


@hostile("open-marks.rst")
def _() -> bytes:
    return b"*a `b ``c |d :e:`f " * 200_000


@hostile("a-wide-grid.rst")
def _() -> bytes:
    border = b"+" + b"-+" * 3_000 + b"\n"
    return border + (b"|" + b"x|" * 3_000 + b"\n" + border) * 300


@hostile("titles-of-titles.rst")
def _() -> bytes:
    return b"".join(b"T\n" + bytes([33 + i % 14]) * 4 + b"\n\n" for i in range(200_000))


@hostile("reads-other-files.rst")
def _() -> bytes:
    reads = [
        b".. %s\n   :file: /etc/passwd\n\n" % name for name in (b"raw:: html", b"csv-table::", b"math::", b"image:: x")
    ]
    return b".. include:: /etc/passwd\n\n" + b"".join(reads) + b"Text.\n"


@hostile("attributes-of-attributes.adoc")
def _() -> bytes:
    lines = [f":a{i}: {f'{{a{i - 1}}}' * 10 if i else 'words '}\n" for i in range(20)]
    return "".join([*lines, "\n", "{a19} {a5}\n\n" * 100_000]).encode()


@hostile("open-brackets.adoc")
def _() -> bytes:
    return b"link:a[footnote:[<<b,((c [[ " * 200_000


@hostile("blocks-within-blocks.adoc")
def _() -> bytes:
    return "".join("=" * (4 + i) + "\n" for i in range(5_000)).encode()


@hostile("a-cell-of-a-million-rows.adoc")
def _() -> bytes:
    return b"|===\n" + b"999.99999+|word " * 20_000 + b"\n|===\n" + b"9999999*|word\n"


@hostile("cells-within-cells.adoc")
def _() -> bytes:
    return b"|===\na|\n" * 3_000


@hostile("nested.ipynb")
def _() -> bytes:
    return b'{"cells": ' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}"


@hostile("a-million-cells.ipynb")
def _() -> bytes:
    return b'{"cells": [' + b'{"cell_type": "markdown", "source": "a"},' * 1_000_000 + b"{}]}"


@hostile("an-output-of-200-mb.ipynb")
def _() -> bytes:
    output = {"output_type": "stream", "text": "a\r" * 100_000_000}
    return json.dumps({"cells": [{"cell_type": "code", "source": "f()", "outputs": [output]}]}).encode()


@hostile("tables-of-tables.ipynb")
def _() -> bytes:
    html = "<table><tr><td colspan=1000 rowspan=60000>many words" * 2_000
    output = {"output_type": "display_data", "data": {"text/html": html}}
    return json.dumps({"cells": [{"cell_type": "code", "source": "f()", "outputs": [output]}]}).encode()


HEADERS = b"From: a@b.example\nSubject: Berth\nMIME-Version: 1.0\n"


@hostile("nested.eml")
def _() -> bytes:
    parts = [b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (i, i) for i in range(20_000)]
    return HEADERS + b"".join(parts) + b"\nText.\n"


@hostile("mails-within-mails.eml")
def _() -> bytes:
    return (HEADERS + b"Content-Type: message/rfc822\n\n") * 5_000 + b"Subject: x\n\nText.\n"


@hostile("a-hundred-bombs.eml")
def _() -> bytes:
    head = b"--b\nContent-Type: application/x; name=a.docx\nContent-Transfer-Encoding: base64\n\n"
    part = head + base64.encodebytes(BOMB) + b"\n"
    return HEADERS + b"Content-Type: multipart/mixed; boundary=b\n\n" + part * 100 + b"--b--\n"


@hostile("a-million-addresses.eml")
def _() -> bytes:
    return HEADERS + b"To: " + b'"A, (B" <a@b.example>, ' * 1_000_000 + b"c\n\nText.\n"


@hostile("a-million-parts.eml")
def _() -> bytes:
    head = HEADERS + b"Content-Type: multipart/mixed; boundary=b\n\n"
    return head + b"--b\nContent-Disposition: attachment; filename=a.md\n\n# A\n" * 300_000 + b"--b--\n"


@hostile("a-header-of-encoded-words.eml")
def _() -> bytes:
    return HEADERS + b"To: " + b"=?utf-8?Q?a?= " * 500_000 + b"\n\nText.\n"


@hostile("a-loop-of-sectors.msg")
def _() -> bytes:
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    header += struct.pack("<IIIIIIIIII", 0, 1, 1, 0, 4096, 1, 1, 0xFFFFFFFE, 0, 0).ljust(468, b"\xff")
    return header + struct.pack("<I", 0xFFFFFFFD) + struct.pack("<I", 1) * 127 + b"R\0o\0" * 128


@hostile("cut-off.msg")
def _() -> bytes:
    return b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\xff" * 4_000


@hostile("brackets.py")
def _() -> bytes:
    return b"(" * 1_000_000


@hostile("classes-within-classes.py")
def _() -> bytes:
    return "".join(f"{' ' * i}class A:\n" for i in range(90)).encode() + b"x = 1\n" * 1_000_000


@hostile("a-line-of-declarations.java")
def _() -> bytes:
    return (b"public static final " * 19 + b"\n") * 100_000


@hostile("ever-deeper.js")
def _() -> bytes:
    return b"".join(b" " * (i % 390) + b"class A {\n" for i in range(300_000))


@hostile("minified.js")
def _() -> bytes:
    return b"function a(b){return b};" * 1_000_000
