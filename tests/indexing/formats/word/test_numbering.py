import pytest
from indexing.formats.word.packing import item, levels, numbering, paragraph, style, text, word

from rag_ft.indexing.formats.word.numbering import written_number

DECIMAL = (("decimal", "%1."), ("lowerLetter", "%2)"), ("lowerRoman", "(%3)"))
LEGAL = (("decimal", "%1"), ("decimal", "%1.%2"), ("decimal", "%1.%2.%3"))


@pytest.mark.parametrize(
    ("number", "form", "shown"),
    [
        (4, "upperRoman", "IV"),
        (1999, "lowerRoman", "mcmxcix"),
        (28, "lowerLetter", "bb"),
        (7, "decimalZero", "07"),
        (22, "ordinal", "22nd"),
        (112, "ordinal", "112th"),
        (42, "cardinalText", "Forty-two"),
        (30, "ordinalText", "Thirtieth"),
        (5, "chicago", "**"),
        (3, "aFormOfTheFuture", "3"),
        (0, "lowerLetter", "0"),
    ],
)
def test_numbers_are_written_in_the_list_s_format(number, form, shown):
    assert written_number(number, form) == shown


def test_items_carry_the_numbers_that_word_shows():
    body = item("Ask") + item("in person", 1) + item("today", 2) + item("by mail", 1) + item("Wait") + item("long", 1)
    lines = "1. Ask\na) in person\n(i) today\nb) by mail\n2. Wait\na) long"
    assert text(body, numbering=numbering(levels(*DECIMAL))) == lines


def test_numbers_go_on_after_a_paragraph_and_other_lists_start_at_their_own():
    restarted = '<w:lvlOverride w:ilvl="0"><w:startOverride w:val="4"/></w:lvlOverride>'
    numbers = numbering(levels(*DECIMAL), (1, ""), (2, restarted), (3, ""))
    body = (
        item("a") + paragraph("between") + item("b") + item("c", number=2) + item("d", number=2) + item("e", number=3)
    )
    assert text(body, numbering=numbers) == "1. a\n\nbetween\n\n2. b\n4. c\n5. d\n6. e"


def test_a_level_can_go_on_below_the_next_number():
    never = levels(("decimal", "%1."), ("decimal", "%1.%2.")).replace("</w:lvl>", '<w:lvlRestart w:val="0"/></w:lvl>')
    body = item("a") + item("b", 1) + item("c") + item("d", 1)
    assert text(body, numbering=numbering(never)) == "1. a\n1.1. b\n2. c\n2.2. d"


def test_legal_numbers_are_decimal_on_all_levels():
    legal = levels(("upperRoman", "Article %1."), ("decimal", "%1.%2"))
    legal = legal.replace('<w:lvlText w:val="%1.%2"/>', '<w:isLgl/><w:lvlText w:val="%1.%2"/>')
    body = item("Scope") + item("Scope of use", 1)
    assert text(body, numbering=numbering(legal)) == "Article I. Scope\n1.1 Scope of use"


def test_headings_keep_the_numbers_of_their_style():
    linked = levels(*LEGAL).replace('<w:lvl w:ilvl="1">', '<w:lvl w:ilvl="1"><w:pStyle w:val="Heading2"/>')
    listed = '<w:numPr><w:numId w:val="1"/></w:numPr>'
    styles = style("Heading1", "heading 1", properties=listed) + style("Heading2", "heading 2", properties=listed)
    body = paragraph("Scope", style="Heading1") + paragraph("Use", style="Heading2") + paragraph("Text.")
    found = word(body, styles=styles, numbering=numbering(linked))
    assert [(heading.level, heading.text) for heading in found.headings] == [(1, "1 Scope"), (2, "1.1 Use")]


def test_bullets_are_dashes_and_an_empty_bullet_is_none():
    bullets = levels(("bullet", "\uf0b7"), ("bullet", " "))
    assert text(item("a") + item("more of a", 1) + item("b"), numbering=numbering(bullets)) == "- a\nmore of a\n- b"


def test_numbers_after_bullets_are_a_list_of_their_own_but_not_below_them():
    bullets = f'<w:abstractNum w:abstractNumId="7">{levels(("bullet", "o"), ("bullet", "o"))}</w:abstractNum>'
    both = numbering(levels(*DECIMAL)) + bullets + '<w:num w:numId="2"><w:abstractNumId w:val="7"/></w:num>'
    body = item("a", number=2) + item("b", number=2) + item("c") + item("d", level=1, number=2) + item("e")
    assert text(body, numbering=both) == "- a\n- b\n\n1. c\n- d\n2. e"


def test_a_paragraph_can_leave_its_style_s_list():
    styles = style("Step", properties='<w:numPr><w:numId w:val="1"/></w:numPr>')
    body = paragraph("a", style="Step") + item("not a step", number=0, style="Step") + paragraph("b", style="Step")
    assert text(body, styles=styles, numbering=numbering(levels(*DECIMAL))) == "1. a\n\nnot a step\n\n2. b"


def test_deleted_and_hidden_paragraphs_do_not_count():
    gone = paragraph(properties='<w:numPr><w:numId w:val="1"/></w:numPr><w:rPr><w:del w:id="1"/></w:rPr>')
    assert text(item("a") + gone + item("b"), numbering=numbering(levels(*DECIMAL))) == "1. a\n2. b"


def test_a_list_defined_by_a_style_is_followed_to_it_and_a_circle_ends():
    named = (
        '<w:abstractNum w:abstractNumId="0"><w:numStyleLink w:val="L"/></w:abstractNum><w:abstractNum'
        f' w:abstractNumId="1"><w:styleLink w:val="L"/>{levels(*DECIMAL)}</w:abstractNum><w:abstractNum'
        ' w:abstractNumId="2"><w:styleLink w:val="M"/><w:numStyleLink w:val="M"/></w:abstractNum>'
        '<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num><w:num w:numId="2"><w:abstractNumId w:val="2"/></w:num>'
    )
    assert text(item("a") + item("b", number=2) + item("c", number=9), numbering=named) == "1. a\n\nb\n\nc"
