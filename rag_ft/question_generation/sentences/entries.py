"""Entries of a reference: "--dry-run: shows what would be done" answers "What does the --dry-run option do?"."""

from __future__ import annotations

import re

from rag_ft.question_generation.sentences.grammar import Turned, lower_first
from rag_ft.question_generation.sentences.verbs import BASE_OF_THIRD_PERSON
from rag_ft.question_generation.sentences.wording import begins_with_verb, unmarked

_ENTRY = re.compile(
    r"\s*(?:[-*•+]\s+)?(?P<name>"
    r"(?:-\w,\s+)?--?[a-zA-Z][\w-]+"  # an option
    r"|[A-Z][A-Z0-9]+(?:_[A-Z0-9]+)+"  # an environment variable
    r"|[a-zA-Z]\w*\(\)"
    r"|[a-z]+(?:_[a-z]+)+|[a-z]+[A-Z][a-z]\w+"  # a function or a setting
    r")(?:[= ](?:<[\w-]+>|[A-Z]+))?\s*(?:\([^()]{1,40}\)\s*)?(?::|\s[-–—])\s+(?P<says>.+)",
    re.DOTALL,
)
_FEWEST_WORDS = 4
_NOUN = re.compile(r"\w+\s+(?:of|for)\b")
""" "Name of the container": says what it is, and not what it does."""
_ELSEWHERE = re.compile(
    r"\b(?:see|above|below|this|these|same|also|like|default(?:s)?\s+to|deprecated|todo)\b", re.IGNORECASE
)


def entry_name(unit: str) -> str:
    """The name that an item or paragraph explains; empty where it explains none."""
    entry = _ENTRY.fullmatch(unmarked(unit))
    return _long_name(entry["name"]) if entry else ""


def entry_question(unit: str) -> Turned | None:
    """The question that an entry answers: what an option, a function or a variable does."""
    entry = _ENTRY.fullmatch(unmarked(unit))
    if entry is None:
        return None
    name, says = _long_name(entry["name"]), entry["says"].strip()
    first = says.split()[0].lower()
    if len(says.split()) < _FEWEST_WORDS or _ELSEWHERE.search(says) or says.endswith(":") or _NOUN.match(says):
        return None
    if first not in BASE_OF_THIRD_PERSON and not begins_with_verb(lower_first(says)):
        return None
    thing = f"the {name} option" if name.startswith("-") else name
    return Turned(f"What does {thing} do?")


def _long_name(name: str) -> str:
    """Of "-v, --verbose", the long one."""
    return name.split()[-1]
