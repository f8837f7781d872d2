import itertools
import re
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_ft.indexing.chunking import CHUNKING_RULES, Chunker, ChunkingConfig, passage_text, passage_words
from rag_ft.schema import Block, Document, Heading

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


PIECES = st.lists(
    st.sampled_from("One two. ,Three four:,a b,\n,\n\n,- item x,2. item,a | b | c,```,    x = 1,: ,| ".split(",")),
    max_size=40,
).map("".join)


@settings(deadline=None)
@given(PIECES, st.integers(8, 40), st.data())
def test_structure_given_or_seen_in_the_text_loses_nothing(text, max_tokens, data):
    offset = st.integers(0, len(text) + 3)
    kinds = st.sampled_from(["code", "list", "table"])
    blocks = data.draw(st.lists(st.builds(Block, start=offset, end=offset, kind=kinds), max_size=4))
    starts = sorted(data.draw(st.sets(st.integers(0, max(0, len(text) - 1)), max_size=3)))
    headings = tuple(Heading(start=start, level=2, text=text[start : start + 4]) for start in starts if text)
    document = Document(id="d", text=text, headings=headings, blocks=tuple(blocks))
    check(document, Chunker(ChunkingConfig(max_tokens=max_tokens), count).passages(document), max_tokens)


def test_a_code_block_stays_whole_while_it_fits_and_is_cut_between_lines_else():
    code = "def f(x):\n    return x. Then\n\ny = f(1)"
    text = f"Some words stand here first. More of them here.\n\n{code}\n\nAnd an end."
    block = Block(start=text.index(code), end=text.index(code) + len(code), kind="code")
    passages = cut(text, max_tokens=count(code) + 2, blocks=(block,))
    assert [(passage.kind, code in passage.text) for passage in passages] == [
        ("prose", False),
        ("code", True),
        ("prose", False),
    ]
    short = cut(text, max_tokens=12, blocks=(block,))
    assert "def f(x):\n    return x. Then" in [passage.text for passage in short]


def test_code_between_fences_is_seen_in_plain_text():
    text = "Do it so:\n\n```\nrun --all. Now\n\nstop\n```\nThen wait."
    assert cut(text, max_tokens=40)[0].kind == "code"
    first, second = cut(text, max_tokens=18)
    assert first.text == text[: text.index("Then")].strip() and second.text == "Then wait."


@pytest.mark.parametrize("blocks", [True, False], ids=["named", "seen"])
def test_items_and_rows_stay_whole(blocks):
    items = [f"- Take part {i}. Turn it to the left. Wait a while." for i in range(4)]
    rows = [f"Berth {i}. north | {i} EUR, paid daily" for i in range(4)]
    text = "\n".join(items) + "\n\n" + "\n".join(rows)
    listed = Block(start=0, end=text.index("\n\n"), kind="list")
    table = Block(start=text.index("Berth"), end=len(text), kind="table")
    passages = cut(text, max_tokens=18, blocks=(listed, table) if blocks else ())
    assert all(any(element in passage.text for passage in passages) for element in items + rows)
    assert {passage.kind for passage in passages} == {"list", "table"}


def test_a_paragraph_that_ends_in_a_colon_stays_with_the_first_item():
    text = "One two three four five six. Seven eight.\n\nBefore you leave, check three things:\n\n- The lamp."
    text += "\n- The door."
    passages = cut(text, max_tokens=14)
    assert [passage.text for passage in passages] == [
        "One two three four five six. Seven eight.",
        "Before you leave, check three things:\n\n- The lamp.",
        "- The door.",
    ]
    # The whole paragraph, where it fits with the item.
    text = "A b c d e f.\n\nG h i. Do this:\n\n1. First of all."
    first, second = cut(text, max_tokens=14)
    assert (first.text, second.text) == ("A b c d e f.", "G h i. Do this:\n\n1. First of all.")


def test_a_heading_stands_with_its_first_paragraph():
    text = "Head line\n\nWords of the first paragraph, which are eleven long all together here.\n\nMore words."
    headings = (Heading(start=0, level=1, text="Head line"),)
    first, *rest = cut(text, max_tokens=14, headings=headings)
    assert first.text.startswith("Head line\n\nWords of the first") and first.kind == "prose"
    document = Document(id="d", text=text, headings=headings)
    check(document, [first, *rest], 14)


def test_a_passages_kind_is_that_of_most_of_its_characters():
    text = "A long heading of many words\n\nx."
    (passage,) = cut(text, max_tokens=40, headings=(Heading(start=0, level=1, text=text[:28]),))
    assert passage.kind == "heading"
    assert cut("Plain words.")[0].kind == "prose"


def test_a_passage_is_searched_by_the_words_of_the_headings_above_it():
    text = "Crane\n\nIt has a hook.\n\nLift\n\nTurn the key."
    headings = (Heading(start=0, level=1, text="Crane"), Heading(start=23, level=2, text="Li\u00adft"))
    passage = cut(text, title="Manual", headings=headings)[-1]
    assert passage.headings == ("Crane", "Li\u00adft")
    assert passage_text(passage) == f"Manual\n{passage.text}"
    assert passage_words(passage) == f"Crane\nLift\nManual\n{passage.text}"
    assert passage_words(passage, CHUNKING_RULES - 1) == passage_text(passage)
    assert passage_words(cut("Turn the key.")[0]) == "Turn the key."


def test_tokens_are_counted_in_what_is_embedded():
    text = "ﷺ " * 40  # one character each, four words in NFKC
    document = Document(id="d", text=text)
    check(document, Chunker(ChunkingConfig(max_tokens=12), count).passages(document), 12)
    assert passage_text(cut("co\u00adop ﬁle")[0]) == "coop file"
    assert passage_text(cut("co\u00adop ﬁle")[0], rules=2) == "co\u00adop ﬁle"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", ["- a\n", "a:\n\n", "```a\n", "a | b\n", "- a:\n\n", "```\n"])
def test_structure_of_a_megabyte_is_seen_in_linear_time(piece):
    document = Document(id="d", text=piece * (300_000 // len(piece)))
    check(document, Chunker(ChunkingConfig(), count).passages(document), 96)


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
