"""Answers from your own documents, by a small reader that you can tune and measure yourself.

The public names; each is imported when it is first used, so that `import rag_ft` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag_ft.adapter import adapter_info
    from rag_ft.averaging import average_adapters
    from rag_ft.chunking import ChunkingConfig
    from rag_ft.comparison import compare_adapters
    from rag_ft.corpus import read_corpus
    from rag_ft.dataset import read_questions
    from rag_ft.embedding import load_embedder
    from rag_ft.errors import (
        AdapterError,
        AnswerParseError,
        CorpusError,
        DatasetError,
        DocumentError,
        EvaluationError,
        IndexCorruptError,
        IndexFormatError,
        IndexLockedError,
        IndexMismatchError,
        IndexMissingError,
        IndexStoreError,
        PromptError,
        PromptMismatchError,
        PromptTooLongError,
        RagFtError,
        ReaderError,
        TrainingError,
        UsageError,
        WeightsError,
    )
    from rag_ft.evaluation.judge import Report, evaluate
    from rag_ft.exporting import export_to
    from rag_ft.index import Index
    from rag_ft.merging import merge_adapter
    from rag_ft.model import compute_plan
    from rag_ft.pipeline import Pipeline
    from rag_ft.reader import Reader
    from rag_ft.retriever import Retriever
    from rag_ft.schema import Answer, Citation, Document, Hit, Passage, Question
    from rag_ft.training.examples import ExampleConfig
    from rag_ft.training.lora import LoraSettings, lora_plan
    from rag_ft.training.trainer import TrainConfig
    from rag_ft.tuning import TrainedAdapter, train_reader
    from rag_ft.tuning_curve import TrainedCurve, train_curve

__all__ = [
    "AdapterError",
    "Answer",
    "AnswerParseError",
    "ChunkingConfig",
    "Citation",
    "ClosingError",
    "CorpusError",
    "DatasetError",
    "DeadlineError",
    "Document",
    "DocumentError",
    "EvaluationError",
    "ExampleConfig",
    "Hit",
    "Index",
    "IndexCorruptError",
    "IndexFormatError",
    "IndexLockedError",
    "IndexMismatchError",
    "IndexMissingError",
    "IndexStoreError",
    "LoraSettings",
    "Passage",
    "Pipeline",
    "PromptError",
    "PromptMismatchError",
    "PromptTooLongError",
    "Question",
    "QueueFullError",
    "RagFtError",
    "Reader",
    "ReaderError",
    "Report",
    "Retriever",
    "ServingError",
    "TrainConfig",
    "TrainedAdapter",
    "TrainedCurve",
    "TrainingError",
    "UsageError",
    "WeightsError",
    "adapter_info",
    "average_adapters",
    "calibrate_adapter",
    "compare_adapters",
    "compute_plan",
    "evaluate",
    "export_to",
    "load_embedder",
    "lora_plan",
    "merge_adapter",
    "read_corpus",
    "read_questions",
    "train_curve",
    "train_reader",
]

_ROOMS = {
    "ChunkingConfig": "chunking",
    "Index": "index",
    "Pipeline": "pipeline",
    "Reader": "reader",
    "Retriever": "retriever",
    "Report": "evaluation.judge",
    "evaluate": "evaluation.judge",
    "ExampleConfig": "training.examples",
    "LoraSettings": "training.lora",
    "TrainConfig": "training.trainer",
    "TrainedAdapter": "tuning",
    "lora_plan": "training.lora",
    "train_reader": "tuning",
    "calibrate_adapter": "calibration",
    "TrainedCurve": "tuning_curve",
    "train_curve": "tuning_curve",
    "adapter_info": "adapter",
    "compare_adapters": "comparison",
    "export_to": "exporting",
    "merge_adapter": "merging",
    "average_adapters": "averaging",
    "compute_plan": "model",
    "load_embedder": "embedding",
    "read_corpus": "corpus",
    "read_questions": "dataset",
    **dict.fromkeys(("Answer", "Citation", "Document", "Hit", "Passage", "Question"), "schema"),
}

try:
    __version__ = version("rag-ft")
except PackageNotFoundError:  # run from a folder that was never installed
    __version__ = "0"


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'rag_ft' has no attribute {name!r}")
    return getattr(import_module(f"rag_ft.{_ROOMS.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
