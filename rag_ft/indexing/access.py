"""Who may read a document: groups on documents, groups of readers, one rule, and the `access.toml` files of folders.

A document's label is the list of groups under `access` in its metadata. Without a label everyone may read it; with an
empty list only an administrator may. A label that is not valid hides the document.
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
"""Key of the label in a document's metadata."""

RULES_FILE = "access.toml"
"""Name of the file that says who may read the files in its folder and below."""

Label: TypeAlias = tuple[str, ...]

_GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_MOST_GROUPS = 200
_MOST_BYTES = 1_000_000


def groups_of(given: object) -> Label:
    """Check names of groups given by a person; returns them sorted, each once. A string is one name.

    Raises UsageError with a message that continues a sentence: the caller puts the name of the value before it.
    """
    names = [given] if isinstance(given, str) else given
    if isinstance(names, set | frozenset | tuple):
        names = list(names)
    if not isinstance(names, list):
        raise UsageError(f"is {_shown(given)}: give a list of groups")
    for name in names:
        if not isinstance(name, str) or not _GROUP.fullmatch(name):
            raise UsageError(f"names the group {_shown(name)}: give up to 64 letters, digits, '.', '_', '-', '@'")
    if len(names) > _MOST_GROUPS:
        raise UsageError(f"names {len(names)} groups: give at most {_MOST_GROUPS}")
    return tuple(sorted(set(names)))


def _shown(value: object) -> str:
    return repr(value)[:60]


def label_of(metadata: Mapping[str, Any]) -> Label | None:
    """The groups that may read a document, from its metadata; None if it has no label. Raises UsageError."""
    for key in metadata:
        if key != ACCESS and key.strip().casefold() == ACCESS:
            raise UsageError(f"has the field {_shown(key)}: write it {ACCESS!r}")
    if ACCESS not in metadata:
        return None
    try:
        return groups_of(metadata[ACCESS])
    except UsageError as error:
        raise UsageError(f"has no valid {ACCESS!r}: it {error}") from None


@dataclass(frozen=True)
class Audience:
    """Readers with the same groups."""

    groups: frozenset[str]
    default: frozenset[str] | None = None
    """Groups that may read documents without a label; None for everyone."""

    def may_read(self, metadata: Mapping[str, Any]) -> bool:
        """Whether these readers may read a document with this metadata."""
        try:
            label = label_of(metadata)
        except UsageError:
            return False
        wanted = self.default if label is None else label
        return wanted is None or not self.groups.isdisjoint(wanted)


def audience(groups: Iterable[str] | str, default: Iterable[str] | str | None = None) -> Audience:
    """An audience with the groups that a person named. Raises UsageError."""

    def checked(name: str, given: Iterable[str] | str) -> frozenset[str]:
        try:
            return frozenset(groups_of(given if isinstance(given, str) else list(given)))
        except UsageError as error:
            raise UsageError(f"{name} {error}") from None

    return Audience(checked("access", groups), None if default is None else checked("default_access", default))


def narrowed(label: Label | None, ceiling: Label | None) -> Label | None:
    """The groups that a label and a ceiling both name; None for everyone."""
    if label is None or ceiling is None:
        return ceiling if label is None else label
    return tuple(name for name in label if name in ceiling)


def labelled(document: Document, ceiling: Label | None = None) -> Document:
    """The document with its label checked, sorted, and no wider than the ceiling. Raises UsageError."""
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

    Every pattern that matches a document is a ceiling: a group may read it only if all these patterns, and the
    document's own label, name that group. Order does not matter, and no rule can widen another.
    """

    def __init__(self) -> None:
        self._folders: dict[Path, list[_Rule]] = {}

    def labels(self, path: Path) -> list[Label]:
        """The groups of each pattern that matches a file.

        Both the path and the target of its links are matched: a link does not lead out of a rule. Raises CorpusError
        for an `access.toml` that cannot be understood.
        """
        named = path.absolute()
        labels: list[Label] = []
        for location in dict.fromkeys((named, named.resolve())):
            for folder in location.parents:
                for rule in self._rules(folder):
                    if _matches(rule.pattern, location.relative_to(folder)):
                        rule.used = True
                        labels.append(rule.label)
        return labels

    def ceiling(self, path: Path) -> Label | None:
        """The widest access that the rules allow a file; None if no rule matches it."""
        return reduce(narrowed, self.labels(path), None)

    def unused(self, root: Path) -> list[str]:
        """Patterns in a folder and below that have matched nothing so far, each with its file."""
        top = root.absolute().resolve()
        return [
            f"{folder / RULES_FILE}: {rule.pattern!r}"
            for folder, rules in self._folders.items()
            if folder.resolve().is_relative_to(top)
            for rule in rules
            if not rule.used
        ]

    def _rules(self, folder: Path) -> list[_Rule]:
        rules = self._folders.get(folder)
        if rules is None:
            rules = self._folders[folder] = _read(folder / RULES_FILE)
        return rules


def _read(path: Path) -> list[_Rule]:
    if not os.path.lexists(path):
        return []
    repair = "repair it, because until then nobody can say who may read the documents there"
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            raise CorpusError(f"{path} is not an ordinary file of up to {_MOST_BYTES / 1e6:.0f} MB: {repair}")
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CorpusError(f"{path} cannot be read ({error.strerror or error}): {repair}") from error
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{path} is not TOML ({str(error)[:120]}): {repair}") from error
    table = content.get(ACCESS)
    if set(content) != {ACCESS} or not isinstance(table, dict):
        raise CorpusError(f"{path} must hold one table [{ACCESS}] of patterns and groups and nothing else: {repair}")
    rules: list[_Rule] = []
    for pattern, value in table.items():
        if not pattern.strip("/") or ".." in pattern.split("/"):
            raise CorpusError(
                f"{path} has the pattern {pattern[:60]!r}, which matches nothing below its folder: {repair}"
            )
        try:
            rules.append(_Rule(pattern, groups_of(value)))
        except UsageError as error:
            raise CorpusError(f"{path}: {pattern[:60]!r} {error}: {repair}") from error
    return rules


def _matches(pattern: str, path: PurePath) -> bool:
    """Whether a pattern matches a path or a folder above it; without an inner slash it matches at any depth."""
    parts = [unicodedata.normalize("NFC", part) for part in path.parts]
    whole = unicodedata.normalize("NFC", pattern)
    expression = _expression(whole.strip("/"))
    if "/" not in whole.rstrip("/"):
        return any(expression.fullmatch(part) for part in parts)
    return any(expression.fullmatch("/".join(parts[:length])) for length in range(1, len(parts) + 1))


@lru_cache(maxsize=1000)
def _expression(pattern: str) -> re.Pattern[str]:
    """Compile a pattern: `**/` is any folders, `**` anything, `*` anything but a slash, `?` one such character."""
    expression = ""
    for piece in re.split(r"(\*\*/|\*\*|\*|\?)", pattern):
        expression += {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(piece, re.escape(piece))
    return re.compile(expression, re.DOTALL)
