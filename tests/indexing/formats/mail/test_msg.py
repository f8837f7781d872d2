import struct

import pytest
from indexing.formats.mail.packing import attached, container, message

from rag_ft.indexing.conservation.check import check
from rag_ft.indexing.formats import extract
from rag_ft.indexing.formats.extracted import Unreadable
from rag_ft.indexing.formats.mail.rtf import rtf_text, unpacked

HEADERS = {"x0037": "Berth 4", "x0C1A": "Anna", "x5D01": "anna@port.example", "x0E04": "Ben; Cora"}
SENT = 133_000_000_000_000_000
SHOWN = "Berth 4\n\nFrom: Anna <anna@port.example>\nTo: Ben; Cora"

PACKED = bytes.fromhex(
    "2d0000002b0000004c5a4675f1c5c7a703000a007263706731323542320af32068656c090020627705b06c647d0a800fa0"
)
"""The example of the specification, MS-OXRTFCP 3.1."""


def read(tree):
    data = container(tree)
    found = extract("a.msg", data)
    conservation = check("a.msg", data, found)
    assert conservation is not None and conservation.complete, conservation
    return found


def test_a_message_is_its_subject_headers_and_text():
    found = read(message(x1000="The crane is free.\r\nAt six.\r\n", x00390040=SENT, **HEADERS))
    assert found.text == f"{SHOWN}\nDate: Sat, 18 Jun 2022 04:26:40 +0000\n\nThe crane is free.\nAt six."
    assert found.title == "Berth 4" and found.metadata["date"] == "2022-06-18T04:26:40+00:00"
    sent = read(message(x007D="Date: Tue, 03 Mar 2026 10:00:00 +0100\r\n", x1000="Text.", **HEADERS))
    assert "Date: Tue, 03 Mar 2026 10:00:00 +0100" in sent.text


def test_html_is_read_like_a_page():
    html = "<table><tr><th>Berth</th><th>Price</th></tr><tr><td>Nörd</td><td>18</td></tr></table>"
    expected = f"{SHOWN}\n\nBerth: Nörd | Price: 18"
    assert read(message(x1000="Berth Price Nörd 18", x10130102=html.encode(), **HEADERS)).text == expected
    assert read(message(x1013=html, **HEADERS)).text == expected


def test_narrow_text_is_decoded_by_its_code_page():
    tree = message(x0037001E=b"Gr\xf6\xdfe", x1000001E="Größe.".encode(), x3FFD0003=1252)
    assert extract("a.msg", container(tree)).text == "Größe\n\nGröße."


def test_attachments_and_messages_within_are_read():
    found = read(
        message(
            (
                attached("rules.md", b"# Rules\n\nNo *smoking*.\n"),
                attached("photo.png", b"\x89PNG"),
                attached("", message(header=24, x0037="Inner", x1000="Inside.")),
                attached("large.txt", b"many words " * 2_000),
            ),
            x1000="See attached.",
            **HEADERS,
        )
    )
    assert (
        "See attached.\n\nrules.md\n\nRules\n\nNo smoking.\n\nInner.msg\n\nInner\n\nInside.\n\nlarge.txt\n\nmany"
        in found.text
    )
    assert [(heading.level, heading.text) for heading in found.headings[:4]] == [
        (1, "Berth 4"),
        (2, "rules.md"),
        (3, "Rules"),
        (2, "Inner.msg"),
    ]
    assert all(found.text[heading.start :].startswith(heading.text) for heading in found.headings)
    assert found.metadata["left_out"] == ["photo.png"]


def test_messages_are_read_to_a_depth():
    inner = message(header=24, x0037="Level 0", x1000="Innermost.")
    for level in range(1, 8):
        inner = message((attached("", inner),), header=24, x0037=f"Level {level}", x1000=f"Text of {level}.")
    text = extract("a.msg", container(inner | {"__properties_version1.0": bytes(32)})).text
    assert "Text of 7." in text and "Text of 3." in text and "Innermost." not in text


def test_a_damaged_attachment_is_named():
    data = container(message((attached("a.docx", b"PK\3\4 broken"),), x1000="See.", **HEADERS))
    found = extract("a.msg", data)
    assert found.metadata["unread_parts"][0].startswith("a.docx is not a zip")
    assert check("a.msg", data, found).missing_parts == ("a.docx",)


def test_an_encrypted_message_is_refused_and_a_signed_one_read():
    secret = message((attached("smime.p7m", b"xyz", "application/pkcs7-mime"),), x001A="IPM.Note.SMIME", **HEADERS)
    with pytest.raises(Unreadable, match=r"^is encrypted"):
        extract("a.msg", container(secret))
    signed = (
        b"Content-Type: multipart/signed; boundary=b\n\n--b\n\nSigned text.\n--b\n"
        b"Content-Type: a/pkcs7-signature\n\n--b--\n"
    )
    tree = message(
        (attached("smime.p7m", signed, "multipart/signed"),), x001A="IPM.Note.SMIME.MultipartSigned", **HEADERS
    )
    found = extract("a.msg", container(tree))
    assert "Signed text." in found.text and found.metadata["signed"] == "S/MIME"


def test_packed_rich_text_is_unpacked():
    assert unpacked(PACKED) == b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n"
    assert extract("a.msg", container(message(x10090102=PACKED, **HEADERS))).text == f"{SHOWN}\n\nhello world"
    assert unpacked(PACKED[:30]) == b"{\\rtf1\\ansi\\ansicpg1252\\pard"[: len(unpacked(PACKED[:30]))]
    assert unpacked(b"x" * 40) == b"" and unpacked(b"") == b""


@pytest.mark.parametrize(
    ("rtf", "text"),
    [
        (r"{\rtf1\ansi{\fonttbl{\f0 Arial;}}\pard One\par Two\'e9 \u8364?\par}", "One\nTwoé €\n"),
        (r"{\rtf1{\*\generator Word;}a\{b\}\\ \emdash c\tab d}", "a{b}\\ —c\td"),
        (r"{\rtf1\ansi\ansicpg1251 \'cf\'ee}", "По"),
        (r"{\rtf1\uc2\u228 xxb}", "äb"),
        (r"{\rtf1 open {\b bold", "open bold"),
        (r"}}}{\rtf1 x}", "x"),
    ],
)
def test_rich_text_is_read(rtf, text):
    assert rtf_text(rtf.encode("latin-1")).text == text


def test_html_within_rich_text_is_read_as_html():
    rtf = (
        r"{\rtf1\ansi\ansicpg1252\fromhtml1{\*\htmltag64 <p>}\htmlrtf {\htmlrtf0 The "
        r"{\*\htmltag84 <b>}\htmlrtf \b\htmlrtf0 crane"
        r"{\*\htmltag92 </b>}\htmlrtf \b0\htmlrtf0  & more.\htmlrtf\par}\htmlrtf0{\*\htmltag72 </p>}}"
    )
    packed = struct.pack("<II4sI", len(rtf) + 12, len(rtf), b"MELA", 0) + rtf.encode()
    found = extract("a.msg", container(message(x10090102=packed, **HEADERS)))
    assert found.text == f"{SHOWN}\n\nThe crane & more."


@pytest.mark.parametrize("data", [b"", b"no", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)])
def test_what_is_no_message_is_refused_in_a_sentence(data):
    with pytest.raises(Unreadable):
        extract("a.msg", data)


def test_another_ole_file_is_refused_in_a_sentence():
    with pytest.raises(Unreadable, match="is not a message of Outlook"):
        extract("a.msg", container({"WordDocument": b"x" * 5_000}))
