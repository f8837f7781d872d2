"""Arms that are a reader: with passages, or closed book."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from rag_ft.answering.confidence import CONFIDENCE, PlattScale
from rag_ft.evaluation.arms.base import Case, from_answer, gold_passages, rounded
from rag_ft.evaluation.predictions import Prediction
from rag_ft.models.adapter_record import reading_record
from rag_ft.schema import Hit

if TYPE_CHECKING:
    from rag_ft.answering.reader import Reader
    from rag_ft.indexing.index import Index


@dataclass(frozen=True)
class ReaderArm:
    """A reader with passages: retrieval with prompting, or with tuning."""

    name: str
    reader: Reader
    k: int
    perfect: Index | None = None
    """The index whose gold passage is put first, as perfect retrieval would; None: passages as retrieved."""
    lists: Index | None = None
    """The index in whose documents lists are followed to their end; None: an answer ends with its passage."""
    threshold_from: str = ""
    """What the evaluation chose the reader's threshold on; empty where it did not choose one."""

    @property
    def settings(self) -> Mapping[str, JsonValue]:
        """Model, adapter, prompt and way of reading."""
        return {
            "kind": "reader",
            "k": self.k,
            "gold first": self.perfect is not None,
            **_reader_settings(self.reader, self.threshold_from),
        }

    def reply(self, cases: Sequence[Case]) -> list[Prediction]:
        """The reader's answers, read in one batch; its threshold decides what it declines."""
        from rag_ft.answering.pipeline import Pipeline

        questions = [case.question.question for case in cases]
        hits = [self.hits(case) for case in cases]
        start = time.perf_counter()
        retriever = None if self.lists is None else self.lists.as_retriever(k=self.k)
        answers = Pipeline(retriever, self.reader).read_batch(questions, hits)
        share = (time.perf_counter() - start) / max(len(cases), 1)
        return [
            from_answer(self.name, case._replace(hits=tuple(passages)), answer, share)
            for case, passages, answer in zip(cases, hits, answers, strict=True)
        ]

    def training_records(self) -> Sequence[Mapping[str, Any]]:
        """The adapter's, and the cross-encoder's."""
        return _training_records(self.reader)

    def with_threshold(self, threshold: float, chosen_on: str) -> ReaderArm:
        """The arm with another threshold, which its reader keeps."""
        self.reader.threshold = threshold
        return replace(self, threshold_from=chosen_on)

    def hits(self, case: Case) -> list[Hit]:
        """The passages that it reads for a case: as retrieved, or the gold passage first."""
        if self.perfect is None or not case.question.answerable:
            return list(case.hits[: self.k])
        gold = gold_passages(self.perfect, case.question)
        gold_ids = {passage.id for passage in gold}
        rest = [hit.passage for hit in case.hits if hit.passage.id not in gold_ids]
        return [
            Hit(passage=passage, score=1 / rank, rank=rank)
            for rank, passage in enumerate([*gold, *rest][: self.k], start=1)
        ]


@dataclass(frozen=True)
class ClosedBookArm:
    """A reader without passages: prompting alone, or tuning alone."""

    name: str
    reader: Reader
    """A reader in mode "schema" or "free"."""
    threshold_from: str = ""
    """What the evaluation chose the reader's threshold on; empty where it did not choose one."""

    @property
    def settings(self) -> Mapping[str, JsonValue]:
        """Model, adapter and prompt."""
        return {"kind": "closed book", **_reader_settings(self.reader, self.threshold_from)}

    def reply(self, cases: Sequence[Case]) -> list[Prediction]:
        """Answers from memory, without citations."""
        start = time.perf_counter()
        readings = self.reader.closed_book([case.question.question for case in cases])
        share = (time.perf_counter() - start) / max(len(cases), 1)
        return [
            Prediction(
                arm=self.name,
                question_id=case.question.id,
                answer=reading.answer,
                confidence=rounded(reading.answer_confidence),
                complete=reading.complete,
                prompt_tokens=reading.prompt_tokens,
                completion_tokens=reading.completion_tokens,
                seconds=share,
            )
            for case, reading in zip(cases, readings, strict=True)
        ]

    def training_records(self) -> Sequence[Mapping[str, Any]]:
        """The adapter's."""
        return _training_records(self.reader)

    def with_threshold(self, threshold: float, chosen_on: str) -> ClosedBookArm:
        """The arm with another threshold, which its reader keeps."""
        self.reader.threshold = threshold
        return replace(self, threshold_from=chosen_on)


def _training_records(reader: Reader) -> list[Mapping[str, Any]]:
    own = reading_record(reader.loaded.weights, reader.loaded.adapter)
    return [own] if reader.cross_encoder is None else [own, reader.cross_encoder.record]


def _by_kind(reader: Reader) -> str:
    """Thresholds and scales of the kinds of answers that have their own."""
    return ", ".join(f"{kind} {own.value} of {_shown(own.platt)}" for kind, own in reader.kinds.items())


def _shown(scale: PlattScale) -> str:
    return f"{scale.slope:.4g} x log-odds {scale.intercept:+.4g}"


def _reader_settings(reader: Reader, threshold_from: str) -> dict[str, JsonValue]:
    loaded = reader.loaded
    chosen: dict[str, JsonValue] = {"threshold chosen on": threshold_from} if threshold_from else {}
    return {
        "base model": loaded.weights.name,
        "base fingerprint": loaded.weights.fingerprint,
        "adapter": None if loaded.adapter is None else loaded.adapter.name,
        "adapter fingerprint": None if loaded.adapter is None else loaded.adapter.fingerprint,
        "prompt": reader.prompts.fingerprint,
        "shots": reader.prompts.shots,
        "mode": reader.mode,
        "reading": reader.reading,
        "threshold": reader.threshold,
        "confidence": CONFIDENCE,
        "scale of confidence": _shown(reader.scale),
        **({"calibrated by kind": _by_kind(reader)} if reader.kinds else {}),
        **chosen,
        **({"whole sentences": True} if reader.whole_sentences else {}),
        **({"cross-encoder": reader.cross_encoder.fingerprint} if reader.cross_encoder is not None else {}),
        "longest answer": reader.max_answer_tokens,
        "compute": loaded.plan.arithmetic,
        "threads": loaded.plan.threads,
    }
