"""Who may read a document: groups on documents, groups of readers, one rule, and the `access.toml` files of folders.

A document's label is the list of groups under `access` in its metadata. No label: everyone. An empty list: nobody but
an administrator. What is no valid label hides a document, it never opens one.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache, reduce
from pathlib import Path, PurePath
from typing import Any, TypeAlias

from rag_ft.errors import CorpusError, UsageError
from rag_ft.schema import Document, Metadata

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

logger = logging.getLogger(__name__)

ACCESS = "access"
"""The key in a document's metadata."""

RULES_FILE = "access.toml"
"""Says who may read what lies in its folder and below."""

Label: TypeAlias = tuple[str, ...]

_GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_MOST_GROUPS = 200
_MOST_BYTES = 1_000_000


def groups_of(given: object) -> Label:
    """Names of groups as given by a person, sorted, each once; one name may be given as a string.

    Raises UsageError, worded to follow the name of what was given.
    """
    names = [given] if isinstance(given, str) else given
    if isinstance(names, set | frozenset | tuple):
        names = list(names)
    if not isinstance(names, list):
        raise UsageError(f"is {_shown(given)}: give a list of groups")
    for name in names:
        if not isinstance(name, str) or not _GROUP.fullmatch(name):
            raise UsageError(
                f"names the group {_shown(name)}: a group is a text of up to 64 letters, digits, '.', '_', '-', '@'"
            )
    if len(names) > _MOST_GROUPS:
        raise UsageError(f"names {len(names)} groups, more than the {_MOST_GROUPS} allowed")
    return tuple(sorted(set(names)))


def _shown(value: object) -> str:
    return repr(value)[:60]


def label_of(metadata: Mapping[str, Any]) -> Label | None:
    """The groups that may read a document, by its metadata; None where that does not say. Raises UsageError."""
    for key in metadata:
        if key != ACCESS and key.strip().casefold() == ACCESS:
            raise UsageError(f"has the field {_shown(key)}: write it {ACCESS!r}")
    if ACCESS not in metadata:
        return None
    try:
        return groups_of(metadata[ACCESS])
    except UsageError as error:
        raise UsageError(f"has no valid {ACCESS!r}, which {error}") from None


@dataclass(frozen=True)
class Audience:
    """Those who carry the same groups."""

    groups: frozenset[str]
    default: frozenset[str] | None = None
    """Groups that may read documents without a label; None: everyone may."""

    def may_read(self, metadata: Mapping[str, Any]) -> bool:
        """Whether a document with this metadata is theirs to read."""
        try:
            label = label_of(metadata)
        except UsageError:
            return False
        wanted = self.default if label is None else label
        return wanted is None or not self.groups.isdisjoint(wanted)


def audience(groups: Iterable[str] | str, default: Iterable[str] | str | None = None) -> Audience:
    """An audience from names that a person gave. Raises UsageError."""

    def checked(name: str, given: Iterable[str] | str) -> frozenset[str]:
        try:
            return frozenset(groups_of(given if isinstance(given, str) else list(given)))
        except UsageError as error:
            raise UsageError(f"{name} {error}") from None

    return Audience(
        checked("the access asked for", groups), None if default is None else checked("default_access", default)
    )


def narrowed(label: Label | None, ceiling: Label | None) -> Label | None:
    """What is left of a label under a ceiling: the groups that both name."""
    if label is None or ceiling is None:
        return ceiling if label is None else label
    return tuple(name for name in label if name in ceiling)


def labelled(document: Document, ceiling: Label | None = None) -> Document:
    """The document with its label as it counts: checked, sorted, and not wider than the ceiling. Raises UsageError."""
    label = narrowed(label_of(document.metadata), ceiling)
    if label is None:
        return document
    metadata: Metadata = {**document.metadata, ACCESS: list(label)}
    return document if metadata == document.metadata else document.model_copy(update={"metadata": metadata})


@dataclass
class _Rule:
    pattern: str
    label: Label
    used: bool = False


class AccessRules:
    """The `access.toml` files of the folders above documents, each read once.

    Every pattern that matches a document is a ceiling, wherever it stands: only the groups that all of them name, and
    the document's own label, are left. So no order counts, TOML's keys having none, and nothing can widen what another
    one says.
    """

    def __init__(self) -> None:
        self._folders: dict[Path, list[_Rule]] = {}

    def labels(self, path: Path) -> list[Label]:
        """The groups of each pattern that matches a file.

        Asked of the path by its name and of what it leads to: a link does not lead out of a rule. Raises CorpusError
        for an `access.toml` that cannot be understood.
        """
        named = path.absolute()
        labels: list[Label] = []
        for way in dict.fromkeys((named, named.resolve())):
            for folder in way.parents:
                for rule in self._rules(folder):
                    if _matches(rule.pattern, way.relative_to(folder)):
                        rule.used = True
                        labels.append(rule.label)
        return labels

    def ceiling(self, path: Path) -> Label | None:
        """The groups that may read what is read from a file at most; None where no rule matches it."""
        return reduce(narrowed, self.labels(path), None)

    def unused(self, root: Path) -> list[str]:
        """Patterns of files at or below a folder that have matched nothing so far, each with its file."""
        top = root.absolute().resolve()
        return [
            f"{folder / RULES_FILE}: {rule.pattern!r}"
            for folder, rules in self._folders.items()
            if folder.resolve().is_relative_to(top)
            for rule in rules
            if not rule.used
        ]

    def _rules(self, folder: Path) -> list[_Rule]:
        found = self._folders.get(folder)
        if found is None:
            found = self._folders[folder] = _read(folder / RULES_FILE)
        return found


def _read(path: Path) -> list[_Rule]:
    if not os.path.lexists(path):
        return []
    mend = "mend it, for until then nobody can say who may read the documents there"
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            raise CorpusError(f"{path} is no ordinary file of up to {_MOST_BYTES / 1e6:.0f} MB: {mend}")
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CorpusError(f"{path} cannot be read ({error.strerror or error}): {mend}") from error
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{path} is no TOML ({str(error)[:120]}): {mend}") from error
    table = content.get(ACCESS)
    if set(content) != {ACCESS} or not isinstance(table, dict):
        raise CorpusError(f"{path} must hold one table [{ACCESS}] of patterns and groups and nothing else: {mend}")
    rules: list[_Rule] = []
    for pattern, value in table.items():
        if not pattern.strip("/") or ".." in pattern.split("/"):
            raise CorpusError(
                f"{path} has the pattern {pattern[:60]!r}, which matches nothing below its folder: {mend}"
            )
        try:
            rules.append(_Rule(pattern, groups_of(value)))
        except UsageError as error:
            raise CorpusError(f"{path}: {pattern[:60]!r} {error}: {mend}") from error
    return rules


def _matches(pattern: str, path: PurePath) -> bool:
    """Whether a pattern means a path, or a folder on the way to it. One without a slash inside means any depth."""
    parts = [unicodedata.normalize("NFC", part) for part in path.parts]
    whole = unicodedata.normalize("NFC", pattern)
    expression = _expression(whole.strip("/"))
    if "/" not in whole.rstrip("/"):
        return any(expression.fullmatch(part) for part in parts)
    return any(expression.fullmatch("/".join(parts[:length])) for length in range(1, len(parts) + 1))


@lru_cache(maxsize=1000)
def _expression(pattern: str) -> re.Pattern[str]:
    """`**/` is any folders, `**` anything, `*` anything but a slash, `?` one character of that; the rest is literal."""
    made = ""
    for piece in re.split(r"(\*\*/|\*\*|\*|\?)", pattern):
        made += {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(piece, re.escape(piece))
    return re.compile(made, re.DOTALL)
