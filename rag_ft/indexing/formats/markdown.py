"""Markdown by markdown-it, with front matter by PyYAML and embedded HTML."""

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
    """Read the text of a page; its front matter becomes the metadata."""
    text, encoding = decode(data)
    metadata = noted(encoding)
    front_matter = _FRONT_MATTER.match(text)
    if front_matter:
        metadata |= _front_matter(front_matter[1])
        text = text[front_matter.end() :]
    blocks = Blocks()
    _markdown_blocks(text, blocks)
    title = metadata.get("title")
    return blocks.extracted(title if isinstance(title, str) else "", metadata)


_MAX_ALIASES = 10
"""Maximum aliases in front matter: n of them can grow a text e^(n/e) times, here 40 times; 80 fill the memory."""

_DEEPEST = 50
"""Maximum nesting of front matter: the parser's time grows with its square."""

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
        for event in yaml.parse(text, yaml.SafeLoader):  # parsed lazily, so that excess stops it early
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
    except Exception as error:  # YAMLError, and ValueError, KeyError or AttributeError of constructors
        # The page is kept even if its front matter is broken.
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
            builder.put(token.content, kind="code")
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
    # Not by a pattern, which would take quadratic time on a long run of spaces.
    lines = "".join(parts).split("\n")
    for i in range(1, len(lines)):
        lines[i - 1], lines[i] = lines[i - 1].rstrip(" "), lines[i].lstrip(" ")
    return "\n".join(lines)


_HTML_TAG = re.compile(r"<(/?)([a-zA-Z][\w-]*)")
_PART_OF_TABLE = re.compile(r"\s*</?(?:t[rdh]|tbody|thead|tfoot)\b", re.IGNORECASE)


def _html_fragment(html: str, builder: BlockBuilder) -> None:
    from selectolax.lexbor import LexborHTMLParser

    # An empty line ends an HTML block even within a table; outside a table, rows and cells would not be parsed.
    body = LexborHTMLParser("<table>" + html if _PART_OF_TABLE.match(html) else html).body
    if body is not None:
        add_dom(body, builder)
