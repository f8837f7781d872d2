"""Presentations made from nothing, part by part."""

import io
import zipfile

BASE = "http://schemas.openxmlformats.org"
NAMES = (
    f'xmlns:p="{BASE}/presentationml/2006/main" xmlns:a="{BASE}/drawingml/2006/main"'
    f' xmlns:r="{BASE}/officeDocument/2006/relationships" xmlns:c="{BASE}/drawingml/2006/chart"'
    f' xmlns:dgm="{BASE}/drawingml/2006/diagram" xmlns:m="{BASE}/officeDocument/2006/math"'
)
RELATIONS = f"{BASE}/officeDocument/2006/relationships"


def relations(*targets):
    """A part of relations; each target is a kind and a path, with the ids r1, r2 and so on."""
    rows = "".join(
        f'<Relationship Id="r{i}" Type="{RELATIONS}/{kind}" Target="{path}"/>'
        for i, (kind, path) in enumerate(targets, 1)
    )
    return f'<Relationships xmlns="{BASE}/package/2006/relationships">{rows}</Relationships>'


def line(text, properties="", run=""):
    """A paragraph."""
    return f"<a:p><a:pPr {properties}</a:pPr><a:r><a:rPr {run}/><a:t>{text}</a:t></a:r></a:p>".replace(
        "<a:pPr </a:pPr>", ""
    )


def body(*lines):
    """A text body of paragraphs, given as XML or as text."""
    return "".join(text if text.startswith("<a:p>") else line(text) for text in lines)


def shape(*lines, x=None, y=None, kind=None, index=None, name="", more=""):
    """A shape with text; with a kind, a placeholder."""
    place = "" if x is None else f'<a:xfrm><a:off x="{x}" y="{y}"/><a:ext cx="9" cy="9"/></a:xfrm>'
    holder = "" if kind is None else f'<p:ph type="{kind}"' + (f' idx="{index}"/>' if index else "/>")
    return (
        f'<p:sp><p:nvSpPr><p:cNvPr id="1" name="n" {name}/><p:cNvSpPr/><p:nvPr>{holder}</p:nvPr></p:nvSpPr>'
        f"<p:spPr>{place}</p:spPr><p:txBody><a:bodyPr/>{more}{body(*lines)}</p:txBody></p:sp>"
    )


def framed(content, x=0, y=9_000):
    """A frame that holds a table, a chart or a diagram."""
    return (
        '<p:graphicFrame><p:nvGraphicFramePr><p:cNvPr id="2" name="f"/></p:nvGraphicFramePr><p:xfrm>'
        f'<a:off x="{x}" y="{y}"/><a:ext cx="9" cy="9"/></p:xfrm><a:graphic><a:graphicData uri="u">{content}'
        "</a:graphicData></a:graphic></p:graphicFrame>"
    )


def table(*rows, first="1"):
    """A table; cells are texts, or XML of cells."""
    cells = (
        "".join(text if text.startswith("<a:tc") else f"<a:tc><a:txBody>{body(text)}</a:txBody></a:tc>" for text in row)
        for row in rows
    )
    return f'<a:tbl><a:tblPr firstRow="{first}"/>{"".join(f"<a:tr>{row}</a:tr>" for row in cells)}</a:tbl>'


def slide(*shapes, attributes="", root="sld"):
    """The part of a slide, a layout or a notes page."""
    return f"<p:{root} {NAMES} {attributes}><p:cSld><p:spTree>{''.join(shapes)}</p:spTree></p:cSld></p:{root}>"


def deck(*slides, related=None, more=None, masters=None, attributes=""):
    """A presentation of slides. `related`: relations by a slide's number. `masters`: a layout and a master."""
    listed = "".join(f'<p:sldId id="{255 + i}" r:id="r{i}"/>' for i in range(1, len(slides) + 1))
    links = {number: list(targets) for number, targets in (related or {}).items()}
    parts = dict(more or {})
    if masters:
        parts["ppt/slideLayouts/layout1.xml"], parts["ppt/slideMasters/master1.xml"] = masters
        parts["ppt/slideLayouts/_rels/layout1.xml.rels"] = relations(("slideMaster", "../slideMasters/master1.xml"))
        for number in range(1, len(slides) + 1):
            links.setdefault(number, []).append(("slideLayout", "../slideLayouts/layout1.xml"))
    for number, targets in links.items():
        parts[f"ppt/slides/_rels/slide{number}.xml.rels"] = relations(*targets)
    parts |= {
        "_rels/.rels": relations(("officeDocument", "ppt/presentation.xml")),
        "ppt/presentation.xml": f"<p:presentation {NAMES} {attributes}><p:sldIdLst>{listed}</p:sldIdLst>"
        '<p:sldSz cx="9000" cy="6000"/></p:presentation>',
        "ppt/_rels/presentation.xml.rels": relations(
            *[("slide", f"slides/slide{i}.xml") for i in range(1, len(slides) + 1)],
            *([("commentAuthors", "authors.xml")] if "ppt/authors.xml" in parts else []),
        ),
        **{f"ppt/slides/slide{i}.xml": content for i, content in enumerate(slides, 1)},
    }
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return data.getvalue()
