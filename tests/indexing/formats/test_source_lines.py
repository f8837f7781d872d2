import itertools

from hypothesis import given
from hypothesis import strategies as st

from rag_ft.indexing.formats.markup.markdown import read_markdown
from rag_ft.indexing.formats.plain_text import read_text
from rag_ft.indexing.formats.source_lines import SourceLine, line_anchors
from rag_ft.indexing.places import Places, encode_places

SYLLABLES = ("ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu")


def unique_words():
    """Words that occur once each, so that every one of the text has one line in the source."""
    for letters in itertools.product(SYLLABLES, repeat=5):
        yield "".join(letters)


@st.composite
def pages(draw):
    """Markdown of all kinds of blocks, with unique words."""
    words = unique_words()

    def some(most=5):
        return " ".join(itertools.islice(words, draw(st.integers(1, most))))

    def long():
        return " ".join(itertools.islice(words, draw(st.integers(50, 200))))

    def several(prefix="", least=1):
        return "\n".join(prefix + some() for _ in range(draw(st.integers(least, 4))))

    blocks = {
        "heading": lambda: f"{'#' * draw(st.integers(1, 4))} {some()}",
        "setext": lambda: f"{some()}\n{some()}\n---",
        "paragraph": lambda: several(),
        "long": lambda: f"{long()}\n**{some()}** {long()}",
        "list": lambda: "\n".join(f"- {some()}\n  {some()}" for _ in range(draw(st.integers(1, 3)))),
        "numbers": lambda: "\n".join(f"{i}. **{some()}** {some()}" for i in range(1, draw(st.integers(2, 4)))),
        "code": lambda: f"```\n{some()}\n\n{several()}\n```",
        "indented": lambda: several("    "),
        "quote": lambda: several("> "),
        "table": lambda: f"| {some(2)} | {some(2)} |\n|---|---|\n" + "\n".join(
            f"| {some(2)} | {some(2)} |" for _ in range(draw(st.integers(1, 3)))
        ),
        "html": lambda: f"<div>\n{several()}\n</div>",
        "image": lambda: f"![](picture.png)\n{some()}",
        "link": lambda: f"[{some()}](https://example.org/a_b-c/page?x=1) {some()}\n`{some(2)}` {some()}",
        "reference": lambda: "[ref]: https://example.org/nothing/of/this",
        "rule": lambda: "***",
        "comment": lambda: f"<!-- {some()}\n{some()} -->",
    }  # fmt: skip
    chosen = draw(st.lists(st.sampled_from(sorted(blocks)), min_size=1, max_size=8))
    front = draw(st.sampled_from(["", "---\ntitle: a title\nx: 1\n---\n", "+++\nx = 1\n+++\n"]))
    return front + "\n\n".join(blocks[name]() for name in chosen) + "\n"


@given(pages(), st.sampled_from(["\n", "\r\n"]))
def test_every_word_of_a_page_is_on_its_line(page, line_end):
    source = page.replace("\n", line_end)
    extracted = read_markdown(source.encode())
    if not extracted.text:
        return
    data = encode_places(extracted)
    line_of_word = {word: number for number, line in enumerate(page.split("\n"), 1) for word in words_of(line)}
    heads = {word for line in _heads(page) for word in words_of(line)}
    places = Places.decode(data) if data else None
    for start, word in words_at(extracted.text):
        if word in line_of_word and word not in heads:  # column names are repeated in each row
            assert places is not None
            assert places.line_of(start, extracted.text) == line_of_word[word], (word, extracted.text, page)


def _heads(page):
    lines = page.split("\n")
    return [line for line, after in itertools.pairwise(lines) if after.startswith("|---")]


def words_of(line):
    return [word for word in "".join(c if c.isalpha() else " " for c in line).split() if len(word) == 10]


def words_at(text):
    start = 0
    for piece in "".join(c if c.isalpha() else " " for c in text).split(" "):
        if piece:
            yield start, piece
        start += len(piece) + 1


def test_a_list_mark_and_a_column_name_belong_to_the_line():
    text = "One.\n\n- two\n- three\n\nName: four | Price: five"
    lines = [SourceLine(1, "One."), SourceLine(3, "two"), SourceLine(4, "three"), SourceLine(8, "four")]
    anchors = line_anchors(text, lines)
    assert [(anchor.offset, anchor.line) for anchor in anchors] == [(0, 1), (6, 3), (12, 4), (21, 8)]


def test_a_line_that_left_no_trace_moves_nothing():
    text = "First words here. Second words here."
    lines = [SourceLine(1, "First words here."), SourceLine(2, "gone entirely"), SourceLine(3, "Second words here.")]
    assert [anchor.line for anchor in line_anchors(text, lines)] == [1, 3]


def test_lines_longer_than_the_reach_are_followed_to_their_end():
    words = [f"w{i}" for i in range(900)]
    sources = [" ".join(words[start : start + 300]) for start in (0, 300, 600)]
    sources[1] = sources[1].replace("w400", "[w400](https://example.org/some/page)").replace("w500", "<b>w500</b>")
    lines = [SourceLine(10 * number, source) for number, source in enumerate(sources, 1)]
    anchors = line_anchors(" ".join(words), lines)
    assert [anchor.line for anchor in anchors] == [10, 20, 30]
    assert anchors[2].offset == len(" ".join(words[:600])) + 1


def test_equal_lines_are_told_apart_by_their_order():
    lines = [SourceLine(number, "the same words") for number in range(1, 50)]
    text = "\n\n".join(line.text for line in lines)
    assert [anchor.line for anchor in line_anchors(text, lines)] == [*range(1, 50)]


def test_a_text_of_nothing_but_marks_has_no_lines():
    assert line_anchors("---", [SourceLine(1, "***")]) == ()


@given(st.text("ab \n\r", min_size=1))
def test_lines_of_plain_text_are_the_files(text):
    extracted = read_text(("x" + text).encode())
    places = Places.decode(encode_places(extracted))
    for offset, character in enumerate(extracted.text):
        if not character.isspace():
            expected = extracted.text[:offset].replace("\r\n", "\n").replace("\r", "\n").count("\n") + 1
            assert places.line_of(offset, extracted.text) == expected
