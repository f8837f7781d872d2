"""Good files of each parser, and changes to them that keep enough of their structure to reach deep into it.

`test_fuzz.py` beside it tries some, `benchmarks/attacks/fuzz.py` as many as there is time for. Everything goes through
a real reading process, so that a crash of a parser is a failure here and not the end of the tests.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import re
import zipfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

from indexing.formats.mail.packing import attached, container, message
from indexing.formats.opendocument import packing as opened
from indexing.formats.seeds import MARKS, WRITTEN
from indexing.formats.sheets import packing as sheets
from indexing.formats.slides import packing as slides
from indexing.formats.word.packing import item, levels, numbering, packed, paragraph, run, style, table

from rag_ft.indexing.formats import ReadLimits
from rag_ft.indexing.parsing.wire import Request
from rag_ft.indexing.parsing.worker import Read, Worker

CORPUS = Path(__file__).parent / "corpus"
"""Small files that once failed."""

PARSERS = ("txt", "md", "rst", "adoc", "ipynb", "eml", "msg", "py", "js", "html", "xhtml", "pdf", "docx", "epub")
PARSERS += ("csv", "xlsx", "pptx", "odt", "ods", "odp", "jsonl", "json")
"""By the suffix of a file."""

CONTAINERS = ("docx", "epub", "xlsx", "pptx", "odt", "ods", "odp")
"""Formats that are containers of parts."""

LIMITS = ReadLimits(seconds=20, memory_bytes=1_000_000_000, max_chars=1_000_000, max_headings=10_000, max_pages=1_000)


class Change(NamedTuple):
    """One change to a file; any numbers make one."""

    kind: int
    place: int
    size: int
    token: int


KINDS = 9


def changed(parser: str, seed: int, changes: Sequence[Change]) -> bytes:
    """A good file of a parser after some changes. Those of a container are made to its parts."""
    data = seeds(parser)[seed % len(seeds(parser))]
    if parser not in CONTAINERS:
        for change in changes:
            data = _change(parser, data, change)
        return data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    for change in changes:
        name = sorted(parts)[change.place % len(parts)]
        if change.kind % 29 == 28 and len(parts) > 1:
            del parts[name]
        else:
            parts[name] = _change(parser, parts[name], change)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    data = packed.getvalue()
    if changes and changes[0].kind % 13 == 12:  # and now and then to the container itself
        data = _apply(data, changes[0], TOKENS[parser])
    return data


def _change(parser: str, data: bytes, change: Change) -> bytes:
    """Most changes leave the file well-formed, where that can be told: others are found out by the first library."""
    well_formed = change.size % 9 > 0
    if well_formed and parser in CONTAINERS:
        with contextlib.suppress(ElementTree.ParseError):
            return _apply_to_elements(data, change, TOKENS[parser])
    if well_formed and parser in ("json", "jsonl", "ipynb"):
        with contextlib.suppress(ValueError):
            if parser != "jsonl":
                return _apply_to_values(data, change)
            lines = data.splitlines() or [b""]
            lines[change.size % len(lines)] = _apply_to_values(lines[change.size % len(lines)], change)
            return b"\n".join(lines) + b"\n"
    if parser == "pdf" and change.kind % KINDS in (2, 4, 7) and change.token % 8:
        change = change._replace(kind=5)  # which leaves the objects where they are
    return _apply(data, change, TOKENS[parser])


def _apply_to_elements(data: bytes, change: Change, tokens: Sequence[bytes]) -> bytes:
    root = ElementTree.fromstring(data)
    parents = {child: parent for parent in root.iter() for child in parent}
    if not parents:
        raise ElementTree.ParseError("nothing to change")
    elements = [*parents]
    element, other = elements[change.place % len(elements)], elements[change.token % len(elements)]
    parent = parents[element]
    match change.kind % 6:
        case 0:
            parent.extend([copy.deepcopy(element) for _ in range(change.size % 30)])
        case 1:
            parent.remove(element)
        case 2:
            for _ in range(change.size % 40):
                outer = ElementTree.Element(element.tag, element.attrib)
                outer.extend(list(element))
                element[:] = [outer]
        case 3:
            parent.insert(change.size % (len(parent) + 1), copy.deepcopy(other))
        case 4:
            for name in element.attrib:
                element.set(name, ("", "-1", "9" * 5_000, "../x", "Heading1", "restart")[change.token % 6])
        case _:
            element.text = tokens[change.token % len(tokens)].decode("utf-8", "ignore").replace("\0", "")
    return ElementTree.tostring(root)


ODD_VALUES = (None, True, -1, 1e308, 10**20, "", " ", "\ud800", "\0", [], {}, [[]], {"a": {"b": []}}, ["x"] * 50)


def _apply_to_values(data: bytes, change: Change) -> bytes:
    """Another value in the place of one, or another name for it."""
    value = json.loads(data)
    places: list[tuple[Any, Any]] = []
    held = [value]
    while held:
        holder = held.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else []
        places += [(holder, key) for key in keys]
        held += [holder[key] for key in keys]
    if not places:
        raise ValueError("nothing to change")
    holder, key = places[change.place % len(places)]
    odd = ODD_VALUES[change.token % len(ODD_VALUES)]
    match change.kind % 4:
        case 0 if isinstance(holder, list):
            holder.extend([copy.deepcopy(holder[key]) for _ in range(change.size % 20)])
        case 1 if isinstance(holder, dict):
            holder[("id", "title", "text", "metadata", "context", "\ud800")[change.size % 6]] = odd
        case 2:
            del holder[key]
        case _:
            holder[key] = odd
    return json.dumps(value).encode()


def _apply(data: bytes, change: Change, tokens: Sequence[bytes]) -> bytes:
    size = change.size % 200
    start = change.place % (len(data) + 1)
    end = min(start + size, len(data))
    token = tokens[change.token % len(tokens)]
    match change.kind % KINDS:
        case 0:
            return data[:start] + token + data[start:]
        case 1:
            return data[:start] + token * (size + 1) + data[start:]
        case 2:
            return data[:start] + data[end:]
        case 3:
            return data[:end] + data[start:end] * (change.token % 30) + data[end:]
        case 4:
            return data[:start]
        case 5:
            number = (b"0", b"-1", b"99999999999999999999", b"9" * 5_000, b"2147483648", b"1e999")[change.token % 6]
            found = re.compile(rb"\d+").search(data, start)
            return data[: found.start()] + number + data[found.end() :] if found else data
        case 6:
            flipped = bytes(byte ^ (1 << change.token % 8) for byte in data[start : start + 1])
            return data[:start] + flipped + data[start + 1 :]
        case 7:
            return data[end:] + data[:end]
        case _:
            other = change.token % (len(data) + 1)
            return data[:start] + data[other : other + size] + data[end:]


def read(worker: Worker, parser: str, data: bytes) -> list[Read]:
    """What a file gives, each document checked. Raises WorkerFailed where reading ended the process."""
    kind = {"jsonl": "lines", "json": "squad"}.get(parser, "file")
    numbers = tuple(range(1, data.count(b"\n") + 1)) if kind == "lines" else ()
    request = Request.model_validate({"kind": kind, "name": f"a.{parser}", "source": "a", "numbers": numbers})
    reads = list(worker.read(request, lambda: [data], len(data)))
    for answer in reads:
        check(answer)
    return reads


def check(answer: Read) -> None:
    """Assert what holds for every answer, whatever was read."""
    reply, text, headings, blocks, *_ = answer
    assert all(0 <= block.start < block.end <= len(text) for block in blocks)
    if reply.kind != "document":
        assert not text and (reply.reason or reply.kind in ("questions", "not_squad"))
        assert "\n" not in reply.reason and len(reply.reason) < 500
        return
    assert text.strip() and len(text) <= LIMITS.max_chars
    assert [*reply.page_starts] == sorted(reply.page_starts) and all(
        0 <= page <= len(text) for page in reply.page_starts
    )
    for heading in headings:
        assert text[heading.start : heading.start + len(heading.text)] == heading.text and heading.text.strip()


@cache
def seeds(parser: str) -> tuple[bytes, ...]:
    """Good files of a parser, made here."""
    if parser == "pdf":
        return (_pdf(), _form())
    if parser == "docx":
        return (_docx(), _word())
    if parser == "epub":
        return (_epub(),)
    if parser in ("odt", "ods", "odp"):
        return (_opendocument(parser),)
    if parser == "pptx":
        return (_pptx(),)
    if parser == "xlsx":
        return (_xlsx(),)
    if parser == "msg":
        return (_msg(),)
    return WRITTEN[parser] if parser in WRITTEN else SEEDS[parser]


PAGE = (
    "<html lang='en'><head><meta charset='utf-8'><meta name='author' content='A. One'><title>Leave</title></head><body>"
    "<nav><a href='x'>Home</a></nav><main><h1>Leave</h1><p>Every employee has <b>28</b> days.<br>More words here.</p>"
    "<h2>How</h2><ol start='3'><li>Ask</li><li>Wait<ul><li>long</li></ul></li></ol><table><tr><th>Year</th><td>28</td>"
    "</tr><tr><td><table><tr><td>in</td></tr></table></td></tr></table><pre>a\n  b</pre></main><footer>End</footer>"
    "</body></html>"
)

SEEDS = {
    "txt": ("Größe.\n\nZwei Absätze, und mehr.\n".encode(), "Größe, Maß.\n".encode("cp1252"), "Größe".encode("utf-16")),
    "md": (
        b"---\ntitle: Leave\ntags: [a, b]\nday: 2026-01-02\nx: &a {k: 1}\ny: *a\n---\n# Leave\n\nText *is* `here`.\n\n"
        b"- one\n"
        b"  1. two\n- three\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n> quoted\n\n```py\ncode\n```\n\n<div>in\n</div>\n",
    ),
    "html": (PAGE.encode(), PAGE.replace("utf-8", "latin1").encode("cp1252")),
    "xhtml": (
        b"<?xml version='1.0' encoding='utf-8'?><html xmlns='http://www.w3.org/1999/xhtml'><head><title/></head><body>"
        b"<h1><a id='x'/>Rates</h1><p>If <![CDATA[a < b]]> it.<br/>Two</p><div class='r'/><p>Four.</p></body></html>",
    ),
    "csv": (
        b'sep=;\nBerth;Price;Note\nNorth;"18,5";"say ""now"""\nSouth;22;"two\nlines"\n\nPort;Depth\nEast;9\n',
        "Maß\tPreis\nGröße\t3\n".encode("cp1252"),
    ),
    "jsonl": (
        b'{"text": "One.", "id": "a", "title": "T", "metadata": {"k": [1, 2.5, null]}}\n{"page_content": "Two."}\n'
        b'\n{"question": "Q?", "answers": []}\n{"text": "Three.", "url": "http://x", "n": 1}\n',
        b'{"question": "Q?", "answers": ["a"]}\n',
    ),
    "json": (
        b'{"version": "1.1", "data": [{"title": "A_b", "paragraphs": [{"context": "One.", "qas": [{'
        b'"id": "1", "question": "Q?", "answers": [{"text": "One", "answer_start": 0}]}]}]},'
        b' {"paragraphs": [{"context": "Two."}]}]}',
    ),
}

_TAGS = [b"<table>", b"</table>", b"<tr>", b"<td>", b"<h1>", b"</h1>", b"<ul>", b"<ol start='99999999999'>", b"<li>"]
_TAGS += [b"<pre>", b"</p>", b"<div>", b"</div>", b"<script>", b"<style>", b"<br/>", b"<svg>", b"<template>", b"<!--"]
_TAGS += [b"<![CDATA[", b"]]>", b"&#xD800;", b"&#0;", b"&lt;", b"<main>", b"<body>", b"<plaintext>", b"\0", b"\xff"]
_XML = [b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"&b;", b"<?x?>", b"<a>", b"</a>", b' id="', b"'", b"%20..%2f", b"\xff"]
_JSON = [b"{", b"}", b"[", b"]", b'"', b"\\ud800", b"\\u0000", b"null", b"1e999", b"NaN", b"-", b",", b":", b"\n"]
_JSON += [b'"text": "', b'"id": {}', b'"metadata": []', b'"title": "\\udfff"', b"\xef\xbb\xbf", b"\xff", b'"text": " "']
_WORD = [b"<w:tbl>", b"</w:tbl>", b"<w:tr>", b"<w:tc>", b"<w:p>", b"</w:p>", b"<w:txbxContent>", b"<w:sdt>", b"<w:t>x"]
_WORD += [b'<w:gridSpan w:val="9999999999"/>', b"<w:vMerge/>", b'<w:pStyle w:val="Heading1"/>', b"<w:tab/>", b"<w:br/>"]
_WORD += [b'<w:footnoteReference w:id="2"/>', b'<w:fldChar w:fldCharType="begin"/>', b"<m:f>", b"<m:nary>", b"<w:del>"]
_WORD += [b'<w:numPr><w:numId w:val="1"/></w:numPr>', b'<w:outlineLvl w:val="0"/>', b"<w:vanish/>", b"<w:sectPr/>"]
_SHEET = [b"<row r='9'>", b"</row>", b"<c r='XFD1'>", b"<c t='s'><v>0</v></c>", b"<f>A1</f>", b"<v>1e308</v>"]
_SHEET += [
    b"<mergeCell ref='A1:XFD1048576'/>",
    b" hidden='1'",
    b"yyyy-mm-dd",
    b'0.0,,"x"',
    b"[h]:mm",
    b"_x0000_",
    b"A1",
]
_SLIDE = [
    b"<p:grpSp>",
    b"</p:grpSp>",
    b"<p:sp>",
    b"<a:p>",
    b"</a:p>",
    b"<a:t>x",
    b'<a:off x="1e999" y="nan"/>',
    b"<a:br/>",
]
_SLIDE += [
    b"<a:tbl>",
    b"<a:tr>",
    b'<a:tc gridSpan="99999">',
    b'vMerge="1"',
    b'lvl="8"',
    b"<a:buAutoNum/>",
    b'r:id="r1"',
]
_OPEN = [b"<text:p>", b"</text:p>", b"<text:list>", b"<text:span>", b"<table:table-row>", b"<text:note>", b"<text:h>"]
_OPEN += [b'table:number-rows-repeated="99999999"', b'table:number-columns-repeated="99999999"', b"<draw:frame>"]
_MARKDOWN = [b"---\n", b"# ", b"> ", b"- ", b"1. ", b"```\n", b"|", b"|---|\n", b"[a](", b"![", b"*", b"_", b"`"]
_MARKDOWN += [b"&a ", b"*a", b"!!python/object:os.system ", b"!!binary x", b"<<: *a\n", b"? ", b": ", b"\t", b"{", b"["]
_MARKDOWN += [b"\n\n", b"9999-99-99"]
_PDF = [b"obj", b"endobj", b"stream\n", b"endstream", b"<<", b">>", b"[", b"]", b"/Kids [3 0 R]", b"/Count 99999", b"("]
_PDF += [
    b"/Rotate 90",
    b"/CropBox [0 0 99 99]",
    b"0 1 -1 0 9 9 Tm ",
    b"9 Ts ",
    b" re f ",
    b"1e38 ",
    b"/Annots ",
    b"/FT /Tx",
]
_PDF += [
    b"3 0 R ",
    b"4 0 R ",
    b"/XObject",
    b"/Filter /FlateDecode",
    b"Do ",
    b"BT ",
    b"ET ",
    b"Tj ",
    b")",
    b"Tf ",
    b"\xfe",
]
_TEXT = [b"\0", b"\xff\xfe", b"\xfe\xff", b"\x80", b"\xed\xa0\x80", b"\xef\xbb\xbf", "字".encode(), b"\x1b$B", b"\n"]
TOKENS: dict[str, list[bytes]] = {
    "txt": _TEXT,
    "md": [*_MARKDOWN, *_TAGS],
    **{name: [*marks, *_TEXT, *_TAGS] for name, marks in MARKS.items()},
    "html": [*_TAGS, b" charset=utf-7 ", b" charset=idna ", b" charset=hz ", b"<?xml?>"],
    "xhtml": [*_TAGS, *_XML],
    "pdf": _PDF,
    "docx": [*_WORD, *_XML],
    "msg": [
        b"\xff\xff\xff\xff",
        b"\xfe\xff\xff\xff",
        b"\0" * 64,
        "__substg1.0_3701000D".encode("utf-16-le"),
        b"LZFu",
        *_TEXT,
    ],
    "epub": [*_TAGS, *_XML, b'<itemref idref="c0"/>', b"META-INF/container.xml"],
    "csv": [
        b'"',
        b'""',
        b";",
        b",",
        b"\t",
        b"|",
        b"\r",
        b"\n",
        b"\n\n",
        b"sep=\n",
        b'\\"',
        b"2026-05-04",
        b"\xff",
        b"\0",
    ],
    "xlsx": [*_SHEET, *_XML],
    "pptx": [*_SLIDE, *_XML],
    **{kind: [*_OPEN, *_XML] for kind in ("odt", "ods", "odp")},
    "jsonl": _JSON,
    "json": [*_JSON, b'"paragraphs": [', b'{"context": "', b'"data": [', b'"answer_start": -1'],
}


def _opendocument(kind: str) -> bytes:
    made = opened.table(opened.row("Berth", "Price"), opened.row(opened.cell("North"), "18", "x"), opened.row("a"))
    comment = f"<office:annotation>{opened.p('why')}</office:annotation>"
    body = f"<text:note-body>{comment}</text:note-body>"
    note = f"<text:note><text:note-citation>1</text:note-citation>{body}</text:note>"
    item = f"<text:list-item>{opened.p('one' + note)}</text:list-item>"
    text = f'<text:h text:outline-level="1">Rules</text:h><text:list text:style-name="L1">{item * 2}</text:list>'
    if kind == "ods":
        return opened.opened("spreadsheet", made)
    frame = f"<draw:frame svg:x='1cm' svg:y='1in'><draw:text-box>{text}</draw:text-box></draw:frame>"
    if kind == "odp":
        return opened.opened("presentation", f"<draw:page>{frame}{made}</draw:page>" * 2)
    return opened.odt(text + made + opened.p(f"In a box {frame}"), masters="<style:master-page/>")


def _pptx() -> bytes:
    body = slides.shape("one", slides.line("item", '><a:buAutoNum type="alphaLcPeriod"/>'), kind="body", index="1")
    group = f"<p:grpSp><p:grpSpPr/>{slides.shape('inner', x=5, y=5)}</p:grpSp>"
    rows = slides.table(["Berth", "Price"], ["North", "18"], ["South", "20"])
    notes = slides.slide(slides.shape("spoken", kind="body"), root="notes")
    layout = slides.slide(slides.shape("prompt", x=1, y=1, kind="body", index="1"), root="sldLayout")
    return slides.deck(
        slides.slide(slides.shape("Rules", kind="title"), body, group, slides.framed(rows)),
        slides.slide(slides.shape("more")),
        related={1: [("notesSlide", "../notesSlides/n1.xml")]},
        more={"ppt/notesSlides/n1.xml": notes},
        masters=(layout, slides.slide(slides.shape("m", kind="title"), root="sldMaster")),
    )


def _xlsx() -> bytes:
    cell, row, sheet = sheets.cell, sheets.row, sheets.sheet
    table = (
        row("Berth", "Price", "From"),
        row("North", cell(18, style=1), cell(46146, style=2)),
        row("South", True, cell(None, formula="A1")),
    )
    after = '<mergeCells><mergeCell ref="A2:A3"/></mergeCells><autoFilter ref="A1:C3"/>'
    note = "<comment ref='B2'><text><t>note</t></text></comment>"
    columns = '<cols><col min="4" max="5" hidden="1"/></cols>'
    return sheets.workbook(
        {
            "Prices": sheet(*table, before=columns, after=after),
            "Other": sheet(row('<c t="s"><v>0</v></c>', '<c t="s"><v>1</v></c>')),
        },
        formats=("0.00%", "dd.mm.yyyy"),
        texts=("words", "<r><t>10</t></r><r><rPr><vertAlign val='superscript'/></rPr><t>6</t></r>"),
        related=[("comments", "../comments1.xml"), ("table", "../tables/table1.xml")],
        more={
            "xl/comments1.xml": f"<comments {sheets.MAIN}><commentList>{note}</commentList></comments>",
            "xl/tables/table1.xml": f'<table {sheets.MAIN} ref="A1:C3"/>',
        },
    )


def _pdf() -> bytes:
    from reportlab.pdfgen.canvas import Canvas

    made = io.BytesIO()
    canvas = Canvas(made, pageCompression=0, invariant=1)
    for page in range(3):
        for row, line in enumerate(
            ("Handbook", "Every employee has 28 days of paid", "leave a year, and more.", str(page))
        ):
            canvas.drawString(72, 720 - 14 * row, line)
        canvas.showPage()
    canvas.save()
    return made.getvalue()


def _form() -> bytes:
    """Pages with a form, bookmarks, a table between rules, columns, code, raised and turned text."""
    from reportlab.pdfgen.canvas import Canvas

    made = io.BytesIO()
    canvas = Canvas(made, pageCompression=0, invariant=1)
    canvas.bookmarkPage("a")
    canvas.addOutlineEntry("Fees", "a", 0)
    canvas.drawString(72, 720, "Fees")
    canvas.grid([72, 172, 272], [640, 660, 680])
    for x, y, text in ((75, 665, "Berth"), (175, 665, "Price"), (75, 645, "North"), (175, 645, "18 EUR")):
        canvas.drawString(x, y, text)
    for row in range(5):
        canvas.drawString(72, 600 - 14 * row, "words of the left column, be-")
        canvas.drawString(320, 600 - 14 * row, "words of the right one too,")
    canvas.acroForm.textfield(name="name", value="Magnolia", x=72, y=480, width=100, height=20)
    canvas.acroForm.checkbox(name="yes", checked=True, x=72, y=450)
    canvas.setFont("Courier", 9)
    canvas.drawString(72, 400, "if load > 40:")
    canvas.drawString(90, 390, "stop()", mode=3)
    canvas.setFont("Helvetica", 6)
    canvas.drawString(105, 723, "6")
    canvas.rotate(90)
    canvas.drawString(100, -50, "turned")
    canvas.showPage()
    canvas.save()
    return made.getvalue()


def _docx() -> bytes:
    from docx import Document

    document = Document()
    document.add_heading("Leave", 1)
    document.add_paragraph("Every employee has 28 days.")
    document.add_paragraph("Ask", style="List Number")
    table = document.add_table(2, 2)
    table.cell(0, 0).text = "Year"
    table.cell(0, 0).merge(table.cell(1, 0))
    made = io.BytesIO()
    document.save(made)
    return made.getvalue()


def _word() -> bytes:
    """A document with all parts: notes, comment, header, lists, equation, field, text box, nested table."""
    equation = (
        "<m:oMath><m:f><m:num><m:r><m:t>a</m:t></m:r></m:num><m:den><m:r><m:t>b</m:t></m:r></m:den></m:f></m:oMath>"
    )
    field = (
        '<w:r><w:fldChar w:fldCharType="begin"/><w:instrText>PAGE</w:instrText><w:fldChar w:fldCharType="separate"/>'
    )
    field += '<w:t>3</w:t><w:fldChar w:fldCharType="end"/></w:r>'
    marks = "".join(run(f'<w:{kind}Reference w:id="2"/>') for kind in ("footnote", "endnote", "comment"))
    box = run(f"<w:pict><w:txbxContent>{paragraph('Boxed.')}</w:txbxContent></w:pict>")
    inner = table(["in", "ner"])
    rows = (
        ("<w:tblHeader/>", ["Berth", "Price"]),
        [('<w:vMerge w:val="restart"/>', paragraph("North")), inner + "<w:p/>"],
    )
    body = (
        paragraph("Scope", style="H")
        + paragraph("Rent", marks, equation, field, run("2", '<w:vertAlign w:val="superscript"/>'), box)
        + item("Ask")
        + item("long", 1)
        + paragraph("gone", properties="<w:rPr><w:del/></w:rPr>")
        + table(*rows, [("<w:vMerge/>", "<w:p/>"), ('<w:gridSpan w:val="2"/>', paragraph("18 EUR"))])
        + '<w:sectPr><w:headerReference w:type="default" r:id="rId-header1"/></w:sectPr>'
    )
    notes = {
        kind: f'<w:{kind[:-1]} w:id="2">{paragraph("A note.")}</w:{kind[:-1]}>'
        for kind in ("footnotes", "endnotes", "comments")
    }
    return packed(
        body,
        styles=style("Base", "heading 1") + style("H", based_on="Base"),
        numbering=numbering(levels(("decimal", "%1."), ("lowerLetter", "%2)"))),
        header1=paragraph("Contract", field),
        **notes,
    )


def _msg() -> bytes:
    inner = message(header=24, x0037="Inner", x10090102=b"\x20\0\0\0\x10\0\0\0MELA\0\0\0\0{\\rtf1 Inside.}")
    files = (attached("a.md", b"# Rules\n"), attached("b.png", b"x"), attached("", inner))
    return container(
        message(files, x0037="Berth", x0C1A="Anna", x1000="Free.", x10130102=b"<p>Free.</p>", x00390040=10**17)
    )


def _epub() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(
            "META-INF/container.xml",
            '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="O/b.opf"/></rootfiles></container>',
        )
        archive.writestr(
            "O/b.opf",
            '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>'
            '<dc:title>Book</dc:title></metadata><manifest><item id="c0" href="a.xhtml"/><item id="c1" href="b.xhtml"/>'
            '</manifest><spine><itemref idref="c0"/><itemref idref="c1"/></spine></package>',
        )
        archive.writestr("O/a.xhtml", PAGE)
        archive.writestr("O/b.xhtml", SEEDS["xhtml"][0])
    return made.getvalue()
