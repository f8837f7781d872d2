import io
import zipfile

import pytest

from rag_ft.indexing.formats import Unreadable, extract
from rag_ft.indexing.formats.web.xhtml import as_html

HEAD = '<html xmlns="http://www.w3.org/1999/xhtml"><head><title>Page</title></head>'


def book(pages, said="<dc:title>The book</dc:title>", more=()):
    """An EPUB of these pages: name → content, None for one that is named and not there."""
    data = io.BytesIO()
    items = "".join(f'<item id="c{number}" href="{name}"/>' for number, name in enumerate(pages))
    order = "".join(f'<itemref idref="c{number}"/>' for number in range(len(pages)))
    with zipfile.ZipFile(data, "w") as file:
        file.writestr(
            "META-INF/container.xml",
            '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="OEBPS/book.opf"/></rootfiles></container>',
        )
        file.writestr(
            "OEBPS/book.opf",
            '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>'
            f"{said}</metadata><manifest>{items}</manifest><spine>{order}</spine></package>",
        )
        for name, page in pages.items():
            if page is not None:
                file.writestr("OEBPS/" + name.replace("%20", " "), page)
        for name, content in more:
            file.writestr(name, content)
    return data.getvalue()


@pytest.mark.parametrize(
    "empty",
    ["<title/>", '<title />\n<script type="text/javascript" src="a.js"/>', "<style/>", '<script\nsrc="a>b" />'],
)
def test_an_empty_element_of_a_pages_head_does_not_swallow_the_page(empty):
    page = f'<?xml version="1.0"?><html><head>{empty}</head><body><p>One.</p></body></html>'
    assert extract("a.epub", book({"a.xhtml": page})).text == "One."


def test_empty_elements_of_the_text_end_where_they_stand():
    text = '<h1><a id="x"/>Rates</h1><p>One<br/>two<i/> three.</p><div class="rule"/><p>Four.</p>'
    page = f"{HEAD}<body>{text}</body></html>"
    found = extract("a.epub", book({"a.xhtml": page}))
    assert found.text == "Rates\n\nOne\ntwo three.\n\nFour." and found.headings[0].text == "Rates"


def test_character_data_is_text():
    page = HEAD + "<body><p>If <![CDATA[a < b && c]]> holds.</p></body></html>"
    assert extract("a.epub", book({"a.xhtml": page})).text == "If a < b && c holds."


def test_a_book_says_who_made_it():
    said = "<dc:title>The\n book</dc:title><dc:creator>A. One</dc:creator><dc:creator>B. Two</dc:creator>"
    said += "<dc:language>en</dc:language><dc:publisher> </dc:publisher>"
    found = extract("a.epub", book({"a%20b.xhtml": HEAD + "<body><p>One.</p></body></html>"}, said))
    assert (found.text, found.title) == ("One.", "The book")
    assert found.metadata == {"creator": "A. One, B. Two", "language": "en"}


def test_a_page_that_is_not_there_is_named():
    found = extract("a.epub", book({"a.xhtml": HEAD + "<body>x</body></html>", "b.xhtml": None}))
    assert (found.text, found.metadata) == ("x", {"unread_parts": ["OEBPS/b.xhtml is missing"]})
    with pytest.raises(Unreadable, match=r"its page OEBPS/b\.xhtml is missing"):
        extract("a.epub", book({"b.xhtml": None}))


def test_a_page_that_holds_no_text_does_not_refuse_the_book():
    found = extract("a.epub", book({"a.jpg": b"\xff\xd8\0\0", "b.xhtml": HEAD + "<body>x</body></html>"}))
    assert (found.text, found.metadata) == ("x", {"unread_parts": ["OEBPS/a.jpg holds binary data, not text"]})


def test_marks_of_notes_in_a_book_stand_apart_and_the_table_of_contents_is_left_out():
    text = "<nav>Contents</nav><p>The mast<a epub:type='noteref' href='n.xhtml#n1'>1</a> broke.</p>"
    page = f"{HEAD}<body>{text}</body></html>"
    assert extract("a.epub", book({"a.xhtml": page})).text == "The mast [1] broke."


@pytest.mark.parametrize(("locked", "readable"), [("OEBPS/a.xhtml", False), ("OEBPS/font.otf", True)])
def test_a_locked_page_is_refused_and_a_locked_font_does_no_harm(locked, readable):
    rights = (
        '<encryption xmlns:enc="http://www.w3.org/2001/04/xmlenc#"><enc:EncryptedData><enc:CipherData>'
        f'<enc:CipherReference URI="{locked}"/></enc:CipherData></enc:EncryptedData></encryption>'
    )
    data = book({"a.xhtml": HEAD + "<body><p>One.</p></body></html>"}, more=[("META-INF/encryption.xml", rights)])
    if readable:
        assert extract("a.epub", data).text == "One."
        return
    with pytest.raises(Unreadable, match="without encryption"):
        extract("a.epub", data)


@pytest.mark.parametrize("begin", ['<?xml version="1.0" encoding="utf-8"?>\n<html>', HEAD.partition("<head>")[0]])
def test_pages_of_xhtml_outside_a_book_are_read_as_such(begin):
    head = "<head><script src='a.js'/><title>T</title></head>"
    page = f"{begin}{head}<body><h1>Leave</h1><p>Thirty days.</p></body></html>"
    found = extract("a.html", page.encode())
    assert (found.text, found.title) == ("Leave\n\nThirty days.", "T")


def test_a_page_of_quotes_and_slashes_is_read_in_linear_time():
    """A regular expression that tries each `<` again to the end of the page would take minutes here."""
    page = HEAD + "<body>" + "<a b=\" c=' " * 60_000 + "</body></html>"
    assert as_html(page) == page  # nothing in it is closed
    extract("a.epub", book({"a.xhtml": page}))
    page = HEAD + "<body>" + ("<a" + " " * 500) * 2_000 + "</body></html>"
    assert as_html(page) == page  # nothing in it is closed
    extract("a.epub", book({"a.xhtml": page}))


def test_a_page_that_is_listed_more_than_once_is_read_once():
    data = book({"a.xhtml": HEAD + "<body><p>One.</p></body></html>", "./a.xhtml": None, "a.xhtml#part": None})
    assert extract("a.epub", data).text == "One."


def test_character_data_without_an_end_is_left_as_it_stands():
    assert as_html("<p>a<![CDATA[b<c]]>d<![CDATA[e") == "<p>ab&lt;cd<![CDATA[e"
    assert as_html("<![CDATA[" * 100_000) == "<![CDATA[" * 100_000


def test_a_book_without_a_list_of_pages_says_so():
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        file.writestr("META-INF/container.xml", "<container/>")
    with pytest.raises(Unreadable, match="its list of pages is missing"):
        extract("a.epub", data.getvalue())
