"""Batches of questions: written by one source after another, filtered, asked back, and kept on disk as they come."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import NamedTuple

from rag_ft.errors import DatasetError
from rag_ft.progress import OnProgress, Progress, notify
from rag_ft.question_generation.choosing import Chooser
from rag_ft.question_generation.duplicates import AskedBefore
from rag_ft.question_generation.fitting import Surroundings, fit_problem
from rag_ft.question_generation.outcomes import Outcome, WorkFolder
from rag_ft.question_generation.round_trip import ROUND_TRIP_REASONS, Answers, round_trip_problem
from rag_ft.question_generation.self_contained import problem_of
from rag_ft.question_generation.source import QuestionSource, WriteRequest, WrittenQuestion

logger = logging.getLogger(__name__)

NEAR_DUPLICATE = "near-duplicate"
NOT_IN_PASSAGE = "answer not in the passage"

_MOST_FRUITLESS = 10
"""Batches in a row of which nothing is kept, after which a run ends: a source that repeats itself keeps doing so."""
_LONGEST_STORED = 1000
"""Characters of a rejected question that are kept; one that long was rejected for it."""


class Phase(NamedTuple):
    """A source, and what it is asked until it gives no more."""

    chooser: Chooser
    source: QuestionSource
    used_up: str
    """What is said where there is nothing more to ask it."""


class QuestionRun:
    """Batch after batch until there are questions enough, or nothing to ask."""

    def __init__(
        self,
        phases: Sequence[Phase],
        pipeline: Answers,
        work: WorkFolder,
        wanted: int,
        on_progress: OnProgress | None,
    ) -> None:
        self.wanted = wanted
        """Number of answerable questions."""
        self.kept: list[Outcome] = []
        self.rejected: list[Outcome] = []
        self.kept_of: list[int] = []
        """Number of questions kept of each source, in the order in which they were asked."""
        self.ended_early = ""
        """Why there are fewer than wanted."""
        self._phases = phases
        self._pipeline = pipeline
        self._work = work
        self._before = AskedBefore()
        self._on_progress = on_progress
        self._batches = 0
        self._started = time.monotonic()
        self._kept_before = 0

    def make(self, known: Sequence[Sequence[Outcome]]) -> None:
        """Make the batches after those that are `known` from before."""
        if known:
            logger.info("resuming: %d requests were done before", sum(map(len, known)))
        for phase in self._phases:
            before = len(self.kept)
            self.ended_early = self._make_phase(phase, known)
            self.kept_of.append(min(len(self.kept), self.wanted) - before)
            if not self.ended_early:
                return

    def _make_phase(self, phase: Phase, known: Sequence[Sequence[Outcome]]) -> str:
        """Ask one source; why it gave no more, empty where there are questions enough."""
        fruitless = 0
        while len(self.kept) < self.wanted:
            requests = phase.chooser.next_batch()
            if not requests:
                return phase.used_up
            if self._batches < len(known):
                outcomes = self._as_before(requests, known[self._batches])
                self._kept_before = len(self.kept) + sum(not outcome.reason for outcome in outcomes)
                self._started = time.monotonic()
            else:
                outcomes = self._outcomes(phase.source, requests, self._batches)
                self._work.append(outcomes)
            fruitful = self._settle(phase.chooser, outcomes)
            fruitless = 0 if fruitful else fruitless + 1
            self._batches += 1
            new = len(self.kept) - self._kept_before
            missing = max(self.wanted - len(self.kept), 0)
            left = (time.monotonic() - self._started) / new * missing if new else None
            notify(self._on_progress, Progress("questions", min(len(self.kept), self.wanted), self.wanted, left))
            if fruitless == _MOST_FRUITLESS and len(self.kept) < self.wanted:
                return f"the last {fruitless} batches gave none"
        return ""

    def _as_before(self, requests: Sequence[WriteRequest], outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
        same = len(requests) == len(outcomes) and all(map(Outcome.answers, outcomes, requests))
        if not same:
            raise DatasetError(f"{self._work.path} holds requests that this run does not make: remove it to start over")
        for outcome in outcomes:
            if outcome.evidence is not None and outcome.reason in ("", *ROUND_TRIP_REASONS):
                self._before.add(outcome.question, outcome.evidence)
        return outcomes

    def _settle(self, chooser: Chooser, outcomes: Sequence[Outcome]) -> bool:
        """Count the outcomes of a batch; whether any was kept."""
        kept = [outcome for outcome in outcomes if not outcome.reason]
        for outcome in kept:
            chooser.kept(outcome.asked_for)
        self.kept += kept
        self.rejected += [outcome for outcome in outcomes if outcome.reason]
        return bool(kept)

    def _outcomes(self, source: QuestionSource, requests: Sequence[WriteRequest], batch: int) -> list[Outcome]:
        written = source.write(requests)
        if len(written) != len(requests):
            raise DatasetError(
                f"the source gave {len(written)} questions for {len(requests)} requests: make its write() return one"
                " for each, in order"
            )
        outcomes = [
            self._filtered(request, question, batch, len(requests))
            for request, question in zip(requests, written, strict=True)
        ]
        asked = [i for i, outcome in enumerate(outcomes) if not outcome.reason]
        answers = self._pipeline.ask_batch([outcomes[i].question for i in asked]) if asked else []
        for i, answer in zip(asked, answers, strict=True):
            outcome = outcomes[i]
            assert outcome.evidence is not None
            reason = round_trip_problem(outcome.evidence, outcome.kind, outcome.yes, requests[i].passage, answer)
            outcomes[i] = outcome.model_copy(update={"reason": reason or "", "answered": answer.answer})
        return outcomes

    def _filtered(self, request: WriteRequest, written: WrittenQuestion | str, batch: int, batch_size: int) -> Outcome:
        """What came of a request before the pipeline is asked."""
        passage = request.passage
        outcome = Outcome(
            batch=batch,
            batch_size=batch_size,
            passage_id=passage.id,
            document_id=passage.document_id,
            asked_for=request.asked_for,
            seed=request.seed,
        )
        if isinstance(written, str):
            return outcome.model_copy(update={"reason": _storable(written) or "no question"})
        question = written.question.strip()
        stored = _storable(question)
        start, end = written.span
        quote = passage.text[start:end] if 0 <= start < end <= len(passage.text) else ""
        if not quote.strip():
            return outcome.model_copy(update={"question": stored, "reason": NOT_IN_PASSAGE})
        evidence = written.evidence_in(passage)
        around = Surroundings.of(passage.text, written.span)
        reason = problem_of(question, quote, written.kind, passage) or fit_problem(question, quote, written.yes, around)
        if reason is None and not self._before.add(question, evidence):
            reason = NEAR_DUPLICATE
        return outcome.model_copy(
            update={
                "question": stored,
                "evidence": evidence,
                "kind": written.kind,
                "yes": written.yes if written.kind == "part" else None,
                "logprob": written.logprob,
                "reason": reason or "",
            }
        )


def _storable(text: str) -> str:
    """A text as a file can hold it: halves of characters become question marks, and its length is bounded."""
    return text[:_LONGEST_STORED].encode("utf-8", "replace").decode("utf-8")
