import io
import os
import shutil
import tracemalloc
import zipfile

import pytest
from read_documents import one, read, reasons

from rag_ft.errors import CorpusError
from rag_ft.indexing.corpus import document_fingerprint, read_corpus
from rag_ft.schema import Document

# Formats


def test_text_is_kept_as_it_is(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("One\r\ntwo\u2028 \U0001f642\r\n".encode())
    document = one(path)
    assert document.text == "One\r\ntwo\u2028 \U0001f642\r\n"
    assert (document.id, document.title, document.source) == ("a.txt", "a", str(path))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_encodings_are_recognised(tmp_path, encoding):
    text = "Das Mädchen fährt über die Brücke, weil es größer ist als früher und schöne Häuser sieht. " * 4
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    assert one(tmp_path / "a.txt").text == text


def test_markdown_is_rendered_with_headings_and_front_matter(tmp_path):
    (tmp_path / "a.md").write_text(
        "---\ntitle: The page\nupdated: 2026-01-02\ntags: [a, b]\n---\n# Top\n\nA [link](x.md)"
        " and `code`,\nwrapped **bold**.\n\n"
        "## Part\n\n- one\n- two *em*\n\n3. three\n\n| a | b |\n|---|---|\n| 1 |  |\n\n"
        "```python\nx = 1\n\ny = 2\n```\n\n<b>raw</b>\n"
    )
    document = one(tmp_path / "a.md")
    assert document.text == (
        "Top\n\nA link and code, wrapped bold.\n\nPart\n\n- one\n- two em\n\n3. three\n\na | b\na: 1\n\n"
        "x = 1\n\ny = 2\n\nraw"
    )
    assert document.title == "The page"
    assert document.metadata == {"title": "The page", "updated": "2026-01-02", "tags": ["a", "b"]}
    assert [(h.level, h.text) for h in document.headings] == [(1, "Top"), (2, "Part")]
    for heading in document.headings:
        assert document.text[heading.start :].startswith(heading.text)


def test_broken_front_matter_does_not_lose_the_page(tmp_path):
    (tmp_path / "a.md").write_text("---\ntitle: [unclosed\n---\nBody.\n")
    document = one(tmp_path / "a.md")
    assert document.text == "title: [unclosed\n\nBody."


PAGE = (
    "<html><head><meta charset='iso-8859-1'><title>Caf\u00e9s</title><meta name=author content='A. B.'></head><body>"
    "<nav><a href=x>Home</a></nav><script>var x = 1;</script><article><h1>Main</h1>"
    + "".join(
        f"<p>Paragraph {i} says that low-rank adaptation adds few weights to a caf\u00e9 model.</p>" for i in range(8)
    )
    + "<h2>List</h2><ul><li>first</li><li>second</li></ul><table><tr><th>a</th><td>b</td></tr></table>"
    "</article></body></html>"
)


@pytest.mark.parametrize("length", [1, 60], ids=["a short page", "a long one"])
def test_numbered_lists_of_a_page_keep_their_numbers(tmp_path, length):
    filler = "".join(
        f"<p>Paragraph {n} says what the team does when a machine fails at night.</p>" for n in range(length)
    )
    steps = "<ol><li>Open the valve.</li><li>Read the <b>gauge</b>.</li></ol><ul><li>Wear gloves.</li></ul>"
    (tmp_path / "a.html").write_text(f"<html><body><main><h1>Steps</h1>{filler}{steps}{filler}</main></body></html>")
    text = one(tmp_path / "a.html").text
    assert "1. Open the valve.\n2. Read the gauge." in text and "- Wear gloves." in text


def test_html_gives_its_main_text_title_and_headings(tmp_path):
    (tmp_path / "a.html").write_bytes(PAGE.encode("latin-1"))
    document = one(tmp_path / "a.html")
    assert document.title == "Cafés" and document.metadata["author"] == "A. B."
    assert "Paragraph 7 says that low-rank adaptation adds few weights to a café model." in document.text
    assert "var x" not in document.text and "- first\n- second" in document.text
    assert {"Main", "List"} <= {heading.text for heading in document.headings}
    for heading in document.headings:
        assert document.text[heading.start :].startswith(heading.text)


def test_a_short_page_keeps_all_its_text(tmp_path):
    (tmp_path / "a.html").write_text("<p>Just this.<div>And <b>that</b>.</div>")
    assert one(tmp_path / "a.html").text == "Just this.\n\nAnd that."


def make_pdf(path, pages, **settings):
    from reportlab.pdfgen import canvas

    file = canvas.Canvas(str(path), **settings)
    file.setTitle("The report")
    for lines in pages:
        for number, line in enumerate(lines):
            file.drawString(72, 750 - 14 * number, line)
        file.showPage()
    file.save()


def test_pdf_pages_are_known(tmp_path):
    make_pdf(
        tmp_path / "a.pdf", [["The first page has a sentence", "that wraps to a line."], ["Second page here."], []]
    )
    document = one(tmp_path / "a.pdf")
    assert document.text == "The first page has a sentence that wraps to a line.\n\nSecond page here."
    assert document.title == "The report"
    assert document.page_starts == (0, document.text.index("Second"), len(document.text))


def make_docx(path):
    import docx

    file = docx.Document()
    file.add_heading("Guide", 1)
    file.add_paragraph("First paragraph.")
    file.add_paragraph("item one", style="List Bullet")
    file.add_paragraph("item two", style="List Bullet")
    file.add_paragraph("step one", style="List Number")
    file.add_paragraph("step two", style="List Number")
    table = file.add_table(1, 2)
    table.cell(0, 0).text, table.cell(0, 1).text = "a", "b"
    file.add_paragraph("Last.")
    file.core_properties.title = "Guide title"
    file.save(path)


def test_docx_keeps_the_order_of_paragraphs_and_tables(tmp_path):
    make_docx(tmp_path / "a.docx")
    document = one(tmp_path / "a.docx")
    assert (
        document.text
        == "Guide\n\nFirst paragraph.\n\n- item one\n- item two\n\n1. step one\n2. step two\n\na | b\n\nLast."
    )
    assert (document.title, document.headings[0].text) == ("Guide title", "Guide")


def make_epub(path, chapters):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(
            "META-INF/container.xml",
            '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="OEBPS/book.opf"/></rootfiles></container>',
        )
        items = "".join(f'<item id="c{i}" href="c%20{i}.xhtml"/>' for i in range(len(chapters)))
        refs = "".join(f'<itemref idref="c{i}"/>' for i in reversed(range(len(chapters))))
        file.writestr(
            "OEBPS/book.opf",
            '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>'
            f"<dc:title>The book</dc:title></metadata><manifest>{items}</manifest><spine>{refs}</spine></package>",
        )
        for i, chapter in enumerate(chapters):
            file.writestr(f"OEBPS/c {i}.xhtml", chapter)


def test_epub_is_read_in_the_order_of_its_spine(tmp_path):
    make_epub(
        tmp_path / "a.epub", ["<html><body><h1>B</h1><p>two</p></body></html>", "<body><h1>A</h1><p>one</p></body>"]
    )
    document = one(tmp_path / "a.epub")
    assert (document.text, document.title) == ("A\n\none\n\nB\n\ntwo", "The book")


# Folders


def test_an_iteration_can_be_repeated(tmp_path):
    (tmp_path / "a.txt").write_text("Text.")
    (tmp_path / "b.pdf").write_text("not a pdf")
    corpus = read_corpus(tmp_path)
    assert list(corpus) == list(corpus) == corpus.read_all().documents
    assert len(corpus.read_all().failures) == 1


def test_memory_does_not_grow_with_the_corpus(tmp_path):
    for number in range(60):
        (tmp_path / f"{number}.txt").write_text("Some words here. " * 20_000)  # 340 kB each, 20 MB in all
    tracemalloc.start()
    count = sum(1 for _ in read_corpus(tmp_path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 60 and peak < 5_000_000


# Bad input


def test_a_missing_path_and_an_empty_folder():
    with pytest.raises(CorpusError, match="there is nothing at"):
        read_corpus("/no/such/folder")


def damaged(tmp_path):
    make_docx(tmp_path / "whole.docx")
    data = (tmp_path / "whole.docx").read_bytes()
    (tmp_path / "whole.docx").unlink()
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("word/document.xml", b"0" * 300_000_000)
    from pypdf import PdfReader, PdfWriter

    make_pdf(tmp_path / "plain.pdf", [["Secret."]])
    writer = PdfWriter(clone_from=PdfReader(tmp_path / "plain.pdf"))
    writer.encrypt("password", algorithm="AES-256")
    encrypted = io.BytesIO()
    writer.write(encrypted)
    (tmp_path / "plain.pdf").unlink()
    make_pdf(tmp_path / "blank.pdf", [[]])
    return {
        "junk.txt": (bytes(range(256)) * 40, "holds binary data, not text"),
        "empty.txt": (b"", "is empty"),
        "blank.md": (b" \n\n", "is empty"),
        "cut.docx": (data[: len(data) // 2], "is not a zip container, or is cut off"),
        "bomb.docx": (bomb.getvalue(), "unpacks to 300 MB"),
        "bomb.epub": (bomb.getvalue(), "unpacks to 300 MB"),
        "old.docx": (b"\xd0\xcf\x11\xe0" + b"\0" * 100, "is encrypted, or an old .doc"),
        "no.epub": (data, "is damaged"),
        "secret.pdf": (encrypted.getvalue(), "is encrypted: save a copy without a password"),
        "no.pdf": (b"%PDF-1.4 nothing", "is not a readable PDF"),
        "lines.jsonl": (b'{"text": "ok"}\n{broken\n[1]\n{"title": "x"}\n', "is not JSON"),
        "empty.jsonl": (b" \n", "is empty"),
        "latin.jsonl": (b'{"text": "caf\xe9"}\n', "is not UTF-8"),
    }


def test_each_damaged_file_is_told_and_the_others_go_on(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    expected = damaged(folder)
    for name, (data, _) in expected.items():
        (folder / name).write_bytes(data)
    (folder / "good.txt").write_text("A good text.")
    documents, contents = read(folder)
    assert set(documents) == {"good.txt", "lines.jsonl:1"}
    told = [(os.path.basename(failure.source), failure.reason) for failure in contents.failures]
    for name, (_, reason) in expected.items():
        assert any(source.startswith(name) and reason in said for source, said in told), (name, told)
    assert [s for s, _ in told if s.startswith("lines")] == ["lines.jsonl:2", "lines.jsonl:3", "lines.jsonl:4"]
    assert ("blank.pdf", "has no text layer (scanned pages?): build with --ocr to recognise its text") in told
    reasons(contents)


def test_a_repeated_id_is_a_failure():
    documents, contents = read([Document(id="a", text="1"), Document(id="a", text="2")])
    assert documents["a"].text == "1" and "earlier document" in reasons(contents)[0]


def test_any_change_changes_the_fingerprint():
    document = Document(id="a", text="x", metadata={"b": 1, "a": 2})
    assert document_fingerprint(document) == document_fingerprint(Document(id="a", text="x", metadata={"a": 2, "b": 1}))
    for change in ({"text": "y"}, {"title": "t"}, {"metadata": {}}, {"page_starts": (0,)}, {"source": "s"}):
        assert document_fingerprint(document.model_copy(update=change)) != document_fingerprint(document)


def test_a_folder_that_vanishes_while_it_is_read_is_not_taken_for_its_last_state(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    for name in ("a.md", "b.md"):
        (folder / name).write_text("# Title\n\nText.\n")
    events = read_corpus(folder).events()
    next(events)
    shutil.rmtree(folder)
    with pytest.raises(CorpusError, match="docs has vanished while it was read: bring it back"):
        list(events)
