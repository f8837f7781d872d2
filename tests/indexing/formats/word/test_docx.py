import io

import pytest

from rag_ft.indexing.formats import ReadLimits, Unreadable, extract
from rag_ft.indexing.formats.limits import limited_by

WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def word(body):
    """A document whose body is this XML."""
    import docx
    from docx.oxml import parse_xml

    document = docx.Document()
    parts = parse_xml(f"<w:body {WORD}>{body}</w:body>")
    for number, part in enumerate(list(parts)):
        document.element.body.insert(number, part)
    file = io.BytesIO()
    document.save(file)
    return extract("a.docx", file.getvalue())


def paragraph(text, style=""):
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{properties}<w:r><w:t>{text}</w:t></w:r></w:p>"


def table(*rows):
    """Rows of cells, each a text or (properties, content)."""
    cells = [[cell if isinstance(cell, tuple) else ("", paragraph(cell)) for cell in row] for row in rows]
    made = ("".join(f"<w:tc><w:tcPr>{said}</w:tcPr>{inside}</w:tc>" for said, inside in row) for row in cells)
    return "<w:tbl>" + "".join(f"<w:tr>{row}</w:tr>" for row in made) + "</w:tbl>"


def test_tracked_changes_are_read_as_accepted():
    inserted = '<w:ins w:id="1" w:author="a"><w:r><w:t>ninety</w:t></w:r></w:ins>'
    deleted = '<w:del w:id="2" w:author="a"><w:r><w:delText>thirty</w:delText></w:r></w:del>'
    moved = '<w:moveFrom w:id="3" w:author="a"><w:r><w:t> here</w:t></w:r></w:moveFrom>'
    text = word(f"<w:p><w:r><w:t>Within </w:t></w:r>{deleted}{inserted}<w:r><w:t> days</w:t></w:r>{moved}</w:p>").text
    assert text == "Within ninety days"


def test_content_controls_are_read_but_not_their_placeholders():
    inner = "<w:sdt><w:sdtContent><w:r><w:t>the owner</w:t></w:r></w:sdtContent></w:sdt>"
    empty = (
        f"<w:sdt><w:sdtPr><w:showingPlcHdr/></w:sdtPr><w:sdtContent>{paragraph('Click here')}</w:sdtContent></w:sdt>"
    )
    block = f"<w:sdt><w:sdtContent>{paragraph('A', 'Heading1')}{paragraph('B')}</w:sdtContent></w:sdt>"
    found = word(f"{block}<w:p><w:r><w:t>Ask </w:t></w:r>{inner}</w:p>{empty}")
    assert found.text == "A\n\nB\n\nAsk the owner" and found.headings[0].text == "A"


def test_merged_cells_say_their_text_once_in_a_row_and_in_each_row():
    restart = '<w:vMerge w:val="restart"/>'
    text = word(
        table(
            [('<w:gridSpan w:val="3"/>', paragraph("All plans"))],
            [(restart, paragraph("Team")), "seats", "5"],
            [("<w:vMerge/>", "<w:p/>"), "price", "9 EUR"],
        )
    ).text
    assert text == "All plans\nTeam | seats | 5\nTeam | price | 9 EUR"


def test_the_text_of_a_text_box_comes_once_after_its_paragraph():
    mc = 'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
    box = f"<w:txbxContent>{paragraph('Boxed.')}</w:txbxContent>"
    drawn = (
        f"<mc:AlternateContent {mc}><mc:Choice>{box}</mc:Choice><mc:Fallback>{box}</mc:Fallback></mc:AlternateContent>"
    )
    found = word(f"<w:p><w:r><w:t>Before</w:t></w:r><w:r>{drawn}</w:r><w:r><w:t> and after.</w:t></w:r></w:p>")
    assert found.text == "Before and after.\n\nBoxed."


def test_a_bookmark_between_items_does_not_end_their_list():
    items = [paragraph("one", "ListNumber"), '<w:bookmarkStart w:id="1" w:name="b"/>', paragraph("two", "ListNumber")]
    assert word("".join(items)).text == "1. one\n2. two"


def test_a_cell_over_very_many_rows_gives_more_text_than_is_read():
    first = ('<w:vMerge w:val="restart"/>', paragraph("a word " * 100))
    rows = table([first], *([("<w:vMerge/>", "<w:p/>")] for _ in range(40)))
    with limited_by(ReadLimits(max_chars=10_000)), pytest.raises(Unreadable, match="gives more text than is read"):
        word(rows)
    assert len(word(rows).text) > 20_000


def test_a_style_that_is_not_there_is_the_default():
    found = word(paragraph("Plain", style="none&quot;]") + paragraph("Title here", style="Heading2"))
    assert [(heading.text, heading.level) for heading in found.headings] == [("Title here", 2)]
