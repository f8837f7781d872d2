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


def test_of_a_page_with_very_many_tags_all_text_is_taken(monkeypatch):
    page = b"<html><body><nav>Menu</nav><p>" + b"A <b>word</b> and another. " * 50 + b"</p></body></html>"
    monkeypatch.setattr("rag_ft.indexing.formats.html.MAX_TAGS", 20)
    monkeypatch.setattr("trafilatura.extract", None)  # which is not asked
    assert extract("a.html", page).text == ("A word and another. " * 50).strip()


def test_tables_around_tables_are_layout_and_those_within_are_rows():
    inner = "<table><tr><td>a</td><td>b</td></tr></table>"
    page = f"<table><tr><td>{inner}</td><td><table><tr><td>c</td><td><h2>T</h2></td></tr></table></td></tr></table>"
    assert extract("a.html", f"<html><body>{page}</body></html>".encode()).text == "a | b\n\nc\n\nT"
