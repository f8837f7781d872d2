"""How English questions of each kind begin: what a generator is held to, and what a written question turned out to ask.

`ASKED_FOR` names the kinds; `asked_for` reads one off a question's words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from rag_ft.text.asking import asks_for_sentences, asks_for_several, asks_for_steps, asks_yes_or_no

AskedFor = Literal["fact", "how", "why", "whether", "what", "list"]
"""What a question asks for: some words; how to do something; a reason; yes or no; what something is; several things."""

OPENINGS: Mapping[AskedFor, tuple[str, ...]] = {
    "fact": (
        "Who",
        "When",
        "Where",
        "Which",
        "What",
        "How many",
        "How much",
        "How long",
        "How often",
        "In which",
        "In what",
        "At what",
        "For how long",
    ),
    "how": ("How do I", "How can I", "How should I", "How does", "How do", "How can", "How is", "How are", "How to"),
    "why": ("Why",),
    "whether": ("Is", "Are", "Does", "Do I", "Do", "Can", "Can I", "Should I", "Will", "Must", "Was", "Were", "Has"),
    "what": ("What is", "What are", "What does", "What happens", "What should I"),
    "list": ("Which", "What are the", "What", "Who are", "Who were"),
}

ASKED_FOR: tuple[AskedFor, ...] = tuple(OPENINGS)


def asked_for(question: str) -> AskedFor:
    """What a question asks for, by its words; "fact" where they say nothing else."""
    if question.lstrip().lower().startswith(("why", "how come")):
        return "why"
    if asks_yes_or_no(question):
        return "whether"
    if asks_for_steps(question):
        return "how"
    if asks_for_several(question):
        return "list"
    if not asks_for_sentences(question):
        return "fact"
    return "how" if question.lstrip().lower().startswith("how") else "what"
