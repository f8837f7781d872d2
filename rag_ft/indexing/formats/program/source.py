"""Source files: the text unchanged, functions and classes as headings, docstrings as prose, the rest as code."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

from rag_ft.indexing.formats.decoding import decode, noted
from rag_ft.indexing.formats.extracted import Extracted, LineAnchor, Unreadable
from rag_ft.indexing.formats.limits import MAX_BLOCKS
from rag_ft.indexing.formats.program.declarations import Declaration, declarations
from rag_ft.indexing.formats.program.python import python_declarations
from rag_ft.schema import Block, Heading

LANGUAGES = {
    "python": (".py", ".pyi"),
    "javascript": (".js", ".mjs", ".cjs", ".jsx"),
    "typescript": (".ts", ".mts", ".cts", ".tsx"),
    "java": (".java",),
    "kotlin": (".kt", ".kts"),
    "scala": (".scala",),
    "c": (".c", ".h"),
    "c++": (".cc", ".cpp", ".cxx", ".hh", ".hpp", ".hxx"),
    "c#": (".cs",),
    "go": (".go",),
    "rust": (".rs",),
    "swift": (".swift",),
    "ruby": (".rb",),
    "php": (".php",),
    "perl": (".pl", ".pm"),
    "lua": (".lua",),
    "r": (".r",),
    "shell": (".sh", ".bash", ".zsh"),
    "powershell": (".ps1", ".psm1"),
    "sql": (".sql",),
    "yaml": (".yaml", ".yml"),
    "toml": (".toml",),
    "ini": (".ini", ".cfg"),
}
"""Suffixes of source files by language, in lower case."""

SOURCE_SUFFIXES = frozenset(suffix for suffixes in LANGUAGES.values() for suffix in suffixes)

_LONG_LINES = 1_000
"""Average length of a line from which on a file is minified."""
_LONG_FILE = 5_000


def source_reader(language: str) -> Callable[[bytes], Extracted]:
    """The reader of files in a language, one of `LANGUAGES`."""

    def read(data: bytes) -> Extracted:
        """Read a source file: its text is kept as it is. Raises Unreadable if it is minified."""
        text, encoding = decode(data)
        if len(text) > _LONG_FILE and len(text) > _LONG_LINES * (text.count("\n") + 1):
            raise Unreadable("is minified, or holds data: give the source that it was made from")
        found = python_declarations(text) if language == "python" else None
        return _marked(text, language, declarations(text, language) if found is None else found, encoding)

    return read


def _marked(text: str, language: str, found: Iterable[Declaration], encoding: str) -> Extracted:
    """Name headings and blocks. A block begins with each declaration, and a docstring lies between two."""
    headings: list[Heading] = []
    cuts = {0, len(text)}
    prose: list[tuple[int, int]] = []
    before: Declaration | None = None
    for declaration in found:
        if before is None or not _is_its_first(text, before, declaration):
            cuts.add(declaration.start)
        before = declaration
        if declaration.name:
            name = text[declaration.name[0] : declaration.name[1]]
            headings.append(Heading(start=declaration.name[0], level=min(declaration.depth, 6), text=name))
        if declaration.prose is not None:
            prose.append(declaration.prose)
            cuts.update(declaration.prose)
    bounds = sorted(cuts)
    in_prose = {start for start, _ in prose}
    blocks = [
        Block(start=start, end=end, kind="code")
        for start, end in pairwise(bounds)
        if start not in in_prose and text[start:end].strip()
    ]
    headings.sort(key=lambda heading: heading.start)
    return Extracted(
        text,
        headings=tuple(headings),
        blocks=tuple(blocks[:MAX_BLOCKS]),
        metadata=noted(encoding) | {"language": language},
        line_anchors=(LineAnchor(0, 1),),
    )


def _is_its_first(text: str, outer: Declaration, inner: Declaration) -> bool:
    """Whether a class holds nothing above a method of it: then they begin together, and not with a line alone."""
    if inner.depth <= outer.depth or outer.name is None or outer.prose is not None:
        return False
    return text.count("\n", outer.name[1], inner.start) < 5 and not any(
        line.strip(" \t\r{") for line in text[outer.name[1] : inner.start].split("\n")[1:]
    )
