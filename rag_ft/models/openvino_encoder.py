"""An embedder's network in OpenVINO: converted once from its torch modules, compared with them, kept, and run.

Pooling and normalising are inside. The conversion is kept in `environment.home()`, so that a later process needs
neither torch's modules nor sentence-transformers to embed.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from rag_ft import environment
from rag_ft.checksums import sha256_of
from rag_ft.errors import WeightsError, first_line
from rag_ft.extras import import_without
from rag_ft.files import is_plain_file, is_real_folder, staged
from rag_ft.schema import Record

logger = logging.getLogger(__name__)

CONVERSION = 1
"""Version of the conversion; another one is not read and converted again."""

FLOAT32_AGREEMENT = 0.99999
BFLOAT16_AGREEMENT = 0.9999
"""Smallest cosine between a probe's vectors of both backends with which a conversion is used in this type. The
packaged embedder's is 0.9999999 in float32, and in bfloat16 0.99995 (0.99997 over 2,000 passages of 96 tokens,
benchmarks/embedding_backends.py): short texts move most."""

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""What a network may take, in this order; the last one not always, and zeros."""

_RECORD, _NETWORK, _WEIGHTS, _TOKENIZER = "encoder.json", "encoder.xml", "encoder.bin", "tokenizer.json"
_FILES = (_NETWORK, _WEIGHTS, _TOKENIZER)

_SENTENCE = "The Rank-16 adapter adds 131,072 parameters; naïve cafés in Zürich and 東京 open at 9:30. "
PROBES = ("what?", "Short.", *(_SENTENCE * count for count in (1, 2, 4, 6)))
"""Texts that both backends embed after a conversion: short and long ones in one padded batch, capitals, accents."""


class EncoderRecord(Record):
    """What a folder with a converted encoder says of it."""

    conversion: int = CONVERSION
    fingerprint: str
    """`Embedder.fingerprint` of what was converted."""
    dimension: int
    max_tokens: int
    query_prompt: str
    passage_prompt: str
    pad_id: int
    inputs: int
    """How many of `INPUTS` the network takes."""
    float32_agreement: float
    """Smallest cosine with torch over `PROBES`, in this type."""
    bfloat16_agreement: float
    """0 where the processor does not compute bfloat16 fast, and on no machine is used then."""
    refused: str = ""
    """Why the conversion is not used; empty if it is."""
    files: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of each file."""

    def usable(self, dtype: str) -> bool:
        """Whether vectors of this type agree with torch's."""
        agreement, least = (
            (self.bfloat16_agreement, BFLOAT16_AGREEMENT)
            if dtype == "bfloat16"
            else (self.float32_agreement, FLOAT32_AGREEMENT)
        )
        return not self.refused and agreement >= least


class TokenBatch(NamedTuple):
    """Texts of one forward pass as tokens."""

    rows: Sequence[int]
    """Where their vectors go."""
    ids: Sequence[Sequence[int]]


def encoder_folder(weights_fingerprint: str, dtype: str) -> Path:
    """Where the conversion of an embedder lives, whether or not it exists yet.

    One for each type and version of the libraries: both are part of what its agreement was measured with.
    """
    import hashlib

    names = ("openvino", "torch", "transformers", "sentence-transformers", "tokenizers")
    versions = environment.library_versions(names)
    key = f"{CONVERSION} {weights_fingerprint} {dtype} {sorted(versions.items())}"
    return environment.home() / "encoders" / hashlib.sha256(key.encode()).hexdigest()[:24]


def read_encoder(folder: Path) -> EncoderRecord | None:
    """The record of a converted encoder whose files are whole; None where it must be converted (again)."""
    try:
        record = EncoderRecord.model_validate_json((folder / _RECORD).read_bytes())
        whole = record.refused or all(sha256_of(folder / name) == record.files.get(name) for name in _FILES)
    except (OSError, ValidationError):
        return None
    return record if whole and record.conversion == CONVERSION else None


def tokenizer_path(folder: Path) -> Path:
    """The file of a converted encoder's tokenizer."""
    return folder / _TOKENIZER


def write_encoder(
    folder: Path, model: Any, tokenizer: str, record: EncoderRecord, agreement: Callable[[Path, str], float]
) -> EncoderRecord:
    """Convert a sentence-transformers model into `folder`, and return its record.

    `agreement(folder, dtype)`: smallest cosine between what the converted encoder gives for `PROBES` and what torch
    gives. A network that OpenVINO cannot convert, or whose vectors are others, leaves a record that says so. Raises
    WeightsError if the folder cannot be written.
    """
    with staged(folder, overwrite=True, foreign=_foreign, error=WeightsError, elsewhere="set RAG_FT_HOME") as work:
        result = work / "result"
        result.mkdir()
        try:
            record = _converted(result, model, tokenizer, record, agreement)
        except Exception as error:  # OpenVINO and the tracing of torch raise whatever they meet
            logger.info("%s", error, exc_info=True)
            record = record.model_copy(update={"refused": f"OpenVINO cannot convert it ({first_line(error)})"})
        if record.refused:
            for name in _FILES:
                (result / name).unlink(missing_ok=True)
        (result / _RECORD).write_text(record.model_dump_json(indent=1), encoding="utf-8")
    return record


def _foreign(folder: Path) -> Path | None:
    return None if is_real_folder(folder) and is_plain_file(folder / _RECORD) else folder


def _converted(
    folder: Path, model: Any, tokenizer: str, record: EncoderRecord, agreement: Callable[[Path, str], float]
) -> EncoderRecord:
    openvino = without_telemetry()
    with _quietly():
        network = openvino.convert_model(_pooled(model), example_input=_example(record))
        openvino.save_model(network, folder / _NETWORK, compress_to_fp16=False)
    (folder / _TOKENIZER).write_text(tokenizer, encoding="utf-8")
    (folder / _RECORD).write_text(record.model_dump_json(), encoding="utf-8")
    both = {dtype: agreement(folder, dtype) for dtype in ("float32", "bfloat16") if _wanted(dtype)}
    record = record.model_copy(
        update={
            "float32_agreement": both["float32"],
            "bfloat16_agreement": both.get("bfloat16", 0.0),
            "files": {name: sha256_of(folder / name) for name in _FILES},
        }
    )
    if record.usable("float32"):
        return record
    reason = f"its vectors in OpenVINO are others than in torch (cosine {both['float32']:.5f})"
    return record.model_copy(update={"refused": reason, "files": {}})


def _wanted(dtype: str) -> bool:
    from rag_ft.models.compute import compute_plan

    return dtype in ("float32", compute_plan("cpu").dtype)


def _example(record: EncoderRecord) -> tuple[Any, ...]:
    """Two texts of different lengths, so that nothing in the trace is of one length or without padding."""
    import torch

    ids = torch.tensor([[1, 2, 3, 4, 5], [1, 2, 3, record.pad_id, record.pad_id]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    return (ids, mask, torch.zeros_like(ids))[: record.inputs]


def _pooled(model: Any) -> Any:
    """All modules of a sentence-transformers model as one that takes tensors in the order of `INPUTS`."""
    import torch

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: Any) -> Any:
            vectors = self.model(dict(zip(INPUTS, tensors, strict=False)))["sentence_embedding"]
            return torch.nn.functional.normalize(vectors, dim=-1)

    return Pooled().eval()


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without gradients, and without what tracing warns of: that it follows one path, which the probes check.

    The root logger stays as it was: OpenVINO raises its level, and leaves it raised where a conversion fails.
    """
    import torch

    from rag_ft.progress import quiet_transformers

    root = logging.getLogger()
    level, filters, handlers = root.level, list(root.filters), list(root.handlers)
    try:
        with torch.no_grad(), quiet_transformers(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)
        root.filters, root.handlers = filters, handlers


def without_telemetry() -> Any:
    """OpenVINO, imported so that it sends no telemetry: without its package `openvino_telemetry`, it has none.

    A program that has imported OpenVINO before decides that itself.
    """
    import_without("openvino.tools.ovc.convert_impl", "openvino_telemetry")
    import openvino

    return openvino


class CompiledEncoder:
    """A converted encoder in memory. Calls must not overlap."""

    def __init__(self, folder: Path, record: EncoderRecord, *, dtype: str, threads: int) -> None:
        """Compile it for the CPU, products in `dtype`, one stream for each thread. Raises WeightsError."""
        openvino = without_telemetry()
        settings = {
            "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[dtype],
            "INFERENCE_NUM_THREADS": threads,
            # a batch on each thread: no thread waits for another at the end of a product
            "NUM_STREAMS": threads,
            # other programs may keep the processor busy that a thread would be bound to
            "ENABLE_CPU_PINNING": False,
        }
        try:
            network = openvino.Core().compile_model(folder / _NETWORK, "CPU", settings)
        except RuntimeError as error:
            raise WeightsError(
                f"OpenVINO cannot load {folder / _NETWORK} ({first_line(error)}): delete its folder, or set"
                f" {environment.EMBEDDING_BACKEND}=torch"
            ) from error
        self._record = record
        # one more than there are streams, so that the next batch waits ready
        self._queue = openvino.AsyncInferQueue(network, threads + 1)

    def encode_into(self, vectors: NDArray[np.float32], batches: Iterable[TokenBatch]) -> None:
        """Write the vectors of all batches into their rows; a batch is prepared while others are computed."""

        def keep(request: Any, rows: Sequence[int]) -> None:
            vectors[rows] = request.get_output_tensor(0).data

        self._queue.set_callback(keep)
        for batch in batches:
            self._queue.start_async(dict(enumerate(self._tensors(batch))), list(batch.rows))
        self._queue.wait_all()

    def _tensors(self, batch: TokenBatch) -> list[NDArray[np.int64]]:
        shape = (len(batch.ids), max(map(len, batch.ids)))
        ids, mask = np.full(shape, self._record.pad_id, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for row, tokens in enumerate(batch.ids):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        return [ids, mask, np.zeros(shape, dtype=np.int64)][: self._record.inputs]
