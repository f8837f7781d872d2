from hypothesis import given
from hypothesis import strategies as st

from rag_ft.indexing.conservation.compare import compare
from rag_ft.indexing.conservation.record import MAX_SAMPLE_WORDS, Conservation
from rag_ft.indexing.conservation.source import Source


def source_of(*texts, **settings):
    source = Source()
    for text in texts:
        source.add(text, **settings)
    return source


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=80) | st.text(
    "ab-\n \u00ad\u200b²ﬁ木", max_size=40
)


@given(ANY_TEXT)
def test_a_text_that_equals_its_source_loses_nothing(text):
    found = compare(source_of(text), text)
    assert (found.lost, found.glued, found.moved, found.sample) == (0, 0, 0, ())


@given(st.lists(ANY_TEXT, max_size=6), ANY_TEXT)
def test_every_figure_is_within_its_bounds(pieces, text):
    source = Source()
    for number, piece in enumerate(pieces):
        source.add(piece, part=f"p{number % 3}", reason="hidden text" if number % 4 == 3 else "")
    found = compare(source, text)
    assert 0 <= found.lost <= found.words and bool(found.lost) == bool(found.sample)
    assert sum(len(phrase.split()) for phrase in found.sample) <= 40 and len(found.sample) <= MAX_SAMPLE_WORDS
    assert Conservation.model_validate_json(found.model_dump_json()) == found


@given(st.lists(st.sampled_from("pier four boat gate noon".split()), min_size=1, max_size=30), st.data())
def test_each_word_taken_from_a_text_is_counted(words, data):
    dropped = data.draw(st.sets(st.integers(0, len(words) - 1)))
    text = " ".join(word for position, word in enumerate(words) if position not in dropped)
    assert compare(source_of(" ".join(words)), text).lost == len(dropped)


def test_writing_the_same_word_in_another_way_loses_nothing():
    source = "The wa-\nter, ﬁve co\u00adoperating CAFE\u0301S and 10\u00a0km² of 木材."
    assert compare(source_of(source), "the Water five cooperating cafés and 10 km 2 of 木\n材").complete
    assert compare(source_of("under\ufffewater \x02"), "underwater").complete


def test_the_longest_losses_are_sampled_in_their_order():
    source = "may rain. Opened on 4 May 2025 by the mayor. It may snow. It was the mayor."
    found = compare(source_of(source), "may rain. Opened on by the mayor. It snow. It was the.")
    assert (found.lost, found.sample) == (5, ("may", "4 May 2025", "mayor"))


def test_glued_words_are_no_lost_ones():
    found = compare(source_of("leave the pier\nfour times a day"), "leave the pierfour timesaday")
    assert (found.lost, found.glued, found.glued_sample) == (0, 2, ("pierfour", "timesaday"))
    assert compare(source_of("leave the pier four"), "leave the pierfive").lost == 2


def test_words_in_another_order_are_counted():
    assert compare(source_of("a b c d e f"), "a d e b c f").moved == 2
    assert compare(source_of("a b c d", ordered=False), "d c b a").moved == 0


def test_words_that_need_not_be_there_are_no_loss():
    source = source_of("The valve.")
    source.add("Home Prices", reason="navigation")
    assert compare(source, "The valve.").left_out == {"navigation": 2}
    assert compare(source, "The valve. Prices").left_out == {"navigation": 1}
    assert compare(source, "Prices").lost == 2


def test_a_part_is_missing_if_what_only_it_says_is_lost():
    source = Source(unreadable=["p9"])
    for number, text in enumerate(["The pump is on.", "The valve is shut.", "The pump."]):
        source.add(text, part=f"p{number}")
    assert compare(source, "The pump is on. The pump.").missing_parts == ("p9", "p1")
