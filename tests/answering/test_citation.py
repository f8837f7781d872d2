from hypothesis import given
from hypothesis import strategies as st

from rag_ft.answering.citation import Claim, find_answer, verify
from rag_ft.schema import Passage
from rag_ft.text.spans import Span

DOCUMENT = "Intro here. LoRA adds 131,072 parameters.  The rest is\nfrozen. End."


def passage(document: str, start: int, end: int, name: str = "d") -> Passage:
    return Passage(id=f"{name}#{start}-{end}", document_id=name, text=document[start:end], start=start, end=end, page=3)


def test_the_quote_is_the_sentence_at_its_offsets_in_the_document():
    cited = passage(DOCUMENT, 12, len(DOCUMENT))
    (citation,) = verify("131,072", [Claim(cited, Span(10, 17))], [cited])
    assert citation.quote == "LoRA adds 131,072 parameters."
    assert DOCUMENT[citation.start : citation.end] == citation.quote
    assert DOCUMENT[citation.answer_start : citation.answer_end] == "131,072"
    assert (citation.verdict, citation.page, citation.passage_id) == ("supported", 3, cited.id)


def test_a_wrong_span_is_not_believed():
    cited = passage(DOCUMENT, 0, len(DOCUMENT))
    (citation,) = verify("131,072", [Claim(cited, Span(0, 5))], [cited])
    assert DOCUMENT[citation.answer_start : citation.answer_end] == "131,072"
    (citation,) = verify("9,999", [Claim(cited, Span(0, 5))], [cited])
    assert (citation.verdict, citation.answer_start) == ("unfounded", None)
    assert citation.quote == cited.text


def test_an_answer_that_stands_in_another_passage_is_misattributed_and_the_passage_named():
    wrong, right = passage("Nothing of it.", 0, 14, "a"), passage(DOCUMENT, 0, len(DOCUMENT), "b")
    (citation,) = verify("frozen", [Claim(wrong, None)], [wrong, right])
    assert (citation.verdict, citation.supported_by) == ("misattributed", right.id)


def test_case_white_space_and_quotation_marks_do_not_matter_but_words_are_whole():
    assert find_answer("THE REST IS FROZEN", DOCUMENT) is not None
    assert find_answer("froz", DOCUMENT) is None
    assert find_answer("it's", "Well, it’s here") == Span(6, 10)
    assert find_answer("  ", DOCUMENT) is None
    assert find_answer("ﬁne", "a fine day") == Span(2, 6)


@given(st.text(st.sampled_from("ab ,.é’ß\nİ日"), min_size=1, max_size=40), st.data())
def test_a_span_cut_at_word_boundaries_is_found_and_reads_the_same(text, data):
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    boundary = all(
        not (0 < edge < len(text) and text[edge - 1].isalnum() and text[edge].isalnum()) for edge in (start, end)
    )
    if not boundary or not text[start:end].strip():
        return
    found = find_answer(text[start:end], text)
    assert found is not None
    assert "".join(text[found.start : found.end].casefold().split()) == "".join(text[start:end].casefold().split())
