import pytest
from selectolax.lexbor import LexborHTMLParser

from rag_ft.indexing.formats import extract
from rag_ft.indexing.formats.blocks import BlockBuilder, Blocks
from rag_ft.indexing.formats.web.dom import dom_blocks
from rag_ft.schema import Block

MARKDOWN = b"""# Top

Words.

```python
def f():

    return 1
```

1. Walk:

   ```
   go north
   go on
   ```
2. Stop.
   - Rest

| a | b |
|---|---|
| c | d |

    indented
"""
HTML = b"""<html><body><main><h1>Top</h1><p>Words.</p><pre>def f():

    return 1</pre>
<ol><li>Walk:<pre>go north
go on</pre></li><li>Stop.<ul><li>Rest</li></ul></li></ol>
<table><tr><th>a</th><th>b</th></tr><tr><td>c</td><td>d</td></tr></table></main></body></html>"""


@pytest.mark.parametrize(("name", "data"), [("a.md", MARKDOWN), ("a.html", HTML)])
def test_code_lists_and_tables_are_named(name, data):
    extracted = extract(name, data)
    named = [(block.kind, extracted.text[block.start : block.end].strip()) for block in extracted.blocks]
    assert ("code", "def f():\n\n    return 1") in named
    assert name.endswith(".html") or ("code", "go north\ngo on") in named
    assert name.endswith(".html") or ("code", "indented") in named
    assert any(kind == "list" and "Stop." in text and "Rest" in text for kind, text in named)
    assert any(kind == "table" and "a: c | b: d" in text for kind, text in named)
    assert not any("Words." in text or "Top" in text for _, text in named)
    assert all(a.end <= b.start for a, b in zip(extracted.blocks, extracted.blocks[1:], strict=False))


def test_code_within_an_item_of_a_page_is_named():
    blocks = dom_blocks(LexborHTMLParser("<ul><li>Walk:<pre>go north</pre><li>Stop.</ul>").body).extracted()
    named = [(block.kind, blocks.text[block.start : block.end].strip()) for block in blocks.blocks]
    assert named == [("list", "- Walk:"), ("code", "go north"), ("list", "- Stop.")]


def test_code_in_a_cell_is_part_of_its_row():
    blocks = Blocks()
    builder = BlockBuilder(blocks)
    for kind in ("table", "row", "cell"):
        builder.open(kind)
    builder.put("x = 1", kind="code")
    for kind in ("cell", "row", "table"):
        builder.close(kind)
    builder.end()
    assert blocks.extracted().blocks == (Block(start=0, end=5, kind="table"),)


def test_beyond_a_number_of_blocks_they_are_not_named(monkeypatch):
    monkeypatch.setattr("rag_ft.indexing.formats.blocks.MAX_BLOCKS", 2)
    assert len(extract("a.md", b"- a\n\ntext\n\n" * 9).blocks) == 2
