"""Markdown by markdown-it, with HTML in it: written as HTML and read like a page."""

from __future__ import annotations

import re
from functools import cache
from html import escape
from typing import Any

from rag_ft.indexing.formats.blocks import KEPT_SPACE, Blocks
from rag_ft.indexing.formats.decoding import decode, noted
from rag_ft.indexing.formats.extracted import Extracted
from rag_ft.indexing.formats.markup.front_matter import front_matter
from rag_ft.indexing.formats.web.dom import dom_blocks


def read_markdown(data: bytes) -> Extracted:
    """Read the text of a page; its front matter becomes the metadata."""
    text, encoding = decode(data)
    metadata, start = front_matter(text)
    blocks = markdown_blocks(text[start:])
    title = metadata.get("title")
    return blocks.extracted(title if isinstance(title, str) else "", noted(encoding) | metadata)


def markdown_blocks(text: str, blocks: Blocks | None = None) -> Blocks:
    """Read Markdown without front matter, into blocks that may hold other text before."""
    from selectolax.lexbor import LexborHTMLParser

    return dom_blocks(LexborHTMLParser(f"<body>{_html(text)}</body>").body, blocks)


def _html(text: str) -> str:
    parser = _parser()
    environment: dict[str, Any] = {"closes": {name.lower() for name in _CLOSING_TAG.findall(text)}}
    tokens = parser.parse(text, environment)
    html: str = parser.renderer.render(tokens, parser.options, environment)
    return html


_CLOSING_TAG = re.compile(r"</([a-zA-Z][\w-]*)")
_TAG = re.compile(r"<(/?)([a-zA-Z][\w:-]*)([^>]*)>")
_SWALLOWING = frozenset(
    "script style textarea title plaintext xmp iframe noembed noframes noscript template select video audio canvas svg"
    " math head dialog".split()
)
"""Elements that, without an end, would hide all text after them."""

_HTML_TAGS = frozenset(
    "a abbr acronym address area article aside audio b base bdi bdo big blockquote body br button canvas caption center"
    " cite code col colgroup data datalist dd del details dfn dialog dir div dl dt em embed fieldset figcaption figure"
    " font footer form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html i iframe img input ins kbd label"
    " legend li link main map mark marquee math menu meta meter nav nobr noscript object ol optgroup option output p"
    " param picture pre progress q rb rp rt ruby s samp script search section select slot small source span strike"
    " strong style sub summary sup svg table tbody td template textarea tfoot th thead time title tr track tt u ul var"
    " video wbr".split()
)
_PART_OF_TABLE = re.compile(r"\s*</?(?:t[rdh]|tbody|thead|tfoot)\b", re.IGNORECASE)
_OPEN_TABLE = re.compile(r"<(/?)table\b", re.IGNORECASE)
_NOTE = re.compile(r"\[\^([^\[\]\s^]{1,60})\]")
_SIGN = re.compile(r"[^\w\s]|_")
_ESCAPED = r"\\\g<0>"
_NOTE_TEXT = re.compile(r"\[\^([^\[\]\s^]{1,60})\]:[ \t]*")


@cache
def _parser() -> Any:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"maxNesting": 60}).enable("table")
    parser.block.ruler.before("reference", "note", _note_rule, {"alt": ["paragraph", "reference"]})
    for name, rule in (
        ("text", _text),
        ("code_inline", _code),
        ("html_inline", _html_inline),
        ("html_block", _html_block),
    ):
        parser.add_render_rule(name, rule)
    return parser


def _note_rule(state: Any, start_line: int, end_line: int, silent: bool) -> bool:
    """The text of a footnote, `[^1]: Text`, which is no link: a part of the page that begins with its mark."""
    start = state.bMarks[start_line] + state.tShift[start_line]
    if not state.src.startswith("[^", start) or state.is_code_block(start_line):
        return False
    note = _NOTE_TEXT.match(state.src, start, state.eMarks[start_line])
    if note is None:
        return False
    if silent:
        return True
    line = start_line
    state.blkIndent += 4
    lines = [state.src[note.end() : state.eMarks[start_line]]]
    while (line := line + 1) < end_line and _continues(state, line):
        lines.append(state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]])
    state.push("note_open", "div", 1)
    state.push("paragraph_open", "p", 1)
    paragraph = state.push("inline", "", 0)
    paragraph.content = "\n".join([f"\\[{_SIGN.sub(_ESCAPED, note[1])}\\] {lines[0]}", *lines[1:]]).strip()
    paragraph.map = [start_line, line]
    paragraph.children = []
    state.push("paragraph_close", "p", -1)
    state.line = line
    if _is_indented(state, line, end_line):
        state.md.block.tokenize(state, line, end_line)
    state.blkIndent -= 4
    state.push("note_close", "div", -1)
    return True


def _continues(state: Any, line: int) -> bool:
    """Whether a line belongs to the first paragraph of a footnote."""
    if state.isEmpty(line):
        return False
    start = state.bMarks[line] + state.tShift[line]
    if state.sCount[line] >= state.blkIndent:
        return True
    return state.sCount[line] >= state.blkIndent - 4 and not re.match(
        r"\[\^|#{1,6}\s|[-*+>]\s|```|~~~|\d{1,9}[.)]\s|<|\|", state.src[start : start + 12]
    )


def _is_indented(state: Any, line: int, end_line: int) -> bool:
    """Whether more paragraphs of the footnote follow, indented by four spaces."""
    while line < end_line and state.isEmpty(line):
        line += 1
    return line < end_line and state.sCount[line] >= state.blkIndent


def _text(renderer: Any, tokens: Any, index: int, options: Any, environment: Any) -> str:
    text = escape(tokens[index].content, quote=False)
    return _NOTE.sub(r"<sup>[\1]</sup>", text) if "[^" in text else text


def _code(renderer: Any, tokens: Any, index: int, options: Any, environment: Any) -> str:
    content = tokens[index].content
    if "  " in content:
        content = content.replace(" ", KEPT_SPACE)
    return f"<code>{escape(content, quote=False)}</code>"


def _html_inline(renderer: Any, tokens: Any, index: int, options: Any, environment: Any) -> str:
    content: str = tokens[index].content
    tag = _TAG.match(content)
    if tag is None:
        return "" if content.startswith(("<!", "<?")) else escape(content)
    name = tag[2].lower()
    if tag[1]:
        return content
    if name in _SWALLOWING:
        if environment.get("inline") is not tokens:  # the line's last closing tags, found once
            environment["inline"] = tokens
            environment["inline_closes"] = {
                closing[1].lower(): position
                for position, token in enumerate(tokens)
                if token.type == "html_inline" and (closing := _CLOSING_TAG.match(token.content)) is not None
            }
        return content if environment["inline_closes"].get(name, -1) > index else escape(content)
    if name not in _HTML_TAGS and "-" not in name and not tag[3].strip() and name not in environment["closes"]:
        return escape(content)  # a placeholder: `install <package>`
    return content


def _html_block(renderer: Any, tokens: Any, index: int, options: Any, environment: Any) -> str:
    token = tokens[index]
    content: str = token.content
    if token.meta and token.meta.get("own"):
        return content
    if content.lstrip().startswith(("<!--", "<?", "<!")):
        stripped = content.lstrip()
        closing = "-->" if stripped.startswith("<!--") else "?>" if stripped.startswith("<?") else ">"
        return content if closing in stripped else escape(content)
    depth = environment.get("tables", 0)
    if depth <= 0 and _PART_OF_TABLE.match(content):
        content = f"<table>{content}"
    for table in _OPEN_TABLE.finditer(content):
        depth += -1 if table[1] else 1
    environment["tables"] = depth
    return _without_open_ends(content, environment["closes"])


def _without_open_ends(html: str, closes: set[str]) -> str:
    """Write tags as text that, without an end in the document, would hide all that follows."""

    def checked(tag: re.Match[str]) -> str:
        name = tag[2].lower()
        return escape(tag[0]) if name in _SWALLOWING and not tag[1] and name not in closes else tag[0]

    return _TAG.sub(checked, html)
