"""Text to vectors: the `Embedder` contract, and the sentence-transformers model behind the default embedder.

Texts are never cut: one that is longer than the model reads is an error.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rag_ft import environment
from rag_ft.errors import PromptTooLongError, UsageError, WeightsError, first_line
from rag_ft.files import write_atomic

if TYPE_CHECKING:
    from rag_ft.models.weights import Weights

logger = logging.getLogger(__name__)

Vectors = NDArray[np.float32]

PACKAGED_NAME = "all-MiniLM-L6-v2"
"""Name of the default embedder in manifests and for `load_embedder`."""

TOKENS_PER_BATCH = 4096
"""Padded tokens per forward pass: larger passes were not faster on CPU and took more memory."""
TEXTS_PER_BATCH = 64


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


def load_embedder(name: str = "default", *, device: str | None = None) -> Embedder:
    """Load an embedder by name, folder or hub id; "default" is the packaged all-MiniLM-L6-v2.

    Only for names that the user gave: a hub id is downloaded if it is not cached, and the name is remembered as one
    that the user trusts (`load_named_embedder`). An embedder's own `name` loads it again. `device` None: CUDA if
    available, else the CPU. Raises WeightsError.
    """
    from rag_ft.models.weights import DEFAULT, resolve_embedder

    folder = Path(name).expanduser()
    if name == DEFAULT or (name == PACKAGED_NAME and not folder.exists()):
        return SentenceEmbedder(resolve_embedder(DEFAULT), name=PACKAGED_NAME, device=device)
    lasting = str(folder.resolve()) if folder.exists() else name
    embedder = SentenceEmbedder(resolve_embedder(name), name=lasting, device=device)
    _remember(lasting)
    return embedder


def load_named_embedder(name: str) -> Embedder:
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
    return SentenceEmbedder(resolve_embedder(name, fetch=False), name=name)


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


class SentenceEmbedder:
    """A sentence-transformers model as an `Embedder`. Threads may share it; they compute one at a time."""

    def __init__(self, weights: Weights, *, name: str | None = None, device: str | None = None) -> None:
        """Load a model; `name` is what `load_embedder` finds it by, None for the name of the weights."""
        with _without_kernel_note():
            from sentence_transformers import SentenceTransformer
        from tokenizers import Tokenizer

        from rag_ft.models.folder import check_embedder_folder
        from rag_ft.progress import quiet_transformers

        check_embedder_folder(weights.path)

        try:
            with quiet_transformers():
                model = SentenceTransformer(
                    str(weights.path),
                    device=device,
                    local_files_only=True,
                    trust_remote_code=False,
                    model_kwargs={"use_safetensors": True},
                )
        except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
            reason = first_line(error)
            raise WeightsError(
                f"{weights.path} cannot be loaded as a sentence-transformers model ({reason}): "
                "give a folder that was saved by sentence-transformers"
            ) from error
        model.eval()
        self._model: Any = model
        backend = getattr(model.tokenizer, "backend_tokenizer", None)
        dimension = model.get_embedding_dimension()
        window = model.max_seq_length
        if backend is None or dimension is None or window is None:
            missing = (
                "a fast tokenizer" if backend is None else "a dimension" if dimension is None else "max_seq_length"
            )
            raise WeightsError(f"the embedder at {weights.path} has no {missing}: use another one")
        # A copy, because sentence-transformers switches truncation on in the model's tokenizer, and a count must not
        # be truncated.
        self._counter = Tokenizer.from_str(backend.to_str())
        self._counter.no_truncation()
        self._counter.no_padding()
        self._lock = threading.Lock()
        prompts = {key: text for key, text in dict(model.prompts or {}).items() if text}
        specials = self._counter.num_special_tokens_to_add(False)
        # Questions and passages have the same window, so the longer prompt counts.
        prompt_tokens = max((self.count_tokens(text) for text in prompts.values()), default=0)
        self._name: str = name or weights.name
        self._dimension = int(dimension)
        self._max_tokens = int(window) - specials - prompt_tokens
        facts = {
            "weights": weights.fingerprint,
            "modules": [type(module).__name__ for module in model],
            "window": int(window),
            "prompts": prompts,
            "default_prompt": model.default_prompt_name,
            "normalised": True,
        }
        canonical = json.dumps(facts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        self._fingerprint = hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def name(self) -> str:
        """Name with which `load_embedder` loads it again."""
        return self._name

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 over weights, modules, window and prompts."""
        return self._fingerprint

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._dimension

    @property
    def max_tokens(self) -> int:
        """Longest text that is read whole, in tokens without special tokens."""
        return self._max_tokens

    def count_tokens(self, text: str) -> int:
        """Count the tokens of a text, without special tokens."""
        return len(self._counter.encode(text, add_special_tokens=False).ids)

    def encode_query(self, texts: Sequence[str]) -> Vectors:
        """Embed questions. Raises UsageError for an empty one, PromptTooLongError for one beyond the window."""
        for text in texts:
            check_question(text)
        lengths = self._lengths(texts)
        for length in lengths:
            if length > self._max_tokens:
                raise PromptTooLongError(
                    f"the question has {length:,} tokens, but the embedder {self._name} reads at most "
                    f"{self._max_tokens:,}: shorten it"
                )
        return self._encode(texts, lengths, query=True)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Embed passages. Raises UsageError for one beyond the window."""
        lengths = self._lengths(texts)
        for text, length in zip(texts, lengths, strict=True):
            if length > self._max_tokens:
                raise UsageError(
                    f"the passage {text[:60]!r}... has {length:,} tokens, but the embedder {self._name} reads "
                    f"at most {self._max_tokens:,}: build with smaller chunks"
                )
        return self._encode(texts, lengths, query=False)

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        return [
            len(encoding.ids) for encoding in self._counter.encode_batch_fast(list(texts), add_special_tokens=False)
        ]

    def _encode(self, texts: Sequence[str], lengths: Sequence[int], *, query: bool) -> Vectors:
        """Embed in batches of similar length within a token budget, so that little is computed on padding."""
        vectors = np.empty((len(texts), self._dimension), dtype=np.float32)
        # Longest first: the largest batch comes first, so memory does not grow later.
        order = sorted(range(len(texts)), key=lambda row: -lengths[row])
        encode = self._model.encode_query if query else self._model.encode_document
        start = 0
        while start < len(order):
            padded = lengths[order[start]] + 2
            size = max(1, min(TEXTS_PER_BATCH, TOKENS_PER_BATCH // padded))
            rows = order[start : start + size]
            with self._lock:
                vectors[rows] = encode(
                    [texts[row] for row in rows],
                    batch_size=len(rows),
                    show_progress_bar=False,
                    convert_to_numpy=True,
                    normalize_embeddings=True,
                )
            start += size
        return vectors


@contextlib.contextmanager
def _without_kernel_note() -> Iterator[None]:
    """Silence bitsandbytes, which sentence-transformers imports: it warns of a CPU kernel that nothing here uses."""
    noisy = logging.getLogger("bitsandbytes.backends.cpu.ops")

    def is_other(record: logging.LogRecord) -> bool:
        return "gemm_4bit" not in str(record.msg)

    noisy.addFilter(is_other)
    try:
        yield
    finally:
        noisy.removeFilter(is_other)


def check_question(question: str) -> None:
    """Raise UsageError for a question that is blank or not valid Unicode."""
    if not question.strip():
        raise UsageError("the question is empty: ask something")
    try:
        question.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError(
            f"the question has half of a surrogate pair at character {error.start}: send valid Unicode"
        ) from error
