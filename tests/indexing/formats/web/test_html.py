import pytest

from rag_ft.indexing.formats import extract


def page(body):
    return extract("a.html", f"<html><body><main>{body}</main></body></html>".encode())


FILLER = "".join(f"<p>Paragraph {n} says what the team does when a machine fails at night.</p>" for n in range(70))
LENGTHS = pytest.mark.parametrize("filler", ["", FILLER], ids=["a short page", "a long one"])


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
    assert "\n\nPlan: Team yearly | Price: 9 EUR" in text and text.count("yearly") == 1


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


def test_lists_and_tables_with_blocks_in_them_keep_their_structure():
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


def test_tables_around_tables_are_layout_and_those_within_are_rows():
    inner = "<table><tr><td>a</td><td>b</td></tr></table>"
    page = f"<table><tr><td>{inner}</td><td><table><tr><td>c</td><td><h2>T</h2></td></tr></table></td></tr></table>"
    assert extract("a.html", f"<html><body>{page}</body></html>".encode()).text == "a | b\n\nc\n\nT"


def test_everything_that_is_visible_in_an_article_is_kept_in_its_order():
    article = (
        "<h1>Ferry</h1><p>The last boat leaves on <time datetime=2025-06-01>1 June 2025</time> at dusk.</p>"
        "<aside>Dogs travel free.</aside>Loose text.<figure><img src=a alt='A red boat'>"
        "<figcaption>Figure 1</figcaption></figure><details><summary>Bikes?</summary>Yes, four.</details>"
    )
    text = extract(
        "a.html", f"<body><nav>Home</nav><article>{article}</article><footer>Legal</footer></body>".encode()
    ).text
    assert text == (
        "Ferry\n\nThe last boat leaves on 1 June 2025 at dusk.\n\nDogs travel free.\n\nLoose text.\n\nA red boat\n\n"
        "Figure 1\n\nBikes?\n\nYes, four."
    )


@pytest.mark.parametrize(
    "hidden",
    [
        "<p hidden>gone</p>",
        "<p style='color:red; display : none'>gone</p>",
        "<p style='visibility:hidden'>gone</p>",
        "<template><p>gone</p></template>",
        "<noscript>gone</noscript>",
        "<dialog>gone</dialog>",
        "<p>a</p><span aria-hidden=true class='icon'>gone</span>",
        "<nav>gone</nav>",
        "<div role=navigation>gone</div>",
        "<div id=cookie-banner>gone</div>",
        "<h2>T<a class=headerlink href=#t>¶</a></h2>",
        "<button>gone</button>",
        "<video>gone</video>",
    ],
)
def test_what_nobody_sees_or_what_leads_elsewhere_is_left_out(hidden):
    text = page(f"<p>Seen.</p>{hidden}").text
    assert text.startswith("Seen.") and "gone" not in text and "¶" not in text


@pytest.mark.parametrize(
    "shown",
    [
        "<p aria-hidden=true>kept words</p>",
        "<div role=tabpanel hidden>kept words</div>",
        "<p hidden=until-found>kept words</p>",
        "<aside role=doc-footnote hidden>kept words</aside>",
        "<dialog open>kept words</dialog>",
        "<h2><button>kept words</button></h2>",
        "<svg><text>kept words</text></svg>",
        "<footer>kept words</footer>",
    ],
)
def test_what_a_click_shows_or_a_reader_sees_is_kept(shown):
    assert page(f"<p>Seen.</p>{shown}").text == "Seen.\n\nkept words"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("10<sup>9</sup> bytes", "10^9 bytes"),
        ("12 km<sup>2</sup> of CO<sub>2</sub>", "12 km² of CO₂"),
        ("<i>x</i><sup>n+1</sup> and V<sub>max</sub>", "xⁿ⁺¹ and V_max"),
        ("the 21<sup>st</sup> of May", "the 21st of May"),
        ("2<sup>1</sup>/<sub>2</sub> cups", "2 1/2 cups"),
        ("in 2004<sup>7</sup>, later", "in 2004 [7], later"),
        ("the harbour<sup>2</sup>.", "the harbour [2]."),
        ("It closed.<sup>12</sup>Then", "It closed. [12] Then"),
        ("5<sup><a href=#n3>3</a></sup> boats", "5 [3] boats"),
        ("It rose<sup>[4]</sup>and", "It rose [4] and"),
        ("It rose<a href=#n4>[4]</a>and", "It rose [4] and"),
        ("18 EUR<sup>*</sup>", "18 EUR *"),
        ("x<span style='vertical-align: super'>2</span>", "x²"),
        ("<sup>1</sup>Since May", "[1] Since May"),
        ("inter&shy;national", "international"),
        ("<a href=a>One</a><a href=b>Two</a>", "One Two"),
        ("<ruby>漢<rp>(</rp><rt>kan</rt><rp>)</rp></ruby>", "漢(kan)"),
    ],
)
def test_raised_and_lowered_text_is_not_glued_to_the_text_before(html, text):
    assert page(f"<p>{html}</p>").text == text


def test_a_formula_comes_once_in_one_line():
    formula = (
        "<math><semantics><mrow><msup><mi>a</mi><mn>2</mn></msup><mo>=</mo><mfrac><mrow><mi>b</mi><mo>+</mo><mn>1</mn>"
        "</mrow><msqrt><mi>c</mi></msqrt></mfrac></mrow><annotation>a^2=\\frac{b+1}{c}</annotation>"
        "</semantics></math>"
    )
    drawn = f"<span class=katex>{formula}<span class=katex-html aria-hidden=true><span>a</span></span></span>"
    assert page(f"<p>So {formula} holds.</p>").text == "So a^2=(b+1)/(√c) holds."
    assert page(f"<p>So {drawn} holds.</p>").text == "So a^2=(b+1)/(√c) holds."


def test_values_of_forms_are_text():
    form = (
        "<form><label>Berth <input value=B7></label><select><option>day<option selected>week</select>"
        "<textarea>Two masts</textarea><input type=checkbox checked> paid<input type=hidden value=key>"
        "<input type=submit value=Send></form>"
    )
    assert page(form).text == "Berth B7 week Two masts [x] paid"


@pytest.mark.parametrize(
    ("start", "items", "text"),
    [
        ("<ol start=9>", "<li>a<li>b", "9. a\n10. b"),
        ("<ol reversed>", "<li>a<li>b", "2. a\n1. b"),
        ("<ol type=a start=26>", "<li>x<li>y", "z. x\naa. y"),
        ("<ol type=I start=4>", "<li>x<li>y", "IV. x\nV. y"),
        ("<ol>", "<li>a<li value=7>b<li>c", "1. a\n7. b\n8. c"),
        ("<ol start=-1>", "<li>a<li>b<li>c", "-1. a\n0. b\n1. c"),
        ("<ol start=x>", "<li>a", "1. a"),
    ],
)
def test_items_have_the_numbers_that_a_browser_shows(start, items, text):
    assert page(f"{start}{items}</ol>").text == text


def test_a_term_stands_with_its_definition():
    terms = "<dl><dt>Draught</dt><dd>2 m</dd><dt>Beam<dt>Width<dd>4 m<dt>Why?<dd><p>One.</p><p>Two.</p><dt>End</dl>"
    assert page(terms).text == "Draught: 2 m\nBeam, Width: 4 m\nWhy?\nOne.\nTwo.\nEnd"


def test_rows_repeat_their_columns_names_and_what_spans_them():
    table = (
        "<table><caption>Prices</caption><tr><th rowspan=2>Berth<th colspan=2>Price</tr><tr><th>day<th>week</tr>"
        "<tr><td rowspan=2>North<td>3<td>9</tr><tr><td colspan=2>free</tr><tr><td colspan=3>Closed in May</tr>"
        "<tr><td>South<td><td>8</tr></table>"
    )
    assert page(table).text == (
        "Prices\n\nBerth: North | Price day: 3 | Price week: 9\nBerth: North | Price day: free | Price week: free\n"
        "Closed in May\nBerth: South | Price week: 8"
    )


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ("<tr><td><b>Name</b><td><b>Age</b><tr><td>Ann<td>5", "Name: Ann | Age: 5"),
        ("<tr><th>Mast<td>9 m<tr><th>Keel:<td>2 m", "Mast: 9 m\nKeel: 2 m"),
        ("<tr><th>Name<th>Note<tr><td>Ann<td>", "Name | Note\nName: Ann"),
        ("<tr><th><th>min<tr><th>North<td>3", "North | min: 3"),
        ("<tr><th>A<th>B", "A | B"),
        ("<tr><th>A<th>B<tr><td>1<td>x<table><tr><td>in<td>ner</table>", "A: 1 | B: x\n\nin | ner"),
    ],
)
def test_tables_of_other_forms_are_rows_too(table, text):
    assert page(f"<table>{table}</table>").text == text


def test_code_keeps_its_lines_and_has_no_line_numbers():
    code = '<pre><span class=linenos>1</span><code>if a:\n    b -- c  # "x"...</code><button>Copy</button></pre>'
    assert page(code).text == 'if a:\n    b -- c  # "x"...'


FRAME = "<header>Logo</header><div class=sidebar>Latest news</div>{}<footer>Legal</footer>"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("<main><p>Content.</p></main><p>Beside.</p>", "Content."),
        ("<article><h1>T</h1><p>Content of some length.</p></article>", "T\n\nContent of some length."),
        ("<h1>T</h1><main><p>Content.</p></main>", "T\n\nContent."),
        (
            "<article>Teaser</article><p>The page itself says much more than that.</p>",
            "Logo\n\nLatest news\n\nTeaser\n\nThe page itself says much more than that.",
        ),
        ("<article>One</article><article>Two</article>", "Logo\n\nLatest news\n\nOne\n\nTwo"),
        ("<main hidden>x</main><main>Shown.</main>", "Shown."),
    ],
)
def test_the_main_part_of_a_page_is_read_and_in_doubt_all_of_it(body, text):
    assert extract("a.html", FRAME.format(body).encode()).text == text


def test_a_term_without_a_definition_is_kept():
    found = extract(
        "a.html", b"<body><main><dl><dt>Fender</dt><dd></dd><dt>Buoy</dt><dd>Floats.</dd></dl></main></body>"
    )
    assert found.text == "Fender\nBuoy: Floats."


def test_raised_trade_marks_are_one_character():
    assert (
        extract("a.html", b"<p>Acme<sup>TM</sup> rope, 20<sup>\xc2\xb0</sup></p>").text == "Acme\u2122 rope, 20\u00b0"
    )
