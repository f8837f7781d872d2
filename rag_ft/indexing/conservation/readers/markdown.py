"""Markdown, line by line: the words without what is markup for certain or perhaps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

from rag_ft.indexing.conservation.readers.plain_text import decoded
from rag_ft.indexing.conservation.source import Source
from rag_ft.indexing.conservation.words import MAY_JOIN

FRONT_MATTER = "front matter"
LINKS = "targets of links"
MARKUP = "markup"

_FENCE = re.compile(r"[ \t>]*(?:[-*+]|\d{1,9}[.)])?[ \t>]*(`{3,}|~{3,})(.*)")
_YAML_LINE = re.compile(r"[\"']?[\w .-]+[\"']?[ \t]*:(?:\s|$)|\s|#|-\s|[\]})]|$")
_YAML_KEY = re.compile(r"[\"']?[\w.-][\w .-]*[\"']?[ \t]*:(?:\s|$)", re.MULTILINE)
_TOML_LINE = re.compile(r"[\"']?[\w.-]+[\"']?[ \t]*=|\[|\s|#|[\]})\"']|$")
_DEFINITION = re.compile(r"[ >]{0,8}\[(?!\^)[^\]\n]{1,500}\]:")
_CODE = re.compile(r"(`+)(?!`)([^\n]*?[^`])\1(?!`)")
_MARKS = re.compile(
    r"(?P<comment><!--(?:[^-]|-(?!->)){0,20000}(?:-->)?|<\?(?:[^?]|\?(?!>)){0,2000}\?>)"
    r"|(?P<tag></?[A-Za-z][^<>]{0,5000}>)"
    r"|(?P<target>\]\([ \t]*\n?[^()\n]{0,3000}(?:\([^()\n]{0,500}\)[^()\n]{0,500}){0,4}\n?[ \t]*\)"
    r"|\]\[[^\[\]\n]{0,500}\])"
)
_NUMBER = re.compile(r"^[ \t>]{0,20}\d{1,9}[.)](?=[ \t]+\S)", re.MULTILINE)
"""A list counts its items itself, whatever numbers stand there."""
_HIDDEN = re.compile(r"<(/?)(script|style)\b", re.IGNORECASE)
_WITHIN_WORD = re.compile("(?:[*`~\\\\](?<=[^\\W_].)|\u00ad(?<=[^\\W_].)\n)(?:[*`~\\\\]|\u00ad\n){0,8}(?=[^\\W_])")
_BREAK = re.compile(r"</?(?:br|p|div|td|th|tr|li|ul|ol|h[1-6]|table|dt|dd|sup)\b", re.IGNORECASE)


def markdown_source(data: bytes, encoding: str) -> Source:
    """Read the words of a page, its front matter apart."""
    text = decoded(data, encoding).replace("\r\n", "\n").replace("\r", "\n")
    source = Source()
    length = _front_matter(text)
    source.add(text[:length], reason=FRONT_MATTER)
    for lines, code in _blocks(text[length:]):
        if code:
            source.add(lines)
        else:
            _add_prose(source, lines)
    return source


def _front_matter(text: str) -> int:
    """Length of the lines at the start that are keys with values between two rules; 0 if they are not."""
    for rule, line_pattern in (("---", _YAML_LINE), ("+++", _TOML_LINE)):
        if not text.startswith(rule) or text[3 : text.find("\n")].strip():
            continue
        end = re.compile(rf"^{re.escape(rule)}[ \t]*(?:\n|\Z)", re.MULTILINE).search(text, 4)
        if end is None:
            return 0
        lines = text[4 : end.start()]
        keys = _YAML_KEY.search(lines) if rule == "---" else "=" in lines
        if not lines.strip() or (keys and all(map(line_pattern.match, lines.split("\n")))):
            return end.end()
    return 0


def _blocks(text: str) -> Iterator[tuple[str, bool]]:
    """Runs of lines, and whether they are code between fences; the fences are left out."""
    lines: list[str] = []
    fence = ""
    for line in text.split("\n"):
        mark = _FENCE.match(line) if "```" in line or "~~~" in line else None
        closes = mark is not None and fence and mark[1].startswith(fence) and not mark[2].strip()
        opens = mark is not None and not fence and not ("`" in mark[1] and "`" in mark[2])
        if closes or opens:
            yield "\n".join(lines) + "\n", bool(fence)
            lines = []
            fence = mark[1] if opens and mark is not None else ""
        else:
            lines.append(line)
    yield "\n".join(lines) + "\n", bool(fence)


def _add_prose(source: Source, text: str) -> None:
    """Add lines of text: code between backticks as it is, tags and targets of links as what need not be there."""
    if "<" in text:
        text = _without_scripts(source, text)
    if "]:" in text:
        kept = []
        for line in text.split("\n"):
            if "]:" in line and _DEFINITION.match(line):
                source.add(line + "\n", reason=LINKS)
            else:
                kept.append(line)
        text = "\n".join(kept)
    numbers = _NUMBER.findall(text)
    if numbers:
        source.add("\n".join(numbers) + "\n", reason=MARKUP)
        text = _NUMBER.sub("", text)
    if "`" not in text:
        _add_marked(source, text)
        return
    parts: list[str] = []
    end = 0
    code: list[str] = []
    for match in _CODE.finditer(text):
        # A place for the code, so that tags around it are still found.
        parts += [text[end : match.start()], f"\ue001{len(code)}\ue002"]
        code.append(match[0])
        end = match.end()
    parts.append(text[end:])
    _add_marked(source, "".join(parts), code)


def _without_scripts(source: Source, text: str) -> str:
    """Take scripts and styles out of a text; one without an end is text."""
    parts: list[str] = []
    end = 0
    opened: re.Match[str] | None = None
    for tag in _HIDDEN.finditer(text):
        if opened is None and not tag[1]:
            opened = tag
        elif opened is not None and tag[1] and tag[2].lower() == opened[2].lower():
            source.add(text[opened.start() : tag.end()] + "\n", reason=MARKUP)
            parts += [text[end : opened.start()], "\n"]
            end = text.find(">", tag.end()) + 1 or len(text)
            opened = None
    return "".join([*parts, text[end:]])


_PLACE = re.compile("\ue001(\\d+)\ue002")


def _add_marked(source: Source, text: str, code: list[str] | None = None) -> None:
    def with_code(part: str) -> str:
        return (
            _PLACE.sub(lambda place: code[int(place[1])] if int(place[1]) < len(code) else "", part) if code else part
        )

    prose: list[str] = []
    markup: list[tuple[str, str]] = []
    end = 0
    if "<" in text or "](" in text or "][" in text:
        for match in _MARKS.finditer(text):
            prose.append(text[end : match.start()])
            if match["target"]:
                markup.append((match[0], LINKS))
                prose.append("]" if match.end() < len(text) and not text[match.end()].isalnum() else MAY_JOIN)
            else:
                markup.append((match[0], MARKUP))
                prose.append("\n" if match["comment"] or _BREAK.match(match[0]) else MAY_JOIN)
            end = match.end()
    prose.append(text[end:])
    joined = with_code("".join(prose))
    if any(mark in joined for mark in "*`~\\"):
        joined = _WITHIN_WORD.sub(MAY_JOIN, joined)
    source.add(unescape(joined) if "&" in joined else joined)
    for part, reason in markup:
        source.add(with_code(part) + "\n", reason=reason)
