import pytest

from rag_ft.indexing.formats import extract


def markdown(text):
    return extract("a.md", text.encode())


def test_a_date_that_no_calendar_has_stays_text():
    found = markdown("---\ntitle: Plan\ndate: 2024-02-30\n---\nBody.\n")
    assert (found.text, found.title, found.metadata["date"]) == ("Body.", "Plan", "2024-02-30")


BILLION_LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))


@pytest.mark.parametrize(
    "front",
    ["a: &x [*x]", "a: &x {b: *x}", BILLION_LAUGHS, "a: !!bool maybe", "a: !!timestamp no", "a: " + "[" * 300_000],
)
def test_front_matter_that_cannot_be_kept_does_not_lose_the_page(front):
    found = markdown(f"---\n{front}\n---\nBody.\n")
    assert found.text == "Body." and list(found.metadata) == ["front_matter_error"]


def test_a_few_aliases_in_front_matter_are_read():
    assert markdown("---\na: &x [1]\nb: *x\n---\nBody.\n").metadata == {"a": [1], "b": [1]}


def test_a_line_break_in_markdown_keeps_words_apart():
    text = markdown("admin<br>console and<br/>\nmore\n\n| a | b |\n|---|---|\n| admin<br>console | c |\n").text
    assert text == "admin\nconsole and\nmore\n\na: admin console | b: c"


def test_html_in_a_list_stays_at_its_place():
    text = markdown("- one\n- two\n\n  <div>inside</div>\n\n- three\n\nAfter.\n").text
    assert text == "- one\n- two\ninside\n- three\n\nAfter."


def test_scripts_and_styles_in_markdown_are_no_text():
    html = "<div>\n<style>p {}</style>\n<script>\nvar x;\n</script>\nSeen.\n</div>\n"
    assert markdown(f"{html}\nA <script>var y;</script>line.\n\n<script>\nvar z;\n\nvar a;\n</script>\n").text == (
        "Seen.\n\nA line."
    )


def test_html_tables_and_lists_in_markdown_keep_their_lines():
    table = "<table>\n<tr><th>a</th><th>b</th></tr>\n<tr><td>1</td><td>2</td></tr>\n\n<tr><td>3</td><td>4</td></tr>\n"
    text = markdown(f"{table}</table>\n\n<ol start=4>\n<li>four</li>\n<li>five<pre>x\n y</pre></li>\n</ol>\n").text
    assert text == "a: 1 | b: 2\na: 3 | b: 4\n\n4. four\n5. five\nx\n y"


def test_a_heading_in_a_list_keeps_its_place():
    found = markdown("- one\n- # Two\n\n  more\n")
    assert found.text == "- one\n\nTwo\n\nmore"
    assert found.text[found.headings[0].start :].startswith("Two")


@pytest.mark.parametrize(
    ("front", "error"),
    [
        ("\n".join(f"k{number}: 1" for number in range(6_000)), "more than 10,000 keys and values"),
        ("x: " + "a" * 200_000, "longer than 200,000 characters"),
    ],
)
def test_front_matter_that_takes_its_parser_long_is_not_parsed_and_the_page_is_kept(front, error):
    found = extract("a.md", f"---\n{front}\n---\n\nText.\n".encode())
    assert (found.text, found.metadata) == ("Text.", {"front_matter_error": error})


def test_blanks_around_a_line_break_go_and_others_stay():
    assert extract("a.md", b"One `x  y` <br> two\n").text == "One x  y\ntwo"
    assert extract("a.md", b"`" + b" " * 100_000 + b"x`").text.endswith("x")


@pytest.mark.parametrize(
    "text",
    [
        "---\nClose the gate first.\n\nThen call.\n---\n\nEnd.\n",
        "---\n- one\n- two\n---\nEnd.\n",
        "---\n\n---\n\nGate. End.\n",
        "+++\nnot = = toml\n+++\nEnd.\n",
        "---\ntitle: Crane: manual\n---\nEnd.\n",
    ],
)
def test_what_is_no_mapping_is_no_front_matter(text):
    found = markdown(text)
    words = [word for word in text.replace("---", "").replace("- ", "").split() if word not in ("+++",)]
    assert all(word in found.text for word in words) and found.metadata == {}


def test_front_matter_in_toml_becomes_the_metadata():
    found = markdown('+++\ntitle = "Dam"\nday = 2024-05-01\n[extra]\nn = [1, 2]\n+++\nThe dam.\n')
    assert (found.text, found.title) == ("The dam.", "Dam")
    assert found.metadata == {"title": "Dam", "day": "2024-05-01", "extra": {"n": [1, 2]}}


def test_footnotes_are_kept_and_their_marks_stand_apart():
    text = "The rope[^1] holds **much**[^b_c].\n\n[^1]: https://example.org/rope\n"
    text += "[^b_c]: Two\n    tonnes.\n\n    Wet, one.\n\nEnd.\n"
    assert markdown(text).text == (
        "The rope [1] holds much [b_c].\n\n[1] https://example.org/rope\n\n[b_c] Two tonnes.\n\nWet, one.\n\nEnd."
    )


def test_html_within_markdown_is_read_as_on_a_page():
    text = "10<sup>3</sup> l <span hidden>gone</span><time>1 May</time>"
    text += "\n\n<div hidden>\n\nGone *too*.\n\n</div>\n\nEnd."
    assert markdown(text).text == "10^3 l 1 May\n\nEnd."


@pytest.mark.parametrize(
    "tag", ["<textarea>", "<title>", "<select>", "<script>", "<!-- x", "<template>", "<plaintext>"]
)
def test_a_tag_without_an_end_does_not_hide_the_rest(tag):
    assert markdown(f"One.\n\n{tag} two.\n\nThree.\n\n**Four.**\n").text.strip("*").endswith("Four.")


def test_placeholders_and_task_lists_are_text():
    assert markdown("Run make <target>.\n\n- [x] a\n- [ ] b\n").text == "Run make <target>.\n\n- [x] a\n- [ ] b"


def test_code_in_markdown_is_kept_as_it_is():
    code = "def f():\n    return '--'  # \"x\"...\n\n\n\n<b>&amp;"
    assert markdown(f"Text.\n\n```py\n{code}\n```\n").text == f"Text.\n\n{code}"
