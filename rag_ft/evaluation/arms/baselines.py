"""Arms without a reader: the first passage, its best sentence, any function."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import JsonValue

from rag_ft.answering.citation import Claim
from rag_ft.evaluation.arms.base import Case, cut, depth, failure, from_answer, plain_prediction
from rag_ft.evaluation.predictions import Prediction
from rag_ft.schema import Answer, Passage
from rag_ft.text.sentences import sentence_spans
from rag_ft.text.spans import Span

if TYPE_CHECKING:
    from rag_ft.indexing.embedding import Embedder


@dataclass(frozen=True)
class FunctionArm:
    """A function that takes a question and its passages and returns text, None to decline, or an `Answer`."""

    name: str
    function: Callable[[str, Sequence[Passage]], str | Answer | None]
    k: int | None = None
    """Number of passages that the function is given; None: all that the run retrieved."""

    @property
    def settings(self) -> Mapping[str, JsonValue]:
        """The function's name; what the function does is not recorded."""
        name = f"{self.function.__module__}.{self.function.__qualname__}"
        return {"kind": "function", "function": name, **depth(self.k)}

    def reply(self, cases: Sequence[Case]) -> list[Prediction]:
        """One call per question; an exception fails that question, not the arm."""
        predictions = []
        for case in cut(cases, self.k):
            passages = [hit.passage for hit in case.hits]
            start = time.perf_counter()
            try:
                answer = self.function(case.question.question, passages)
            except Exception as error:  # a user's function may raise anything
                predictions.append(
                    failure(self.name, case, f"{type(error).__name__}: {error}", time.perf_counter() - start)
                )
                continue
            seconds = time.perf_counter() - start
            if isinstance(answer, Answer):
                predictions.append(from_answer(self.name, case, answer, seconds))
            else:
                cited = _cite_first_containing(answer, passages)
                predictions.append(plain_prediction(self.name, case, answer, cited, None, seconds))
        return predictions


@dataclass(frozen=True)
class PassageArm:
    """A whole passage as the answer, citing itself: the score that any citation score must beat."""

    name: str
    pick: str = "top"
    """`top` for the best passage, `random` for any retrieved one."""
    seed: int = 0
    k: int | None = None
    """Number of passages to pick from; None: all that the run retrieved."""

    @property
    def settings(self) -> Mapping[str, JsonValue]:
        """Which passage is picked, and from how many."""
        return {"kind": "passage", "pick": self.pick, "seed": self.seed, **depth(self.k)}

    def reply(self, cases: Sequence[Case]) -> list[Prediction]:
        """The picked passages; null only where nothing was retrieved."""
        predictions = []
        for case in cut(cases, self.k):
            chooser = random.Random(f"{self.seed} {case.question.id}")  # independent of the other questions
            hit = (chooser.choice(case.hits) if self.pick == "random" else case.hits[0]) if case.hits else None
            claims = [Claim(hit.passage, None)] if hit else []
            predictions.append(plain_prediction(self.name, case, hit.passage.text if hit else None, claims, None, 0.0))
        return predictions


@dataclass(frozen=True)
class SentenceArm:
    """Retrieval alone: the sentence of the top passage that is nearest to the question."""

    name: str
    embedder: Embedder

    @property
    def settings(self) -> Mapping[str, JsonValue]:
        """The embedder's fingerprint."""
        return {"kind": "sentence", "embedder": self.embedder.fingerprint}

    def reply(self, cases: Sequence[Case]) -> list[Prediction]:
        """The nearest sentences; the confidence is the cosine, mapped to 0 to 1."""
        start = time.perf_counter()
        sentences = [sentence_spans(case.hits[0].passage.text) if case.hits else [] for case in cases]
        texts = [
            case.hits[0].passage.text[span.start : span.end]
            for case, spans in zip(cases, sentences, strict=True)
            for span in spans
        ]
        vectors = iter(self.embedder.encode_passages(texts)) if texts else iter(())
        queries = self.embedder.encode_query([case.question.question for case in cases])
        predictions = []
        for case, spans, query in zip(cases, sentences, queries, strict=True):
            scores = [float(next(vectors) @ query) for _ in spans]
            if not scores:
                predictions.append(plain_prediction(self.name, case, None, [], None, 0.0))
                continue
            best = max(range(len(scores)), key=lambda i: (scores[i], -i))
            passage = case.hits[0].passage
            span = spans[best]
            answer = passage.text[span.start : span.end]
            claim = Claim(passage, Span(span.start, span.end))
            predictions.append(plain_prediction(self.name, case, answer, [claim], (scores[best] + 1) / 2, 0.0))
        share = (time.perf_counter() - start) / max(len(cases), 1)
        return [prediction.model_copy(update={"seconds": share}) for prediction in predictions]


def _cite_first_containing(answer: str | None, passages: Sequence[Passage]) -> list[Claim]:
    """The first passage that contains the answer, as its citation: a function need not cite."""
    if not answer:
        return []
    return [Claim(passage, None) for passage in passages if answer in passage.text][:1]
