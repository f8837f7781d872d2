import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_ft.indexing.conservation.check import check
from rag_ft.indexing.formats import extract


def adoc(text):
    return extract("a.adoc", text.encode())


def text_of(text):
    """The text of a document of which no word was lost."""
    found = adoc(text)
    conservation = check("a.adoc", text.encode(), found)
    assert conservation is not None and conservation.complete, conservation
    return found.text


def kinds(found):
    return [(block.kind, found.text[block.start : block.end]) for block in found.blocks]


def test_a_document_has_a_title_headings_and_no_markup():
    found = adoc(
        "// why\n= Port Handbook\nAnna Berg <anna@port.example>\nv1.2, 2026-03-03\n:toc: left\n\nThe *north* quay.\n\n"
        "[[loads]]\n== Loads ==\n\nForty.\n\n=== Deep\n\nMore.\n\nOld style\n---------\n\nStill read.\n"
    )
    assert found.text == (
        "Port Handbook\n\nAnna Berg <anna@port.example>\n\nv1.2, 2026-03-03\n\nThe north quay.\n\n"
        "Loads\n\nForty.\n\nDeep\n\n"
        "More.\n\nOld style\n\nStill read."
    )
    assert [(heading.level, heading.text) for heading in found.headings] == [
        (1, "Port Handbook"),
        (2, "Loads"),
        (3, "Deep"),
        (2, "Old style"),
    ]
    assert all(found.text[heading.start :].startswith(heading.text) for heading in found.headings)
    assert (found.title, found.metadata) == ("Port Handbook", {"author": "Anna Berg"})


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("*bold* _it_ `mono` #mark#", "bold it mono mark"),
        ("**b**old __i__t ``m``o", "bold it mo"),
        ("5 * 3 * 2 and a_b_c and *args", "5 * 3 * 2 and a_b_c and *args"),
        ("10^6^ and H~2~O and m^2^", "10^6 and H₂O and m²"),
        ("link:a.html[the rules] and https://a.example[Home^]", "the rules and Home"),
        ("https://a.example/b_c_d, or <https://b.example>.", "https://a.example/b_c_d, or <https://b.example>."),
        ("mailto:a@b.example[Anna] or a@b.example", "Anna or a@b.example"),
        ("https://a.example[Home,window=_blank]", "Home"),
        ("<<loads,the loads>> xref:b.adoc#c[chapter c]", "the loads chapter c"),
        ("<<loads>>", "loads"),
        ("{undefined} and {plus}", "{undefined} and +"),
        ("kbd:[Ctrl+C] btn:[OK] menu:File[Save As]", "Ctrl+C OK File > Save As"),
        ("`+*x*+` and +a_b_+ and pass:[<b>x</b>]", "*x* and a_b_ and x"),
        ("((crane)) (((hidden,words)))is", "crane is"),
        ("one +\ntwo", "one\ntwo"),
        ('"`quoted`" and it', '"quoted" and it'),
        (r"\*not bold* and \{name}", "*not bold* and {name}"),
        ("[.red]#warm# image:x.png[Anchor]", "warm Anchor"),
        ("stem:[a_1 + b] unknown:thing[text]", "a_1 + b unknown:thing[text]"),
        ("link:a[open bracket", "link:a[open bracket"),
        ("x < y && z > 1 &amp; done", "x < y && z > 1 &amp; done"),
    ],
)
def test_marks_within_a_line(source, text):
    assert adoc(f"See {source} now.\n").text == f"See {text} now."


def test_attributes_are_put_in_where_they_are_named():
    assert adoc(
        ":crane: Tall *Crane*\n:both: {crane} and \\\n  more\n\nThe {crane}.\n\n:crane: Low\n\n{crane}, {both}\n"
    ).text == ("The Tall Crane.\n\nLow, Tall Crane and more")
    assert adoc(":a: 1\n:!a:\n\n{a}\n").text == "{a}"


def test_attributes_within_attributes_do_not_grow_without_bound():
    bomb = ":a: xxxxxxxxxx\n" + "".join(
        f":{chr(ord('a') + i)}: {('{' + chr(ord('a') + i - 1) + '}') * 10}\n" for i in range(1, 12)
    )
    assert len(adoc(f"{bomb}\n{{l}}\n").text) < 100_000


def test_code_stays_as_it_stands():
    for fence in ("----", "....", "```", "-----"):
        found = adoc(
            f"Run:\n\n.A run\n[source,sh,subs=none]\n{fence}\n*a*  {{b}} <1>\n\n  c\n{fence}\n<1> The option.\n"
        )
        assert found.text == "Run:\n\nA run\n\n*a*  {b} <1>\n\n  c\n\n1. The option."
        assert kinds(found)[0] == ("code", "*a*  {b} <1>\n\n  c")
    assert kinds(adoc("[source]\na *b*\nc\n\nText.\n\n  one\n    two\n")) == [
        ("code", "a *b*\nc"),
        ("code", "one\n  two"),
    ]


def test_lists_nest_by_their_marks():
    assert text_of("* one\n** in\n*** deep\n* two\n+\nattached\n+\n----\ncode\n----\n\n* three\ngoes on\n") == (
        "- one\n- in\n- deep\n- two\nattached\ncode\n- three goes on"
    )
    assert text_of(". one\n.. a\n.. b\n. two\n- x\n") == "1. one\na. a\nb. b\n2. two\n- x"
    assert text_of("[start=4]\n. four\n. five\n\n7. seven\n") == "4. four\n5. five\n7. seven"
    assert text_of("* [x] done\n* [ ] not\n") == "- [x] done\n- [ ] not"
    assert text_of("fender:: A cushion.\nbuoy::\nFloats.\n+\nRed.\n\nmole:: Wall\n") == (
        "fender: A cushion.\nbuoy\nFloats.\nRed.\nmole: Wall"
    )


def test_admonitions_quotes_and_boxes():
    assert text_of("NOTE: Mind *it*.\n") == "Note: Mind it."
    assert text_of("[WARNING]\n====\nHot.\n\n* one\n====\n") == "Warning:\n\nHot.\n\n- one"
    assert text_of("[quote, Anna Berg, Letters]\n____\nSaid it.\n____\n").startswith("Said it.\n\nAnna Berg, Letters")
    assert text_of("****\nAside.\n****\n\n--\nOpen.\n--\n") == "Aside.\n\nOpen."
    assert text_of("[verse]\nline one\nline two\n") == "line one\nline two"
    assert text_of("====\nNever closed.\n") == "Never closed."


def test_a_note_follows_the_paragraph_of_its_mark():
    assert adoc("So footnote:[See link:a[the rules].] it was footnote:x[Twice.], footnote:x[].\n\nLater.\n").text == (
        "So [1] it was [2], [2].\n\n[1] See the rules.\n\n[2] Twice.\n\nLater."
    )


def test_references_show_the_title_they_lead_to():
    assert adoc(
        "See <<loads>> and <<_deep_water>>.\n\n[#loads]\n== Heavy Loads\n\n=== Deep water\n\nText.\n"
    ).text.startswith("See Heavy Loads and Deep water.")


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ("|===\n|Berth |Price\n\n|North |18\n|South |19\n|===", "Berth: North | Price: 18\nBerth: South | Price: 19"),
        ("|===\n|a |b\n|c |d\n|===", "a | b\nc | d"),
        ('[cols="1,2",options="header"]\n|===\n|Berth\n|Price\n|North\n|18\n|===', "Berth: North | Price: 18"),
        ("[%header,cols=2*]\n|===\n|Berth |Price |North |18\n|===", "Berth: North | Price: 18"),
        (
            "|===\n|Berth |Price\n\n.2+|North |18\n|19\n2+^|both\n|===",
            "Berth: North | Price: 18\nBerth: North | Price: 19\nboth",
        ),
        ('[cols="1h,1"]\n|===\n|Berth |North\n|===', "Berth: North"),
        ("[%header,format=csv]\n|===\nBerth,Price\nNorth,18\n|===", "Berth: North | Price: 18"),
        (',===\na,b\n"c,d",e\n,===', "a | b\nc,d | e"),
        ("|===\n|x a|* in\n* list\n|===", "x | - in - list"),
        ("|===\n2*|same\n|===", "same | same"),
        ("|===\n|a \\| b |c\n|===", "a | b | c"),
        ("|===\n|never closed", "never closed"),
    ],
)
def test_tables_repeat_the_names_of_their_columns(table, text):
    assert adoc(f"{table}\n").text == text


def test_what_is_included_is_named_and_conditions_do_not_hide_text():
    found = adoc(
        "include::/etc/passwd[]\n\nifdef::x[]\nOne.\nendif::[]\nifndef::x[Two.]\n\n----\ninclude::a.py[lines=1]\n----\n"
    )
    assert found.text == "One. Two." and found.metadata["not_included"] == ["/etc/passwd", "a.py"]


def test_comments_are_no_text():
    assert text_of("// one\n\n////\ntwo\n////\n\nText.\n// three\nMore.\n") == "Text. More."


def test_raw_html_is_read_as_html():
    assert adoc("++++\n<p>Seen <b>it</b><textarea>\n++++\n\nAfter.\n").text == "Seen it\n\nAfter."


PIECES = st.sampled_from(
    (
        "* a\n¦** b\n¦. c\n¦t:: d\n¦----\n¦====\n¦--\n¦|===\n¦|x ¦2+|y\n¦\n¦+\n¦[NOTE]\n¦[a¦.T\n¦= H\n"
        "¦== I\n¦word ¦*b* ¦_i_¦`m`"
        "¦link:a[¦]¦{¦}¦((¦))¦<<¦>>¦footnote:[¦____\n¦////\n¦++++\n¦:a: b\n¦{a}¦'''\n¦ lit\n¦~~~~\n"
        "¦NOTE: n\n¦image::x[alt]\n"
        "¦\ue0000\ue001"
    ).split("¦")
)


@given(st.lists(PIECES, min_size=1, max_size=40).map("".join))
def test_any_lines_are_read_with_headings_and_blocks_in_the_text(source):
    found = adoc(source)
    assert all(found.text[heading.start :].startswith(heading.text) for heading in found.headings)
    assert all(0 <= block.start < block.end <= len(found.text) for block in found.blocks)
    plain = source.count("word ")
    assert found.text.count("word") >= plain or any(mark in source for mark in ("////", "image::", ":a: b", "[a"))


@pytest.mark.parametrize(
    "part",
    [
        "*a ",
        "link:a[",
        "footnote:[x ",
        "{a}",
        "<<",
        "((",
        "====\n",
        "* a\n",
        "|",
        "a:: ",
        "+++",
        "[",
        "'`",
        "^a",
        "----\n",
        "== a\n",
        "`+",
    ],
)
def test_a_hundred_thousand_marks_take_seconds_at_most(part):
    started = time.monotonic()
    for text in (f"|===\n{part * 40_000}\n", part * 40_000):
        extract("a.adoc", text.encode())
    assert time.monotonic() - started < 30
