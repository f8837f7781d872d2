"""reStructuredText, line by line: the words without what is markup by its form."""

from __future__ import annotations

import re

from rag_ft.indexing.conservation.readers.markdown import LINKS, MARKUP
from rag_ft.indexing.conservation.readers.plain_text import decoded
from rag_ft.indexing.conservation.source import Source
from rag_ft.indexing.conservation.words import MAY_JOIN

COMMENTS = "comments"
INCLUDED = "included files"
RAW = "raw passages"

_EXPLICIT = re.compile(r"(?P<indent>[ ]*(?:(?:[-*+]|\(?\w{1,3}[.)])[ ]+)*)\.\.(?:[ ]+(?P<rest>.*)|$)")
_DIRECTIVE = re.compile(r"(?:(?P<substitution>\|\|)[ ]+)?(?P<name>[\w:.+-]*\w)[ ]?::(?:[ ]+(?P<argument>.*)|$)")
_NOTE = re.compile(r"\[[^\]\s]+\](?:\s|$)")
_ANONYMOUS = re.compile(r"[ ]*__[ ]+\S")
_SUBSTITUTED = re.compile(r"^[ ]*\.\.[ ]+\|([^|\n]+)\|[ ]", re.MULTILINE)
_AUTOMATIC = re.compile(r"\[#[^\]\s]*\]_?")
_TARGET = re.compile(r"_+(?:`[^`]*`|(?:\\.|[^:\\])*)?:(?:\s|$)|__(?:\s|$)")
_OPTION = re.compile(r"[ ]*:(?![: ])(?:[^:\\]|\\.|:(?!\s)){1,80}:(?:\s|$)")
_SHOWN_OPTION = re.compile(r"[ ]*:(?:title|caption|header|subtitle|summary|alt):")
_ROLE = re.compile(r"(?<![\w`]):(?:[\w+.-]+:)*[\w+.-]+:(?=`)|(?<=[^\s`]`):(?:[\w+.-]+:)*[\w+.-]+:(?!\w)")
_LINK = re.compile(r"(?<=[^\s`])\s*<(?P<target>[^<>`]+)>(?=`)")
_CODE = re.compile(r"``.+?``", re.DOTALL)
_WITHIN_WORD = re.compile(r"(?<=[^\W_])(?:\\[ \n]|\\(?=\w)|[`*\\]{1,3}\\ ?)|(?<=[^\W_])(?:[*`]|_(?=\s|$))+(?=[^\W_])")
_TOC_TARGET = re.compile(r"(?<=\S)\s*<[^<>]+>\s*$")

_HIDDEN = frozenset(
    "highlight index tabularcolumns default-domain currentmodule currentlibrary meta contents sectnum section-numbering"
    " role default-role title target-notes sectionauthor codeauthor date".split()
)
_NO_ARGUMENT = frozenset(
    "code code-block sourcecode parsed-code testcode testoutput testsetup testcleanup doctest ipython prompt"
    " jupyter-execute execute-code console graphviz mermaid uml plantuml terminal inheritance-diagram blockdiag seqdiag"
    " actdiag nwdiag only ifconfig container class rst-class cssclass grid tabs tab-set compound program image figure"
    " thumbnail include literalinclude mdinclude raw".split()
)
_VERBATIM = frozenset(
    "code code-block sourcecode testcode testoutput testsetup doctest prompt console graphviz"
    " mermaid math productionlist"
    " ipython digraph graph uml plantuml plot terminal".split()
)
_FIELD_SETTINGS = re.compile(r":(?:orphan|tocdepth|nocomments|nosearch|no-search|no-toc|hide-toc):")


def rst_source(data: bytes, encoding: str) -> Source:
    """Read the words of a page, with comments, directives' names and targets of links apart."""
    source = Source()
    text = decoded(data, encoding).expandtabs(8)
    for name in set(_SUBSTITUTED.findall(text)):
        text = text.replace(f"|{name}|", "||")
    lines = text.splitlines()
    prose: list[str] = []
    i = 0
    while i < len(lines):
        explicit = _EXPLICIT.match(lines[i]) if ".." in lines[i] else None
        if explicit is not None:
            i = _explicit(source, prose, lines, i, explicit)
            continue
        if lines[i].rstrip().endswith("::") and (i + 1 >= len(lines) or not lines[i + 1].strip()):
            prose.append(lines[i])
            end = _block_end(lines, i + 1, _indent(lines[i]))
            _flush(source, prose)
            source.add("\n".join(lines[i + 1 : end]) + "\n")
            i = end
            continue
        if _FIELD_SETTINGS.match(lines[i]):
            source.add(lines[i] + "\n", reason=MARKUP)
        elif _ANONYMOUS.match(lines[i]):
            source.add(lines[i] + "\n", reason=LINKS)
        else:
            prose.append(lines[i])
        i += 1
    _flush(source, prose)
    return source


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _block_end(lines: list[str], start: int, indent: int) -> int:
    """Number of the line after those from `start` on that are blank or deeper than `indent`."""
    while start < len(lines) and (not lines[start].strip() or _indent(lines[start]) > indent):
        start += 1
    return start


def _explicit(source: Source, prose: list[str], lines: list[str], i: int, explicit: re.Match[str]) -> int:
    """Read what begins with two dots; returns the number of the next line to read."""
    rest = explicit["rest"] or ""
    indent = len(explicit["indent"])
    prose.append(explicit["indent"])
    if _NOTE.match(rest):
        prose.append(rest)
        return i + 1
    if _TARGET.match(rest):
        end = i + 1
        while end < len(lines) and lines[end].strip() and _indent(lines[end]) > indent:
            end += 1
        source.add("\n".join(lines[i:end]) + "\n", reason=LINKS)
        return end
    directive = _DIRECTIVE.match(rest)
    if directive is None:
        end = _block_end(lines, i + 1, indent) if rest or (i + 1 < len(lines) and lines[i + 1].strip()) else i + 1
        _flush(source, prose)
        source.add("\n".join(lines[i:end]) + "\n", reason=COMMENTS)
        return end
    return _directive(source, prose, lines, i, indent, directive)


def _directive(
    source: Source, prose: list[str], lines: list[str], i: int, indent: int, directive: re.Match[str]
) -> int:
    name = directive["name"].lower().rpartition(":")[2]
    argument = directive["argument"] or ""
    if directive["substitution"]:
        # What it stands for is written at each of its places, or nowhere.
        end = _block_end(lines, i + 1, indent)
        source.add("\n".join(lines[i:end]) + "\n", reason=MARKUP)
        return end
    _flush(source, prose)
    if name in _HIDDEN or name == "raw":
        end = _block_end(lines, i + 1, indent)
        source.add("\n".join(lines[i:end]) + "\n", reason=RAW if name == "raw" else MARKUP)
        return end
    source.add(f"{directive['name']}\n", reason=MARKUP)
    if name in _NO_ARGUMENT:
        source.add(argument + "\n", reason=INCLUDED if "include" in name else MARKUP)
    else:
        prose.append(argument)
    i += 1
    in_option = False
    while i < len(lines) and lines[i].strip() and _indent(lines[i]) > indent:
        if _OPTION.match(lines[i]):
            in_option = True
            shown = _SHOWN_OPTION.match(lines[i])
            if shown is not None:
                prose.append(lines[i][shown.end() :])
            else:
                source.add(lines[i] + "\n", reason=MARKUP)
        elif in_option:
            source.add(lines[i] + "\n", reason=MARKUP)
        elif argument and name not in _NO_ARGUMENT:
            prose.append(lines[i])
        else:
            break
        i += 1
    if name in _VERBATIM:
        end = _block_end(lines, i, indent)
        _flush(source, prose)
        source.add("\n".join(lines[i:end]) + "\n")
        return end
    if name == "toctree":
        end = _block_end(lines, i, indent)
        for line in lines[i:end]:
            target = _TOC_TARGET.search(line)
            prose.append(line[: target.start()] if target is not None else line)
        return end
    return i


def _flush(source: Source, prose: list[str]) -> None:
    """Add lines of text: code as it is, roles and targets as what need not be there."""
    if not prose:
        return
    text = "\n".join(prose) + "\n"
    prose.clear()
    end = 0
    for code in _CODE.finditer(text):
        _add(source, text[end : code.start()])
        source.add(code[0].replace("`", ""))
        end = code.end()
        if text.startswith("\\", end):
            source.add(MAY_JOIN)
            end += 1
    _add(source, text[end:])


def _add(source: Source, text: str) -> None:
    for pattern, reason in ((_ROLE, MARKUP), (_AUTOMATIC, MARKUP), (_LINK, LINKS)):
        kept: list[str] = []
        end = 0
        for match in pattern.finditer(text):
            kept.append(text[end : match.start()])
            source.add(match[0] + "\n", reason=reason)
            end = match.end()
        text = "".join([*kept, text[end:]])
    source.add(_WITHIN_WORD.sub(MAY_JOIN, text))
