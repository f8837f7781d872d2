import io

import pytest

from rag_ft.formats import extract


def page(body):
    return extract("a.html", f"<html><body><main>{body}</main></body></html>".encode())


FILLER = "".join(f"<p>Paragraph {n} says what the team does when a machine fails at night.</p>" for n in range(70))
LENGTHS = pytest.mark.parametrize("filler", ["", FILLER], ids=["a short page", "a long one"])

# HTML


@LENGTHS
def test_a_line_break_in_a_page_keeps_words_apart(filler):
    address = "<p>Hauptstraße 12<br>10115 Berlin</p><ul><li>Room 1<br>Floor 2</li></ul>"
    text = page(f"<h1>Contact</h1>{address}<table><tr><td>admin<br>console</td><td>on</td></tr></table>{filler}").text
    assert "Hauptstraße 12\n10115 Berlin\n\n" in text
    assert "admin console | on" in text and "1Floor" not in text


@LENGTHS
def test_nested_lists_stand_once_under_their_item(filler):
    nested = "<ol><li>Pump<ul><li>valve</li><li>gauge</li></ul></li><li><p>Motor</p><p>three phases</p></li></ol>"
    text = page(f"<h1>Parts</h1><p>What the device is made of.</p>{nested}{filler}").text
    assert "\n\n1. Pump\n- valve\n- gauge\n2. Motor\nthree phases" in text
    assert [text.count(word) for word in ("valve", "gauge", "Motor", "three phases")] == [1, 1, 1, 1]


@LENGTHS
def test_paragraphs_in_a_cell_stay_in_its_row(filler):
    table = "<tr><th>Plan</th><th>Price</th></tr><tr><td><p>Team</p><p>yearly</p></td><td>9 EUR</td></tr>"
    text = page(f"<h1>Plans</h1><table>{table}</table>{filler}").text
    assert "\n\nPlan | Price\nTeam yearly | 9 EUR" in text and text.count("yearly") == 1


@LENGTHS
def test_text_beside_the_elements_of_a_page_is_kept(filler):
    text = page(f"<h1>Returns</h1><details><summary>How long?</summary>Yes, within 30 days.</details>{filler}").text
    assert "How long?\n\nYes, within 30 days." in text


def test_a_long_page_of_which_little_is_found_is_kept_whole():
    parts = "".join(f"<h2>Device {n}</h2><div>Weight</div><div>{n} kg</div>" for n in range(60))
    found = [page(parts + FILLER), page(parts + FILLER[:700])]
    found.append(extract("a.html", f"<body><nav>{FILLER}</nav>{parts}<p>One device.</p></body>".encode()))
    for text in (one.text for one in found):
        assert all(f"Device {n}\n\nWeight\n\n{n} kg" in text for n in range(60))
    assert FILLER[3:30] not in found[-1].text


def test_the_structure_of_a_page_outlives_the_last_resort_of_the_main_text():
    # Of a page like this trafilatura returns one paragraph of all words.
    items = "<li>One thing<ul><li>inner a</li><li>inner b</li></ul>after</li><li><p>Two para</p><p>second</p></li>"
    cells = "<tr><td><p>x para</p><p>y para</p></td><td>b<br>c</td></tr>"
    cells += "<tr><td><ul><li>in cell</li></ul></td><td>q</td></tr>"
    found = page(f"<h1>L</h1><p>Intro of this list, long enough.</p><ol>{items}</ol><table>{cells}</table>")
    assert found.text == (
        "L\n\nIntro of this list, long enough.\n\n1. One thing\n- inner a\n- inner b\nafter\n2. Two para\nsecond\n\n"
        "x para y para | b c\n- in cell | q"
    )
    assert [heading.text for heading in found.headings] == ["L"]


def test_a_page_laid_out_by_a_table_is_no_row():
    cells = (
        "<td><a href=x>Home</a></td><td><h1>Guide</h1><p>First.</p><table><tr><td>a</td><td>b</td></tr></table></td>"
    )
    found = extract("a.html", f"<body><table><tr>{cells}</tr></table></body>".encode())
    assert found.text == "Home\n\nGuide\n\nFirst.\n\na | b"
    assert [heading.text for heading in found.headings] == ["Guide"]


def test_a_page_nested_deeply_is_read():
    assert extract("a.html", b"<div>" * 2000 + b"Deep.").text == "Deep."


# Encodings

WESTERN = [
    "Müller\n",
    "The subscription costs €49 – billed “monthly”",
    "El niño comió una piña en la montaña. ¿Cuándo llegó?",
    "La réunion a été déplacée à l’été prochain, où nous déciderons.",
    "A decisão não foi tomada; a reunião é amanhã às três.",
    "Ett möte på lördag är för sent, så vi träffas på fredag.",
    "Rød grød med fløde på ærter",
    "ÜBER UNS: ÄNDERUNGEN",
    "Müller, François, Núñez und Ångström trafen sich in São Paulo",
    "caf\xe9",
    "§ 5, 20 °C ± 2°, 25 % für 3 Jahre – ab 10 €",
    "word " * 30_000 + "und über",
]


@pytest.mark.parametrize("text", WESTERN, ids=lambda text: text[-20:])
def test_a_short_western_text_is_read_as_one(text):
    found = extract("a.txt", text.encode("cp1252"))
    assert (found.text, found.metadata) == (text, {"encoding": "cp1252"})


RUSSIAN = "Заседание состоится в четверг в десять часов. Просим всех прийти вовремя и принести отчёты за прошлый месяц."
GREEK = "Η συνεδρίαση θα γίνει την Πέμπτη στις δέκα. Παρακαλούμε όλους τους υπαλλήλους να έρθουν εγκαίρως."
JAPANESE = "会議は木曜日の十時に行われます。全員、時間通りに来てください。先月の報告書も持ってきてください。"
CHINESE = "会议将于星期四上午十点举行。请所有员工准时参加，并带上上个月的报告。谢谢大家的合作。"
CZECH = "Příští schůzka je ve čtvrtek v deset hodin. Prosíme, přijďte včas a přineste zprávu za minulý měsíc."
POLISH = "Następne spotkanie odbędzie się w środę o dziesiątej w Łodzi. Prosimy przynieść sprawozdanie."
TURKISH = "Toplantı yarın saat üçte yapılacak, lütfen geç kalmayın. Şirketin kârı arttı."


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (RUSSIAN, "koi8-r"),
        (RUSSIAN, "cp1251"),
        (GREEK, "iso8859-7"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc-jp"),
        (CHINESE, "gb18030"),
        (CZECH, "cp1250"),
        (POLISH, "cp1250"),
        (POLISH, "iso8859-2"),
        (TURKISH, "cp1254"),
        ("Müller fährt über die Brücke, weil sie größer ist.", "cp850"),
        ("Müller fährt über die Brücke, weil sie größer ist.", "mac-roman"),
    ],
)
def test_other_scripts_and_languages_are_told_from_western_ones(text, encoding):
    assert extract("a.txt", text.encode(encoding)).text == text


@pytest.mark.parametrize("name", ["a.md", "a.html"])
def test_a_guessed_encoding_is_noted_for_marked_up_text_too(name):
    found = extract(name, "<p>Müller & Söhne</p>".encode("cp1252"))
    assert (found.text, found.metadata) == ("Müller & Söhne", {"encoding": "cp1252"})


@pytest.mark.parametrize(("declared", "real"), [("iso-8859-1", "cp1252"), ("iso-8859-1", "utf-8"), ("utf-16", "utf-8")])
def test_the_encoding_that_a_page_says_is_read_as_browsers_do(declared, real):
    page = f"<meta charset={declared}><p>Only €5 – “für alle”</p>"
    found = extract("a.html", page.encode(real))
    assert (found.text, found.metadata) == ("Only €5 – “für alle”", {})


def test_a_wrong_byte_in_utf8_does_not_turn_all_letters_into_others():
    found = extract("a.txt", ("Müller fährt über die Brücke. " * 20).encode() + b"\xff")
    assert found.text.startswith("Müller fährt über die Brücke. ") and found.metadata == {
        "encoding": "utf-8 with errors"
    }


# Markdown


def markdown(text):
    return extract("a.md", text.encode())


def test_a_date_that_no_calendar_has_stays_text():
    found = markdown("---\ntitle: Plan\ndate: 2024-02-30\n---\nBody.\n")
    assert (found.text, found.title, found.metadata["date"]) == ("Body.", "Plan", "2024-02-30")


BILLION_LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))


@pytest.mark.parametrize(
    "front", ["a: &x [*x]", "a: &x {b: *x}", BILLION_LAUGHS, "a: !!bool maybe", "a: !!timestamp no", "a: " + "[" * 3000]
)
def test_front_matter_that_cannot_be_kept_does_not_lose_the_page(front):
    found = markdown(f"---\n{front}\n---\nBody.\n")
    assert found.text == "Body." and list(found.metadata) == ["front_matter_error"]


def test_a_few_aliases_in_front_matter_are_read():
    assert markdown("---\na: &x [1]\nb: *x\n---\nBody.\n").metadata == {"a": [1], "b": [1]}


def test_a_line_break_in_markdown_keeps_words_apart():
    text = markdown("admin<br>console and<br/>\nmore\n\n| a | b |\n|---|---|\n| admin<br>console | c |\n").text
    assert text == "admin\nconsole and\nmore\n\na | b\nadmin console | c"


def test_html_in_a_list_stays_at_its_place():
    text = markdown("- one\n- two\n\n  <div>inside</div>\n\n- three\n\nAfter.\n").text
    assert text == "- one\n- two\ninside\n- three\n\nAfter."


def test_scripts_and_styles_in_markdown_are_no_text():
    html = "<div>\n<style>p {}</style>\n<script>\nvar x;\n</script>\nSeen.\n</div>\n"
    assert markdown(f"{html}\nA <script>var y;</script>line.\n\n<script>\nvar z;\n\nvar a;\n</script>\n").text == (
        "Seen.\n\nA line."
    )


def test_html_tables_and_lists_in_markdown_keep_their_lines():
    table = "<table>\n<tr><th>a</th><th>b</th></tr>\n<tr><td>1</td><td>2</td></tr>\n\n<tr><td>3</td><td>4</td></tr>\n"
    text = markdown(f"{table}</table>\n\n<ol start=4>\n<li>four</li>\n<li>five<pre>x\n y</pre></li>\n</ol>\n").text
    assert text == "a | b\n1 | 2\n\n3 | 4\n\n4. four\n5. five\nx\n y"


def test_a_heading_in_a_list_keeps_its_place():
    found = markdown("- one\n- # Two\n\n  more\n")
    assert found.text == "- one\n\nTwo\n\nmore"
    assert found.text[found.headings[0].start :].startswith("Two")


# DOCX

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


def test_a_table_in_a_cell_stays_in_its_row():
    inside = paragraph("Sizes") + table(["S", "1 m"], ["L", "2 m"]) + "<w:p/>"
    assert word(table(["Case", ("", inside)], ["Bag", "small"])).text == "Case | Sizes S | 1 m L | 2 m\nBag | small"


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


# PDF


def pdf(pages):
    """A document of these lines a page."""
    from reportlab.pdfgen import canvas

    file = io.BytesIO()
    made = canvas.Canvas(file)
    for lines in pages:
        for number, line in enumerate(lines):
            made.drawString(72, 750 - 14 * number, line)
        made.showPage()
    made.save()
    return extract("a.pdf", file.getvalue())


BODIES = [
    ["The pump is switched off by the guard and"],
    ["then the valve is closed within five min-"],
    ["utes of the alarm. The tank is emptied."],
    ["Nothing else is done before the morning."],
]


def test_running_headers_and_footers_do_not_cut_sentences():
    pages = [["Pump manual, revision 7", *body, f"Page {n} of 4", "Confidential"] for n, body in enumerate(BODIES, 1)]
    found = pdf(pages)
    assert found.text == (
        "The pump is switched off by the guard and then the valve is closed within five minutes of the alarm."
        " The tank is emptied.\n\nNothing else is done before the morning."
    )
    assert [found.text[start:][:8] for start in found.page_starts] == ["The pump", "then the", "utes of ", "Nothing "]


def test_headers_of_left_and_right_pages_are_known():
    titles = ["Manual", "Chapter on pumps"]
    found = pdf([[titles[n % 2], f"Sentence {'abcdefgh'[n]} stands here.", str(n + 11)] for n in range(8)])
    assert found.text == "\n\n".join(f"Sentence {one} stands here." for one in "abcdefgh")


def test_first_lines_that_differ_by_more_than_the_page_number_stay():
    found = pdf(
        [[f"Device {n}", f"It weighs {n * n} kg and is {name}."] for n, name in ((1, "red"), (4, "blue"), (9, "new"))]
    )
    assert [f"Device {n}" in found.text for n in (1, 4, 9)] == [True] * 3
    steps = pdf([[f"Step {n}", f"Turn the {name} key."] for n, name in ((1, "red"), (2, "blue"), (3, "new"))])
    assert [f"Step {n}" in steps.text for n in (1, 2, 3)] == [True] * 3


@pytest.mark.parametrize("pages", [[["Title", "Text a."], ["Title", "Text b."]], [["Form", "Name", "Date"]] * 4])
def test_pages_too_few_or_all_alike_are_kept_whole(pages):
    assert pdf(pages).text.count(pages[0][0]) == len(pages)


def test_a_page_without_text_begins_where_the_next_does():
    found = pdf([["The first page ends here and"], [], ["goes on."]])
    assert found.text == "The first page ends here and\n\ngoes on."
    assert [found.text[start:] for start in found.page_starts] == [found.text, "goes on.", "goes on."]
