"""Workbooks made from nothing, part by part."""

import io
import zipfile
from xml.sax.saxutils import escape

BASE = "http://schemas.openxmlformats.org"
MAIN = f'xmlns="{BASE}/spreadsheetml/2006/main" xmlns:r="{BASE}/officeDocument/2006/relationships"'
RELATIONS = f"{BASE}/officeDocument/2006/relationships"


def relations(*targets):
    """A part of relations; each target is a kind and a path, with the ids r1, r2 and so on."""
    rows = "".join(
        f'<Relationship Id="r{i}" Type="{RELATIONS}/{kind}" Target="{path}"/>'
        for i, (kind, path) in enumerate(targets, 1)
    )
    return f'<Relationships xmlns="{BASE}/package/2006/relationships">{rows}</Relationships>'


def cell(value, place="", style=None, formula=None):
    """A cell: a text, a number, a truth value, or None for a formula without a value."""
    attributes = (f' r="{place}"' if place else "") + (f' s="{style}"' if style else "")
    formula = f"<f>{formula}</f>" if formula else ""
    match value:
        case bool():
            return f'<c{attributes} t="b">{formula}<v>{int(value)}</v></c>'
        case str():
            return f'<c{attributes} t="inlineStr"><is><t>{escape(value)}</t></is></c>'
        case None:
            return f"<c{attributes}>{formula}</c>"
    return f"<c{attributes}>{formula}<v>{value}</v></c>"


def row(*values, number=None, attributes=""):
    """A row of cells; values that are strings of XML cells are taken as they are."""
    cells = "".join(value if isinstance(value, str) and value.startswith("<c") else cell(value) for value in values)
    place = f' r="{number}"' if number else ""
    return f"<row{place} {attributes}>{cells}</row>"


def sheet(*rows, before="", after=""):
    """The part of a sheet."""
    return f"<worksheet {MAIN}>{before}<sheetData>{''.join(rows)}</sheetData>{after}</worksheet>"


def workbook(sheets, formats=(), states=None, texts=(), related=None, more=None):
    """A workbook of sheets by name. `formats`: of styles 1, 2 and so on. `related`: relations of the first."""
    states = states or {}
    names = list(sheets)
    listed = "".join(
        f'<sheet name="{escape(name)}" sheetId="{i}" state="{states.get(name, "visible")}" r:id="r{i}"/>'
        for i, name in enumerate(names, 1)
    )
    codes = "".join(
        f'<numFmt numFmtId="{200 + i}" formatCode="{escape(code, {chr(34): "&quot;"})}"/>'
        for i, code in enumerate(formats)
    )
    styles = "".join(f'<xf numFmtId="{200 + i}" fontId="0"/>' for i in range(len(formats)))
    shared = "".join(f"<si>{text if text.startswith('<') else f'<t>{text}</t>'}</si>" for text in texts)
    parts = {
        "_rels/.rels": relations(("officeDocument", "xl/workbook.xml")),
        "xl/workbook.xml": f"<workbook {MAIN}><sheets>{listed}</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": relations(
            *[("worksheet", f"worksheets/sheet{i}.xml") for i in range(1, len(names) + 1)],
            ("styles", "styles.xml"),
            ("sharedStrings", "sharedStrings.xml"),
        ),
        "xl/styles.xml": f"<styleSheet {MAIN}><numFmts>{codes}</numFmts><fonts><font/><font><b/></font></fonts>"
        f'<cellXfs><xf numFmtId="0" fontId="0"/>{styles}<xf numFmtId="0" fontId="1"/></cellXfs></styleSheet>',
        "xl/sharedStrings.xml": f"<sst {MAIN}>{shared}</sst>",
        **{f"xl/worksheets/sheet{i}.xml": sheets[name] for i, name in enumerate(names, 1)},
        **({"xl/worksheets/_rels/sheet1.xml.rels": relations(*related)} if related else {}),
        **(more or {}),
    }
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return data.getvalue()
