from rag_ft.questions.excerpts import evidence_spans, excerpts, heading_path, marked_answer, problems, sentences_shown
from rag_ft.schema import Document, Evidence, Heading, Question
from rag_ft.text.spans import Span

TEXT = "Install\n\nLinux\n\n" + "Before it. " * 100 + "Type pip install rag_ft now. " + "After it. " * 100
HEADINGS = (Heading(start=0, level=1, text="Install"), Heading(start=9, level=2, text="Linux"))
DOCUMENT = Document(id="a.md", text=TEXT, title="Guide", headings=HEADINGS)
START = TEXT.index("pip")


def record(*places: tuple[int, int], document: str = "a.md") -> Question:
    evidence = tuple(
        Evidence(document_id=document, start=start, end=end, quote=TEXT[start:end]) for start, end in places
    )
    return Question(id="q", question="How?", answers=("pip",), evidence=evidence)


def find(document_id: str) -> Document | None:
    return DOCUMENT if document_id == "a.md" else None


def test_the_text_around_the_evidence_is_shown_and_more_of_it_on_request():
    (excerpt,) = excerpts(record((START, START + 3)), find)
    (piece,) = excerpt.pieces
    assert piece.start < START < piece.end and piece.end - piece.start < 700
    (wider,) = excerpts(record((START, START + 3)), find, zoom=16)
    assert wider.pieces == (Span(0, len(TEXT)),)
    assert heading_path(excerpt) == "a.md › Guide › Install › Linux"


def test_evidence_that_is_gone_is_named_and_its_place_is_shown():
    gone = record((START, START + 3))
    gone = gone.model_copy(update={"evidence": (gone.evidence[0].model_copy(update={"quote": "npm"}),)})
    (excerpt,) = excerpts(gone, find)
    assert excerpt.evidence == () and excerpt.pieces[0].start < START < excerpt.pieces[0].end
    assert problems(gone, find) == [f"question q: a.md holds 'pip' at {START}-{START + 3}, not 'npm'"]
    away = record((0, 3), document="b.md")
    assert excerpts(away, find) == [] and problems(away, find) == ["there is no document 'b.md'"]


def test_evidence_that_touches_is_one_span():
    pieces = record((0, 3), (3, 7), (9, 14)).evidence
    assert evidence_spans(pieces) == [Span(0, 7), Span(9, 14)]


def test_sentences_of_which_words_are_shown_can_be_chosen():
    (excerpt,) = excerpts(record((START, START + 3)), find)
    sentences = [TEXT[start:end] for start, end in sentences_shown(excerpt)]
    assert "Type pip install rag_ft now." in sentences and len(sentences) < 100


def test_marks_lose_their_blanks_or_become_sentences():
    assert marked_answer(TEXT, START - 1, START + 4) == (Span(START, START + 3), False)
    span, whole = marked_answer(TEXT, START, TEXT.index("After") + 3)
    assert whole and TEXT[slice(*span)] == "Type pip install rag_ft now. After it."
    long = marked_answer("word " * 60, 0, 250)
    assert long.whole and long.span == Span(0, 299)
