import base64
import io
import zipfile
from email.message import EmailMessage

import pytest

from rag_ft.indexing.conservation.check import check
from rag_ft.indexing.formats import extract
from rag_ft.indexing.formats.extracted import Unreadable

HEADERS = "From: Anna <anna@port.example>\nTo: ben@port.example\nDate: Tue, 03 Mar 2026 10:00:00 +0100\n"
SHOWN = "From: Anna <anna@port.example>\nTo: ben@port.example\nDate: Tue, 03 Mar 2026 10:00:00 +0100"


def mail(text="", subject="Berth 4"):
    message = EmailMessage()
    message["Subject"] = subject
    message["From"] = "Anna <anna@port.example>"
    message["To"] = "ben@port.example"
    message["Date"] = "Tue, 03 Mar 2026 10:00:00 +0100"
    message.set_content(text)
    return message


def read(data):
    data = data if isinstance(data, bytes) else bytes(data)
    return extract("a.eml", data)


def whole(data):
    """A mail of which no word was lost."""
    data = data if isinstance(data, bytes) else bytes(data)
    found = read(data)
    conservation = check("a.eml", data, found)
    assert conservation is not None and conservation.complete, conservation
    return found


def test_a_mail_is_its_subject_headers_and_text():
    found = whole(mail("The crane is free.\n\n> When?\n\nAt six.\n"))
    assert found.text == f"Berth 4\n\n{SHOWN}\n\nThe crane is free.\n\n> When?\n\nAt six."
    assert (found.title, found.headings[0].text, found.headings[0].level) == ("Berth 4", "Berth 4", 1)
    assert found.metadata == {
        "from": "Anna <anna@port.example>",
        "to": "ben@port.example",
        "date": "2026-03-03T10:00:00+01:00",
    }


def test_html_is_read_like_a_page_where_it_holds_as_much_as_the_plain_text():
    message = mail("Berth North, price 18.\n")
    message.add_alternative(
        "<h1>Prices</h1><table><tr><th>Berth</th><th>Price</th></tr><tr><td>North</td><td>18</td></tr></table>"
        "<blockquote>When?</blockquote>",
        subtype="html",
    )
    found = whole(message)
    assert found.text.endswith("Prices\n\nBerth: North | Price: 18\n\nWhen?")
    assert [(heading.level, heading.text) for heading in found.headings] == [(1, "Berth 4"), (2, "Prices")]
    assert [found.text[block.start : block.end] for block in found.blocks] == ["Berth: North | Price: 18"]
    short = mail("One two three four five six seven.\n")
    short.add_alternative("<p>Your program shows no mail.</p>", subtype="html")
    assert whole(short).text.endswith("seven.")


def test_attachments_of_known_formats_stand_below_their_names():
    message = mail("See attached.\n")
    message.add_attachment(b"# Rules\n\nNo *smoking*.\n\n## More\n\nEver.\n", "text", "markdown", filename="rules.md")
    message.add_attachment(b"\x89PNG", "image", "png", filename="photo.png")
    message.add_attachment(b"a line\n", "text", "plain", filename="Größe.txt")
    found = whole(message)
    assert found.text.endswith(
        "Attachments: rules.md, photo.png, Größe.txt\n\nSee attached.\n\nrules.md\n\nRules\n\n"
        "No smoking.\n\nMore\n\nEver."
        "\n\nGröße.txt\n\na line\n"
    )
    assert [(heading.level, heading.text) for heading in found.headings] == [
        (1, "Berth 4"),
        (2, "rules.md"),
        (3, "Rules"),
        (4, "More"),
        (2, "Größe.txt"),
    ]
    assert all(found.text[heading.start :].startswith(heading.text) for heading in found.headings)
    assert found.metadata["left_out"] == ["photo.png"]


def test_a_damaged_attachment_is_named_and_the_mail_is_read():
    message = mail("See attached.\n")
    message.add_attachment(b"PK\3\4 broken", "application", "zip", filename="a.docx")
    message.add_attachment(b"x", "application", "ms-tnef", filename="winmail.dat")
    data = bytes(message)
    found = read(data)
    assert "See attached." in found.text
    assert found.metadata["unread_parts"][0].startswith("a.docx is not a zip container")
    assert found.metadata["unread_parts"][1].startswith("winmail.dat holds attachments that only Outlook can open")
    assert check("a.eml", data, found).missing_parts == ("a.docx", "winmail.dat")


def test_a_mail_within_a_mail_is_read_to_a_depth():
    inner = mail("Innermost.\n", "Level 0")
    for level in range(1, 8):
        outer = mail(f"Text of {level}.\n", f"Level {level}")
        outer.add_attachment(inner)
        inner = outer
    found = read(inner)
    assert "Text of 7." in found.text and "Text of 3." in found.text and "Innermost." not in found.text
    forwarded = mail("Please read.\n", "Fwd: Berth 4")
    forwarded.add_attachment(mail("The crane is free.\n"))
    assert "Please read.\n\nBerth 4.eml\n\nBerth 4\n\nFrom: Anna" in whole(forwarded).text


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("=?utf-8?B?R3LDtsOfZQ==?= am Kai", "Größe am Kai"),
        ("=?iso-8859-1?Q?Gr=F6=DFe?=", "Größe"),
        ("=?no-such?Q?Die_Gr=F6=DFe_der_Stra=DFe?=", "Die Größe der Straße"),
        ("=?utf-8?B?broken", "=?utf-8?B?broken"),
        ("Größe", "Größe"),
        ("one\n two", "one two"),
    ],
)
def test_subjects_are_decoded(header, text):
    assert read(f"Subject: {header}\n\nBody.\n".encode()).title == text


@pytest.mark.parametrize("charset", ["utf-8", "cp1252", "no-such-charset", "", "idna"])
def test_a_wrong_character_set_does_not_lose_the_text(charset):
    content = f"Content-Type: text/plain; charset={charset}\n" if charset else ""
    for encoded in ("Die Größe der Straße.".encode(), "Die Größe der Straße.".encode("cp1252")):
        assert "Die Größe der Straße." in read(f"{HEADERS}{content}\n".encode() + encoded).text


@pytest.mark.parametrize("damage", ["!!{}", "{}A", "{}\n--", "{} \0 "])
def test_damaged_base64_is_read_as_far_as_it_goes(damage):
    encoded = base64.b64encode(b"The crane lifts forty tonnes at the quay.").decode()
    found = read(f"{HEADERS}Content-Transfer-Encoding: base64\n\n{damage.format(encoded)}\n".encode())
    assert "The crane lifts forty tonnes at the quay" in found.text
    cut = read(f"{HEADERS}Content-Transfer-Encoding: base64\n\n{encoded[:-9]}\n".encode())
    assert "The crane lifts forty tonnes at" in cut.text


def test_quoted_printable_and_flowed_lines_are_joined():
    data = (
        f"{HEADERS}Content-Type: text/plain; charset=utf-8; format=flowed\n"
        f"Content-Transfer-Encoding: quoted-printable\n\n"
        "The crane =C3=BCber the =\nquay is \nfree. \n> old \n> text\nEnd\n-- \nAnna\n"
    )
    assert read(data.encode()).text.endswith(
        "The crane über the quay is free.\n> old text\nEnd\n--\nAnna".replace("--", "-- ")
    )


def test_what_is_encrypted_is_refused_in_a_sentence_and_what_is_signed_is_read():
    pgp = f"{HEADERS}Content-Type: multipart/encrypted; boundary=b\n\n--b\n\nx\n--b--\n"
    smime = f"{HEADERS}Content-Type: application/pkcs7-mime; smime-type=enveloped-data\n\nMII\n"
    inline = f"{HEADERS}\n-----BEGIN PGP MESSAGE-----\n\nhQ\n-----END PGP MESSAGE-----\n"
    for data, name in ((pgp, "PGP"), (smime, "S/MIME"), (inline, "PGP")):
        with pytest.raises(Unreadable, match=rf"^is encrypted \({name}\): save a copy of its text that is not$"):
            read(data.encode())
    signed = (
        f"{HEADERS}Content-Type: multipart/signed; boundary=b\n\n--b\n\nSigned text.\n"
        "--b\nContent-Type: application/pgp-signature; name=signature.asc\n\nxyz\n--b--\n"
    )
    found = read(signed.encode())
    assert found.text.endswith("Signed text.") and found.metadata["signed"] == "PGP"


def test_a_file_that_is_no_mail_is_refused():
    with pytest.raises(Unreadable, match="is not a mail"):
        read(b"Just some words.\n")


def test_a_zip_bomb_in_a_mail_is_refused_and_named():
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", b"\0" * 300_000_000)
    message = mail("Text.\n")
    message.add_attachment(bomb.getvalue(), "application", "zip", filename="a.docx")
    found = read(message)
    assert found.metadata["unread_parts"][0].startswith("a.docx ")


def test_thousands_of_addresses_and_parts_take_no_time():
    many = ", ".join(f"Person {i} <p{i}@port.example>" for i in range(20_000))
    assert len(read(f"Subject: x\nTo: {many}\n\nText.\n".encode()).metadata["to"]) > 400_000
    message = mail("Text.\n")
    for i in range(300):
        message.add_attachment(b"words\n", "text", "plain", filename=f"{i}.txt")
    found = read(message)
    assert found.text.count("words") == 100 and len(found.metadata["left_out"]) == 100
