"""What is around the program: its home folder, bundled files, installed libraries, the other processes of a launch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from platformdirs import user_cache_path

from rag_ft.errors import CorpusError


def home() -> Path:
    """Folder for converted weights and the demo's index, which need not exist yet.

    `RAG_FT_HOME` if set and not empty, else the platform's cache folder for `rag_ft`.
    """
    given = os.environ.get("RAG_FT_HOME", "")
    return Path(given).expanduser() if given else user_cache_path("rag_ft", appauthor=False)


def usable_cores() -> int:
    """How many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


EMBEDDING_BACKEND = "RAG_FT_EMBED_WITH"
"""Environment variable that chooses what embeds where nothing else does: auto, torch or openvino."""


def embedding_backend() -> str:
    """The setting of `RAG_FT_EMBED_WITH`; "auto" where it is not set or empty."""
    return os.environ.get(EMBEDDING_BACKEND, "") or "auto"


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
    """Installed versions by name, by default of the libraries that write an index; missing ones are left out."""
    versions: dict[str, str] = {}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def process_count() -> int:
    """Number of processes that `torchrun` or `accelerate launch` has started for one run; 1 without a launcher."""
    count = os.environ.get("WORLD_SIZE", "")
    return max(1, int(count)) if count.isdigit() else 1


def process_number() -> int:
    """Number of this process among those of its launch, from 0 (torch calls it the rank); 0 without a launcher."""
    number = os.environ.get("RANK", "")
    return int(number) if process_count() > 1 and number.isdigit() else 0


def main_process() -> bool:
    """Whether this is the process that prints and writes; without a launcher, every process is."""
    return process_number() == 0


_PACKAGE = Path(__file__).resolve().parent


def handbook_path() -> Path:
    """Folder of the handbook, in an installed package or in a checkout. Raises CorpusError."""
    for folder in (_PACKAGE / "_bundled" / "handbook", _PACKAGE.parent / "datasets" / "handbook"):
        if folder.is_dir():
            return folder
    raise CorpusError("the bundled handbook is missing from this installation: install rag-ft again")


def packaged_adapter_path() -> Path:
    """Folder of the adapter that ships with the program; some installations lack it."""
    return _PACKAGE / "_bundled" / "adapter"


def handbook_questions_path() -> Path:
    """File of the handbook's question records."""
    return handbook_path() / "questions.jsonl"


def packaged_cross_encoder_path() -> Path:
    """Folder of the cross-encoder that ships with the program."""
    return _PACKAGE / "_bundled" / "cross_encoder"


def packaged_generator_path() -> Path:
    """Folder of the question generator's adapter that ships with the program."""
    return _PACKAGE / "_bundled" / "question_generator"
