"""Where the program finds itself: its home folder, the bundled handbook and adapter, versions of libraries."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from platformdirs import user_cache_path

from rag_ft.errors import CorpusError


def home() -> Path:
    """Folder for converted weights and the demo's index.

    `RAG_FT_HOME` where set and not empty, else the platform's cache folder for `rag_ft`. Not created here.
    """
    given = os.environ.get("RAG_FT_HOME", "")
    return Path(given).expanduser() if given else user_cache_path("rag_ft", appauthor=False)


_LIBRARIES = (
    "rag-ft",
    "faiss-cpu",
    "bm25s",
    "numpy",
    "sentence-transformers",
    "transformers",
    "tokenizers",
    "torch",
)


def library_versions(names: Sequence[str] = _LIBRARIES) -> dict[str, str]:
    """Versions of libraries, by default of those that make the files of an index; one that is not installed is left
    out.
    """
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


_PACKAGE = Path(__file__).resolve().parent


def handbook_path() -> Path:
    """Folder of the handbook: inside an installed package, or `datasets/handbook` of a checkout."""
    for folder in (_PACKAGE / "_bundled" / "handbook", _PACKAGE.parent / "datasets" / "handbook"):
        if folder.is_dir():
            return folder
    raise CorpusError("the bundled handbook is missing from this installation: install rag-ft again")


def packaged_adapter_path() -> Path:
    """Folder of the adapter that ships with the program, where this installation has it."""
    return _PACKAGE / "_bundled" / "adapter"


def handbook_questions_path() -> Path:
    """File of the handbook's question records."""
    return handbook_path() / "questions.jsonl"
