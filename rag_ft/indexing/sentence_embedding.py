"""Embedders with a window of tokens, among them sentence-transformers' models, the default one's kind.

Texts are never cut: one that is longer than the model reads is an error.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rag_ft.errors import PromptTooLongError, UsageError, WeightsError, first_line
from rag_ft.indexing.query import check_question

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rag_ft.models.embedding_backend import EmbeddingPlan
    from rag_ft.models.openvino_encoder import EncoderRecord
    from rag_ft.models.weights import Weights

Vectors = NDArray[np.float32]

TOKENS_PER_BATCH = 4096
"""Padded tokens per forward pass: larger passes were not faster on CPU and took more memory."""
TEXTS_PER_BATCH = 64


class WindowedEmbedder(ABC):
    """What embedders with a window of tokens share: its limits, and batches of texts of similar length."""

    def __init__(
        self,
        *,
        name: str,
        fingerprint: str,
        dimension: int,
        max_tokens: int,
        counter: Tokenizer,
        plan: EmbeddingPlan,
        tokens_per_batch: int = TOKENS_PER_BATCH,
    ) -> None:
        """`counter`: the tokenizer, with neither truncation nor padding."""
        self._name = name
        self._fingerprint = fingerprint
        self._dimension = dimension
        self._max_tokens = max_tokens
        self._counter = counter
        self._tokens_per_batch = tokens_per_batch
        self.plan = plan
        """How it computes on this machine."""

    @property
    def name(self) -> str:
        """Name with which `load_embedder` loads it again."""
        return self._name

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 over weights, modules, window and prompts; not over what computes them."""
        return self._fingerprint

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._dimension

    @property
    def max_tokens(self) -> int:
        """Longest text that is read whole, in tokens without special tokens."""
        return self._max_tokens

    @property
    def arithmetic(self) -> str:
        """Backend and type of the products (`arithmetic_of`)."""
        return self.plan.arithmetic

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
        return self._encode(texts, self._batches(lengths), query=True)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Embed passages. Raises UsageError for one beyond the window."""
        lengths = self._lengths(texts)
        for text, length in zip(texts, lengths, strict=True):
            if length > self._max_tokens:
                raise UsageError(
                    f"the passage {text[:60]!r}... has {length:,} tokens, but the embedder {self._name} reads "
                    f"at most {self._max_tokens:,}: build with smaller chunks"
                )
        return self._encode(texts, self._batches(lengths), query=False)

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        return [
            len(encoding.ids) for encoding in self._counter.encode_batch_fast(list(texts), add_special_tokens=False)
        ]

    def _batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Rows of similar length within a token budget, so that little is computed on padding."""
        # Longest first: the largest batch comes first, so memory does not grow later.
        order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
        start = 0
        while start < len(order):
            padded = lengths[order[start]] + 2
            size = max(1, min(TEXTS_PER_BATCH, self._tokens_per_batch // padded))
            yield order[start : start + size]
            start += size

    @abstractmethod
    def _encode(self, texts: Sequence[str], batches: Iterator[list[int]], *, query: bool) -> Vectors:
        """The vectors of all texts, computed batch by batch."""


class SentenceEmbedder(WindowedEmbedder):
    """A sentence-transformers model as an `Embedder`. Threads may share it; they compute one at a time."""

    def __init__(
        self,
        weights: Weights,
        *,
        name: str | None = None,
        device: str | None = None,
        plan: EmbeddingPlan | None = None,
    ) -> None:
        """Load a model; `name` is what `load_embedder` finds it by, None for the name of the weights.

        `plan`: the one by which torch was chosen, None if it was requested.
        """
        from tokenizers import Tokenizer

        from rag_ft.models.embedding_backend import embedding_plan

        model = _sentence_transformer(weights, device)
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
        counter = Tokenizer.from_str(backend.to_str())
        counter.no_truncation()
        counter.no_padding()
        prompts = {key: text for key, text in dict(model.prompts or {}).items() if text}
        specials = counter.num_special_tokens_to_add(False)
        # Questions and passages have the same window, so the longer prompt counts.
        prompt_tokens = max(
            (len(counter.encode(text, add_special_tokens=False).ids) for text in prompts.values()), default=0
        )
        facts = {
            "weights": weights.fingerprint,
            "modules": [type(module).__name__ for module in model],
            "window": int(window),
            "prompts": prompts,
            "default_prompt": model.default_prompt_name,
            "normalised": True,
        }
        canonical = json.dumps(facts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        super().__init__(
            name=name or weights.name,
            fingerprint=hashlib.sha256(canonical.encode()).hexdigest(),
            dimension=int(dimension),
            max_tokens=int(window) - specials - prompt_tokens,
            counter=counter,
            plan=plan or embedding_plan("torch", device=str(model.device)),
        )
        self.model: Any = model
        """The sentence-transformers model."""
        self._lock = threading.Lock()

    def tokenizer_json(self) -> str:
        """The tokenizer, with neither truncation nor padding."""
        return str(self._counter.to_str())

    def encoder_record(self) -> EncoderRecord:
        """What a conversion of this embedder must know of it."""
        from rag_ft.models.openvino_encoder import INPUTS, EncoderRecord

        prompts = dict(self.model.prompts or {})
        default = prompts.get(self.model.default_prompt_name) or ""
        passage = next((prompts[name] for name in ("document", "passage", "corpus") if name in prompts), default)
        taken = [name in self.model.preprocess(["a text"]) for name in INPUTS]
        return EncoderRecord(
            fingerprint=self.fingerprint,
            dimension=self.dimension,
            max_tokens=self.max_tokens,
            query_prompt=prompts.get("query", default) or "",
            passage_prompt=passage or "",
            pad_id=int(self.model.tokenizer.pad_token_id or 0),
            inputs=sum(taken),
            float32_agreement=0.0,
            bfloat16_agreement=0.0,
        )

    def _encode(self, texts: Sequence[str], batches: Iterator[list[int]], *, query: bool) -> Vectors:
        vectors = np.empty((len(texts), self._dimension), dtype=np.float32)
        encode = self.model.encode_query if query else self.model.encode_document
        for rows in batches:
            with self._lock:
                vectors[rows] = encode(
                    [texts[row] for row in rows],
                    batch_size=len(rows),
                    show_progress_bar=False,
                    convert_to_numpy=True,
                    normalize_embeddings=True,
                )
        return vectors


def _sentence_transformer(weights: Weights, device: str | None) -> Any:
    """Load a sentence-transformers model, from whose folder no code is run. Raises WeightsError."""
    with _without_kernel_note():
        from sentence_transformers import SentenceTransformer

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
    return model.eval()


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
