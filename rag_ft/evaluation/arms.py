"""Ways of answering under evaluation: each gets the same questions and the same retrieved passages.

An arm is anything with a name, settings and `reply`; every other room knows no more of it. All arms that read with a
model share the prompt builder, the budget, the grammar and the stopping rule (DESIGN.md: fair arms); what differs
between two arms is what their names say.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from pydantic import JsonValue

from rag_ft.citation import Claim, verify
from rag_ft.evaluation.predictions import CitedPlace, Place, Prediction
from rag_ft.schema import Answer, Citation, Hit, Passage, Question
from rag_ft.sentences import sentence_spans
from rag_ft.spans import Span
from rag_ft.threshold import CONFIDENCE

if TYPE_CHECKING:
    from rag_ft.embedding import Embedder
    from rag_ft.index import Index
    from rag_ft.reader import Reader


class Asked(NamedTuple):
    """A question and what the run's retriever found for it, best first."""

    question: Question
    hits: tuple[Hit, ...]


@runtime_checkable
class Arm(Protocol):
    """One way of answering."""

    @property
    def name(self) -> str:
        """Unique in a run."""
        ...

    @property
    def settings(self) -> Mapping[str, JsonValue]:
        """All that decides its replies: shown in the report, and part of the run's fingerprint."""
        ...

    def reply(self, asked: Sequence[Asked]) -> list[Prediction]:
        """A prediction for each question, in order."""
        ...


def cut(asked: Sequence[Asked], k: int | None) -> list[Asked]:
    """The questions with the first k of their passages: what is retrieved is as deep as the deepest arm needs."""
    return [one._replace(hits=one.hits[:k]) for one in asked]


def depth(k: int | None) -> dict[str, JsonValue]:
    """An arm's k as a setting, where it has one of its own."""
    return {} if k is None else {"k": k}


@dataclass(frozen=True)
class FunctionArm:
    """Any function of a question and its passages that gives an answer's text, None to decline, or an `Answer`."""

    name: str
    function: Callable[[str, Sequence[Passage]], str | Answer | None]
    k: int | None = None
    """Passages that it is given; None: all that were retrieved, for whichever arm."""

    @property
    def settings(self) -> Mapping[str, JsonValue]:
        """The function's name; what it does is its writer's to record."""
        name = f"{self.function.__module__}.{self.function.__qualname__}"
        return {"kind": "function", "function": name, **depth(self.k)}

    def reply(self, asked: Sequence[Asked]) -> list[Prediction]:
        """One call a question; an exception is that question's failure, not the arm's."""
        made = []
        for one in cut(asked, self.k):
            passages = [hit.passage for hit in one.hits]
            begin = time.perf_counter()
            try:
                said = self.function(one.question.question, passages)
            except Exception as error:  # a user's function may raise anything
                made.append(failure(self.name, one, f"{type(error).__name__}: {error}", time.perf_counter() - begin))
                continue
            seconds = time.perf_counter() - begin
            if isinstance(said, Answer):
                made.append(from_answer(self.name, one, said, seconds))
            else:
                made.append(_plain(self.name, one, said, _holding(said, passages), None, seconds))
        return made


@dataclass(frozen=True)
class PassageArm:
    """A whole passage as the answer, citing itself: what any citation score must beat to mean something."""

    name: str
    pick: str = "top"
    """`top`, or `random`: any of those retrieved."""
    seed: int = 0
    k: int | None = None
    """Passages to pick from; None: all that were retrieved."""

    @property
    def settings(self) -> Mapping[str, JsonValue]:
        """Which passage."""
        return {"kind": "passage", "pick": self.pick, "seed": self.seed, **depth(self.k)}

    def reply(self, asked: Sequence[Asked]) -> list[Prediction]:
        """Never declines, unless nothing was retrieved."""
        made = []
        for one in cut(asked, self.k):
            chooser = random.Random(f"{self.seed} {one.question.id}")  # the same whatever else is asked
            hit = (chooser.choice(one.hits) if self.pick == "random" else one.hits[0]) if one.hits else None
            claims = [Claim(hit.passage, None)] if hit else []
            made.append(_plain(self.name, one, hit.passage.text if hit else None, claims, None, 0.0))
        return made


@dataclass(frozen=True)
class SentenceArm:
    """Retrieval alone: the sentence of the top passage that is nearest to the question, as the answer."""

    name: str
    embedder: Embedder

    @property
    def settings(self) -> Mapping[str, JsonValue]:
        """The embedder."""
        return {"kind": "sentence", "embedder": self.embedder.fingerprint}

    def reply(self, asked: Sequence[Asked]) -> list[Prediction]:
        """Never declines; its confidence is the cosine, shifted into 0 to 1."""
        begin = time.perf_counter()
        spans = [sentence_spans(one.hits[0].passage.text) if one.hits else [] for one in asked]
        texts = [
            one.hits[0].passage.text[span.start : span.end]
            for one, found in zip(asked, spans, strict=True)
            for span in found
        ]
        vectors = iter(self.embedder.encode_passages(texts)) if texts else iter(())
        queries = self.embedder.encode_query([one.question.question for one in asked])
        made = []
        for one, found, query in zip(asked, spans, queries, strict=True):
            scores = [float(next(vectors) @ query) for _ in found]
            if not scores:
                made.append(_plain(self.name, one, None, [], None, 0.0))
                continue
            best = max(range(len(scores)), key=lambda place: (scores[place], -place))
            passage = one.hits[0].passage
            answer = passage.text[found[best].start : found[best].end]
            claim = Claim(passage, Span(found[best].start, found[best].end))
            made.append(_plain(self.name, one, answer, [claim], min(max((scores[best] + 1) / 2, 0.0), 1.0), 0.0))
        share = (time.perf_counter() - begin) / max(len(asked), 1)
        return [one.model_copy(update={"seconds": share}) for one in made]


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
        from rag_ft.pipeline import Pipeline

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
                confidence=_rounded(reading.answer_confidence),
                complete=reading.complete,
                prompt_tokens=reading.prompt_tokens,
                completion_tokens=reading.completion_tokens,
                seconds=share,
            )
            for one, reading in zip(asked, readings, strict=True)
        ]


def gold_passages(index: Index, question: Question) -> list[Passage]:
    """The passages of an index that hold a whole piece of the question's evidence, in document order."""
    there = set(index.documents())
    found: dict[str, Passage] = {}
    for piece in question.evidence:
        if piece.document_id in there:
            for passage in index.passages_of(piece.document_id):
                if place_of(passage).holds(piece):
                    found.setdefault(passage.id, passage)
    return list(found.values())


def place_of(passage: Passage) -> Place:
    """Where a passage stands."""
    return Place(document_id=passage.document_id, start=passage.start, end=passage.end)


def failure(arm: str, one: Asked, reason: str, seconds: float = 0.0) -> Prediction:
    """No reply at all, and why."""
    return Prediction(
        arm=arm,
        question_id=one.question.id,
        answer=None,
        passages=tuple(place_of(hit.passage) for hit in one.hits),
        failed=" ".join(reason.split())[:300] or "no reason was given",
        seconds=seconds,
    )


def from_answer(arm: str, one: Asked, answer: Answer, seconds: float) -> Prediction:
    """A prediction from what the pipeline gives."""
    return Prediction(
        arm=arm,
        question_id=one.question.id,
        answer=answer.answer,
        citations=cited_places(answer.citations, [hit.passage for hit in one.hits]),
        passages=tuple(place_of(hit.passage) for hit in one.hits),
        confidence=_rounded(answer.confidence if answer.answer is not None else 1 - answer.confidence),
        complete=answer.complete,
        prompt_tokens=answer.usage.prompt_tokens,
        completion_tokens=answer.usage.completion_tokens,
        seconds=seconds,
    )


def _plain(
    arm: str, one: Asked, answer: str | None, claims: Sequence[Claim], confidence: float | None, seconds: float
) -> Prediction:
    passages = [hit.passage for hit in one.hits]
    return Prediction(
        arm=arm,
        question_id=one.question.id,
        answer=answer,
        citations=cited_places(verify(answer, claims, passages), passages) if answer is not None else (),
        passages=tuple(place_of(passage) for passage in passages),
        confidence=confidence if confidence is None else _rounded(confidence),
        seconds=seconds,
    )


def cited_places(citations: Sequence[Citation], passages: Sequence[Passage]) -> tuple[CitedPlace, ...]:
    """Citations as predictions keep them; `passages` are those that may have been cited."""
    by_id = {passage.id: passage for passage in passages}
    return tuple(
        CitedPlace(passage=place_of(by_id[one.passage_id]), quote=one.quote, verdict=one.verdict)
        for one in citations
        if one.passage_id in by_id
    )


def _holding(answer: str | None, passages: Sequence[Passage]) -> list[Claim]:
    """The first passage that holds a plain answer, as its citation: a function that cites nothing still gets one."""
    if not answer:
        return []
    return [Claim(passage, None) for passage in passages if answer in passage.text][:1]


def _rounded(confidence: float) -> float:
    """To six digits: what is beyond them depends on how questions were batched."""
    return round(min(max(confidence, 0.0), 1.0), 6)


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
