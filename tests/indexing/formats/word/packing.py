"""Word documents made of XML, part by part."""

import io
import zipfile

from rag_ft.indexing.formats import extract

_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006"
NAMESPACES = (
    'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    f' xmlns:r="{_OFFICE}/relationships" xmlns:m="{_OFFICE}/math"'
    ' xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
    ' xmlns:wp="http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing"'
    ' xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"'
    ' xmlns:pic="http://schemas.openxmlformats.org/drawingml/2006/picture"'
    ' xmlns:dgm="http://schemas.openxmlformats.org/drawingml/2006/diagram"'
    ' xmlns:c="http://schemas.openxmlformats.org/drawingml/2006/chart"'
    ' xmlns:v="urn:schemas-microsoft-com:vml" xmlns:o="urn:schemas-microsoft-com:office:office"'
)
_ROOTS = {"header": "hdr", "footer": "ftr", "document": "document"}


def packed(body, **parts):
    """The bytes of a document: its body's XML, and the content of parts such as `styles` or `header1`.

    A part given as bytes is stored as it is. Each part is related to the document by its name, as "rId-header1".
    """
    made = {"document": f"<w:body>{body}</w:body>"} | parts
    archive = io.BytesIO()
    relations = []
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in made.items():
            kind = name.rstrip("0123456789")
            root = _ROOTS.get(kind, kind)
            xml = f"<w:{root} {NAMESPACES}>{content}</w:{root}>" if isinstance(content, str) else content
            file.writestr(f"word/{name}.xml", xml)
            relations.append(
                f'<Relationship Id="rId-{name}" Type="{_OFFICE}/relationships/{kind}" Target="{name}.xml"/>'
            )
        _relate(file, "word/_rels/document.xml.rels", relations)
        main = f'<Relationship Id="r1" Type="{_OFFICE}/relationships/officeDocument" Target="word/document.xml"/>'
        _relate(file, "_rels/.rels", [main])
    return archive.getvalue()


def word(body, **parts):
    """What is read from such a document."""
    return extract("a.docx", packed(body, **parts))


def text(body, **parts):
    """Its text."""
    return word(body, **parts).text


def run(content, properties=""):
    """A run of text or, if it starts with `<`, of XML."""
    inside = content if content.startswith("<") else f'<w:t xml:space="preserve">{content}</w:t>'
    return f"<w:r><w:rPr>{properties}</w:rPr>{inside}</w:r>" if properties else f"<w:r>{inside}</w:r>"


def paragraph(*runs, style="", properties=""):
    """A paragraph of runs, given as XML or as text."""
    named = f'<w:pStyle w:val="{style}"/>' if style else ""
    inside = "".join(part if part.startswith("<") else run(part) for part in runs)
    return f"<w:p><w:pPr>{named}{properties}</w:pPr>{inside}</w:p>"


def item(content, level=0, number=1, **options):
    """A paragraph in a list."""
    listed = f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{number}"/></w:numPr>'
    return paragraph(content, properties=listed, **options)


def style(style_id, name="", based_on="", properties="", run_properties="", kind="paragraph", default=False):
    """A style's XML."""
    base = f'<w:basedOn w:val="{based_on}"/>' if based_on else ""
    first = ' w:default="1"' if default else ""
    return (
        f'<w:style w:type="{kind}" w:styleId="{style_id}"{first}><w:name w:val="{name or style_id}"/>{base}'
        f"<w:pPr>{properties}</w:pPr><w:rPr>{run_properties}</w:rPr></w:style>"
    )


def levels(*forms, start=1):
    """The levels of a list, each by its kind of number and its text."""
    return "".join(
        f'<w:lvl w:ilvl="{depth}"><w:start w:val="{start}"/><w:numFmt w:val="{form}"/>'
        f'<w:lvlText w:val="{shown}"/></w:lvl>'
        for depth, (form, shown) in enumerate(forms)
    )


def numbering(inside, *numbers):
    """One definition of a list with its numbers: by default 1; others as (id, overrides)."""
    listed = numbers or ((1, ""),)
    ids = "".join(f'<w:num w:numId="{key}"><w:abstractNumId w:val="0"/>{more}</w:num>' for key, more in listed)
    return f'<w:abstractNum w:abstractNumId="0">{inside}</w:abstractNum>{ids}'


def table(*rows, properties=""):
    """Rows of cells, each a text, XML of paragraphs, or (cell properties, XML).

    A row may be (row properties, cells).
    """
    lines = []
    for row in rows:
        row_properties, cells = row if isinstance(row, tuple) else ("", row)
        pairs = [cell if isinstance(cell, tuple) else ("", cell) for cell in cells]
        inside = "".join(
            f"<w:tc><w:tcPr>{about}</w:tcPr>{xml if xml.startswith('<') else paragraph(xml)}</w:tc>"
            for about, xml in pairs
        )
        lines.append(f"<w:tr><w:trPr>{row_properties}</w:trPr>{inside}</w:tr>")
    return f"<w:tbl><w:tblPr>{properties}</w:tblPr>{''.join(lines)}</w:tbl>"


def _relate(file, name, relations):
    space = "http://schemas.openxmlformats.org/package/2006/relationships"
    file.writestr(name, f'<Relationships xmlns="{space}">{"".join(relations)}</Relationships>')
