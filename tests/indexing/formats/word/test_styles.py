import pytest
from indexing.formats.word.packing import paragraph, run, style, text, word


def headings(body, styles):
    return [(heading.level, heading.text) for heading in word(body, styles=styles).headings]


def test_styles_derived_from_a_heading_are_headings():
    styles = style("H2", "heading 2") + style("Chapter", based_on="H2") + style("Sub", based_on="Chapter")
    assert headings(paragraph("A", style="Sub") + paragraph("Text."), styles) == [(2, "A")]


def test_an_outline_level_makes_a_heading_and_body_level_unmakes_it():
    styles = (
        style("Clause", properties='<w:outlineLvl w:val="2"/>')
        + style("H1", "heading 1")
        + style("Contents", based_on="H1", properties='<w:outlineLvl w:val="9"/>')
    )
    direct = paragraph("C", properties='<w:outlineLvl w:val="0"/>')
    body = paragraph("A", style="Clause") + paragraph("B", style="Contents") + direct + paragraph("Text.")
    assert headings(body, styles) == [(3, "A"), (1, "C")]


@pytest.mark.parametrize(
    "name", ["Überschrift 2", "Titre 2", "Título 2", "Nagłówek 2", "标题 2", "見出し2", "Heading 2"]
)
def test_localised_names_of_headings_are_known(name):
    assert headings(paragraph("A", style="x") + paragraph("Text."), style("x", name)) == [(2, "A")]


def test_styles_based_on_each_other_end():
    styles = style("A", based_on="B") + style("B", based_on="A")
    assert text(paragraph("x", style="A"), styles=styles) == "x"


def test_text_hidden_by_any_style_is_left_out():
    styles = (
        style("Secret", run_properties="<w:vanish/>")
        + style("Quiet", kind="character", run_properties="<w:vanish/>")
        + style("Deeper", kind="character", based_on="Quiet")
        + style("Plain", default=True)
    )
    body = (
        paragraph("hidden", style="Secret", properties="<w:rPr><w:vanish/></w:rPr>")
        + paragraph("seen", run(" not", '<w:rStyle w:val="Deeper"/>'), run(" never", "<w:vanish/>"))
        + paragraph(run("shown", '<w:vanish w:val="0"/>'), run(" hidden"), style="Secret")
    )
    assert text(body, styles=styles) == "seen\n\nshown"
