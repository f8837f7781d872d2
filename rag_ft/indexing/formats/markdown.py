"""Markdown by markdown-it, front matter by PyYAML, and the HTML that stands in between."""

from __future__ import annotations

import re
from typing import Any

from rag_ft.indexing.formats.blocks import BlockBuilder, Blocks
from rag_ft.indexing.formats.decoding import decode, noted
from rag_ft.indexing.formats.dom import add_dom
from rag_ft.indexing.formats.extracted import Extracted
from rag_ft.indexing.formats.limits import MAX_FRONT_MATTER_CHARS, MAX_FRONT_MATTER_NODES
from rag_ft.schema import Metadata, json_value

_FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?)(?:\r?\n)?^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)


def read_markdown(data: bytes) -> Extracted:
    """The text of a page below its front matter, which becomes the metadata."""
    text, encoding = decode(data)
    metadata = noted(encoding)
    found = _FRONT_MATTER.match(text)
    if found:
        metadata |= _front_matter(found[1])
        text = text[found.end() :]
    blocks = Blocks()
    _markdown_blocks(text, blocks)
    title = metadata.get("title")
    return blocks.extracted(title if isinstance(title, str) else "", metadata)


_MAX_ALIASES = 10
"""In front matter: n of them let a text grow to e^(n/e) times its size, here 40; 80 of them fill the memory."""

_DEEPEST = 50
"""Levels of front matter: the parser's time grows with their square."""

_TOO_DEEP = "nested too deeply, or within itself"


def _front_matter(text: str) -> Metadata:
    import yaml

    if len(text) > MAX_FRONT_MATTER_CHARS:
        return {"front_matter_error": f"longer than {MAX_FRONT_MATTER_CHARS:,} characters"}

    class Loader(yaml.SafeLoader):
        def date_or_text(self, node: yaml.ScalarNode) -> Any:
            try:
                return self.construct_yaml_timestamp(node)
            except ValueError:  # a day that no calendar has
                return self.construct_scalar(node)

    Loader.add_constructor("tag:yaml.org,2002:timestamp", Loader.date_or_text)
    try:
        aliases = depth = nodes = 0
        for event in yaml.parse(text, yaml.SafeLoader):  # read as it is asked for: what is too much ends it
            aliases += isinstance(event, yaml.AliasEvent)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if aliases > _MAX_ALIASES:
                return {"front_matter_error": f"more than {_MAX_ALIASES} aliases"}
            nodes += isinstance(event, yaml.NodeEvent)
            if nodes > MAX_FRONT_MATTER_NODES:
                return {"front_matter_error": f"more than {MAX_FRONT_MATTER_NODES:,} keys and values"}
            if depth > _DEEPEST:
                return {"front_matter_error": _TOO_DEEP}
        loaded = yaml.load(text, Loader)
        return {str(key): json_value(value) for key, value in loaded.items()} if isinstance(loaded, dict) else {}
    except RecursionError:
        return {"front_matter_error": _TOO_DEEP}
    except Exception as error:  # beside YAMLError what the constructors raise: ValueError, KeyError, AttributeError
        # Broken front matter is no reason to lose the page below it.
        return {"front_matter_error": (str(error).splitlines() or ["unreadable"])[0]}


_MARKDOWN_KINDS = {"bullet_list": "list", "ordered_list": "list", "list_item": "item"}
_MARKDOWN_KINDS |= {"table": "table", "tr": "row", "th": "cell", "td": "cell"}


def _markdown_blocks(text: str, blocks: Blocks) -> None:
    from markdown_it import MarkdownIt

    builder = BlockBuilder(blocks)
    level = 0
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        name, _, end = token.type.rpartition("_")
        if token.type == "heading_open":
            level = int(token.tag[1:])
        elif name in _MARKDOWN_KINDS:
            kind = _MARKDOWN_KINDS[name]
            if end == "open":
                builder.open(kind, marker=f"{token.info}. " if kind == "item" and token.info else "")
            else:
                builder.close(kind)
        elif token.type == "inline":
            builder.put(_inline(token.children or []), level)
            level = 0
        elif token.type in ("fence", "code_block"):
            builder.put(token.content)
        elif token.type == "html_block":
            _html_fragment(token.content, builder)
    builder.end()


def _inline(tokens: list[Any]) -> str:
    parts = []
    hidden = ""  # the script or style being passed over
    for token in tokens:
        if token.type == "html_inline":
            tag = _HTML_TAG.match(token.content)
            name = tag[2].lower() if tag else ""
            if name == "br":
                parts.append("\n")
            elif name in ("script", "style"):
                hidden = "" if tag and tag[1] else name
        elif hidden:
            continue
        elif token.type in ("text", "code_inline", "image"):
            parts.append(token.content)
        elif token.type == "softbreak":
            parts.append(" ")
        elif token.type == "hardbreak":
            parts.append("\n")
    # By hand: a pattern would try each blank of a long run again to its end.
    lines = "".join(parts).split("\n")
    for number in range(1, len(lines)):
        lines[number - 1], lines[number] = lines[number - 1].rstrip(" "), lines[number].lstrip(" ")
    return "\n".join(lines)


_HTML_TAG = re.compile(r"<(/?)([a-zA-Z][\w-]*)")
_PART_OF_TABLE = re.compile(r"\s*</?(?:t[rdh]|tbody|thead|tfoot)\b", re.IGNORECASE)


def _html_fragment(html: str, builder: BlockBuilder) -> None:
    from selectolax.lexbor import LexborHTMLParser

    # An empty line ends Markdown's HTML, within a table too, and outside of one its rows and cells are no tags.
    body = LexborHTMLParser("<table>" + html if _PART_OF_TABLE.match(html) else html).body
    if body is not None:
        add_dom(body, builder)
