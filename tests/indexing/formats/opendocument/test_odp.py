from indexing.formats.opendocument.packing import opened, p, style

from rag_ft.indexing.conservation.check import check
from rag_ft.indexing.formats import extract


def frame(text, kind="", x="1cm", y="1cm"):
    box = f"<draw:text-box>{p(text)}</draw:text-box>"
    return f'<draw:frame presentation:class="{kind}" svg:x="{x}" svg:y="{y}">{box}</draw:frame>'


def test_slides_are_read_in_reading_order_with_their_notes():
    styles = style("h", "drawing-page", "drawing-page", 'presentation:visibility="hidden"')
    notes = f"<presentation:notes>{frame('Say it slowly', 'notes')}</presentation:notes>"
    shapes = frame("low", y="9cm"), frame("right", x="8cm"), frame("left", y="1.2cm")
    shapes += frame("Rules", "title"), frame("7", "page-number")
    body = f"<draw:page>{''.join(shapes)}{notes}</draw:page><draw:page draw:style-name='h'>{frame('spare')}</draw:page>"
    data = opened("presentation", body, styles=styles)
    found = extract("a.odp", data)
    assert found.text == "Rules\n\nleft\n\nright\n\nlow\n\nNotes: Say it slowly\n\nSlide 2\n\nspare"
    assert [location.label for location in found.locations] == ["slide 1", "slide 2 (hidden)"]
    assert [heading.text for heading in found.headings] == ["Rules", "Slide 2"]
    report = check("a.odp", data, found)
    assert report.complete and report.left_out == {"running headers and footers": 1}
