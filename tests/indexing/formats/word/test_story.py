import io
import zipfile

from indexing.formats.word.packing import item, levels, numbering, packed, paragraph, run, style, table, text, word

from rag_ft.indexing.formats import extract
from rag_ft.indexing.formats.word.running import PAGE, without_pages

SEPARATOR = '<w:footnote w:type="separator" w:id="0"><w:p><w:r><w:t>---</w:t></w:r></w:p></w:footnote>'


def notes(kind, *contents):
    return "".join(
        f'<w:{kind} w:id="{number}">{content if content.startswith("<") else paragraph(content)}</w:{kind}>'
        for number, content in enumerate(contents, start=2)
    )


def reference(kind, note_id):
    return run(f'<w:{kind}Reference w:id="{note_id}"/>')


CODE = style("Mono", name="Source Code", run_properties='<w:rFonts w:ascii="Courier New"/>')


def test_lines_in_a_style_for_code_are_one_block_with_their_spaces():
    lines = ["def lift():", "    return 42", "", "lift()"]
    body = paragraph("Run:") + "".join(paragraph(line, style="Mono") for line in lines) + paragraph("Done.")
    broken = paragraph(run("a:"), run("<w:br/>"), run("  b"), style="Mono")
    document = extract("a.docx", packed(body + broken, styles=CODE))
    code = "\n".join(lines)
    assert document.text == f"Run:\n\n{code}\n\nDone.\n\na:\n  b"
    assert [document.text[block.start : block.end] for block in document.blocks] == [code, "a:\n  b"]
    assert {block.kind for block in document.blocks} == {"code"}


def test_code_stands_before_its_notes_and_before_a_table():
    body = paragraph("lift()", reference("footnote", 2), style="Mono") + paragraph("turn()", style="Mono")
    found = text(body + table(["Berth", "Price"], ["North", "18"]), footnotes=notes("footnote", "Slowly."), styles=CODE)
    assert found.index("lift()") < found.index("Slowly.") < found.index("turn()") < found.index("North")


def test_notes_follow_their_paragraph_and_their_marks_stand_apart():
    body = (
        paragraph("In 1998", reference("footnote", 3), " and later", reference("footnote", 2), ".")
        + paragraph("Pets", reference("endnote", 2))
        + paragraph("End.")
    )
    found = text(
        body,
        footnotes=SEPARATOR + notes("footnote", "Never referred to twice.", "The year.", "Not referred to."),
        endnotes=notes("endnote", paragraph("Dogs.") + paragraph("And cats.")),
    )
    assert found == (
        "In 1998 [1] and later [2].\n\n[1] The year.\n\n[2] Never referred to twice.\n\n"
        "Pets [i]\n\n[i] Dogs.\n\nAnd cats.\n\nEnd."
    )


def test_a_note_in_a_list_stays_with_its_item_and_one_in_a_table_follows_it():
    body = item("a") + item("b") + table(["x", paragraph("1", reference("footnote", 3))], ["y", "2"])
    body = body.replace("a</w:t></w:r>", "a</w:t></w:r>" + reference("footnote", 2), 1)
    found = text(
        body,
        numbering=numbering(levels(("decimal", "%1."))),
        footnotes=notes("footnote", "First.", "Second."),
    )
    assert found == "1. a [1]\n[1] First.\n2. b\n\nx | 1 [2]\ny | 2\n\n[2] Second."


def test_marks_are_written_as_the_settings_say_and_own_marks_stay():
    own = run('<w:footnoteReference w:customMarkFollows="1" w:id="3"/><w:t>*</w:t>')
    body = paragraph("Pets", reference("footnote", 2), " and rent", own)
    settings = '<w:footnotePr><w:numFmt w:val="upperLetter"/><w:numStart w:val="2"/></w:footnotePr>'
    found = text(body, settings=settings, footnotes=notes("footnote", "Dogs.", "* Monthly."))
    assert found == "Pets [B] and rent*\n\n[B] Dogs.\n\n* Monthly."


def test_a_note_that_refers_to_itself_is_read_once():
    again = paragraph("See", reference("footnote", 2))
    assert text(paragraph("A", reference("footnote", 2)), footnotes=notes("footnote", again)) == "A [1]\n\n[1] See [1]"


def test_comments_follow_with_their_author():
    body = paragraph("The fee is due.", reference("comment", 2)) + paragraph("End.")
    comments = notes("comment", "Which fee?").replace('w:id="2"', 'w:id="2" w:author="Ann Lee"')
    assert text(body, comments=comments) == "The fee is due.\n\nComment by Ann Lee: Which fee?\n\nEnd."
    deleted = paragraph("Rent.", f'<w:del w:id="9">{reference("comment", 2)}</w:del>')
    assert text(deleted, comments=comments) == "Rent."


def header(kind, name, place="default"):
    return f'<w:{kind}Reference w:type="{place}" r:id="rId-{name}"/>'


def test_headers_and_footers_come_once_and_only_if_they_are_shown():
    def section(inside):
        return f"<w:sectPr>{inside}</w:sectPr>"

    first = section(header("header", "header1") + header("footer", "footer1") + header("header", "header2", "first"))
    last = section(header("header", "header3") + "<w:titlePg/>" + header("header", "header4", "first"))
    number = '<w:fldSimple w:instr=" PAGE "><w:r><w:t>3</w:t></w:r></w:fldSimple>'
    body = paragraph("One.") + paragraph("Two.", properties=first) + paragraph("Three.") + last
    found = text(
        body,
        header1=paragraph("Contract HV-2291"),
        header2=paragraph("Not shown: no title page"),
        header3=paragraph("Contract HV-2291") + paragraph("Part B"),
        header4=paragraph("Cover of part B"),
        footer1=paragraph("Office hours: 9 to 11", "<w:r><w:tab/></w:r>", "Page ", number),
    )
    assert found == ("Contract HV-2291\n\nOne.\n\nTwo.\n\nOffice hours: 9 to 11\n\nPart B\n\nCover of part B\n\nThree.")


def test_only_running_page_numbers_are_left_out():
    assert without_pages(f"Rules | Page {PAGE} of {PAGE}") == "Rules"
    assert without_pages(f"– {PAGE} –") == ""
    assert without_pages(f"{PAGE} / {PAGE}\tPlan of 2026") == "Plan of 2026"
    assert without_pages("Page 3") == "Page 3"


def test_deleted_paragraph_marks_join_paragraphs():
    gone = "<w:rPr><w:del/></w:rPr>"
    body = paragraph("First half of", properties=gone) + paragraph(" one sentence.") + paragraph("Next.")
    assert text(body) == "First half of one sentence.\n\nNext."
    assert text(paragraph("Last", properties=gone)) == "Last"


def test_moved_paragraphs_come_once_at_their_new_place():
    def moved(name):
        mark = f"<w:rPr><w:{name} w:id='1'/></w:rPr>"
        return paragraph(f'<w:{name} w:id="2">{run("Moved.")}</w:{name}>', properties=mark)

    assert text(moved("moveFrom") + paragraph("Stays.") + moved("moveTo")) == "Stays.\n\nMoved."


def test_a_hidden_paragraph_end_goes_on_in_the_line_and_a_drop_cap_joins_its_word():
    hidden = "<w:rPr><w:vanish/></w:rPr>"
    assert text(paragraph("Scope.", properties=hidden) + paragraph(" All floors.")) == "Scope. All floors."
    capital = paragraph("O", properties='<w:framePr w:dropCap="drop" w:lines="3"/>')
    assert text(capital + paragraph("nce upon a time.")) == "Once upon a time."


def test_text_boxes_of_old_documents_are_read():
    box = f"<w:txbxContent>{paragraph('Boxed.')}</w:txbxContent>"
    old = f"<w:pict><v:shape><v:textbox>{box}</v:textbox></v:shape></w:pict>"
    assert text(paragraph("Before.", run(old))) == "Before.\n\nBoxed."


def test_the_fallback_is_read_where_only_it_has_text():
    choice = '<mc:Choice Requires="x"><w:drawing/></mc:Choice>'
    both = f"<mc:AlternateContent>{choice}<mc:Fallback>{run('shown')}</mc:Fallback></mc:AlternateContent>"
    assert text(paragraph("As ", both)) == "As shown"


def drawn(inside):
    return run(f"<w:drawing><wp:inline>{inside}</wp:inline></w:drawing>")


def test_diagrams_and_charts_are_read():
    point = '<dgm:pt modelId="{}" type="{}"><dgm:t><a:p><a:r><a:t>{}</a:t></a:r></a:p></dgm:t></dgm:pt>'
    diagram = point.format(1, "node", "Apply") + point.format(2, "pres", "no") + point.format(3, "node", "Pay")

    def values(name, *numbers):
        return f"<c:{name}>" + "".join(f"<c:pt><c:v>{number}</c:v></c:pt>" for number in numbers) + f"</c:{name}>"

    series = values("tx", "Ships") + values("cat", "May", "June") + values("val", 4, 7)
    title = "<c:title><a:p><a:r><a:t>Arrivals</a:t></a:r></a:p></c:title>"
    body = paragraph(
        "Steps", drawn('<dgm:relIds r:dm="rId-diagramData1"/>'), drawn('<c:chart r:id="rId-chart1"/>')
    ) + paragraph("End.")
    charted = f"<c:chart>{title}<c:ser>{series}</c:ser></c:chart>"
    found = text(body, diagramData1=diagram, chart1=charted)
    assert found == "Steps\n\nApply\n\nPay\n\nArrivals\n\nMay | Ships: 4\nJune | Ships: 7\n\nEnd."


def test_damaged_parts_are_named_and_the_rest_is_read():
    body = paragraph("Pets", reference("footnote", 2), style="H")
    found = word(body, footnotes=b"<w:footnotes", comments=b"", styles=style("H", "heading 1"))
    assert found.text == "Pets [1]" and found.headings
    assert found.metadata["unread_parts"] == ["word/footnotes.xml"]
    assert word(paragraph("A"), styles=b"\0", numbering=b"<").metadata["unread_parts"] == [
        "word/styles.xml",
        "word/numbering.xml",
    ]
    assert "unread_parts" not in word(paragraph("A")).metadata


def test_an_embedded_document_is_named():
    chunk = '<w:altChunk r:id="rId-aFChunk"/>'
    assert word(paragraph("A") + chunk, aFChunk=b"<html>").metadata["unread_parts"] == ["word/aFChunk.xml"]


def test_strict_documents_are_read():
    data = packed(paragraph("Scope", style="H") + paragraph("Text."), styles=style("H", "heading 1"))
    strict = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(strict, "w") as copy:
        for name in archive.namelist():
            content = archive.read(name)
            for old, new in (
                ("wordprocessingml/2006/", "wordprocessingml/"),
                ("officeDocument/2006/", "officeDocument/"),
            ):
                content = content.replace(
                    f"http://schemas.openxmlformats.org/{old}".encode(), f"http://purl.oclc.org/ooxml/{new}".encode()
                )
            copy.writestr(name, content)
    found = extract("a.docx", strict.getvalue())
    assert found.text == "Scope\n\nText." and found.headings[0].text == "Scope"
