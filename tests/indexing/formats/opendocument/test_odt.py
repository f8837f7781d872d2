import pytest
from indexing.formats.opendocument.packing import NAMES, cell, odt, p, packed, row, style, table

from rag_ft.indexing.conservation.check import check
from rag_ft.indexing.formats import extract
from rag_ft.indexing.formats.extracted import Unreadable
from rag_ft.indexing.formats.limits import ReadLimits, limited_by

NUMBERED = (
    '<text:list-style style:name="L1"><text:list-level-style-number text:level="1" style:num-format="1"'
    ' style:num-suffix="."/><text:list-level-style-number text:level="2" style:num-format="a" style:num-suffix=")"/>'
    '</text:list-style><text:list-style style:name="L2"><text:list-level-style-bullet text:level="1"/>'
    "</text:list-style>"
)


def read(data):
    return extract("a.odt", data)


def text(body, **around):
    data = odt(body, **around)
    found = read(data)
    assert check("a.odt", data, found).complete
    return found.text


def listed(*items, style="L1", attributes=""):
    held = "".join(f"<text:list-item>{item}</text:list-item>" for item in items)
    return f'<text:list text:style-name="{style}" {attributes}>{held}</text:list>'


def test_lines_in_a_style_for_code_are_one_block_with_their_spaces():
    body = (
        p("Run:")
        + p("def lift():", "Preformatted_20_Text")
        + p('<text:s text:c="4"/>return 42', "Preformatted_20_Text")
        + p("", "Preformatted_20_Text")
        + p("lift()", "Preformatted_20_Text")
        + p("Done.")
    )
    document = read(odt(body, common='<style:style style:name="Preformatted_20_Text" style:family="paragraph"/>'))
    code = "def lift():\n    return 42\n\nlift()"
    assert document.text == f"Run:\n\n{code}\n\nDone."
    (block,) = document.blocks
    assert (document.text[block.start : block.end], block.kind) == (code, "code")


def test_headings_and_paragraphs_are_blocks():
    found = read(
        odt('<text:h text:outline-level="2">Rules</text:h>' + p("Wear<text:s text:c='3'/>a<text:tab/>helmet."))
    )
    assert found.text == "Rules\n\nWear a helmet."
    assert [(heading.level, heading.text) for heading in found.headings] == [(2, "Rules")]


def test_headings_have_the_numbers_of_the_outline():
    outline = (
        '<text:outline-style><text:outline-level-style text:level="1" style:num-format="1" style:num-suffix="."/>'
        '<text:outline-level-style text:level="2" style:num-format="1" text:display-levels="2"/></text:outline-style>'
    )
    headings = "".join(f'<text:h text:outline-level="{level}">Rules</text:h>' for level in (1, 2, 2, 1))
    assert text(headings, common=outline).split("\n\n") == ["1. Rules", "1.1 Rules", "1.2 Rules", "2. Rules"]


def test_items_have_their_numbers_also_in_lists_that_go_on():
    inner = listed(p("inner"), p("more"))
    body = (
        listed(p("one"), p("two") + inner)
        + p("between")
        + listed(p("three"), attributes='text:continue-numbering="true"')
    )
    assert text(body, styles=NUMBERED) == "1. one\n2. two\na) inner\nb) more\n\nbetween\n\n3. three"
    assert text(listed(p("one"), style="L2"), styles=NUMBERED) == "- one"
    assert text(listed(p("x") + listed(p("first"), style="L1"), style="L2"), styles=NUMBERED) == "- x\na) first"


def test_notes_and_comments_follow_their_paragraph():
    body = f"<text:note-body>{p('By post.')}</text:note-body>"
    note = f"<text:note><text:note-citation>1</text:note-citation>{body}</text:note>"
    comment = "<office:annotation><dc:creator>Ann</dc:creator>" + p("Really?") + "</office:annotation>"
    assert text(p(f"Agreed{note} today{comment}.") + p("Next.")) == (
        "Agreed [1] today.\n\n[1] By post.\n\nComment by Ann: Really?\n\nNext."
    )


def test_deleted_and_hidden_text_is_left_out():
    styles = style("H", "text", "text", 'text:display="none"')
    deletion = f"<text:changed-region><text:deletion>{p('gone')}</text:deletion></text:changed-region>"
    changes = f"<text:tracked-changes>{deletion}</text:tracked-changes>"
    hidden = '<text:section text:display="none">' + p("hidden section") + "</text:section>"
    body = changes + p('seen <text:span text:style-name="H">unseen</text:span>') + hidden
    assert text(body, styles=styles) == "seen"


def test_raised_text_stays_apart():
    styles = style("S", "text", "text", 'style:text-position="super 58%"')
    assert text(p('10<text:span text:style-name="S">6</text:span> litres'), styles=styles) == "10^6 litres"


def test_tables_repeat_the_names_of_their_columns_and_cells_that_span_rows():
    head = f"<table:table-header-rows>{row('Berth', 'Season', 'Price')}</table:table-header-rows>"
    spanning = cell("North", attributes='table:number-rows-spanned="2"')
    body = table(head, row(spanning, "winter", "18 EUR"), row("<table:covered-table-cell/>", "summer", "20 EUR"))
    assert text(body) == "Berth: North | Season: winter | Price: 18 EUR\nBerth: North | Season: summer | Price: 20 EUR"


def test_text_boxes_shapes_and_descriptions_are_read():
    box = f"<draw:frame><draw:text-box>{p('in a box')}</draw:text-box></draw:frame>"
    shape = f"<draw:custom-shape>{p('in a shape')}</draw:custom-shape>"
    picture = "<draw:frame><draw:image/><svg:desc>A crane</svg:desc></draw:frame>"
    assert text(p(f"Before{box}") + shape + p(f"See {picture}here.")) == (
        "Before\n\nin a box\n\nin a shape\n\nSee [Image: A crane] here."
    )


def test_formulas_are_written_on_their_line():
    formula = '<math xmlns="http://www.w3.org/1998/Math/MathML"><mfrac><mi>a</mi><mi>b</mi></mfrac></math>'
    frame = '<draw:frame><draw:object xlink:href="./Object 1"/></draw:frame>'
    data = odt(p(f"It is {frame}metres."), **{"Object 1__content.xml": formula})
    assert read(data).text == "It is a/b metres."


def test_headers_and_footers_come_once_without_page_numbers():
    header = "<style:header>" + p("Harbour rules") + "</style:header>"
    footer = "<style:footer>" + p("Page <text:page-number>3</text:page-number>") + "</style:footer>"
    masters = f"<style:master-page>{header}{footer}</style:master-page>" * 2
    assert text(p("Text."), masters=masters) == "Harbour rules\n\nText."


def test_title_and_author_are_read():
    values = "<dc:title>Rules</dc:title><dc:creator>Ann</dc:creator>"
    meta = f"<office:document-meta {NAMES}><office:meta>{values}</office:meta></office:document-meta>"
    found = read(odt(p("Text."), **{"meta.xml": meta}))
    assert (found.title, found.metadata) == ("Rules", {"author": "Ann"})


def test_rows_that_repeat_without_end_are_counted():
    rows = row("some words", "more", attributes='table:number-rows-repeated="999999999"')
    with limited_by(ReadLimits(max_chars=1_000_000)), pytest.raises(Unreadable, match="gives more text than is read"):
        read(odt(table(rows)))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (packed({"META-INF/manifest.xml": "<m><encryption-data/></m>", "content.xml": "x"}), "is encrypted"),
        (packed({"mimetype": "x"}), "is damaged .it has no text"),
        (odt("")[:-40], "is not a zip container"),
        (packed({"content.xml": f"<office:document-content {NAMES}/>"}), "is damaged .it has no text"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(data, reason):
    with pytest.raises(Unreadable, match=f"^{reason}"):
        read(data)


def test_entities_are_refused():
    entities = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10 if i else "words"}">' for i in range(12))
    content = f"<!DOCTYPE x [{entities}]><office:document-content {NAMES}>&e11;</office:document-content>"
    with pytest.raises(Unreadable, match=r"^defines entities"):
        read(packed({"content.xml": content}))


def test_a_damaged_part_beside_the_text_is_named():
    found = read(odt(p("Text."), **{"meta.xml": "<broken"}))
    assert (found.text, found.metadata) == ("Text.", {"unread_parts": ["meta.xml"]})
