"""The cross-encoder alone as an arm: the extractive encoder that a tuned generator has to justify itself against."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from rag_ft.answering.citation import Claim
from rag_ft.answering.reading import Reading, ReadRequest
from rag_ft.evaluation.arms.base import Case, cut, plain_prediction
from rag_ft.evaluation.predictions import Prediction

if TYPE_CHECKING:
    from rag_ft.answering.encoder_alone import EncoderAlone


@dataclass(frozen=True)
class EncoderArm:
    """The cross-encoder with passages, and no generator: words, or whole sentences where it is set to give them."""

    name: str
    reader: EncoderAlone
    k: int
    threshold_from: str = ""
    """What the evaluation chose the threshold on; empty where it did not choose one."""

    @property
    def settings(self) -> Mapping[str, JsonValue]:
        """The cross-encoder's fingerprint and its threshold."""
        return {
            "kind": "cross-encoder",
            "k": self.k,
            "cross-encoder": self.reader.cross_encoder.fingerprint,
            "threshold": self.reader.threshold,
            **({"whole sentences": True} if self.reader.whole_sentences else {}),
            **({"threshold chosen on": self.threshold_from} if self.threshold_from else {}),
        }

    def reply(self, cases: Sequence[Case]) -> list[Prediction]:
        """The cross-encoder's answers."""
        cases = cut(cases, self.k)
        start = time.perf_counter()
        readings = self.reader.read_batch([ReadRequest.of_hits(case.question.question, case.hits) for case in cases])
        share = (time.perf_counter() - start) / max(len(cases), 1)
        return [self._prediction(case, reading, share) for case, reading in zip(cases, readings, strict=True)]

    def training_records(self) -> Sequence[Mapping[str, Any]]:
        """The cross-encoder's."""
        return [self.reader.cross_encoder.record]

    def with_threshold(self, threshold: float, chosen_on: str) -> EncoderArm:
        """The arm with another threshold."""
        return replace(self, reader=self.reader.with_threshold(threshold), threshold_from=chosen_on)

    def _prediction(self, case: Case, reading: Reading, seconds: float) -> Prediction:
        claims = [Claim(cited.passage, cited.span) for cited in reading.cited]
        plain = plain_prediction(self.name, case, reading.answer, claims, reading.answer_confidence, seconds)
        return plain.model_copy(
            update={"kind": reading.kind, "yes": reading.yes, "prompt_tokens": reading.prompt_tokens}
        )
