"""reStructuredText → docutils' tree, with a meaning for the directives and roles that only Sphinx and others know.

Nothing is opened or run: an included file is named and not followed, and what docutils cannot parse stays as text.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

INCLUDES = "rag_ft_includes"
"""Attribute of a parsed document: names of files that it includes."""

_LONGEST_LINE = 100_000
_OURS = "rag_ft_reads"
_HEAD = re.compile(r"::[ \t]*(?P<argument>\S.*)?$", re.MULTILINE)
_OPTION = re.compile(r":(?![: ])(?:[^:\n\\]|\\.|:(?!\s)){1,80}:(?:\s|$)")
_TITLED = re.compile(r"(?P<title>.*\S)\s*(?<!\\)<[^<>]+>\Z", re.DOTALL)

_HIDDEN = frozenset(
    "highlight index tabularcolumns default-domain currentmodule currentlibrary meta contents sectnum section-numbering"
    " role default-role title target-notes sectionauthor codeauthor".split()
)
"""Directives that show no text of their own."""
_LABELS_ONLY = frozenset("only ifconfig container class rst-class cssclass grid tabs tab-set compound program".split())
"""Directives whose argument is not shown, and whose content is."""
_CODE = frozenset(
    "code code-block sourcecode parsed-code testcode testoutput testsetup testcleanup doctest"
    " ipython prompt productionlist"
    " jupyter-execute execute-code console graphviz mermaid uml plantuml digraph graph math plot terminal exec"
    " inheritance-diagram blockdiag seqdiag actdiag nwdiag".split()
)
_WITH_LANGUAGE = _CODE - {"math", "productionlist", "plot", "digraph", "graph", "exec"}
"""Code whose argument names its language, or a file."""
_FILES = frozenset({"include", "literalinclude", "mdinclude", "include-comment"})
_NAMES = frozenset({"toctree", "autosummary", "autotoolsummary"})
"""Directives with a list of names, a name in each line."""
_OBJECTS = frozenset(
    "function class method classmethod staticmethod attribute data exception decorator decoratormethod property type"
    " module member macro struct union enum enumerator var namespace object describe option cmdoption envvar confval"
    " setting signal field-lookup templatetag templatefilter django-admin rst-directive rst-role program-option"
    " automodule autoclass autofunction automethod autodata autoattribute autoexception click"
    " argparse http get post put"
    " delete patch cpp-function event fixture".split()
)
"""Directives that describe something: their argument is its name, which becomes a heading."""
_VERSIONS = {
    "versionadded": "Added in version",
    "versionchanged": "Changed in version",
    "deprecated": "Deprecated since version",
    "versionremoved": "Removed in version",
}
_LABELLED = {
    name: name.capitalize()
    for name in ("attention", "caution", "danger", "error", "hint", "important", "note", "tip", "warning", "todo")
} | {"seealso": "See also"}
_SHOWN_OPTIONS = ("title", "caption", "header", "subtitle", "summary")
_CODE_ROLES = frozenset(
    "code literal func meth class mod attr data exc obj const any file samp kbd command program option envvar keyword"
    " token member macro type enum enumerator var struct source".split()
)


class NotParsed(ValueError):
    """The text is not given to docutils; the message says why."""


def parsed(text: str) -> Any:
    """Parse a document; its attribute `INCLUDES` lists the files that it names and that are not read.

    Raises NotParsed, and what docutils raises by mistake.
    """
    from docutils import frontend, utils
    from docutils.parsers.rst import Parser

    if max(map(len, text.splitlines()), default=0) > _LONGEST_LINE:
        raise NotParsed("a line is too long")  # docutils would give a document without text
    settings = frontend.get_default_settings(Parser)
    for name, value in {
        "file_insertion_enabled": False,
        "raw_enabled": False,
        "report_level": 5,
        "halt_level": 6,
        "warning_stream": False,
        "syntax_highlight": "none",
        "smart_quotes": False,
        "line_length_limit": 8 * _LONGEST_LINE,
        "pep_references": False,
        "rfc_references": False,
        _OURS: True,
    }.items():
        setattr(settings, name, value)
    document = utils.new_document("text", settings)
    setattr(document, INCLUDES, [])
    with _own_directives():
        Parser(inliner=_inliner()).parse(_with_first_cells(text), document)
    return document


_BORDER = re.compile(r"[ ]*={2,}(?:[ ]+={2,})+[ ]*\Z")


def _with_first_cells(text: str) -> str:
    """Mark the first cell of a simple table's row below a border, where it is blank: docutils would drop the row."""
    if "== " not in text:
        return text
    lines = text.expandtabs(8).split("\n")
    for border, i in zip(lines, range(1, len(lines)), strict=False):
        if _BORDER.match(border.rstrip()):
            first = len(border) - len(border.lstrip())
            if lines[i][:first].isspace() | (first == 0) and lines[i][first : first + 1] == " " and lines[i].strip():
                lines[i] = f"{lines[i][:first]}\\{lines[i][first + 1 :]}"
    return "\n".join(lines)


_swapping = threading.RLock()


@contextmanager
def _own_directives() -> Iterator[None]:
    """Answer docutils' question for a directive, for our documents only, as long as one is parsed."""
    from docutils.parsers.rst import directives

    def lookup(name: str, language: Any, document: Any) -> tuple[Any, list[Any]]:
        if not getattr(document.settings, _OURS, False):
            return before(name, language, document)  # type: ignore[no-any-return]
        own = _known(name.lower())
        return (own, []) if own is not None else before(name, language, document)

    with _swapping:
        before = directives.directive
        directives.directive = lookup
        try:
            yield
        finally:
            directives.directive = before


_PARSED_BY_DOCUTILS = frozenset({"table", "list-table", "replace", "unicode", "parsed-literal"})


def _known(name: str) -> Any:
    """The class for a directive; None for one that docutils itself parses as well as we need."""
    if name in _PARSED_BY_DOCUTILS:
        return None
    return _csv_table() if name == "csv-table" else _directive()


def _csv_table() -> Any:
    from docutils import nodes
    from docutils.parsers.rst.directives.tables import CSVTable

    class OwnCsvTable(CSVTable):  # type: ignore[misc]
        def run(self) -> list[Any]:
            files = [str(self.options[name]) for name in ("file", "url") if name in self.options]
            if not files:
                return super().run()  # type: ignore[no-any-return]
            getattr(self.state.document, INCLUDES).extend(files)
            return [nodes.paragraph("", argument) for argument in self.arguments]

    return OwnCsvTable


def _directive() -> Any:
    from docutils import nodes
    from docutils.parsers.rst import Directive

    class OwnDirective(Directive):  # type: ignore[misc]
        """Any directive: its first lines are split into argument and options here, so that none is an error."""

        has_content = True

        def run(self) -> list[Any]:
            name = self.name.lower().rpartition(":")[2]
            argument, options, first = self._split()
            self.body, self.offset = self.content[first:], self.content_offset + first
            if name in _HIDDEN:
                if name == "role" and "(raw)" in argument.replace(" ", ""):
                    self.state.document.settings.rag_ft_raw_roles = {
                        *getattr(self.state.document.settings, "rag_ft_raw_roles", ()),
                        argument.partition("(")[0].strip().lower(),
                    }
                return []
            if name in _FILES:
                getattr(self.state.document, INCLUDES).append(argument or name)
                return self._shown(options)
            if name == "raw":
                return [nodes.raw("", "\n".join(self.body), format=argument.lower())]
            if name == "date":
                return [nodes.inline()]
            if name in ("image", "figure", "thumbnail"):
                image = nodes.image(alt=options.get("alt", ""))
                return [image] if name == "image" else [image, *self._nested()]
            if name in _CODE:
                return self._code(name, argument, options)
            if name in _NAMES:
                return self._names(options)
            return self._container(name, argument, options)

        def _split(self) -> tuple[str, dict[str, str], int]:
            """Argument, options, and the number of the first line of the content."""
            head = _HEAD.search(self.block_text)
            lines = [] if head is None else list(self.content)
            has_argument = head is not None and head["argument"] is not None
            one_line = self.name.lower().rpartition(":")[2] in _WITH_LANGUAGE | _LABELS_ONLY
            arguments: list[str] = []
            options: dict[str, str] = {}
            last = ""
            i = 0
            for i, line in enumerate([*lines, ""]):
                option = _OPTION.match(line)
                if not line.strip():
                    break
                if option is not None and not (i == 0 and has_argument and self.name.endswith("replace")):
                    last = option[0].strip()[1:-1].lower()
                    options[last] = line[option.end() :].strip()
                elif last:
                    if not line[0].isspace():
                        break
                    options[last] += f"\n{line.strip()}"
                elif has_argument and (i == 0 or not one_line):
                    arguments.append(line.strip())
                else:
                    break
            return "\n".join(arguments), options, i

        def _nested(self) -> list[Any]:
            node = nodes.Element()
            if self.body:
                self.state.nested_parse(self.body, self.offset, node)
            return list(node.children)

        def _inline(self, text: str, before: str = "") -> Any:
            children, messages = self.state.inline_text(text, self.lineno)
            return nodes.paragraph("", before, *children, *messages)

        def _shown(self, options: dict[str, str]) -> list[Any]:
            return [self._inline(options[name]) for name in _SHOWN_OPTIONS if options.get(name)]

        def _code(self, name: str, argument: str, options: dict[str, str]) -> list[Any]:
            lines = list(self.body)
            if argument and name not in _WITH_LANGUAGE:
                lines = [*argument.split("\n"), *lines]
            shown = self._shown(options)
            return [*shown, nodes.literal_block("", "\n".join(lines))] if lines else shown

        def _names(self, options: dict[str, str]) -> list[Any]:
            items = []
            for line in self.body:
                titled = _TITLED.match(line.strip())
                text = titled["title"] if titled is not None else line.strip()
                if text:
                    items.append(nodes.list_item("", nodes.paragraph("", text.removeprefix("~"))))
            return [*self._shown(options), *([nodes.bullet_list("", *items)] if items else [])]

        def _container(self, name: str, argument: str, options: dict[str, str]) -> list[Any]:
            made: list[Any] = []
            label = _LABELLED.get(name, "")
            if name in _VERSIONS:
                version, _, rest = " ".join(argument.split()).partition(" ")
                made = [self._inline(rest, f"{_VERSIONS[name]} {version}: ")] if rest else []
                label = "" if rest else f"{_VERSIONS[name]} {version}"
            elif name in _OBJECTS and argument:
                titles = [line.removesuffix("\\").strip() for line in argument.split("\n")]
                made = [nodes.title("", title) for title in titles if title]
            elif argument and name not in _LABELS_ONLY:
                made = [self._inline(argument)]
            content = [*made, *self._shown(options), *self._nested()]
            if name in _OBJECTS:
                return [nodes.section("", *content)]
            return [nodes.admonition("", *content, label=label)] if label else content

    return OwnDirective


def _inliner() -> Any:
    from docutils import nodes
    from docutils.parsers.rst.states import Inliner
    from docutils.utils import unescape

    inliner = Inliner()

    def interpreted(rawsource: str, text: str, role: str, lineno: int) -> tuple[list[Any], list[Any]]:
        """Give the text of a role, whichever it is."""
        name = role.lower().rpartition(":")[2]
        shown = unescape(text, True)
        if name in getattr(inliner.document.settings, "rag_ft_raw_roles", ()):
            return [nodes.raw("", shown, format="html")], []
        if name in ("math", "eq"):
            return [nodes.math("", shown)], []
        shown = unescape(text)
        if name in ("sup", "superscript"):
            return [nodes.superscript("", shown)], []
        if name in ("sub", "subscript"):
            return [nodes.subscript("", shown)], []
        titled = _TITLED.match(shown)
        if titled is not None:
            shown = titled["title"]
        elif len(shown) > 1:
            shown = shown.lstrip("!~") or shown
        if name in ("pep", "rfc", "pep-reference", "rfc-reference") and titled is None:
            shown = f"{name[:3].upper()} {shown}"
        return [(nodes.literal if name in _CODE_ROLES else nodes.inline)("", shown)], []

    # A subclass would not do: docutils looks for patterns in the class of the instance itself.
    inliner.interpreted = interpreted
    return inliner
