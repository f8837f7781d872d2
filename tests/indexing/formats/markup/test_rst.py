import pytest

from rag_ft.indexing.formats import extract


def rst(text):
    return extract("a.rst", text.encode())


def text_of(text):
    found = rst(text)
    assert "read_as" not in found.metadata
    return found.text


def test_a_page_has_headings_by_depth_and_no_markup():
    found = rst(
        "====\nQuay\n====\n\nThe *north* **quay** has ``two  cranes``.\n\nCranes\n------\n\nLoads\n^^^^^\n\nForty.\n"
    )
    assert found.text == "Quay\n\nThe north quay has two  cranes.\n\nCranes\n\nLoads\n\nForty."
    assert [(heading.level, heading.text) for heading in found.headings] == [(1, "Quay"), (2, "Cranes"), (3, "Loads")]
    assert found.title == "Quay"
    assert all(found.text[heading.start :].startswith(heading.text) for heading in found.headings)


@pytest.mark.parametrize(
    ("role", "text"),
    [
        (":ref:`the guide <guide-label>`", "the guide"),
        (":ref:`guide-label`", "guide-label"),
        (":func:`~pkg.mod.run`", "pkg.mod.run"),
        (":py:class:`!Crane`", "Crane"),
        (":kbd:`Ctrl+C`", "Ctrl+C"),
        (":abbr:`VHF (radio)`", "VHF (radio)"),
        (":pep:`8`", "PEP 8"),
        (":math:`\\alpha + 1`", "\\alpha + 1"),
        ("`quay rules`", "quay rules"),
        ("`Rules <https://a.example>`_", "Rules"),
        ("m\\ :sup:`2`", "m²"),
        ("H\\ :sub:`2`\\ O", "H₂O"),
        ("10\\ :sup:`6`", "10^6"),
        (":unheard-of:`word`", "word"),
        ("|release|", "|release|"),
        ("*open `marks", "*open `marks"),
    ],
)
def test_a_role_gives_its_text(role, text):
    assert text_of(f"See {role} first.\n") == f"See {text} first."


def test_admonitions_say_what_they_are():
    assert text_of(".. note:: Lash\n   it.\n\n   Twice.\n") == "Note: Lash it.\n\nTwice."
    assert text_of(".. seealso::\n\n   The rules.\n") == "See also: The rules."
    assert text_of(".. versionadded:: 2.1\n") == "Added in version 2.1:"
    assert text_of(".. deprecated:: 3.0 Use rope.\n") == "Deprecated since version 3.0: Use rope."


def test_code_of_any_directive_is_kept_as_it_stands():
    for name in ("code-block", "sourcecode", "code"):
        found = rst(
            f"Run:\n\n.. {name}:: sh\n   :linenos:\n   :emphasize-lines: 1,2\n   :caption: A run\n\n   a  b\n     c\n"
        )
        assert found.text == "Run:\n\nA run\n\na  b\n  c"
        assert [(found.text[block.start : block.end], block.kind) for block in found.blocks] == [("a  b\n  c", "code")]


def test_directives_that_only_sphinx_knows_lose_no_text():
    tabs = ".. tabs::\n\n   .. tab:: Linux\n\n      Use apt.\n\n   .. group-tab:: Mac\n\n      Use brew.\n"
    assert text_of(tabs) == "Linux\n\nUse apt.\n\nMac\n\nUse brew."
    assert text_of(".. toctree::\n   :maxdepth: 2\n   :caption: Parts\n\n   intro\n   Set up <install>\n") == (
        "Parts\n\n- intro\n- Set up"
    )
    assert text_of(".. glossary::\n\n   fender\n      A cushion.\n") == "fender: A cushion."
    assert text_of(".. only:: html\n\n   Shown.\n") == "Shown."
    assert text_of(".. never-heard-of:: one two\n   :option: x\n\n   And *this*.\n") == "one two\n\nAnd this."
    assert text_of(".. highlight:: python\n\n.. index:: crane\n\nText.\n") == "Text."


def test_what_describes_a_function_is_headed_by_its_name():
    found = rst(
        "Cranes\n======\n\n.. py:method:: Crane.lift(load)\n              Crane.lift()\n\n   Lifts.\n\n"
        "   :param load: in t\n"
    )
    assert found.text == "Cranes\n\nCrane.lift(load)\n\nCrane.lift()\n\nLifts.\n\nparam load: in t"
    assert [heading.level for heading in found.headings] == [1, 2, 2]
    assert text_of(".. automodule:: port.cranes\n   :members:\n") == "port.cranes"


def test_a_footnote_follows_the_paragraph_of_its_mark():
    text = text_of("It was so [1]_ and [#a]_.\n\nLater.\n\n.. [1] Said one.\n.. [#a] Said *two*.\n\n   At length.\n")
    assert text == "It was so [1] and [2].\n\n[1] Said one.\n\n[2] Said two.\n\nAt length.\n\nLater."
    assert text_of("See [CIT]_.\n\nEnd.\n\n.. [CIT] A book.\n") == "See [CIT].\n\nEnd.\n\n[CIT] A book."


def test_substitutions_are_replaced_where_they_stand():
    assert text_of("The |crane| and |crane|.\n\n.. |crane| replace:: tall *crane*\n") == (
        "The tall crane and tall crane."
    )
    assert text_of("|logo| Port\n\n.. |logo| image:: x.png\n   :alt: Anchor\n") == "Anchor Port"
    assert text_of("|a|\n\n.. |a| replace:: x |a| y\n") == "x |a| y"


def test_tables_repeat_the_names_of_their_columns():
    simple = "=====  =====\nBerth  Price\n=====  =====\nNorth  18\nSouth  \n=====  =====\n"
    assert text_of(simple) == "Berth: North | Price: 18\nBerth: South"
    grid = (
        "+-------+-------+\n| Berth | Price |\n+=======+=======+\n| North | 18    |\n|       +-------+\n"
        "|       | 19    |\n+-------+-------+\n"
    )
    assert text_of(grid) == "Berth: North | Price: 18\nBerth: North | Price: 19"
    listed = (
        ".. list-table:: Fees\n   :header-rows: 1\n   :widths: 1 2\n\n   * - Berth\n     - Price\n"
        "   * - North\n     - 18\n"
    )
    assert text_of(listed) == "Fees\n\nBerth: North | Price: 18"
    assert text_of('.. csv-table:: Fees\n   :header: "Berth", "Price"\n\n   "North", 18\n') == (
        "Fees\n\nBerth: North | Price: 18"
    )


def test_a_header_row_whose_first_cell_is_blank_is_kept():
    table = "=====  ===  ===\n       Min  Max\n=====  ===  ===\nload   1    9\n=====  ===  ===\n"
    assert text_of(table) == "load | Min: 1 | Max: 9"


def test_lists_keep_their_numbers_and_terms_their_definitions():
    assert text_of("3. three\n4. four\n\n   * in\n\na. letter\n") == "3. three\n4. four\n- in\n\na. letter"
    assert text_of("fender : thing\n   A cushion.\n\nbuoy\n   Floats.\n\n   Is red.\n") == (
        "fender : thing: A cushion.\nbuoy\nFloats.\nIs red."
    )
    assert text_of("-a, --all   Takes all.\n--to FILE  Writes.\n") == "-a, --all: Takes all.\n--to FILE: Writes."
    assert text_of("| line one\n| line two\n") == "line one\nline two"


def test_what_is_included_is_named_and_not_followed():
    literal = ".. literalinclude:: a.py\n   :language: python\n"
    found = rst(f".. include:: /etc/passwd\n\n{literal}\n.. csv-table:: T\n   :file: b.csv\n\nText.\n")
    assert found.text == "T\n\nText."
    assert found.metadata["not_included"] == ["/etc/passwd", "a.py", "b.csv"]


def test_raw_html_is_read_as_html_and_other_raw_text_left_out():
    assert text_of(
        ".. raw:: html\n\n   <p>Seen <b>it</b><script>x()</script>\n\n.. raw:: latex\n\n   \\x\n\nText.\n"
    ) == ("Seen it\n\nText.")
    assert text_of(".. raw:: html\n\n   <textarea><plaintext>\n\nStill here.\n").endswith("Still here.")


def test_comments_and_settings_are_no_text():
    assert text_of(":orphan:\n\n.. a comment\n   of two lines\n\n.. _target: http://a.example\n\nText.\n") == "Text."


@pytest.mark.parametrize(
    "broken",
    [
        "Title\n===\n\nA\n^^^\n\nB\n---\n\nDeep\n~~~~\n\nKept text.\n",
        "* one\n two\n   three\n",
        ".. image::\n\nText\n\n.. list-table::\n\n   * - quay\n   * - b\n     - cable\n",
        "+---+\n| mole |\n+--\n| b |\n",
        "   indented\n first\n",
        ".. |x| nothing-such:: words here\n\n|x|\n",
        "Before\n\n.. tab:: T\n\n   Inner\n   =====\n\n   Words.\n",
    ],
)
def test_what_is_written_wrongly_stays_as_text_without_messages(broken):
    text = text_of(broken)
    for word in ("Deep", "Kept text", "three", "quay", "cable", "mole", "indented", "words here", "Inner", "Words."):
        assert word not in broken or word in text
    assert "docutils" not in text.lower() and "error" not in text.lower() and "System Message" not in text


def test_a_heading_at_an_unusual_place_is_a_heading():
    found = rst(".. tab:: T\n\n   Inner\n   =====\n\n   Words.\n")
    assert found.text == "T\n\nInner\n\nWords." and [heading.text for heading in found.headings] == ["Inner"]


def test_what_cannot_be_parsed_is_read_as_it_stands():
    found = rst("".join(f"{' ' * i}* x\n\n" for i in range(2, 1500, 2)))
    assert found.metadata["read_as"] == "plain text (nested too deeply)" and found.text.count("x") == 749


def test_a_line_that_docutils_does_not_take_is_read_as_it_stands():
    assert rst("*a " * 50_000).metadata["read_as"] == "plain text (a line is too long)"
    assert rst(f"Title\n=====\n\n{'*a* ' * 20_000}\n").text.count("a") == 20_000


def test_other_users_of_docutils_in_the_process_notice_nothing():
    from docutils.core import publish_doctree
    from docutils.parsers.rst import directives, roles

    before = directives.directive, dict(roles._roles)
    rst(".. role:: red\n\n.. default-role:: red\n\n:red:`x` :kbd:`y`\n\n.. tab:: z\n")
    assert (directives.directive, roles._roles) == before
    tree = publish_doctree(".. tab:: z\n", settings_overrides={"report_level": 5})
    assert "Unknown directive" in tree.document.pformat() or "tab" in tree.astext()
