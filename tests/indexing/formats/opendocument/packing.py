"""OpenDocument files made from nothing, part by part."""

import io
import zipfile

_SPACES = (
    "office text table style draw presentation xlink:http://www.w3.org/1999/xlink"
    " dc:http://purl.org/dc/elements/1.1/ fo:urn:oasis:names:tc:opendocument:xmlns:xsl-fo-compatible:1.0"
    " svg:urn:oasis:names:tc:opendocument:xmlns:svg-compatible:1.0"
    " draw:urn:oasis:names:tc:opendocument:xmlns:drawing:1.0 meta"
)
NAMES = " ".join(
    f'xmlns:{prefix}="{address or f"urn:oasis:names:tc:opendocument:xmlns:{prefix}:1.0"}"'
    for prefix, address in {part.partition(":")[0]: part.partition(":")[2] for part in _SPACES.split()}.items()
)


def packed(parts):
    """A container of parts."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return data.getvalue()


def opened(kind, body, styles="", masters="", common="", **parts):
    """A document of a kind such as "text". `styles`: automatic ones; `common`, `masters`: those of styles.xml."""
    return packed(
        {
            "content.xml": f"<office:document-content {NAMES}><office:automatic-styles>{styles}"
            f"</office:automatic-styles><office:body><office:{kind}>{body}</office:{kind}></office:body>"
            "</office:document-content>",
            "styles.xml": f"<office:document-styles {NAMES}><office:styles>{common}</office:styles>"
            f"<office:master-styles>{masters}</office:master-styles></office:document-styles>",
            **{name.replace("__", "/"): content for name, content in parts.items()},
        }
    )


def odt(body, **around):
    """A text."""
    return opened("text", body, **around)


def p(text, style=""):
    """A paragraph."""
    return f'<text:p text:style-name="{style}">{text}</text:p>'


def cell(*lines, attributes=""):
    """A cell of a table."""
    return f"<table:table-cell {attributes}>{''.join(map(p, lines))}</table:table-cell>"


def row(*cells, attributes=""):
    """A row of cells, given as texts or as XML."""
    held = "".join(text if text.startswith("<") else cell(text) for text in cells)
    return f"<table:table-row {attributes}>{held}</table:table-row>"


def table(*rows, name="A", attributes=""):
    """A table or sheet."""
    return f'<table:table table:name="{name}" {attributes}>{"".join(rows)}</table:table>'


def style(name, family, kind, properties):
    """A style with properties of a kind such as "text"."""
    held = f"<style:{kind}-properties {properties}/>"
    return f'<style:style style:name="{name}" style:family="{family}">{held}</style:style>'
