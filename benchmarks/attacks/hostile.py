"""Hostile files of every kind that is read, made from nothing: name → how to put it into a folder."""

from __future__ import annotations

import io
import os
import random
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
MAKERS: dict[str, Callable[[Path], None]] = {}
"""By the file's name; each is given the path to write to."""


def hostile(name: str) -> Callable[[Callable[[], bytes]], Callable[[], bytes]]:
    """A maker of the bytes of a file of this name."""

    def register(make: Callable[[], bytes]) -> Callable[[], bytes]:
        MAKERS[name] = lambda path: void(path.write_bytes(make()))
        return make

    return register


def void(_: object) -> None:
    """Nothing."""


def pdf(*parts: bytes) -> bytes:
    """A PDF of these objects, of which the first is the catalogue."""
    out, places = bytearray(b"%PDF-1.4\n"), []
    for number, part in enumerate(parts, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n" % number + part + b"\nendobj\n"
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(parts) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    return bytes(out + b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (len(parts) + 1, start))


def stream(data: bytes, said: bytes = b"") -> bytes:
    packed = zlib.compress(data, 9)
    return b"<< /Filter /FlateDecode /Length %d %s >>\nstream\n" % (len(packed), said) + packed + b"\nendstream"


def page_pdf(content: bytes, *more: bytes, resources: bytes = b"", kids: bytes = b"3 0 R", count: int = 1) -> bytes:
    return pdf(
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, count),
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> %s >> >>" % resources,
        content,
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        *more,
    )


def zipped(parts: dict[str, bytes | str]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return data.getvalue()


def docx(body: str, styles: str = "") -> bytes:
    kinds = "application/vnd.openxmlformats-officedocument.wordprocessingml"
    base = "http://schemas.openxmlformats.org"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{base}/package/2006/content-types"><Default Extension="rels"'
        ' ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Override'
        f' PartName="/word/document.xml" ContentType="{kinds}.document.main+xml"/><Override'
        f' PartName="/word/styles.xml" ContentType="{kinds}.styles+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{base}/package/2006/relationships"><Relationship Id="r1"'
        f' Type="{base}/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/></Relationships>',
        "word/_rels/document.xml.rels": f'<Relationships xmlns="{base}/package/2006/relationships"><Relationship'
        f' Id="r1" Type="{base}/officeDocument/2006/relationships/styles" Target="styles.xml"/></Relationships>',
        "word/styles.xml": f"<w:styles {WORD}>{styles}</w:styles>",
        "word/document.xml": f"<w:document {WORD}><w:body>{body}</w:body></w:document>",
    }
    return zipped(parts)


def epub(pages: dict[str, str], spine: list[str] | None = None, opf: str = "") -> bytes:
    items = "".join(f'<item id="{name}" href="{name}"/>' for name in pages)
    order = "".join(f'<itemref idref="{name}"/>' for name in (spine or pages))
    return zipped(
        {
            "META-INF/container.xml": '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="book.opf"/></rootfiles></container>',
            "book.opf": opf
            or '<package xmlns="http://www.idpf.org/2007/opf"><metadata/><manifest>'
            f"{items}</manifest><spine>{order}</spine></package>",
            **pages,
        }
    )


DRAWN = b"BT /F1 12 Tf (" + b"A word and another " * 50 + b") Tj ET\n"
PAGE = "<html><body><p>" + "A word and another. " * 5_000 + "</p></body></html>"

# PDF

FORM = (
    b" /Type /XObject /Subtype /Form /BBox [0 0 9 9]"
    b" /Resources << /Font << /F1 5 0 R >> /XObject << /X 6 0 R /Y 7 0 R >> >>"
)


@hostile("form-calls-itself.pdf")
def _() -> bytes:
    return page_pdf(stream(b"/X Do"), stream(b"/X Do /X Do", FORM), resources=b"/XObject << /X 6 0 R >>")


@hostile("two-forms-call-each-other.pdf")
def _() -> bytes:
    forms = stream(b"/Y Do " * 40, FORM), stream(b"/X Do " * 40, FORM)
    return page_pdf(stream(b"/X Do " * 40), *forms, resources=b"/XObject << /X 6 0 R /Y 7 0 R >>")


@hostile("forms-that-double-thirty-times.pdf")
def _() -> bytes:
    forms = []
    for number in range(30):
        inner = b"/X Do /X Do" if number < 29 else b"BT /F1 9 Tf (words) Tj ET"
        said = b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /Font << /F1 5 0 R >>"
        forms.append(stream(inner, said + b" /XObject << /X %d 0 R >> >>" % (number + 7)))
    return page_pdf(stream(b"/X Do"), *forms, resources=b"/XObject << /X 6 0 R >>")


@hostile("packed-stream-of-1-gb.pdf")
def _() -> bytes:
    return page_pdf(stream(DRAWN * (1_000_000_000 // len(DRAWN))))


@hostile("stream-packed-twice.pdf")
def _() -> bytes:
    packed = zlib.compress(zlib.compress(DRAWN * 300_000, 9), 9)
    return page_pdf(
        b"<< /Filter [/FlateDecode /FlateDecode] /Length %d >>\nstream\n" % len(packed) + packed + b"\nendstream"
    )


@hostile("one-page-a-hundred-thousand-times.pdf")
def _() -> bytes:
    return page_pdf(stream(DRAWN), kids=b"3 0 R " * 100_000, count=100_000)


@hostile("pages-that-hold-themselves.pdf")
def _() -> bytes:
    return page_pdf(stream(DRAWN), kids=b"2 0 R 3 0 R 2 0 R", count=1_000_000)


@hostile("two-thousand-million-pages.pdf")
def _() -> bytes:
    return page_pdf(stream(DRAWN), count=2_000_000_000)


@hostile("arrays-within-arrays.pdf")
def _() -> bytes:
    return page_pdf(stream(DRAWN), b"[" * 300_000 + b"]" * 300_000)


@hostile("a-number-of-ten-thousand-digits.pdf")
def _() -> bytes:
    return page_pdf(stream(b"BT /F1 1 Tf (" + b"9" * 10_000 + b" words) Tj ET"))


def _shown(x: float, y: float, text: bytes, size: float = 10) -> bytes:
    return b"BT /F1 %g Tf %g %g Td (%s) Tj ET\n" % (size, x, y, text)


@hostile("a-hundred-thousand-letters-in-one-place.pdf")
def _() -> bytes:
    return page_pdf(stream(b"".join(_shown(100 + i % 7, 100, b"a") for i in range(100_000))))


@hostile("ten-thousand-tiny-boxes.pdf")
def _() -> bytes:
    tiny = (_shown(i * 37 % 600, i * 91 % 800, b"ab c", 0.1) for i in range(10_000))
    return page_pdf(stream(b"".join(tiny)))


@hostile("a-table-of-ten-thousand-cells.pdf")
def _() -> bytes:
    cells = (_shown(5 + 6 * column, 5 + 8 * row, b"a", 2) for row in range(98) for column in range(98))
    rules = b"".join(b"0 %g 600 .1 re f %g 0 .1 800 re f\n" % (8 * i, 6 * i) for i in range(100))
    return page_pdf(stream(rules + b"".join(cells)))


@hostile("a-list-of-eight-thousand-lines.pdf")
def _() -> bytes:
    return page_pdf(stream(b"".join(_shown(10, 0.1 * i, b"- ab-", 0.1) for i in range(8_000))))


@hostile("fifty-thousand-shapes.pdf")
def _() -> bytes:
    shapes = (b"%d %d %d %d re f\n" % (i % 600, i * 7 % 800, i % 97, i % 89) for i in range(50_000))
    return page_pdf(stream(b"".join(shapes) + DRAWN))


@hostile("numbers-beyond-any-page.pdf")
def _() -> bytes:
    odd = b"BT /F1 1e38 Tf 1e38 0 0 1e38 1e38 1e38 Tm (a b) Tj ET BT /F1 9 Tf 0 0 0 0 9 9 Tm (flat) Tj ET "
    return page_pdf(stream(odd + DRAWN))


@hostile("noise-after-a-good-head.pdf")
def _() -> bytes:
    good = page_pdf(stream(DRAWN))
    return good[: len(good) // 2] + random.Random(1).randbytes(100_000)


# DOCX


@hostile("vertical-merges.docx")
def _() -> bytes:
    cell = "<w:tr><w:tc><w:tcPr><w:vMerge{}/></w:tcPr><w:p><w:r><w:t>{}</w:t></w:r></w:p></w:tc></w:tr>"
    rows = cell.format(' w:val="restart"', "a word " * 20_000) + cell.format("", "") * 5_000
    return docx(f"<w:tbl>{rows}</w:tbl>")


@hostile("nested-tables.docx")
def _() -> bytes:
    return docx("<w:tbl><w:tr><w:tc>" * 80 + "<w:p><w:r><w:t>x</w:t></w:r></w:p>" + "</w:tc></w:tr></w:tbl>" * 80)


@hostile("a-hundred-thousand-nested-elements.docx")
def _() -> bytes:
    return docx("<w:sdt><w:sdtContent>" * 100_000 + "</w:sdtContent></w:sdt>" * 100_000)


@hostile("a-hundred-thousand-tables.docx")
def _() -> bytes:
    return docx("<w:tbl><w:tr><w:tc><w:p><w:r><w:t>x</w:t></w:r></w:p></w:tc></w:tr></w:tbl>" * 100_000)


@hostile("a-hundred-thousand-attributes.docx")
def _() -> bytes:
    attributes = " ".join(f'a{number}="x"' for number in range(100_000))
    return docx(f"<w:p {attributes}><w:r><w:t>x</w:t></w:r></w:p>")


@hostile("ten-thousand-styles-of-ten-thousand-paragraphs.docx")
def _() -> bytes:
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="s{n}"><w:name w:val="n{n}"/></w:style>' for n in range(10_000)
    )
    row = '<w:p><w:pPr><w:pStyle w:val="s{}"/></w:pPr><w:r><w:t>words</w:t></w:r></w:p>'
    return docx("".join(row.format(number) for number in range(10_000)), styles)


@hostile("entities-that-grow.docx")
def _() -> bytes:
    parts = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "words"}">' for n in range(12))
    page = f"<!DOCTYPE w:document [{parts}]><w:document {WORD}><w:body><w:p><w:r><w:t>&e11;</w:t></w:r></w:p></w:body>"
    return zipped({"word/document.xml": page + "</w:document>"})


@hostile("unpacks-to-250-mb.docx")
def _() -> bytes:
    return docx("<w:p/>" * 40_000_000)


@hostile("unpacks-to-2-gb.docx")
def _() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("word/document.xml", "w", force_zip64=True) as part:
            for _ in range(200):
                part.write(b"<a>" * 3_333_333)
    return data.getvalue()


@hostile("says-less-than-it-unpacks-to.docx")
def _() -> bytes:
    data = docx("<w:p/>" * 3_000_000)
    sizes = (6 * 3_000_000 + len(f"<w:document {WORD}><w:body></w:body></w:document>")).to_bytes(4, "little")
    return data.replace(sizes, (100).to_bytes(4, "little"))


@hostile("a-hundred-thousand-parts.docx")
def _() -> bytes:
    return zipped({f"word/{number}.xml": b"" for number in range(100_000)})


@hostile("a-text-box-in-each-of-many.docx")
def _() -> bytes:
    return docx("<w:p><w:r><w:txbxContent>" * 60 + "<w:p/>" * 50_000 + "</w:txbxContent></w:r></w:p>" * 60)


# CSV and XLSX

SHEET = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


def xlsx(sheet: str, shared: str = "", after: str = "") -> bytes:
    base = "http://schemas.openxmlformats.org"
    linked = f"{base}/officeDocument/2006/relationships"
    parts = {
        "_rels/.rels": f'<Relationships xmlns="{base}/package/2006/relationships"><Relationship Id="r1"'
        f' Type="{linked}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{base}/package/2006/relationships"><Relationship'
        f' Id="r1" Type="{linked}/worksheet" Target="sheet.xml"/><Relationship Id="r2" Type="{linked}/sharedStrings"'
        ' Target="shared.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook {SHEET} xmlns:r="{linked}"><sheets><sheet name="A" r:id="r1"/></sheets>'
        "</workbook>",
        "xl/shared.xml": f"<sst {SHEET}>{shared}</sst>",
        "xl/sheet.xml": f"<worksheet {SHEET}><sheetData>{sheet}</sheetData>{after}</worksheet>",
    }
    return zipped(parts)


@hostile("quotes-never-closed.csv")
def _() -> bytes:
    return b'"a,b\n' * 2_000_000


@hostile("a-quote-before-everything.csv")
def _() -> bytes:
    return b'"' + b"a,b\n" * 5_000_000


@hostile("a-million-columns.csv")
def _() -> bytes:
    return (b"a," * 1_000_000 + b"\n") * 5


@hostile("a-million-rows.csv")
def _() -> bytes:
    return b"berth,price\n" + b"".join(b"north quay %d,%d\n" % (n, n) for n in range(1_000_000))


@hostile("a-million-rows.xlsx")
def _() -> bytes:
    return xlsx("".join(f"<row><c><v>{n}</v></c><c t='str'><v>north quay</v></c></row>" for n in range(1_000_000)))


@hostile("one-text-in-a-million-cells.xlsx")
def _() -> bytes:
    return xlsx("<row>" + '<c t="s"><v>0</v></c>' * 1_000_000 + "</row>", f"<si><t>{'long ' * 6_000}</t></si>")


@hostile("a-cell-merged-over-everything.xlsx")
def _() -> bytes:
    row = "<row><c t='str'><v>text that is repeated</v></c></row>"
    merged = '<mergeCell ref="A1:XFD1048576"/>' * 100_000
    return xlsx(row + "<row/>" * 1_000_000, after=f"<mergeCells>{merged}</mergeCells>")


@hostile("a-hundred-thousand-merged-columns.xlsx")
def _() -> bytes:
    first = "<row>" + "<c t='str'><v>x</v></c>" * 16_000 + "</row>"
    letters = [a + b for a in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" for b in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    merged = "".join(f'<mergeCell ref="{name}1:{name}1000000"/>' for name in letters)
    return xlsx(first + "<row/>" * 500_000, after=f"<mergeCells>{merged}</mergeCells>")


@hostile("entities-that-grow.xlsx")
def _() -> bytes:
    parts = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "words"}">' for n in range(12))
    return zipped({"xl/workbook.xml": f"<!DOCTYPE workbook [{parts}]><workbook {SHEET}>&e11;</workbook>"})


@hostile("unpacks-to-250-mb.xlsx")
def _() -> bytes:
    return xlsx("<row/>" * 40_000_000)


@hostile("nested-elements.xlsx")
def _() -> bytes:
    return xlsx("<row>" + "<c>" * 100_000 + "</c>" * 100_000 + "</row>")


# PPTX and OpenDocument

SLIDE = (
    'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main"'
    ' xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"'
)


def pptx(shapes: str, times: int = 1) -> bytes:
    base = "http://schemas.openxmlformats.org"
    linked = f"{base}/officeDocument/2006/relationships"
    listed = '<p:sldId r:id="r1"/>' * times
    return zipped(
        {
            "_rels/.rels": f'<Relationships xmlns="{base}/package/2006/relationships"><Relationship Id="r1"'
            f' Type="{linked}/officeDocument" Target="ppt/presentation.xml"/></Relationships>',
            "ppt/_rels/presentation.xml.rels": f'<Relationships xmlns="{base}/package/2006/relationships">'
            f'<Relationship Id="r1" Type="{linked}/slide" Target="slide.xml"/></Relationships>',
            "ppt/presentation.xml": f'<p:presentation {SLIDE} xmlns:r="{linked}"><p:sldIdLst>{listed}</p:sldIdLst>'
            "</p:presentation>",
            "ppt/slide.xml": f"<p:sld {SLIDE}><p:cSld><p:spTree>{shapes}</p:spTree></p:cSld></p:sld>",
        }
    )


SHAPE = "<p:sp><p:txBody><a:p><a:r><a:t>words</a:t></a:r></a:p></p:txBody></p:sp>"


@hostile("one-slide-a-hundred-thousand-times.pptx")
def _() -> bytes:
    return pptx(SHAPE * 100, 100_000)


@hostile("a-hundred-thousand-shapes.pptx")
def _() -> bytes:
    return pptx(SHAPE * 100_000)


@hostile("groups-within-groups.pptx")
def _() -> bytes:
    return pptx("<p:grpSp>" * 200 + SHAPE * 1_000 + "</p:grpSp>" * 200)


@hostile("merged-cells.pptx")
def _() -> bytes:
    cell = "<a:txBody><a:p><a:r><a:t>{}</a:t></a:r></a:p></a:txBody></a:tc>"
    first = f'<a:tr><a:tc rowSpan="5000">{cell.format("a word " * 20_000)}</a:tr>'
    rows = f'<a:tr><a:tc vMerge="1">{cell.format("")}</a:tr>' * 5_000
    graphic = f"<a:graphic><a:graphicData><a:tbl>{first}{rows}</a:tbl></a:graphicData></a:graphic>"
    return pptx(f"<p:graphicFrame>{graphic}</p:graphicFrame>")


OPEN = " ".join(
    f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "text", "table", "draw")
)


def opened(kind: str, body: str) -> bytes:
    content = f"<office:document-content {OPEN}><office:body><office:{kind}>{body}</office:{kind}></office:body>"
    return zipped({"content.xml": content + "</office:document-content>"})


@hostile("rows-that-repeat.odt")
def _() -> bytes:
    cell = '<table:table-cell table:number-columns-repeated="99999999"><text:p>x</text:p></table:table-cell>'
    row = f'<table:table-row table:number-rows-repeated="99999999">{cell * 50}</table:table-row>'
    return opened("text", f"<table:table>{row * 100}</table:table>")


@hostile("rows-that-repeat.ods")
def _() -> bytes:
    cell = '<table:table-cell table:number-columns-repeated="16384"><text:p>x</text:p></table:table-cell>'
    row = f'<table:table-row table:number-rows-repeated="1048576">{cell}</table:table-row>'
    return opened("spreadsheet", f"<table:table>{row * 100}</table:table>")


@hostile("lists-within-lists.odt")
def _() -> bytes:
    deep = "<text:list><text:list-item>" * 120 + "<text:p>x</text:p>" + "</text:list-item></text:list>" * 120
    return opened("text", deep * 100)


@hostile("spaces-without-end.odt")
def _() -> bytes:
    return opened("text", '<text:p>x<text:s text:c="999999999"/>x</text:p>' * 100_000)


@hostile("entities-that-grow.odt")
def _() -> bytes:
    parts = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "words"}">' for n in range(12))
    return zipped({"content.xml": f"<!DOCTYPE a [{parts}]><a>&e11;</a>"})


# EPUB


@hostile("one-page-two-thousand-times.epub")
def _() -> bytes:
    return epub({"a.xhtml": PAGE}, ["a.xhtml"] * 2_000)


@hostile("one-page-under-two-thousand-names.epub")
def _() -> bytes:
    items = "".join(f'<item id="i{number}" href="a.xhtml#{number}"/>' for number in range(2_000))
    order = "".join(f'<itemref idref="i{number}"/>' for number in range(2_000))
    package = '<package xmlns="http://www.idpf.org/2007/opf"><manifest>{}</manifest><spine>{}</spine></package>'
    return epub({"a.xhtml": PAGE}, opf=package.format(items, order))


@hostile("nested-elements.epub")
def _() -> bytes:
    return epub({"a.xhtml": "<html><body>" + "<div>" * 100_000 + "word" + "</div>" * 100_000})


@hostile("nested-tables.epub")
def _() -> bytes:
    return epub({"a.xhtml": "<html><body>" + "<table><tr><td>a" * 100_000})


@hostile("character-data-without-end.epub")
def _() -> bytes:
    return epub({"a.xhtml": "<?xml version='1.0'?><html><body><p>Text.</p>" + "<![CDATA[" * 400_000})


@hostile("a-package-of-nested-elements.epub")
def _() -> bytes:
    return epub({"a.xhtml": PAGE}, opf="<a>" * 1_000_000 + "</a>" * 1_000_000)


@hostile("entities-that-grow.epub")
def _() -> bytes:
    parts = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "words"}">' for n in range(12))
    return epub({"a.xhtml": PAGE}, opf=f"<!DOCTYPE package [{parts}]><package>&e11;</package>")


@hostile("many-pages-of-zeros.epub")
def _() -> bytes:
    return epub({f"{number}.xhtml": "<p>" + "word " * 2_000_000 for number in range(25)})


# HTML


@hostile("nested-elements.html")
def _() -> bytes:
    return b"<html><body>" + b"<div>" * 100_000 + b"word" + b"</div>" * 100_000


@hostile("nested-lists.html")
def _() -> bytes:
    return b"<html><body>" + b"<ul><li>a" * 100_000


@hostile("nested-tables.html")
def _() -> bytes:
    return b"<html><body>" + b"<table><tr><td>a" * 100_000


@hostile("attributes.html")
def _() -> bytes:
    return b"<p " + b" ".join(b'a%d="x"' % number for number in range(100_000)) + b">word</p>"


@hostile("a-million-paragraphs.html")
def _() -> bytes:
    return b"<html><body>" + b"<p>A word and another.</p>" * 1_000_000


@hostile("formatting-never-closed.html")
def _() -> bytes:
    return b"<html><body>" + b"<p><b><i><u><font>word" * 30_000


@hostile("empty-elements-and-quotes.xhtml")
def _() -> bytes:
    return b"<?xml version='1.0'?><html><body>" + b"<a b=\" c=' " * 300_000


@hostile("character-data-without-end.xhtml")
def _() -> bytes:
    return b"<?xml version='1.0'?><html><body><p>Text.</p>" + b"<![CDATA[" * 400_000


# Markdown and text


@hostile("a-hundred-thousand-keys.md")
def _() -> bytes:
    return b"---\n" + b"".join(b"k%d: %d\n" % (number, number) for number in range(100_000)) + b"---\nText.\n"


@hostile("nested-front-matter.md")
def _() -> bytes:
    return b"---\nx: " + b"[" * 100_000 + b"]" * 100_000 + b"\n---\nText.\n"


@hostile("front-matter-of-5-mb.md")
def _() -> bytes:
    return b"---\nx: " + b"a " * 2_500_000 + b"\n---\nText.\n"


@hostile("aliases-that-grow.md")
def _() -> bytes:
    rows = b"".join(b"e%d: &e%d [%s]\n" % (n, n, b",".join([b"*e%d" % (n - 1)] * 10)) for n in range(1, 12))
    return b"---\ne0: &e0 [a, b]\n" + rows + b"---\nText.\n"


@hostile("merge-keys-that-grow.md")
def _() -> bytes:
    rows = b"".join(b"m%d: &m%d {<<: [*m%d, *m%d]}\n" % (n, n, n - 1, n - 1) for n in range(1, 25))
    return b"---\nm0: &m0 {a: 1}\n" + rows + b"---\nText.\n"


@hostile("quotes-within-quotes.md")
def _() -> bytes:
    return b">" * 200_000 + b" word\n" + b"> " * 5_000 + b"word\n"


@hostile("brackets.md")
def _() -> bytes:
    return b"[" * 300_000 + b"a](" * 100_000


@hostile("emphasis.md")
def _() -> bytes:
    return b"*a _b **c " * 60_000


@hostile("a-table-of-a-thousand-columns.md")
def _() -> bytes:
    return b"|a" * 1_000 + b"|\n" + b"|-" * 1_000 + b"|\n" + b"|\n" * 300_000


@hostile("blanks-in-a-line.md")
def _() -> bytes:
    return b"word `" + b" " * 2_000_000 + b"` word\n"


@hostile("pages-of-html-within.md")
def _() -> bytes:
    return b"<div>\n\n" * 60_000 + b"word"


@hostile("other-encoding-of-30-mb.txt")
def _() -> bytes:
    return ("Größe und Maße über alles. " * 1_200_000).encode("cp850")


@hostile("text-of-60-million-characters.txt")
def _() -> bytes:
    return b"A word and another. " * 3_000_000


@hostile("the-replacement-character.txt")
def _() -> bytes:
    return bytes(range(128, 256)) * 100_000


# JSON

HELD = b'{"text": "A line that is held."}\n'


@hostile("nested.jsonl")
def _() -> bytes:
    return HELD + b'{"text": "a", "x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}\n"


@hostile("many-little-lists.jsonl")
def _() -> bytes:
    return HELD + b'{"text": "a", "x": [' + b"[]," * 10_000_000 + b"0]}\n" + HELD


@hostile("a-number-of-a-million-digits.jsonl")
def _() -> bytes:
    return HELD + b'{"text": "a", "x": ' + b"9" * 1_000_000 + b"}\n"


@hostile("a-million-keys.jsonl")
def _() -> bytes:
    return HELD + b'{"text": "a"' + b"".join(b', "k%d": 0' % number for number in range(1_000_000)) + b"}\n"


def _long_line(path: Path) -> None:
    with path.open("wb") as file:
        file.write(HELD + b'{"text": "')
        for _ in range(1_000):
            file.write(b"a" * 1_000_000)


MAKERS["a-line-of-1-gb.jsonl"] = _long_line


def _hole(path: Path) -> None:
    with path.open("wb") as file:
        file.write(HELD)
        file.truncate(1_000_000_000_000)


MAKERS["a-hole-of-1-tb.jsonl"] = _hole
MAKERS["a-hole-of-1-tb.txt"] = _hole


@hostile("nested.json")
def _() -> bytes:
    return b'{"data": ' + b"[" * 500_000 + b"]" * 500_000 + b"}"


@hostile("many-little-lists.json")
def _() -> bytes:
    return b'{"data": [' + b"[]," * 30_000_000 + b"0]}"


@hostile("a-context-of-60-million-characters.json")
def _() -> bytes:
    return b'{"data": [{"title": "T", "paragraphs": [{"context": "' + b"a word " * 9_000_000 + b'", "qas": []}]}]}'


# What is no ordinary file

if sys.platform != "win32":
    for suffix in (".txt", ".jsonl", ".json", ".pdf"):
        MAKERS[f"a-device-that-never-ends{suffix}"] = lambda path: os.symlink("/dev/zero", path)
    MAKERS["a-pipe.md"] = os.mkfifo  # type: ignore[assignment]
