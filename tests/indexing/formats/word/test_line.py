import pytest
from indexing.formats.word.packing import paragraph, run, text


def field(code, *result, data=""):
    begin = f'<w:r><w:fldChar w:fldCharType="begin">{data}</w:fldChar></w:r>'
    written = f"<w:r><w:instrText>{code}</w:instrText></w:r>"
    shown = "".join(['<w:r><w:fldChar w:fldCharType="separate"/></w:r>', *result]) if result else ""
    return f'{begin}{written}{shown}<w:r><w:fldChar w:fldCharType="end"/></w:r>'


UP, DOWN = '<w:vertAlign w:val="superscript"/>', '<w:vertAlign w:val="subscript"/>'


@pytest.mark.parametrize(
    ("before", "raised", "properties", "shown"),
    [
        ("10", "6", UP, "10^6 litres"),
        ("25 m", "2", UP, "25 m² litres"),
        ("H", "2", DOWN, "H₂ litres"),
        ("2", "nd", UP, "2nd litres"),
        ("e", "x+1", UP, "e^(x+1) litres"),
        ("x", "max", DOWN, "x_max litres"),
        ("Acme", "TM", UP, "Acme™ litres"),
        ("in 1998", "4", UP, "in 1998 [4] litres"),
        ("the period", "3", UP, "the period [3] litres"),
        ("20 ", "°", UP, "20 ° litres"),
        ("500 m", "3", UP, "500 m³ litres"),
        ("20", "th", UP, "20th litres"),
        ("the fee", "*", UP, "the fee * litres"),
        ("10", "6", '<w:position w:val="8"/>', "10^6 litres"),
        ("10", "6", '<w:position w:val="0"/>', "106 litres"),
    ],
)
def test_raised_and_lowered_text_stays_apart(before, raised, properties, shown):
    assert text(paragraph(before, run(raised, properties), " litres")) == shown


def test_a_word_after_the_mark_of_a_note_stands_apart():
    assert text(paragraph("the period", run("3", UP), "and")) == "the period [3] and"


def test_raised_text_in_several_runs_is_one():
    assert text(paragraph("10", run("-", UP), run("12", UP))) == "10^-12"


def test_results_of_fields_are_read_and_not_their_codes():
    condition = (
        '<w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText>IF </w:instrText></w:r>'
        + field("MERGEFIELD Name", run("Ann"))
        + '<w:r><w:instrText> = "Ann" "Mrs" "Mr"</w:instrText></w:r><w:r><w:fldChar w:fldCharType="separate"/></w:r>'
        + run("Mrs")
        + '<w:r><w:fldChar w:fldCharType="end"/></w:r>'
    )
    simple = '<w:fldSimple w:instr=" DATE "><w:r><w:t>4 May</w:t></w:r></w:fldSimple>'
    assert text(paragraph("Dear ", condition, " Lee, ", simple)) == "Dear Mrs Lee, 4 May"


def test_a_field_over_several_paragraphs_is_read_and_one_without_a_separator_does_not_swallow_the_rest():
    first = '<w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText>TOC</w:instrText></w:r>'
    begin = f'{first}<w:r><w:fldChar w:fldCharType="separate"/></w:r>'
    body = paragraph(begin, "Scope") + paragraph("Use", '<w:r><w:fldChar w:fldCharType="end"/></w:r>')
    assert text(body + paragraph("Text.")) == "Scope\n\nUse\n\nText."
    assert text(paragraph(first) + paragraph("Text.")) == "Text."


def test_values_of_form_fields_are_read():
    checked = "<w:ffData><w:checkBox><w:checked/></w:checkBox></w:ffData>"
    clear = '<w:ffData><w:checkBox><w:default w:val="0"/></w:checkBox></w:ffData>'
    entries = '<w:listEntry w:val="North"/><w:listEntry w:val="South"/>'
    choice = f'<w:ffData><w:ddList><w:result w:val="1"/>{entries}</w:ddList></w:ffData>'
    body = paragraph(
        field("FORMCHECKBOX", data=checked), " paid ", field("FORMCHECKBOX", data=clear), " open, ",
        field("FORMDROPDOWN", data=choice), " quay, ", field("FORMTEXT", run("Ann Lee")),
    )  # fmt: skip
    assert text(body) == "☒ paid ☐ open, South quay, Ann Lee"


def test_symbols_are_their_characters():
    body = paragraph(
        run('<w:sym w:font="Symbol" w:char="F0B3"/>'), " 5, ", run('<w:sym w:font="Wingdings" w:char="F0FE"/>'),
        " paid, ", run("\uf061", '<w:rFonts w:ascii="Symbol" w:hAnsi="Symbol"/>'),
        run('<w:sym w:font="Webdings" w:char="F0AA"/>'), run('<w:sym w:font="Arial" w:char="20AC"/>'),
        run('<w:sym w:font="Symbol" w:char="zz"/>'),
    )  # fmt: skip
    assert text(body) == "≥ 5, ☑ paid, α€"


def test_soft_hyphens_go_and_hard_ones_stay():
    body = paragraph("data", run("<w:softHyphen/>"), "base, dam\u00adage, AB", run("<w:noBreakHyphen/>"), "12")
    assert text(body) == "database, damage, AB-12"


def test_breaks_of_any_kind_keep_words_apart():
    assert text(paragraph("end", run('<w:br w:type="page"/>'), "start", run("<w:cr/>"), "more")) == "end\nstart\nmore"


def test_the_marks_of_cross_references_to_notes_stand_apart():
    assert text(paragraph("see", run("3", '<w:rStyle w:val="N"/>')), styles=STYLE) == "see [3]"


STYLE = (
    '<w:style w:type="character" w:styleId="N"><w:name w:val="footnote reference"/><w:rPr><w:vertAlign'
    ' w:val="superscript"/></w:rPr></w:style>'
)


def test_pictures_are_read_by_their_alternative_text_unless_they_are_decoration():
    def drawn(about):
        return f"<w:r><w:drawing><wp:inline>{about}</wp:inline></w:drawing></w:r>"

    decorative = (
        '<wp:docPr id="1" name="a" descr="A line"><a:extLst><a:ext><d:decorative val="1" xmlns:d="'
        'http://schemas.microsoft.com/office/drawing/2017/decorative"/></a:ext></a:extLst></wp:docPr>'
    )
    plan = (
        '<wp:docPr id="2" name="Picture 1" descr="Plan of&#10;the hall"/><pic:cNvPr id="0" name="" descr="plan.png"/>'
    )
    old = '<w:r><w:pict><v:shape alt="Logo of the port"/></w:pict></w:r>'
    body = paragraph("See", drawn(plan), "here", drawn(decorative), old)
    assert text(body) == "See [Image: Plan of the hall] here [Image: Logo of the port]"


def test_ruby_is_read_once():
    above, base = run("とうきょう"), run("東京")
    ruby = f"<w:ruby><w:rt>{above}</w:rt><w:rubyBase>{base}</w:rubyBase></w:ruby>"
    assert text(paragraph(run(ruby), "へ")) == "東京へ"
