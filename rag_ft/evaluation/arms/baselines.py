"""Arms without a reader: the first passage, its best sentence, any function."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import JsonValue

from rag_ft.answering.citation import Claim
from rag_ft.evaluation.arms.base import Asked, cut, depth, failure, from_answer, plain_prediction
from rag_ft.evaluation.predictions import Prediction
from rag_ft.schema import Answer, Passage
from rag_ft.text.sentences import sentence_spans
from rag_ft.text.spans import Span

if TYPE_CHECKING:
    from rag_ft.indexing.embedding import Embedder


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
                made.append(plain_prediction(self.name, one, said, _holding(said, passages), None, seconds))
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
            made.append(plain_prediction(self.name, one, hit.passage.text if hit else None, claims, None, 0.0))
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
                made.append(plain_prediction(self.name, one, None, [], None, 0.0))
                continue
            best = max(range(len(scores)), key=lambda place: (scores[place], -place))
            passage = one.hits[0].passage
            answer = passage.text[found[best].start : found[best].end]
            claim = Claim(passage, Span(found[best].start, found[best].end))
            made.append(
                plain_prediction(self.name, one, answer, [claim], min(max((scores[best] + 1) / 2, 0.0), 1.0), 0.0)
            )
        share = (time.perf_counter() - begin) / max(len(asked), 1)
        return [one.model_copy(update={"seconds": share}) for one in made]


def _holding(answer: str | None, passages: Sequence[Passage]) -> list[Claim]:
    """The first passage that holds a plain answer, as its citation: a function that cites nothing still gets one."""
    if not answer:
        return []
    return [Claim(passage, None) for passage in passages if answer in passage.text][:1]
