import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_ft.text.sentences import sentence_spans, sentences_around


def split(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Dr. Smith met J. R. Jones. They left.", ["Dr. Smith met J. R. Jones.", "They left."]),
        ("Use k=5, e.g. for BM25. It costs 3.5 s.", ["Use k=5, e.g. for BM25.", "It costs 3.5 s."]),
        ("Hu et al. (2021) did. So did we.", ["Hu et al. (2021) did.", "So did we."]),
        ("The U.S. Army came. It won.", ["The U.S. Army came.", "It won."]),
        ("See Fig. 2 and No. 5. Is it so? No. Yes.", ["See Fig. 2 and No. 5.", "Is it so?", "No.", "Yes."]),
        ('He said "Stop." Then he left.', ['He said "Stop."', "Then he left."]),
        ("A heading\n\nA sentence that\nwraps here.", ["A heading", "A sentence that\nwraps here."]),
        ("Things:\n- one\n- two\n1. three", ["Things:", "- one", "- two", "1. three"]),
        ("a | b\n1 | 2", ["a | b", "1 | 2"]),
        ("これは文です。次の文。", ["これは文です。", "次の文。"]),
        ("  \r\n \n", []),
        ("Wait... what? Yes.", ["Wait... what?", "Yes."]),
    ],
)
def test_sentences(text, sentences):
    assert split(text) == sentences


@pytest.mark.parametrize(
    "text",
    [
        "The upload limit is max. 10 MB, min. 2 KB.",
        "See Art. 6 GDPR and para. 4.",
        "Mt. Everest is 8,849 m high.",
        "The price is 20 € incl. VAT, excl. Freight.",
        "Founded est. 1950 (Tel. 030 1234, tel. +49 30 1234, Tel. (030) 1234).",
        "See Vol. II of it.",
        "In Roe v. Wade and Apple Inc. v. Pepper it was so.",
        "Kap. 3, Abb. 4 und Tab. 5 nennen 5 Mio. Euro und 2 Mrd. Euro.",
        "Die Frist beträgt z. B. 28 Tage gem. § 3 Abs. 2 BUrlG.",
        "Die Frist beträgt z.B. 28 Tage, z.B. Montag, d.h. Anfang und u.a. Ende.",
        "Siehe Nr. 5 und Art. 6 DSGVO.",
        "Das gilt d. h. Montag, u. a. Dienstag, i. d. R. Mittwoch i. V. m. § 9.",
        "Es kostet ca. 5 € bzw. Punkte, ggf. Rabatt inkl. Versand, vgl. Anhang, evtl. Spesen, usw. 28 Tage.",
        "Er wurde 44 v. Chr. ermordet.",
        "Das Büro ist in der Hauptstr. 5, nicht in der Berliner Str. 7.",
    ],
)
def test_an_abbreviation_does_not_end_a_sentence(text):
    assert split(text) == [text]


@pytest.mark.parametrize(
    "text",
    [
        "1. Install the package.",
        "  12. Install the package.",
        "## 3. Training",
        "1.2. Install the package.",
        "Deutschland wurde am 3. Oktober 1990 wiedervereinigt.",
        "Vom 1. Mai bis 31. Dez. 2024, nicht vom 3. bis 7. März.",
        "Am 3. 10. 1990 oder am 01. 01. 2024.",
        "It opened on 3. October 1990 and closed on 4. May 2001.",
        "Im 19. Jahrhundert galt die 2. Auflage.",
    ],
)
def test_the_number_of_an_item_or_a_day_does_not_end_a_sentence(text):
    assert split(text) == [text.strip()]
    assert split(f"Before.\n{text}") == ["Before.", text.strip()]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("It has rank 16.", "Then it stops."),
        ("I am 35.", "My name is Ann."),
        ("You may have 3.", "May I ask why?"),
        ("It was released in 1990.", "October was cold."),
        ("We use version 2.3.", "August brings the next."),
        ("She likes the art.", "It is new."),
        ("It takes two min.", "Then it stops."),
        ("This is the max.", "See below."),
        ("It is a hidden gem.", "Go there."),
        ("He jumped over para.", "Nobody saw it."),
        ("It weighs 5 mt.", "The other is lighter."),
        ("The bomb had 15 Mt.", "It fell."),
        ("Es gibt Tee, Kaffee usw.", "Die Küche ist offen."),
        ("Wir sitzen in der Hauptstr.", "Kommen Sie vorbei."),
        ("Das war 44 v. Chr.", "Rom trauerte."),
        ("It has the speed v.", "The other is faster."),
        ("He scored 7.", "1990 was better."),
        ("It is in column a.", "The rest is in b."),
    ],
)
def test_what_is_an_abbreviation_elsewhere_may_end_a_sentence(first, second):
    assert split(f"{first} {second}") == [first, second]


@pytest.mark.parametrize("text", ["ما هذا؟ هذا كتاب.", "यह एक किताब है। वह घर है।", "یہ کیا ہے؟ یہ کتاب ہے۔"])
def test_stops_of_arabic_hindi_and_urdu_end_sentences(text):
    assert len(split(text)) == 2


@given(st.text(st.sampled_from("aB1.!?\n \r\t|-é日。\"'e.g"), max_size=80))
def test_sentences_hold_every_visible_character_once_and_in_order(text):
    spans = sentence_spans(text)
    assert "".join("".join(text[s:e].split()) for s, e in spans) == "".join(text.split())
    assert all(a.end <= b.start for a, b in itertools.pairwise(spans))
    assert all(text[s:e] == text[s:e].strip() != "" for s, e in spans)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "run",
    [
        "word ",
        "X",
        ".",
        " ",
        "\t",
        "?!",
        "\n",
        " \n",
        "。",
        "a|b ",
        "\r\n- ",
        "z. B. ",
        "3. Mai",
        "1. ",
        "\n1. ",
        "a: b\n",
        "a: ",
        "؟",
    ],
)
def test_a_megabyte_of_anything_takes_linear_time(run):
    text = run * (1_000_000 // len(run)) + "x"
    spans = sentence_spans(text)
    assert spans[-1].end == len(text)


@given(st.text(st.sampled_from("aB1.!? \n-é日。"), max_size=60), st.data())
def test_the_sentences_around_a_span_are_those_that_it_touches_and_no_others(text, data):
    spans = sentence_spans(text)
    for span in spans:
        assert all(sentences_around(text, place, place + 1) == span for place in range(span.start, span.end))
    if spans:
        first = data.draw(st.integers(0, len(spans) - 1))
        last = data.draw(st.integers(first, len(spans) - 1))
        begin = spans[first].end - 1
        end = max(begin, spans[last].start) + 1
        assert sentences_around(text, begin, end) == (spans[first].start, spans[last].end)
    assert sentences_around(" " + text, 0, 1) == (0, 1)


def test_lines_of_comma_separated_values_are_sentences_of_their_own():
    rows = ["name,use,site,cores", "atlas,build server,Berlin,64", "cygnus,archive,Oslo,8"]
    text = "Our servers are these.\n\n" + "\n".join(rows)
    assert [text[one.start : one.end] for one in sentence_spans(text)] == ["Our servers are these.", *rows]
    prose = "It rained, it snowed, and\nthe wind, cold and wet, went\nround the house."
    assert len(sentence_spans(prose)) == 1


@pytest.mark.parametrize(
    "lines",
    [
        ["Name: Ann Lee", "Phone: +49 30 1234", "Email: ann@example.org"],
        [
            "Our desk",
            "Name: Lee, J.",
            "  Phone number: 5",
            "**Email:** ann@example.org",
            "Fax:",
            "Status: open at 10:30",
        ],
        ["Q: How long", "A: Three years", "Q: How much", "A: 5 €"],
        ["姓名：张三", "电话：123", "地址：北京"],
        ["Name: Ann", "Team: red", "Note: Call first.", "Then write.", "Phone: 5", "Fax: 6", "Email: a@b.org"],
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_lines_of_key_and_value_are_sentences_of_their_own(lines, newline):
    assert split(newline.join(lines)) == [line.strip() for line in lines]


@pytest.mark.parametrize(
    "text",
    [
        "Name: Ann\nPhone: 5",
        "Name: Ann\nwho is new\nPhone: 5\nand old\nEmail: a@b.org",
        "It rained in the morning, and there was one thing that we knew: we\nhad to go; and this we said, too: it\n"
        "is cold, so: no",
    ],
)
def test_few_lines_with_colons_are_prose(text):
    assert split(text) == [text]


@pytest.mark.parametrize(
    "sentences",
    [
        ["The dam broke. [3]", "It was rebuilt."],
        ["The dam broke.[12]", "It was rebuilt.[a] [13]", "So it stands."],
        ["The dam broke.³", "It was rebuilt."],
        ["a. Open the gate.", "Wait.", "b. Close it.", "ii. Go home."],
        ["He moved to Washington, D.C.", "The city is hot."],
        ["It needs 230 V.", "Check it."],
        ["It was bought by Quay Co. Ltd. in May."],
        ["F. Scott Fitzgerald wrote .NET and :q! here."],
        ["We had z. B. drei."],
    ],
)
@pytest.mark.parametrize("gap", [" ", "\n"])
def test_marks_of_notes_and_letters_of_lists_stand_with_their_sentence(sentences, gap):
    if gap == " " and sentences[0].startswith("a. "):
        return
    assert split(gap.join(sentences)) == sentences


def test_lines_with_letters_in_brackets_are_items():
    assert split("Bring:\na) rope\nb) oil\niv) rags\nV) salt") == ["Bring:", "a) rope", "b) oil", "iv) rags", "V) salt"]
