"""Arms that are a reader: with passages, or closed book."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from rag_ft.answering.confidence import CONFIDENCE
from rag_ft.evaluation.arms.base import Asked, from_answer, gold_passages, rounded
from rag_ft.evaluation.predictions import Prediction
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
    """An index to take the gold passage from and put it first, as perfect retrieval would; None: as retrieved."""
    threshold_from: str = ""
    """What the reader's threshold was chosen on, where an evaluation chose it."""

    @property
    def settings(self) -> Mapping[str, JsonValue]:
        """Model, adapter, prompt and way of reading."""
        return {
            "kind": "reader",
            "k": self.k,
            "gold first": self.perfect is not None,
            **_reader_settings(self.reader, self.threshold_from),
        }

    def reply(self, asked: Sequence[Asked]) -> list[Prediction]:
        """Read together; the reader's threshold decides what it declines."""
        from rag_ft.answering.pipeline import Pipeline

        questions = [one.question.question for one in asked]
        found = [self._hits(one) for one in asked]
        begin = time.perf_counter()
        answers = Pipeline(None, self.reader).read_batch(questions, found)
        share = (time.perf_counter() - begin) / max(len(asked), 1)
        return [
            from_answer(self.name, one._replace(hits=tuple(hits)), answer, share)
            for one, hits, answer in zip(asked, found, answers, strict=True)
        ]

    def _hits(self, one: Asked) -> list[Hit]:
        if self.perfect is None or not one.question.answerable:
            return list(one.hits[: self.k])
        gold = gold_passages(self.perfect, one.question)
        names = {passage.id for passage in gold}
        rest = [hit.passage for hit in one.hits if hit.passage.id not in names]
        return [
            Hit(passage=passage, score=1 / rank, rank=rank)
            for rank, passage in enumerate([*gold, *rest][: self.k], start=1)
        ]


@dataclass(frozen=True)
class ClosedBookArm:
    """A reader without passages: prompting alone, or tuning alone."""

    name: str
    reader: Reader
    """In mode "schema" or "free"."""
    threshold_from: str = ""
    """What the reader's threshold was chosen on, where an evaluation chose it."""

    @property
    def settings(self) -> Mapping[str, JsonValue]:
        """Model, adapter and prompt."""
        return {"kind": "closed book", **_reader_settings(self.reader, self.threshold_from)}

    def reply(self, asked: Sequence[Asked]) -> list[Prediction]:
        """From memory; nothing is cited."""
        begin = time.perf_counter()
        readings = self.reader.closed_book([one.question.question for one in asked])
        share = (time.perf_counter() - begin) / max(len(asked), 1)
        return [
            Prediction(
                arm=self.name,
                question_id=one.question.id,
                answer=reading.answer,
                confidence=rounded(reading.answer_confidence),
                complete=reading.complete,
                prompt_tokens=reading.prompt_tokens,
                completion_tokens=reading.completion_tokens,
                seconds=share,
            )
            for one, reading in zip(asked, readings, strict=True)
        ]


def _reader_settings(reader: Reader, threshold_from: str) -> dict[str, Any]:
    loaded = reader.loaded
    chosen = {"threshold chosen on": threshold_from} if threshold_from else {}
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
        "scale of confidence": f"{reader.scale.slope:.4g} x log-odds {reader.scale.intercept:+.4g}",
        **chosen,
        "longest answer": reader.max_answer_tokens,
        "compute": loaded.plan.arithmetic,
        "threads": loaded.plan.threads,
    }
