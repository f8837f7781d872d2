import pytest
from indexing.formats.slides.packing import NAMES, body, deck, framed, line, shape, slide, table

from rag_ft.indexing.chunking import Chunker, ChunkingConfig
from rag_ft.indexing.conservation.check import check
from rag_ft.indexing.formats import extract
from rag_ft.indexing.formats.extracted import Unreadable
from rag_ft.indexing.locations import location_of
from rag_ft.schema import Document

BULLET = '><a:buChar char="•"/>'
TITLE = shape("Rules", kind="title")


def read(data):
    return extract("a.pptx", data)


def text(*shapes, **around):
    return read(deck(slide(TITLE, *shapes), **around)).text.removeprefix("Rules").strip()


def test_slides_are_read_in_their_order_each_under_its_title():
    found = read(deck(slide(shape("Wear a helmet"), TITLE), slide(shape("No title here"))))
    assert found.text == "Rules\n\nWear a helmet\n\nSlide 2\n\nNo title here"
    assert [heading.text for heading in found.headings] == ["Rules", "Slide 2"]
    assert [(location.start, location.label) for location in found.locations] == [(0, "slide 1"), (22, "slide 2")]


def test_shapes_are_read_from_the_top_down_and_from_left_to_right():
    right, left, top = shape("right", x=5000, y=3000), shape("left", x=100, y=3100), shape("top", x=5000, y=10)
    assert text(right, left, top).split() == ["top", "left", "right"]


def test_names_of_columns_stand_with_the_text_below_them():
    names = shape("Before", x=100, y=1000), shape("After", x=5000, y=1000)
    texts = shape("Ships waited for days.", x=100, y=2000), shape("Ships pass in an hour.", x=5000, y=2050)
    assert text(*names, *texts).split("\n\n") == [
        "Before",
        "Ships waited for days.",
        "After",
        "Ships pass in an hour.",
    ]


def test_groups_are_taken_apart_in_the_coordinates_of_the_slide():
    place = (
        '<a:xfrm><a:off x="0" y="5000"/><a:ext cx="90" cy="90"/><a:chOff x="0" y="0"/><a:chExt cx="9" cy="9"/></a:xfrm>'
    )
    group = f"<p:grpSp><p:grpSpPr>{place}</p:grpSpPr>{shape('low', x=1, y=1)}{shape('lower', x=1, y=90)}</p:grpSp>"
    assert text(group, shape("high", x=0, y=4000)).split() == ["high", "low", "lower"]


def test_bullets_and_numbers_are_items():
    numbered = '><a:buAutoNum type="{}"/>'
    lines = [line("one", BULLET), line("deeper", f'lvl="1"{BULLET}'), line("first", numbered.format("arabicPeriod"))]
    lines += [
        line("second", numbered.format("arabicPeriod")),
        line("plain"),
        line("ay", numbered.format("alphaLcParenR")),
    ]
    assert text(shape(*lines)) == "- one\n- deeper\n1. first\n2. second\n\nplain\n\na) ay"


def test_bullets_and_places_come_from_the_layout_and_the_master():
    style = '<a:lstStyle><a:lvl1pPr><a:buChar char="-"/></a:lvl1pPr></a:lstStyle>'
    layout = slide(shape("Click to add text", x=9, y=1000, kind="body", index="1"), root="sldLayout")
    master = slide(shape("Master text", kind="body", more=style), root="sldMaster")
    shapes = shape("below", x=0, y=2000), shape("item", kind="body", index="1")
    assert text(*shapes, masters=(layout, master)) == "- item\n\nbelow"


def test_tables_repeat_the_names_of_their_columns_and_merged_cells():
    merged = f'<a:tc rowSpan="2"><a:txBody>{body("North")}</a:txBody></a:tc>'
    rows = ["Berth", "Season", "Price"], [merged, "winter", "18 EUR"], ['<a:tc vMerge="1"/>', "summer", "20 EUR"]
    assert text(framed(table(*rows))) == (
        "Berth: North | Season: winter | Price: 18 EUR\nBerth: North | Season: summer | Price: 20 EUR"
    )


def test_charts_and_diagrams_are_read():
    series = "<c:tx><c:v>Ships</c:v></c:tx><c:cat><c:v>2025</c:v></c:cat><c:val><c:v>7</c:v></c:val>"
    title = "<c:title><a:p><a:r><a:t>Arrivals</a:t></a:r></a:p></c:title>"
    chart = f"<c:chartSpace {NAMES}><c:chart>{title}<c:ser>{series}</c:ser></c:chart></c:chartSpace>"
    point = "<dgm:pt><dgm:t><a:p><a:r><a:t>{}</a:t></a:r></a:p></dgm:t></dgm:pt>"
    points = point.format("Load") + point.format("Lift")
    diagram = f"<dgm:dataModel {NAMES}><dgm:ptLst>{points}</dgm:ptLst></dgm:dataModel>"
    data = deck(
        slide(TITLE, framed('<c:chart r:id="r1"/>'), framed('<dgm:relIds r:dm="r2"/>', y=20_000)),
        related={1: [("chart", "../charts/chart1.xml"), ("diagramData", "../diagrams/data1.xml")]},
        more={"ppt/charts/chart1.xml": chart, "ppt/diagrams/data1.xml": diagram},
    )
    assert read(data).text == "Rules\n\nArrivals\n\n2025 | Ships: 7\n\nLoad\n\nLift"
    assert check("a.pptx", data, read(data)).complete


def test_notes_and_comments_follow_their_slide():
    notes = slide(shape("Say it slowly", kind="body"), shape("7", kind="sldNum"), root="notes")
    comments = f"<p:cmLst {NAMES}><p:cm authorId='3'><p:text>Which helmet?</p:text></p:cm></p:cmLst>"
    authors = f"<p:cmAuthorLst {NAMES}><p:cmAuthor id='3' name='Ann'/></p:cmAuthorLst>"
    data = deck(
        slide(TITLE, shape("Wear a helmet")),
        related={1: [("notesSlide", "../notesSlides/n1.xml"), ("comments", "../comments/c1.xml")]},
        more={"ppt/notesSlides/n1.xml": notes, "ppt/comments/c1.xml": comments, "ppt/authors.xml": authors},
    )
    found = read(data)
    assert found.text.split("\n\n")[2:] == ["Notes: Say it slowly", "Comment by Ann: Which helmet?"]
    report = check("a.pptx", data, found)
    assert report.complete and report.left_out == {"running headers and footers": 1}


def test_what_repeats_on_every_slide_is_left_out():
    field = '<a:p><a:fld type="slidenum"><a:t>7</a:t></a:fld></a:p>'
    assert text(shape("kept"), shape("Confidential", kind="ftr"), shape("3 May", kind="dt"), shape(field)) == "kept"


def test_hidden_slides_are_read_and_hidden_shapes_are_not():
    found = read(deck(slide(TITLE, shape("seen"), shape("unseen", name='hidden="1"'), attributes='show="0"')))
    assert found.text == "Rules\n\nseen"
    assert found.locations[0].label == "slide 1 (hidden)"


def test_descriptions_of_pictures_are_read_but_not_their_files_names():
    assert (
        text(shape(name='descr="A crane lifts a boat"'), shape(name='descr="a.png"')) == "[Image: A crane lifts a boat]"
    )


def test_raised_text_breaks_and_formulas_stay_on_their_line():
    raised = (
        '<a:r><a:t>10</a:t></a:r><a:r><a:rPr baseline="30000"/><a:t>6</a:t></a:r><a:br/><a:r><a:t>litres</a:t></a:r>'
    )
    parts = "<m:num><m:r><m:t>a</m:t></m:r></m:num><m:den><m:r><m:t>b</m:t></m:r></m:den>"
    formula = f"<a:p><m:oMath><m:f>{parts}</m:f></m:oMath></a:p>"
    assert text(shape(f"<a:p>{raised}</a:p>", formula)) == "10^6 litres\n\na/b"


def test_an_answer_is_located_on_its_slide():
    found = read(deck(slide(TITLE, shape("Wear a helmet")), slide(shape("Fire", kind="title"), shape("Call 112."))))
    document = Document(id="a", text=found.text, headings=found.headings, locations=found.locations)
    passages = Chunker(ChunkingConfig(max_tokens=8), lambda part: len(part.split())).passages(document)
    assert [(passage.text, location_of(passage)) for passage in passages] == [
        ("Rules\n\nWear a helmet", "slide 1"),
        ("Fire\n\nCall 112.", "slide 2"),
    ]


def test_a_slide_listed_twice_is_read_once_and_numbers_may_start_later():
    found = read(deck(slide(TITLE, shape("words")), attributes='firstSlideNum="5"'))
    assert found.locations[0].label == "slide 5"


def test_a_damaged_slide_is_named_and_the_others_are_read():
    data = deck(slide(TITLE, shape("kept")), "<p:sld", slide(shape("too")))
    found = read(data)
    assert found.text == "Rules\n\nkept\n\nSlide 3\n\ntoo"
    assert found.metadata["unread_parts"] == ["slide 2 is damaged or missing"]
    assert check("a.pptx", data, found).missing_parts == ("slide 2",)


def test_macros_are_ignored_and_named():
    data = deck(slide(TITLE), more={"ppt/vbaProject.bin": "x"})
    assert extract("a.pptm", data).metadata == {"macros": "ignored"}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xd0\xcf\x11\xe0" + "EncryptedPackage".encode("utf-16-le"), "is encrypted: save a copy without a password"),
        (b"\xd0\xcf\x11\xe0" + bytes(99), "is encrypted, or an old .ppt: save a copy as .pptx without a password"),
        (deck(slide(TITLE))[:-40], "is not a zip container, or is cut off"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(data, reason):
    with pytest.raises(Unreadable, match=f"^{reason}"):
        read(data)


def test_entities_are_not_expanded():
    entities = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10 if i else "words"}">' for i in range(12))
    bomb = f"<!DOCTYPE p:sld [{entities}]>{slide(shape('&e11;'), shape('kept'))}"
    assert "wordswords" not in read(deck(slide(TITLE), bomb)).text
