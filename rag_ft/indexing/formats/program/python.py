"""Classes, functions and docstrings of Python, by Python's own parser."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Sequence

from rag_ft.indexing.formats.program.declarations import Declaration, above, line_starts

_LARGEST = 2_000_000
"""Characters of the largest file that is parsed: the tree takes a hundred times as much memory."""
_NAME = re.compile(r"(?:async[ \t]+)?(?:def|class)[ \t]+(\w+)")
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def python_declarations(text: str) -> list[Declaration] | None:
    """Find classes, functions and methods with their docstrings; None where the text is no Python of today."""
    if len(text) > _LARGEST:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    starts = line_starts(text)
    found: list[Declaration] = []
    docstring = _docstring(tree.body, starts, 0)
    if docstring is not None:
        found.append(Declaration(docstring[0], None, 0, docstring))
    found += _declared(text, tree.body, starts, 1)
    return found


def _declared(text: str, body: Sequence[ast.stmt], starts: Sequence[int], depth: int) -> Iterator[Declaration]:
    """Yield what is defined in a module or class; what is defined within a function is part of it."""
    for node in body:
        if isinstance(node, ast.If | ast.Try | ast.With):
            yield from _declared(text, _within(node), starts, depth)
        if not isinstance(node, _Definition):
            continue
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) - 1
        name = _NAME.search(text, starts[node.lineno - 1])
        docstring = _docstring(node.body, starts, node.lineno)
        span = name.span(1) if name is not None else None
        yield Declaration(starts[above(text, starts, first, "python")], span, depth, docstring)
        if isinstance(node, ast.ClassDef):
            yield from _declared(text, node.body, starts, depth + 1)


def _within(node: ast.If | ast.Try | ast.With) -> list[ast.stmt]:
    handlers = [statement for handler in getattr(node, "handlers", ()) for statement in handler.body]
    return [*node.body, *getattr(node, "orelse", ()), *handlers, *getattr(node, "finalbody", ())]


def _docstring(body: Sequence[ast.stmt], starts: Sequence[int], after_line: int) -> tuple[int, int] | None:
    """The lines of a docstring, if it stands on lines of its own below `after_line`."""
    first = body[0] if body else None
    if not (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    ):
        return None
    end = first.end_lineno or first.lineno
    if first.lineno <= after_line or (len(body) > 1 and body[1].lineno <= end):
        return None
    return starts[first.lineno - 1], starts[end]
