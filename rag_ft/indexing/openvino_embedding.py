"""An embedder that computes with OpenVINO: the same vectors as torch's, up to the rounding of its products."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rag_ft.errors import UsageError, WeightsError
from rag_ft.indexing.sentence_embedding import SentenceEmbedder, Vectors, WindowedEmbedder
from rag_ft.models.openvino_encoder import (
    PROBES,
    CompiledEncoder,
    EncoderRecord,
    TokenBatch,
    encoder_folder,
    read_encoder,
    tokenizer_path,
    write_encoder,
)

if TYPE_CHECKING:
    from rag_ft.models.embedding_backend import EmbeddingPlan
    from rag_ft.models.weights import Weights

logger = logging.getLogger(__name__)

TOKENS_PER_BATCH = 2048
"""Padded tokens per forward pass; from 512 to 4,096 the time was the same within 5%."""


def load_openvino_embedder(
    weights: Weights, plan: EmbeddingPlan, *, name: str | None = None, required: bool = False
) -> WindowedEmbedder:
    """Load an embedder as the plan says, after converting it where that was not done before.

    An embedder that cannot be converted, or whose vectors would be others than torch's, is run by torch, which its
    plan then says; with `required`, that is a WeightsError. The same is true of bfloat16, which float32 replaces.
    """
    folder = encoder_folder(weights.fingerprint, plan.dtype)
    record = read_encoder(folder)
    if record is None:
        record = convert(folder, SentenceEmbedder(weights, name=name, device="cpu"), plan)
    if record.refused:
        message = f"the embedder {name or weights.name} does not run on OpenVINO: {record.refused}"
        if required:
            raise WeightsError(f"{message}; choose torch as the embedding backend")
        logger.info(message)
        return SentenceEmbedder(weights, name=name, device="cpu", plan=plan.by_torch(record.refused))
    if not record.usable(plan.dtype):
        reason = f"bfloat16 moves its vectors too far from float32's (cosine {record.bfloat16_agreement:.5f})"
        plan = plan.with_dtype("float32", reason)
    return OpenVinoEmbedder(name or weights.name, folder, record, plan)


def convert(folder: Path, embedder: SentenceEmbedder, plan: EmbeddingPlan) -> EncoderRecord:
    """Convert an embedder into a folder, compare both on `PROBES`, and return the record, which may refuse it."""
    record = embedder.encoder_record()
    probes = [text for text in PROBES if embedder.count_tokens(text) <= embedder.max_tokens]
    wanted = [embedder.encode_query(probes), embedder.encode_passages(probes)]

    def agreement(folder: Path, dtype: str) -> float:
        converted = OpenVinoEmbedder(embedder.name, folder, record, plan.with_dtype(dtype))
        found = [converted.encode_query(probes), converted.encode_passages(probes)]
        cosines = [(ours * theirs).sum(axis=1) for ours, theirs in zip(found, wanted, strict=True)]
        return float(np.min(cosines))

    try:
        return write_encoder(folder, embedder.model, embedder.tokenizer_json(), record, agreement)
    except (WeightsError, UsageError) as error:
        return record.model_copy(update={"refused": f"its conversion cannot be kept: {error}"})


class OpenVinoEmbedder(WindowedEmbedder):
    """A converted sentence-transformers model as an `Embedder`. Threads may share it; they compute one at a time."""

    def __init__(self, name: str, folder: Path, record: EncoderRecord, plan: EmbeddingPlan) -> None:
        """Load what `convert` wrote. Raises WeightsError."""
        from tokenizers import Tokenizer

        super().__init__(
            name=name,
            fingerprint=record.fingerprint,
            dimension=record.dimension,
            max_tokens=record.max_tokens,
            counter=Tokenizer.from_file(str(tokenizer_path(folder))),
            plan=plan,
            tokens_per_batch=TOKENS_PER_BATCH,
        )
        self._prompts = {True: record.query_prompt, False: record.passage_prompt}
        self._encoder = CompiledEncoder(folder, record, dtype=plan.dtype, threads=plan.threads)
        self._lock = threading.Lock()

    def _encode(self, texts: Sequence[str], batches: Iterator[list[int]], *, query: bool) -> Vectors:
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        prompt = self._prompts[query]

        def tokens(rows: list[int]) -> TokenBatch:
            encodings = self._counter.encode_batch_fast([prompt + texts[row] for row in rows])
            return TokenBatch(rows, [encoding.ids for encoding in encodings])

        with self._lock:
            self._encoder.encode_into(vectors, map(tokens, batches))
        return vectors
