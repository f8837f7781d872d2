"""AsciiDoc, line by line: the words without what is markup by its form."""

from __future__ import annotations

import re

from rag_ft.indexing.conservation.readers.markdown import LINKS, MARKUP
from rag_ft.indexing.conservation.readers.plain_text import decoded
from rag_ft.indexing.conservation.readers.rst import COMMENTS, INCLUDED, RAW
from rag_ft.indexing.conservation.source import Source
from rag_ft.indexing.conservation.words import MAY_JOIN

_CONDITIONS = "conditions"

_DIRECTIVE = re.compile(r"(include|ifdef|ifndef|ifeval|endif)::[^\[\]]*\[(.*)\]\s*$")
_ATTRIBUTE = re.compile(r":!?\w[\w-]*!?:(?:\s|$)")
_ABOUT = re.compile(r"\[(?:\[.*\]|[\w.#%,\"'{].*)?\]\s*$")
_VERBATIM = re.compile(r"(-{4,}|\.{4,}|```)\w*(?:,.*)?\s*$")
_RAW = re.compile(r"(\+{4,})\s*$")
_COMMENT = re.compile(r"(/{4,})\s*$")
_TABLE = re.compile(r"([|!,:]={3,})\s*$")
_SPEC = re.compile(r"(?:^|(?<=[\s|!]))(?:\d+(?:\.\d+)?[+*]|\.\d+[+*])?[<^>.]*[aehlmdsv]?(?=[|!])", re.MULTILINE)
_MACRO = re.compile(
    r"(?<!\w)(?:link|xref|mailto|image|icon|kbd|btn|menu|footnote|footnoteref|anchor|indexterm2?|stem|latexmath|asciimath"
    r"|pass|video|audio|toc):{1,2}[^\s\[\]]*(?=\[)"
)
_NAMED = re.compile(r"(?:,|(?<=\[))\s*\w+=(?:\"[^\"]*\"|[^,\"\]]*)")
_REFERENCE = re.compile(
    r"<<[^<>,\n]+(?=,|>>)|\[\[[^\[\]\n]+\]\]|\{[\w-]+\}|\[[\w .#%-]+\](?=[#*_`])|\(\(\([^()\n]*\)\)\)"
)
_URL = re.compile(r"(?:https?|ftp|irc)://[^\s\[\]<>]*(?=\[[^\]])")
_WITHIN_WORD = re.compile(r"(?<=[^\W_])[*`#^~]+(?=[^\W_])|(?<=[^\W_])__(?=[^\W_])|(?<=[^\W_])\+\+\+?(?=[^\W_])")
_MARKED = re.compile(r"(?<![^\W_])_(?=\S)|(?<=\S)_(?![^\W_])")


def asciidoc_source(data: bytes, encoding: str) -> Source:
    """Read the words of a document, with comments, attributes and targets of links apart."""
    source = Source()
    lines = decoded(data, encoding).replace("\r\n", "\n").split("\n")
    fence = ""
    verbatim = ""
    in_table = False
    for before, line in zip(["", *lines], lines, strict=False):
        directive = _DIRECTIVE.match(line)
        if directive is not None:
            kept = directive[2] if directive[1] in ("ifdef", "ifndef") else ""
            source.add(
                line.removesuffix(f"{kept}]") + "\n", reason=INCLUDED if directive[1] == "include" else _CONDITIONS
            )
            _add(source, kept)
            continue
        if fence:
            if line.strip() == fence:
                fence = ""
            else:
                source.add(line + "\n", reason=verbatim)
            continue
        opened = [(pattern.match(line), why) for pattern, why in ((_VERBATIM, ""), (_RAW, RAW), (_COMMENT, COMMENTS))]
        found = next(((match, why) for match, why in opened if match is not None), None)
        underlines = line[:1] in "-+" and before.strip() and abs(len(before.rstrip()) - len(line.rstrip())) < 2
        if found is not None and not underlines:
            fence, verbatim = found[0][1], found[1]
            source.add(line[len(fence) :] + "\n", reason=MARKUP)
        elif _TABLE.match(line):
            in_table = not in_table
        elif line.startswith("//") and not line.startswith("///"):
            source.add(line + "\n", reason=COMMENTS)
        elif _ATTRIBUTE.match(line) or _ABOUT.match(line):
            source.add(line + "\n", reason=MARKUP)
        else:
            _add(source, _SPEC.sub(" ", line) if in_table else line)
    return source


def _add(source: Source, text: str) -> None:
    for pattern, reason in ((_MACRO, LINKS), (_URL, LINKS), (_REFERENCE, LINKS), (_NAMED, MARKUP)):
        kept: list[str] = []
        end = 0
        for match in pattern.finditer(text) if pattern is not _NAMED or "[" in text else ():
            kept.append(text[end : match.start()])
            source.add(match[0] + "\n", reason=reason)
            end = match.end()
        text = "".join([*kept, text[end:]])
    text = _MARKED.sub(MAY_JOIN, text)
    source.add(_WITHIN_WORD.sub(MAY_JOIN, text) + "\n")
