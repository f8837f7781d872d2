import json

import pytest

from rag_ft.indexing.conservation.check import check
from rag_ft.indexing.formats import extract
from rag_ft.indexing.formats.extracted import Unreadable
from rag_ft.indexing.formats.limits import MAX_OUTPUT_CHARS

FRAME = """<div>
<style scoped>.dataframe tbody tr th {vertical-align: top;}</style>
<table border="1" class="dataframe">
  <thead><tr style="text-align: right;"><th></th><th>berth</th><th>price</th></tr></thead>
  <tbody><tr><th>0</th><td>North</td><td>18</td></tr><tr><th>1</th><td>South</td><td>NaN</td></tr></tbody>
</table>
<p>2 rows × 2 columns</p>
</div>"""
"""As pandas writes it."""


def markdown(text):
    return {"cell_type": "markdown", "metadata": {}, "source": text.splitlines(keepends=True)}


def code(text, *outputs):
    return {"cell_type": "code", "execution_count": 1, "metadata": {}, "source": text, "outputs": list(outputs)}


def stream(text):
    return {"output_type": "stream", "name": "stdout", "text": text}


def result(**data):
    kinds = {"plain": "text/plain", "html": "text/html", "png": "image/png", "markdown": "text/markdown"}
    return {"output_type": "execute_result", "metadata": {}, "data": {kinds[name]: data[name] for name in data}}


def notebook(*cells, **metadata):
    return json.dumps({"cells": list(cells), "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}).encode()


def read(*cells, **metadata):
    data = notebook(*cells, **metadata)
    found = extract("a.ipynb", data)
    conservation = check("a.ipynb", data, found)
    assert conservation is not None and conservation.complete, conservation
    return found


def named(found):
    return [(block.kind, found.text[block.start : block.end]) for block in found.blocks]


def test_cells_are_read_in_order_with_their_kinds():
    found = read(
        markdown("# Loads\n\nHow *much*?\n\n- one\n- two\n"),
        code("def f(x):\n\n    return x\n", stream(["1\n", "2\n"])),
        markdown("## More\n"),
        language_info={"name": "python"},
    )
    assert found.text == "Loads\n\nHow much?\n\n- one\n- two\n\ndef f(x):\n\n    return x\n\n1\n2\n\nMore"
    assert named(found) == [("list", "- one\n- two"), ("code", "def f(x):\n\n    return x"), ("code", "1\n2")]
    assert [(heading.level, heading.text) for heading in found.headings] == [(1, "Loads"), (2, "More")]
    assert all(found.text[heading.start :].startswith(heading.text) for heading in found.headings)
    assert (found.title, found.metadata) == ("Loads", {"language": "python"})


def test_a_table_that_code_shows_is_rows_with_their_columns():
    found = read(code("frame", result(html=FRAME, plain="  berth  price\n0 North  18\n1 South  NaN")))
    assert found.text == ("frame\n\n0 | berth: North | price: 18\n1 | berth: South | price: NaN\n\n2 rows × 2 columns")
    assert named(found)[1] == ("table", "0 | berth: North | price: 18\n1 | berth: South | price: NaN")


def test_the_best_form_of_an_output_is_read_once():
    assert read(code("x", result(plain="'a'"))).text == "x\n\n'a'"
    assert read(code("x", result(plain="<Figure size 640x480>", png="iVBOR="))).text == "x"
    assert read(code("x", result(plain="Line plot", html="<script>draw()</script>"))).text == "x\n\nLine plot"
    assert read(code("x", result(plain="<M>", markdown="**Done** at *six*"))).text == "x\n\nDone at six"


def test_a_traceback_is_kept_without_colours():
    lines = [
        "\x1b[0;31mValueError\x1b[0m  Traceback",
        "\x1b[1;32m<ipython>\x1b[0m in f",
        "\x1b[31mValueError\x1b[0m: bad",
    ]
    error = {"output_type": "error", "ename": "ValueError", "evalue": "bad", "traceback": lines}
    assert read(code("f()", error)).text == "f()\n\nValueError  Traceback\n<ipython> in f\nValueError: bad"


def test_a_progress_bar_is_shown_as_at_its_end():
    assert read(code("run()", stream("10%\r50%\r100%\ndone\r\n"))).text == "run()\n\n100%\ndone"


def test_a_long_output_is_cut_at_a_line_and_said_to_be():
    data = notebook(code("log()", stream("a line of a log\n" * 10_000)), markdown("After."))
    found = extract("a.ipynb", data)
    assert MAX_OUTPUT_CHARS - 40 < len(found.text) < MAX_OUTPUT_CHARS + 40 and found.text.endswith("log\n\nAfter.")
    assert found.metadata["shortened_outputs"] == 1
    conservation = check("a.ipynb", data, found)
    assert conservation.complete and conservation.left_out["long outputs"] > 40_000


def test_front_matter_in_the_first_raw_cell_is_metadata():
    raw = {"cell_type": "raw", "metadata": {}, "source": "---\ntitle: Quay\nauthor: A\n---\n"}
    found = extract("a.ipynb", notebook(raw, markdown("Text.\n")))
    assert (found.text, found.title, found.metadata["author"]) == ("Text.", "Quay", "A")


def test_notebooks_of_version_3_are_read():
    cells = [
        {"cell_type": "heading", "level": 2, "source": ["Loads"], "metadata": {}},
        {
            "cell_type": "code",
            "input": ["f()"],
            "language": "python",
            "outputs": [{"output_type": "pyout", "text": ["42"]}, {"output_type": "stream", "text": "out\n"}],
        },
    ]
    data = json.dumps({"worksheets": [{"cells": cells}], "nbformat": 3, "metadata": {"name": ""}}).encode()
    found = extract("a.ipynb", data)
    assert found.text == "Loads\n\nf()\n\n42\n\nout" and found.headings[0].level == 2
    assert check("a.ipynb", data, found).complete


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"cells": [', "is damaged"),
        (b"[]", "is not a notebook"),
        (b'{"cells": {}}', "is not a notebook"),
        (b"[" * 200_000, "is nested too deeply"),
    ],
)
def test_what_is_not_a_notebook_is_refused_in_a_sentence(data, reason):
    with pytest.raises(Unreadable, match=reason):
        extract("a.ipynb", data)


def test_cells_of_unexpected_form_do_not_lose_the_others():
    cells = [
        None,
        {"cell_type": "code", "source": None, "outputs": [None, {"output_type": "stream", "text": 7}, {"data": []}]},
        {"cell_type": "heading", "level": "x", "source": "A"},
        {"cell_type": "markdown", "source": ["Half \ud800 of it.", 3]},
        {"source": "No kind."},
    ]
    assert extract("a.ipynb", notebook(*cells)).text == "A\n\nHalf � of it.\n\nNo kind."
