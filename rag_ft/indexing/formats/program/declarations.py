"""Functions and classes of other languages, by the form of their lines and how far these are indented.

This is no parser: a line that only looks like a declaration gives a heading too many, and never costs any text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Declaration(NamedTuple):
    """A function, class, table or section of a source file."""

    start: int
    """Where it begins, with the comments and decorators above it."""
    name: tuple[int, int] | None
    """Span of its name."""
    depth: int
    """1 for what stands in no other declaration."""
    prose: tuple[int, int] | None = None
    """Span of its docstring, in whole lines."""


_LINE_END = re.compile(r"\r\n|\r|\n")
_LONGEST_LINE = 400
"""A longer line declares nothing: its pattern is not tried."""


def line_starts(text: str) -> list[int]:
    """Where each line begins, and the end of the text."""
    starts = [0, *(match.end() for match in _LINE_END.finditer(text))]
    return [*starts, len(text)] if starts[-1] < len(text) else starts


_COMMENTS = {
    "python": re.compile(r"[ \t]*#"),
    "ruby": re.compile(r"[ \t]*#"),
    "shell": re.compile(r"[ \t]*#(?!!)"),
    "sql": re.compile(r"[ \t]*--"),
    "lua": re.compile(r"[ \t]*--"),
    "ini": re.compile(r"[ \t]*[#;]"),
} | dict.fromkeys(("perl", "r", "powershell", "yaml", "toml"), re.compile(r"[ \t]*#"))
_COMMENT = re.compile(r"[ \t]*(?://|/\*|\*|@\w|#\[|\[\w[^\]]*\][ \t]*$|template[ \t]*<)")
_MOST_ABOVE = 200


def above(text: str, starts: Sequence[int], line: int, language: str) -> int:
    """The first of the lines right above a declaration that are comments or attributes, else the line itself."""
    pattern = _COMMENTS.get(language, _COMMENT)
    inside = False
    for i in range(line - 1, max(line - 1 - _MOST_ABOVE, -1), -1):
        content = text[starts[i] : starts[i + 1]]
        if pattern is _COMMENT:
            inside = inside or content.rstrip().endswith("*/")
            if inside:
                line, inside = i, "/*" not in content
                continue
        if not pattern.match(content):
            break
        line = i
    return line


_BRACED = (
    r"(?:(?:public|private|protected|internal|static|final|abstract|sealed|partial|export|default|declare|open|data)"
)
_BRACED += r"[ \t]+){0,6}"
_NAMED = r"[ \t]+(?:[A-Z][A-Z0-9_]+[ \t]+)?(?P<name>[\w$]+)"
_TYPES = (
    rf"{_BRACED}(?:class|interface|struct|enum|trait|protocol|record|object|extension|union|namespace|module){_NAMED}"
)
_PARAMETERS = r"[ \t]*(?:<[^<>()]{0,80}>)?[ \t]*\("
_CONTROL = (
    r"(?!(?:if|else|for|while|switch|return|catch|do|new|throw|case|foreach|using|lock|await|yield|sizeof|function)\b)"
)
_METHOD = (
    rf"{_CONTROL}(?:(?:[\w$:.]+(?:<[\w$:.,<>?\[\] ]{{0,80}}>)?[\[\]?*&]{{0,4}}|@\w+)[ \t]+[*&]{{0,3}}){{0,6}}{_CONTROL}"
    rf"(?P<name>[*~#]?[\w$]+(?:::~?\w+){{0,4}}){_PARAMETERS}(?=[^;]*$)"
)
_FUNCTION = r"(?:(?:export|default|async|public|private|protected|static|final|abstract)[ \t]+){0,5}"
_FUNCTION += rf"function[ \t]*\*?{_NAMED}"
_ARROW = (
    r"(?:export[ \t]+)?(?:const|let|var)[ \t]+(?P<other>[\w$]+)[^=\n]{0,80}=[ \t]*(?:async[ \t]*)?"
    r"(?:function\b|\([^()\n]{0,200}\)[^=\n]{0,80}=>|[\w$]+[ \t]*=>)"
)
_MODIFIED = r"(?:[a-z]+(?:\([^()\n]{0,40}\))?[ \t]+){0,6}"

_CONTAINERS: dict[str, str] = {
    "javascript": _TYPES,
    "typescript": _TYPES,
    "php": _TYPES,
    "rust": r"(?:pub(?:\([^()]*\))?[ \t]+)?(?:unsafe[ \t]+)?(?:(?:struct|enum|trait|mod|union)[ \t]+(?P<name>\w+)"
    r"|impl\b[ \t]*(?:<[^>\n]{0,80}>)?[ \t]*(?P<other>[\w:<>&', ]{1,120}?)[ \t]*(?:\{|where\b|$))",
    "go": r"type[ \t]+(?P<name>\w+)",
    "ruby": r"(?:class|module)[ \t]+(?P<name>[\w:]+)",
    "python": r"class[ \t]+(?P<name>\w+)",
    "toml": r"\[{1,2}(?P<name>[^\[\]\n]+)\]",
    "ini": r"\[(?P<name>[^\[\]\n]+)\]",
    "yaml": r"(?P<name>[\w.-]+):[ \t]*(?:#.*)?$",
} | dict.fromkeys(("java", "kotlin", "scala", "c", "c++", "c#", "swift"), _TYPES)
_FUNCTIONS: dict[str, str] = {
    "javascript": rf"(?:{_FUNCTION}|{_ARROW})",
    "typescript": rf"(?:{_FUNCTION}|{_ARROW}|(?:export[ \t]+)?(?:declare[ \t]+)?type[ \t]+(?P<third>\w+))",
    "php": _FUNCTION,
    "kotlin": rf"{_MODIFIED}fun[ \t]+(?:<[^<>]{{0,80}}>[ \t]*)?(?P<name>[\w.]+)",
    "swift": rf"{_MODIFIED}(?:func[ \t]+(?P<name>\w+)|(?P<other>init)\b)",
    "scala": rf"{_MODIFIED}def[ \t]+(?P<name>\w+)",
    "go": r"func[ \t]+(?P<name>(?:\([^()\n]{1,100}\)[ \t]*)?\w+)",
    "rust": rf"{_MODIFIED}(?:extern[ \t]+\"\w+\"[ \t]+)?fn[ \t]+(?P<name>\w+)",
    "ruby": r"def[ \t]+(?P<name>[\w.]+[?!=]?)",
    "python": r"(?:async[ \t]+)?def[ \t]+(?P<name>\w+)",
    "perl": r"sub[ \t]+(?P<name>\w+)",
    "lua": r"(?:local[ \t]+)?function[ \t]+(?P<name>[\w.:]+)",
    "r": r"(?P<name>[\w.]+)[ \t]*(?:<-|=)[ \t]*function\b",
    "shell": r"(?:function[ \t]+(?P<name>[\w:-]+)|(?P<other>[\w:-]+)[ \t]*\([ \t]*\))",
    "powershell": r"function[ \t]+(?P<name>[\w-]+)",
    "sql": r"create[ \t]+(?:or[ \t]+replace["
    " \t]+)?(?:(?:temp|temporary|global|unique|materialized|external|recursive)[ \t]+)*"
    r"(?:table|view|function|procedure|trigger|index|type|schema|sequence|package)[ \t]+(?:body[ \t]+)?"
    r"(?:if[ \t]+not[ \t]+exists[ \t]+)?(?P<name>[\w.\"`\[\]$]+)",
} | dict.fromkeys(("java", "c", "c++", "c#"), _METHOD)
_METHODS = frozenset({"javascript", "typescript"})
"""Languages in which a method of a class is written without a word that says so."""

_AT_THE_MARGIN = frozenset({"yaml", "toml", "ini", "sql", "c", "go"})
"""Languages whose declarations are not indented."""


def declarations(text: str, language: str) -> Iterator[Declaration]:
    """Find what a file declares, but for what is declared within a function."""
    flags = re.IGNORECASE if language in ("sql", "powershell") else 0
    container = re.compile(_CONTAINERS[language], flags) if language in _CONTAINERS else None
    function = re.compile(_FUNCTIONS[language], flags) if language in _FUNCTIONS else None
    method = re.compile(_METHOD) if language in _METHODS else None
    starts = line_starts(text)
    open_ones: list[tuple[int, bool]] = []  # indent of each declaration around the line, and whether it may hold others
    for i in range(len(starts) - 1):
        start, end = starts[i], starts[i + 1]
        if end - start > _LONGEST_LINE:
            continue
        line = text[start:end].rstrip()
        content = line.lstrip(" \t")
        if not content:
            continue
        indent = len(line) - len(content)
        if (indent and language in _AT_THE_MARGIN) or (content[0] == "#" and language in ("c", "c++", "c#")):
            continue
        around = next((holds for outer, holds in reversed(open_ones) if outer < indent), None)
        if around is False:
            continue
        matched, holds = _declared(content, container, function, method if around else None)
        if matched is None:
            continue
        while open_ones and open_ones[-1][0] >= indent:
            open_ones.pop()
        group = matched.lastgroup or 0
        name = (start + indent + matched.start(group), start + indent + matched.end(group))
        yield Declaration(starts[above(text, starts, i, language)], name, len(open_ones) + 1)
        open_ones.append((indent, holds))


def _declared(
    content: str, container: re.Pattern[str] | None, function: re.Pattern[str] | None, method: re.Pattern[str] | None
) -> tuple[re.Match[str] | None, bool]:
    """What a line declares, and whether it may hold other declarations."""
    matched = container.match(content) if container is not None else None
    called = function.match(content) if function is not None else None
    if matched is not None and (called is None or "struct " not in matched[0]):
        return matched, True  # and not a function of C that gives a struct
    matched = called
    if matched is None and method is not None and content.endswith("{"):
        matched = method.match(content)
    return matched, False
