"""The handbook that comes with the program: its pages and its question records."""

from __future__ import annotations

from pathlib import Path

from rag_ft.errors import CorpusError

_PACKAGE = Path(__file__).resolve().parent


def handbook_path() -> Path:
    """Folder of the handbook: inside an installed package, or `datasets/handbook` of a checkout."""
    for folder in (_PACKAGE / "_bundled" / "handbook", _PACKAGE.parent / "datasets" / "handbook"):
        if folder.is_dir():
            return folder
    raise CorpusError("the bundled handbook is missing from this installation: install rag-ft again")


def handbook_questions_path() -> Path:
    """File of the handbook's question records."""
    return handbook_path() / "questions.jsonl"
