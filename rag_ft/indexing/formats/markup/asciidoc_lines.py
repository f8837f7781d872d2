"""AsciiDoc's lines: the forms by which titles, items, delimiters and attributes are known."""

from __future__ import annotations

import re
from typing import NamedTuple

ATTRIBUTE = re.compile(r":(?P<off>!?)(?P<name>\w[\w-]*)(?P<off2>!?):(?:[ \t]+(?P<value>.*))?$")
SECTION = re.compile(r"(?P<marks>={1,6}|#{1,6})[ \t]+(?P<title>\S.*?)(?:[ \t]+(?P=marks))?$")
UNDERLINES = "=-~^+"
ABOUT = re.compile(r"\[(?P<anchor>\[)?(?P<content>(?:[\w.#%,\"'{][^\n]*)?)\](?(anchor)\])[ \t]*$")
TITLE = re.compile(r"\.(?P<title>[^\s.].*)$")
DELIMITER = re.compile(r"(?:-{4,}|\.{4,}|={4,}|\*{4,}|_{4,}|\+{4,}|/{4,}|--|```\w*(?:,.*)?|[|!,:]={3,})[ \t]*$")
DIRECTIVE = re.compile(r"(?P<name>include|ifdef|ifndef|ifeval|endif)::(?P<target>[^\[\]]*)\[(?P<text>.*)\][ \t]*$")
BLOCK_MACRO = re.compile(r"(?P<name>[\w-]+)::(?P<target>[^\s\[\]]*)\[(?P<text>.*)\][ \t]*$")
RULE = re.compile(r"(?:'{3,}|<{3,}|-{3}|\*{3}|- - -|\* \* \*)[ \t]*$")
ITEM = re.compile(
    r"[ \t]*(?:(?P<bullet>\*{1,6}|-|•)|(?P<dots>\.{1,6})|(?P<number>\d{1,9})\.|(?P<letter>[a-zA-Z])\."
    r"|(?P<roman>[ivxIVX]{1,8})\)|<(?P<callout>\d{1,3}|\.)>)[ \t]+(?P<text>\S.*)$"
)
TERM = re.compile(r"[ \t]*(?P<term>(?!//)\S(?:.*?\S)??)(?P<mark>:{2,4}|;;)(?:[ \t]+(?P<text>.*))?$")
ADMONITION = re.compile(r"(?P<label>NOTE|TIP|IMPORTANT|CAUTION|WARNING):[ \t]+(?P<text>.*)$")
LABELS = frozenset("NOTE TIP IMPORTANT CAUTION WARNING".split())
BOX = re.compile(r"\[(?P<on>[ xX*])\][ \t]+")
NUMBERING = {"loweralpha": "a", "upperalpha": "A", "lowerroman": "i", "upperroman": "I", "arabic": "1", "decimal": "1"}
DOTS = ("1", "a", "i", "A", "I", "1")


class BlockAttributes(NamedTuple):
    """What the lines above a block say of it."""

    style: str
    positional: list[str]
    named: dict[str, str]


def is_comment(line: str) -> bool:
    """Whether a line is a comment."""
    return line.startswith("//") and not line.startswith("///")


def mark_of(item: re.Match[str] | None) -> str:
    """What tells the items of one list from those of others."""
    assert item is not None
    if item["callout"]:
        return "<"
    return str(item["bullet"] or item["dots"] or ("1" if item["number"] else "i" if item["roman"] else "a"))


def is_formula(about: BlockAttributes) -> bool:
    """Whether a block is a formula."""
    return about.style in ("stem", "latexmath", "asciimath")


_PART = re.compile(
    r"\s*(?:(?P<name>[\w-]+)\s*=\s*)?(?:\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)'|(?P<bare>[^,]*))\s*(?:,|$)"
)


def about_block(content: str) -> BlockAttributes:
    """Read what stands in brackets above a block."""
    positional: list[str] = []
    named: dict[str, str] = {}
    position = 0
    while position < len(content):
        part = _PART.match(content, position)
        if part is None or part.end() == position:
            break
        position = part.end()
        value = next((part[name] for name in ("double", "single", "bare") if part[name] is not None), "").strip()
        if part["name"]:
            named[part["name"].lower()] = value
        else:
            positional.append(value)
    first = positional[0] if positional else ""
    options = re.findall(r"%([\w-]+)", first)
    if options:
        named["options"] = ",".join([*options, named.get("options", "")])
    style = re.match(r"[^.#%]*", first)
    return BlockAttributes(style[0].strip() if style is not None else "", positional, named)


def merged(first: BlockAttributes, second: BlockAttributes) -> BlockAttributes:
    """What two lines above a block say of it."""
    return BlockAttributes(
        second.style or first.style, second.positional or first.positional, first.named | second.named
    )
