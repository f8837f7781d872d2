import io
import zipfile

import pytest

from rag_ft.indexing import formats
from rag_ft.indexing.conservation.check import check
from rag_ft.indexing.formats.extracted import Extracted

WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
SENTENCE = "The crane on the east quay lifts forty tonnes, and the valve opens at 6.5 bar."


def zipped(parts):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return data.getvalue()


def docx_with(body, **parts):
    """A DOCX of this body with other parts of `word/` in which each text is a paragraph."""
    import docx
    from docx.oxml import parse_xml

    document = docx.Document()
    for number, element in enumerate(list(parse_xml(f"<w:body {WORD}>{body}</w:body>"))):
        document.element.body.insert(number, element)
    file = io.BytesIO()
    document.save(file)
    with zipfile.ZipFile(file, "a") as archive:
        for name, text in parts.items():
            archive.writestr(f"word/{name}.xml", f"<w:{name} {WORD}>{paragraph(text)}</w:{name}>")
    return file.getvalue()


def paragraph(text):
    return f'<w:p><w:r><w:t xml:space="preserve">{text}</w:t></w:r></w:p>'


def epub_of(*pages):
    items = "".join(f'<item id="p{number}" href="p{number}.html"/>' for number in range(len(pages)))
    order = "".join(f'<itemref idref="p{number}"/>' for number in range(len(pages)))
    return zipped(
        {
            "META-INF/container.xml": '<container xmlns="urn:c"><rootfile full-path="book.opf"/></container>',
            "book.opf": f'<package xmlns="urn:o"><manifest>{items}</manifest><spine>{order}</spine></package>',
            **{f"p{number}.html": f"<html><body>{page}</body></html>" for number, page in enumerate(pages)},
        }
    )


def pdf_of(*pages, draw=lambda canvas, number: None):
    from reportlab.pdfgen import canvas

    file = io.BytesIO()
    made = canvas.Canvas(file)
    for number, lines in enumerate(pages, start=1):
        for row, line in enumerate(lines):
            made.drawString(72, 750 - 14 * row, line)
        draw(made, number)
        made.showPage()
    made.save()
    return file.getvalue()


FILES = {
    "a.txt": f"{SENTENCE}\nNothing is done.\n".encode(),
    "a.md": f"---\ntitle: Cranes\n---\n# Cranes\n\n{SENTENCE}\n\n- [Nothing](http://a.example) is *done*.\n".encode(),
    "a.rst": f"Cranes\n======\n\n{SENTENCE}\n\n.. why\n\n* `Nothing <http://a.b>`_ is :ref:`done <x>`.\n".encode(),
    "a.html": f"<body><main><h1>Cranes</h1><p>{SENTENCE}</p><p>Nothing is done.</p></main></body>".encode(),
    "a.epub": epub_of(f"<p>{SENTENCE}</p>", "<p>Nothing is done.</p>"),
    "a.docx": docx_with(paragraph(SENTENCE) + paragraph("Nothing is done.")),
    "a.pdf": pdf_of([SENTENCE, "Nothing is done."]),
}


@pytest.mark.parametrize("name", FILES)
def test_a_document_that_is_read_whole_has_lost_nothing(name):
    found = check(name, FILES[name], formats.extract(name, FILES[name]))
    assert found is not None and found.complete and found.moved == 0
    assert found.words >= 19 and found.in_words() == ""


@pytest.mark.parametrize("name", FILES)
def test_words_that_a_reader_drops_or_glues_are_counted_and_named(name, monkeypatch):
    suffix = name[1:]
    read = formats.READERS[suffix]

    def broken(data):
        extracted = read(data)
        assert "east quay" in extracted.text
        text = extracted.text.replace("the valve opens at 6.5 bar", "").replace("east quay", "eastquay")
        return Extracted(text, extracted.title, (), (), extracted.metadata)

    monkeypatch.setitem(formats.READERS, suffix, broken)
    found = check(name, FILES[name], formats.extract(name, FILES[name]))
    assert found is not None and (found.lost, found.glued, found.glued_sample) == (7, 1, ("eastquay",))
    assert found.sample == ("the valve opens at 6.5 bar",) and found.worth_reporting and not found.complete


def lost(name, data, text):
    return check(name, data, Extracted(text))


def test_every_part_of_a_docx_is_compared_and_one_that_is_missing_is_named():
    data = docx_with(paragraph("The body."), footnotes="A note below.", header1="Harbour office", comments="Really?")
    found = lost("a.docx", data, "The body.\n\nReally?")
    assert found.missing_parts == ("word/footnotes.xml",) and (found.words, found.lost) == (6, 3)
    assert found.left_out == {"running headers and footers": 2} and found.sample == ("A note below",)
    assert lost("a.docx", data, "The body. A note below. Really?").complete


def test_what_a_docx_does_not_show_need_not_be_there():
    run = "<w:p><w:r><w:rPr><w:vanish/></w:rPr><w:t>secret</w:t></w:r><w:del><w:r><w:t>gone</w:t></w:r></w:del></w:p>"
    found = lost("a.docx", docx_with(paragraph("Shown.") + run), "Shown.")
    assert found.complete and found.left_out == {"hidden text": 1, "deleted text": 1}


def test_a_page_of_a_book_of_which_nothing_was_read_is_named():
    data = epub_of("<p>First page.</p>", "<p>Another thing.</p>", "<p>Third of all.</p>")
    found = lost("a.epub", data, "First page. Third of all.")
    assert found.missing_parts == ("p1.html",) and found.lacks_parts


def test_what_stands_around_a_page_is_left_out_by_its_reason():
    page = (
        "<body><header>Harbour office</header><nav>Home Prices</nav><main><p>The <b>p</b>ier is open.</p>"
        "<p hidden>secret</p><div class='share-links'>Share</div><aside>Mind the step.</aside></main>"
        "<div class='cookie-banner'>We use cookies</div><footer>Imprint</footer><script>var a</script></body>"
    )
    found = lost("a.html", page.encode(), "The pier is open.\n\nMind the step.")
    assert found.complete and found.words == 7
    assert found.left_out == {"outside the main part": 8, "hidden text": 1, "navigation": 1}
    assert lost("a.html", page.encode(), "The pier is open.").sample == ("Mind the step",)
    page = page.replace("main>", "div>")
    assert lost("a.html", page.encode(), "Harbour office. The pier is open. Mind the step.").left_out == {
        "navigation": 3,
        "hidden text": 1,
        "banners": 3,
        "page footer": 1,
    }


@pytest.mark.parametrize(("text", "glued"), [("10^6 litres", 0), ("10⁶ litres", 0), ("106 litres", 1)])
def test_a_raised_number_is_a_word_of_its_own(text, glued):
    found = lost("a.html", b"<p>10<sup>6</sup> litres</p>", text)
    assert (found.lost, found.glued) == (0, glued)


def test_the_mark_of_a_note_is_no_part_of_the_word_before_it():
    page = '<p>The crane lifts 42 tonnes<a epub:type="noteref" href="#n1">1</a>.</p>'
    assert lost("a.epub", epub_of(page), "The crane lifts 42 tonnes [1].").complete
    assert lost("a.epub", epub_of(page), "The crane lifts 42 tonnes1.").glued == 1


@pytest.mark.parametrize("text", ["H2O", "H₂O", "H_2O"])
def test_a_lowered_number_may_be_joined(text):
    assert lost("a.html", b"<p>H<sub>2</sub>O</p>", text).complete


@pytest.mark.parametrize(
    ("source", "text", "said"),
    [
        ("---\nThe pump.\n---\nA valve.", "A valve.", ("The pump",)),
        ("---\npump: on\n---\nThe valve.", "The valve.", ()),
        ("+++\npump = 1\n+++\nThe valve.", "The valve.", ()),
        ("a **b**old `--dry-run` [t*e*xt](u) <span title='x'>in</span>side", "a bold --dry-run text inside", ()),
        ("```c\nfor (i) {}\n```\nafter", "after", ("for (i",)),
        ("`<dialog open>` shows", "shows", ("dialog open",)),
        ("see [it][1]\n\n[1]: http://a.example", "see it", ()),
        ("fish &amp; chips &eacute;t&eacute;", "fish & chips été", ()),
    ],
)
def test_markup_is_told_from_words(source, text, said):
    assert lost("a.md", source.encode(), text).sample == said


def test_pages_that_show_images_without_text_are_numbered_and_blank_ones_are_not():
    from PIL import Image
    from reportlab.lib.utils import ImageReader

    picture = ImageReader(Image.new("RGB", (40, 40), "red"))

    def draw(canvas, number):
        if number in (2, 3):
            canvas.drawImage(picture, 72, 500, 200, 200)

    data = pdf_of(["Page one."], [], [], [], ["Page five."], draw=draw)
    found = lost("a.pdf", data, "Page one. Page five.")
    assert found.pages_without_text == (2, 3) and found.lacks_parts
    assert found.in_words() == "pages 2 and 3 have no text: they are scanned images"
    recognised = Extracted("Page one. Page two. Page three. Page five.", page_starts=(0, 10, 20, 32, 32))
    assert check("a.pdf", data, recognised).complete


def test_values_of_a_form_and_running_lines_of_a_pdf():
    def draw(canvas, number):
        if number == 1:
            canvas.acroForm.textfield(name="who", value="Magnolia Harbour", x=72, y=400, width=200)

    bodies = ["Cranes lift.", "Valves open.", "Pumps run.", "Tanks leak."]
    pages = [["Harbour manual", body, f"Page {number}"] for number, body in enumerate(bodies, start=1)]
    data = pdf_of(*pages, draw=draw)
    found = lost("a.pdf", data, " ".join(bodies))
    assert found.sample == ("Magnolia Harbour",) and found.left_out == {"running headers and footers": 16}
    assert lost("a.pdf", data, " ".join([*bodies, "Magnolia Harbour"])).complete


def test_lines_of_turned_text_are_not_one():
    def draw(canvas, number):
        canvas.translate(300, 300)
        canvas.rotate(90)
        canvas.drawString(0, 0, "Boats leave the pier")
        canvas.drawString(0, -14, "four times a day")

    data = pdf_of([], draw=draw)
    assert lost("a.pdf", data, "Boats leave the pier four times a day").complete
    assert lost("a.pdf", data, "Boats leave the pierfour times a day").glued_sample == ("pierfour",)


def test_one_bad_byte_does_not_make_a_text_of_another_encoding():
    data = "The café’s pump – ".encode() * 3 + b"\xff\n"
    assert lost("a.txt", data, data.decode("utf-8", "replace")).complete
    assert lost("a.txt", data, data.decode("cp1252", "replace")).sample == ("café’s",)
    assert check("a.txt", "Höhe".encode("cp1252"), Extracted("Höhe", metadata={"encoding": "cp1252"})).complete


def test_a_format_without_a_check_and_a_source_that_it_cannot_read_are_not_checked():
    assert lost("a.xyz", b"a", "a") is None
    assert lost("a.docx", b"a", "a") is None
    assert lost("a.pdf", b"a", "a") is None
    assert lost("a.epub", zipped({"a": ""}), "a") is None


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("1. Lift.\n1. Turn.\n1. Lower.\n", "1. Lift.\n2. Turn.\n3. Lower."),
        ("- [How high does it lift?](\n    #how-high-does-it-lift)\n", "- How high does it lift?"),
        ("[Open tasks](https://a.example/?q=(size(small)%20or%20(new))) are few.", "Open tasks are few."),
        ("---\ntitle: Cranes\nteam:\n  - name: Ann\n...\nThe crane lifts.", "The crane lifts."),
    ],
    ids=[
        "numbers counted on",
        "a target on the next line",
        "a target with parentheses",
        "front matter that ends in dots",
    ],
)
def test_what_a_markdown_page_does_not_show_is_not_lost(source, text):
    assert lost("a.md", source.encode(), text).complete
    assert not lost("a.md", source.encode(), text.replace("lift", "").replace("Open", "").replace("Turn", "")).complete


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.md", b"<a" * 200_000),
        ("a.md", b"<!--" * 100_000),
        ("a.md", b"`" * 400_000),
        ("a.md", b"`a" * 200_000),
        ("a.md", b"[a](" * 100_000),
        ("a.md", b"](((((" * 60_000),
        ("a.md", b"](\n" * 100_000),
        ("a.md", b"][" * 200_000),
        ("a.md", b"*a" * 200_000),
        ("a.md", b"<script>" * 50_000),
        ("a.md", b"---\n" + b"a: b\n" * 100_000),
        ("a.md", b"---\na\n" * 60_000),
        ("a.html", b"<div>" * 5_000),
        ("a.txt", b"a-\n" * 150_000),
        ("a.txt", b"a" * 500_000),
        ("a.txt", b"-" * 500_000),
        ("a.txt", b"a-" + b" " * 500_000),
    ],
)
@pytest.mark.timeout(20)
def test_the_check_takes_linear_time(name, data):
    import time

    started = time.process_time()
    check(name, data, Extracted("a b c " * 1_000))
    assert time.process_time() - started < 6


def test_a_longer_source_than_is_checked_is_not(monkeypatch):
    monkeypatch.setattr("rag_ft.indexing.conservation.check.MAX_CHECKED_CHARS", 10)
    assert lost("a.txt", b"a" * 11, "a") is None and lost("a.txt", b"a", "a" * 11) is None
