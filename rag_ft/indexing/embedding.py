"""Text to vectors: the `Embedder` contract, and which embedder a name loads.

`sentence_embedding.py` beside it runs sentence-transformers' models, `openvino_embedding.py` the same on OpenVINO.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from rag_ft import environment
from rag_ft.errors import WeightsError
from rag_ft.files import write_atomic
from rag_ft.indexing.sentence_embedding import SentenceEmbedder, Vectors, WindowedEmbedder

if TYPE_CHECKING:
    from rag_ft.models.embedding_backend import BackendChoice
    from rag_ft.models.weights import Weights

logger = logging.getLogger(__name__)

PACKAGED_NAME = "all-MiniLM-L6-v2"
"""Name of the default embedder in manifests and for `load_embedder`."""


@runtime_checkable
class Embedder(Protocol):
    """An embedding model as the index needs it; vectors are float32 rows of length 1."""

    @property
    def name(self) -> str:
        """Name or folder with which `load_embedder` loads it again."""

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 over everything that determines the vectors: weights, tokenizer, pooling, prompts, window."""

    @property
    def dimension(self) -> int:
        """Length of a vector."""

    @property
    def max_tokens(self) -> int:
        """Longest text that is read whole, in tokens as `count_tokens` counts them, without special tokens."""

    def encode_query(self, texts: Sequence[str]) -> Vectors:
        """Embed questions; shape (n, dimension), float32, normalised. No texts give shape (0, dimension)."""

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Embed passages; shape (n, dimension), float32, normalised. No texts give shape (0, dimension)."""

    def count_tokens(self, text: str) -> int:
        """Count the tokens of a text, without special tokens."""


def arithmetic_of(embedder: Embedder) -> str:
    """Backend and type of an embedder's products, as "torch float32"; "" for one of your own that does not say."""
    return str(getattr(embedder, "arithmetic", ""))


def load_embedder(
    name: str = "default", *, device: str | None = None, backend: BackendChoice | None = None
) -> WindowedEmbedder:
    """Load an embedder by name, folder or hub id; "default" is the packaged all-MiniLM-L6-v2.

    Only for names that the user gave: a hub id is downloaded if it is not cached, and the name is remembered as one
    that the user trusts (`load_named_embedder`). An embedder's own `name` loads it again. `device` None: CUDA if
    available, else the CPU. `backend`: see `embedding_plan`. Raises WeightsError, UsageError.
    """
    from rag_ft.models.weights import DEFAULT, resolve_embedder

    folder = Path(name).expanduser()
    if name == DEFAULT or (name == PACKAGED_NAME and not folder.exists()):
        return _run_by(resolve_embedder(DEFAULT), PACKAGED_NAME, device, backend)
    lasting = str(folder.resolve()) if folder.exists() else name
    embedder = _run_by(resolve_embedder(name), lasting, device, backend)
    _remember(lasting)
    return embedder


def load_named_embedder(name: str) -> WindowedEmbedder:
    """Load the embedder that an index names in its manifest: the packaged one, or one that the user has loaded before.

    An index may come from anybody, so a name in it alone loads and downloads nothing. A hub id would be a download
    that a stranger chose. A path would make this process read a location that a stranger chose (a network share, a
    device, a folder that came with the index); a fingerprint in the same manifest proves nothing, because both have
    the same author. Names that the user has given once are trusted: `load_embedder` remembers them in the user's own
    `environment.home()`, so an index built with one's own embedder loads without a question, and an index from
    elsewhere needs its embedder given once. Only the name is remembered; the sentinels check that the folder still
    holds the same embedder. A remembered hub id is read from the hub's cache and not downloaded again. Raises
    WeightsError.
    """
    from rag_ft.models.weights import resolve_embedder

    if name == PACKAGED_NAME:
        return load_embedder()
    if name not in _remembered():
        raise WeightsError(
            "an index alone does not decide what is loaded or downloaded, and you have not loaded this embedder before"
        )
    return _run_by(resolve_embedder(name, fetch=False), name)


def _run_by(
    weights: Weights, name: str, device: str | None = None, backend: BackendChoice | None = None
) -> WindowedEmbedder:
    """An embedder on the backend that was chosen, or that this machine has."""
    from rag_ft.models.embedding_backend import embedding_plan

    plan = embedding_plan(backend, device=device)
    if plan.backend == "torch":
        return SentenceEmbedder(weights, name=name, device=device, plan=plan)
    from rag_ft.indexing.openvino_embedding import load_openvino_embedder

    return load_openvino_embedder(weights, plan, name=name, required=plan.requested)


def _memory() -> Path:
    return environment.home() / "embedders.json"


def _remembered() -> list[str]:
    try:
        names = json.loads(_memory().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _remember(name: str) -> None:
    """Remember a name; if two processes write at once or the disk is full, it may be lost and must be given again."""
    names = _remembered()
    if name in names:
        return
    try:
        _memory().parent.mkdir(parents=True, exist_ok=True)
        write_atomic(_memory(), json.dumps(sorted({*names, name}), indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        logger.debug("the embedder %s is not remembered: %s", name, error)
