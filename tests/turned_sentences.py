"""Sentences turned into questions, as one document's: what the tests of the rules share."""

from __future__ import annotations

from rag_ft.question_generation.sentences.rules import questions_of
from rag_ft.question_generation.sentences.wording import Names

NAMES = Names(["It runs on Linux and Windows, with Homebrew and with GNU grep. We use PostgreSQL."])


def turned(sentence, terms=("adapter", "checksum")):
    """Question → what it says of yes or no, or the words that answer it, or None for the whole sentence."""
    found = questions_of(sentence, NAMES, lambda words: words.split()[-1].lower() in terms)
    return {each.question: each.yes if each.yes is not None else each.words or None for each in found}
