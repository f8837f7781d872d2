import itertools
import re
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_ft.indexing.chunking import Chunker, ChunkingConfig, passage_text
from rag_ft.schema import Document, Heading

WORDS = re.compile(r"\w+|[^\w\s]")


def count(text: str) -> int:
    return len(WORDS.findall(text))


def cut(text: str, max_tokens: int = 12, **fields):
    document = Document(id="d", text=text, **fields)
    return Chunker(ChunkingConfig(max_tokens=max_tokens), count).passages(document)


def check(document: Document, passages, max_tokens: int, counter=count) -> None:
    for passage in passages:
        assert document.text[passage.start : passage.end] == passage.text
        assert passage.text == passage.text.strip() != ""
        assert counter(passage_text(passage)) <= max_tokens
        assert passage.id == f"{document.id}#{passage.start}-{passage.end}"
    assert all(a.end <= b.start for a, b in itertools.pairwise(passages))
    assert "".join("".join(p.text.split()) for p in passages) == "".join(document.text.split())


ALPHABET = st.text(st.sampled_from("ab1 .,;!?\n\r\t-é日🙂e\u0301\u200d\u00a0|\"'()Dr"), max_size=300)


@settings(deadline=None)
@given(ALPHABET, st.integers(8, 30), st.text("tT ", max_size=30), st.data())
def test_offsets_are_exact_and_nothing_is_lost_or_too_long(text, max_tokens, title, data):
    places = sorted(data.draw(st.sets(st.integers(0, max(0, len(text) - 1)), max_size=4)))
    headings = tuple(Heading(start=p, level=1 + i % 3, text=text[p : p + 2]) for i, p in enumerate(places) if text)
    document = Document(id="d", text=text, title=title, headings=headings)
    passages = Chunker(ChunkingConfig(max_tokens=max_tokens), count).passages(document)
    check(document, passages, max_tokens)


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_unicode_is_cut_exactly(text):
    document = Document(id="d", text=text)
    check(document, Chunker(ChunkingConfig(max_tokens=8), count).passages(document), 8)


def test_passages_end_where_sentences_do():
    text = "One two three four. Five six seven eight. Nine ten eleven. Twelve."
    assert [p.text for p in cut(text)] == [
        "One two three four. Five six seven eight.",
        "Nine ten eleven. Twelve.",
    ]


def test_the_last_two_passages_share_evenly():
    sentences = [f"A{i} b c d." for i in range(5)]  # five tokens each: four would fit, then one alone
    assert [p.text.count(".") for p in cut(" ".join(sentences), max_tokens=20)] == [3, 2]


def test_a_section_is_not_mixed_with_the_next_and_keeps_its_headings():
    text = "Top\n\nSub\n\nBody one.\n\nOther\n\nBody two."
    headings = tuple(
        Heading(start=text.index(name), level=level, text=name)
        for name, level in (("Top", 1), ("Sub", 2), ("Other", 2))
    )
    passages = cut(text, max_tokens=40, headings=headings)
    assert [p.text for p in passages] == ["Top\n\nSub\n\nBody one.", "Other\n\nBody two."]
    assert [p.headings for p in passages] == [("Top",), ("Top", "Other")]
    long = cut("Top\n\n" + "Word word word word. " * 6, headings=headings[:1])
    assert {p.headings for p in long} == {("Top",)} and len(long) > 1


def test_the_title_counts_and_a_long_one_is_left_off():
    text = "One two three four. Five six seven eight."
    (passage,) = cut(text)
    assert passage_text(passage) == text
    assert len(cut(text, title="a b c d")) == 2
    assert {p.title for p in cut(text, title="a b c d")} == {"a b c d"}
    assert [p.title for p in cut(text, title="a b c d e")] == [""]


def test_a_long_sentence_is_cut_at_clauses_then_words_then_characters():
    clauses = cut("a b c d e f g h, i j k l m n o p, q r s.", max_tokens=12)
    assert next(p.text for p in clauses) == "a b c d e f g h,"
    words = cut("w " * 30, max_tokens=12)
    assert [count(p.text) for p in words] == [12, 12, 6]
    (single,) = cut("x" * 500)
    assert single.text == "x" * 500
    by_character = Chunker(ChunkingConfig(max_tokens=10), len).passages(Document(id="d", text="x" * 25))
    assert [p.text for p in by_character] == ["x" * 10, "x" * 10, "x" * 5]


def test_pages_are_counted_from_one():
    passages = cut("One two. " * 2 + "Three four. " * 8, page_starts=(0, 18, 60))
    assert passages[0].page == 1
    assert passages[-1].page == 3 and passages[-1].start >= 60


def test_white_space_alone_gives_no_passage():
    assert cut("") == cut(" \r\n \t") == []


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", ["word, ", "x", "A sentence here. ", "日本", "🙂 "])
def test_a_line_of_a_megabyte_is_cut_in_seconds(piece):
    document = Document(id="d", text=piece * (1_000_000 // len(piece)))
    passages = Chunker(ChunkingConfig(), lambda text: len(text.encode()) // 4 + 1).passages(document)
    check(document, passages, 96, lambda text: len(text.encode()) // 4 + 1)


@pytest.mark.parametrize("piece", ["b", "ไม่มีช่องว่างระหว่างคำ", "ж"])
def test_a_run_that_the_tokenizer_gives_up_on_is_cut(piece):
    """BERT's takes every word of more than 100 characters for one unknown token."""

    def count_words(text: str) -> int:
        return sum(1 if len(word) > 100 else -(-len(word) // 4) for word in text.split())

    document = Document(id="d", text=piece * (50_000 // len(piece)) + " and some words after it")
    passages = Chunker(ChunkingConfig(), count_words).passages(document)
    assert max(len(one.text) for one in passages) <= 96 * 4
    check(document, passages, 96, count_words)


@pytest.mark.slow
def test_the_real_tokenizers_window_is_kept():
    from rag_ft.indexing.embedding import load_embedder

    embedder = load_embedder()
    text = "Dr. Müller wrote (in 1998) about naïve 🙂 low-rank adaptation; it cost $3.50, he said. " * 50 + "ж" * 3000
    document = Document(id="d", text=text, title="A title")
    passages = Chunker(ChunkingConfig(max_tokens=64), embedder.count_tokens).passages(document)
    check(document, passages, 64, embedder.count_tokens)


def test_the_headings_of_a_passage_are_not_looked_through_for_every_passage():
    class Counted(Heading):
        looked_at: ClassVar[int] = 0

        def __getattribute__(self, name):
            if name == "start":
                Counted.looked_at += 1
            return super().__getattribute__(name)

    part = "Part\n\nOne sentence.\n\n"
    headings = tuple(
        Counted.model_construct(start=number * len(part), level=1 + number % 3, text=f"H{number}")
        for number in range(300)
    )
    document = Document(id="m", text=part * 300).model_copy(update={"headings": headings})
    passages = Chunker(ChunkingConfig(max_tokens=8), lambda text: len(WORDS.findall(text))).passages(document)
    assert len(passages) == 300 and Counted.looked_at < 20 * 300
    assert [passage.headings for passage in passages[3:6]] == [("H3",), ("H3", "H4"), ("H3", "H4", "H5")]
