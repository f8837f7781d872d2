"""Arms that the reader is measured against: a chat model behind langchain's interface, and an extractive encoder."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from rag_ft.answering import completion
from rag_ft.answering.citation import Claim, verify
from rag_ft.answering.prompt import chat_messages
from rag_ft.errors import AnswerParseError, WeightsError, first_line
from rag_ft.evaluation.arms.base import Case, cited_places, cut, depth, failure
from rag_ft.evaluation.predictions import Prediction
from rag_ft.metrics.retrieval import Place
from rag_ft.models.chat import chat_model_name, invoke_together, reply_text
from rag_ft.text.spans import Span

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage

_LONGEST_SPAN = 30
"""Longest extractive answer in tokens, as in SQuAD's own baselines."""

_WINDOW = 384


@dataclass(frozen=True)
class ChatArm:
    """A langchain-core chat model with passages: the large model that a small one is to replace.

    It gets the reader's own system text and passage blocks. Its reply is parsed as strictly as a reader's, except that
    a code fence around the JSON is allowed; anything else than the requested JSON is wrong. A call that fails is
    retried with growing pauses; then that question has failed.
    """

    name: str
    model: BaseChatModel
    k: int = 3
    attempts: int = 4
    at_once: int = 4
    more_settings: Mapping[str, JsonValue] = field(default_factory=dict)
    """Other settings that decide its replies, such as the server's URL."""

    @property
    def settings(self) -> Mapping[str, JsonValue]:
        """The model's class and name; never its key."""
        name, model_class = chat_model_name(self.model), type(self.model).__name__
        return {"kind": "chat", "class": model_class, "model": name, "k": self.k, **self.more_settings}

    def reply(self, cases: Sequence[Case]) -> list[Prediction]:
        """Replies to the batch, `at_once` calls at a time; seconds are those of the call, pauses included."""
        conversations = [self._messages(case) for case in cases]
        replies = invoke_together(self.model, conversations, attempts=self.attempts, at_once=self.at_once)
        return [self._prediction(case, *reply) for case, reply in zip(cases, replies, strict=True)]

    def _messages(self, case: Case) -> list[tuple[str, str]]:
        return chat_messages(case.question.question, [hit.passage for hit in case.hits[: self.k]])

    def _prediction(self, case: Case, reply: BaseMessage | BaseException, seconds: float) -> Prediction:
        (case,) = cut([case], self.k)
        if isinstance(reply, BaseException):
            return failure(self.name, case, f"{type(reply).__name__}: {reply}", seconds)
        usage: Any = getattr(reply, "usage_metadata", None) or {}
        passages = [hit.passage for hit in case.hits]
        try:
            parsed = completion.parse(reply_text(reply), len(passages))
        except AnswerParseError:
            parsed = None
        answer = None if parsed is None else parsed.answer
        claims = [Claim(passages[label - 1], None) for label in (parsed.citations if parsed is not None else ())]
        return Prediction(
            arm=self.name,
            question_id=case.question.id,
            answer=answer,
            citations=cited_places(verify(answer, claims, passages), passages) if answer else (),
            passages=tuple(Place.of(passage) for passage in passages),
            parses=parsed is not None,
            prompt_tokens=int(usage.get("input_tokens", 0)),
            completion_tokens=int(usage.get("output_tokens", 0)),
            seconds=seconds,
        )


@dataclass(frozen=True)
class ExtractiveArm:
    """An encoder with a span head, as trained on SQuAD: the baseline that a tuned generator has to beat.

    Each passage is read with the question; the best span of all competes with the first token's null score (Devlin et
    al., 2019, section 4.3).
    """

    name: str
    model: Any
    tokenizer: Any
    source: str
    fingerprint: str
    threshold: float = 0.0
    """Lowest log-odds of a span over null at which it is given as the answer."""
    k: int | None = None
    """Number of passages that it reads; None: all that the run retrieved."""

    @classmethod
    def from_pretrained(cls, name: str, source: str, *, threshold: float = 0.0, k: int | None = None) -> ExtractiveArm:
        """Load the encoder `source`, a hub id or a folder. Raises WeightsError."""
        from transformers import AutoModelForQuestionAnswering, AutoTokenizer

        from rag_ft.models.weights import resolve_encoder

        weights = resolve_encoder(source)
        try:
            tokenizer = AutoTokenizer.from_pretrained(weights.path, local_files_only=True, trust_remote_code=False)
            model = AutoModelForQuestionAnswering.from_pretrained(
                weights.path, local_files_only=True, trust_remote_code=False, use_safetensors=True
            )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            reason = first_line(error)
            raise WeightsError(
                f"{source} cannot be loaded as a question-answering encoder ({reason}): give a model with a span head"
            ) from error
        if not getattr(tokenizer, "is_fast", False):
            raise WeightsError(f"{source} has no fast tokenizer, and offsets need one: give another encoder")
        return cls(name, model.eval(), tokenizer, weights.name, weights.fingerprint, threshold, k)

    @property
    def settings(self) -> Mapping[str, JsonValue]:
        """The encoder, its fingerprint and its threshold."""
        return {
            "kind": "extractive",
            "model": self.source,
            "fingerprint": self.fingerprint,
            "threshold": self.threshold,
            **depth(self.k),
        }

    def reply(self, cases: Sequence[Case]) -> list[Prediction]:
        """The best spans, from one forward pass over all passages of the batch."""
        import torch

        start = time.perf_counter()
        cases = cut(cases, self.k)
        pairs = [(case.question.question, hit.passage.text) for case in cases for hit in case.hits]
        best: list[tuple[float, Span | None]] = []
        tokens: list[int] = []
        if pairs:
            batch = self.tokenizer(
                [question for question, _ in pairs],
                [text for _, text in pairs],
                truncation="only_second",
                max_length=min(_WINDOW, self.model.config.max_position_embeddings),
                padding=True,
                return_offsets_mapping=True,
                return_tensors="pt",
            )
            offsets = batch.pop("offset_mapping").tolist()
            with torch.inference_mode():
                out = self.model(**dict(batch.items()))
            tokens = batch["attention_mask"].sum(1).tolist()
            for row, characters in enumerate(offsets):
                inside = [token for token, sequence in enumerate(batch.sequence_ids(row)) if sequence == 1]
                starts, ends = out.start_logits[row].tolist(), out.end_logits[row].tolist()
                best.append(_best_span(starts, ends, inside, characters))
        share = (time.perf_counter() - start) / max(len(cases), 1)
        predictions, first = [], 0
        for case in cases:
            after = first + len(case.hits)
            predictions.append(self._prediction(case, best[first:after], sum(tokens[first:after]), share))
            first = after
        return predictions

    def _prediction(
        self, case: Case, spans: Sequence[tuple[float, Span | None]], tokens: int, seconds: float
    ) -> Prediction:
        passages = [hit.passage for hit in case.hits]
        best = max(range(len(spans)), key=lambda i: (spans[i][0], -i), default=0)
        score, span = spans[best] if spans else (-math.inf, None)
        answer = passages[best].text[span.start : span.end] if span is not None else None
        given = answer if answer and score >= self.threshold else None
        claims = [Claim(passages[best], span)] if given else []
        return Prediction(
            arm=self.name,
            question_id=case.question.id,
            answer=given,
            citations=cited_places(verify(given, claims, passages), passages) if given else (),
            passages=tuple(Place.of(passage) for passage in passages),
            confidence=round(1 / (1 + math.exp(-max(min(score, 50.0), -50.0))), 6) if spans else 0.0,
            prompt_tokens=tokens,
            seconds=seconds,
        )


def _best_span(
    starts: Sequence[float], ends: Sequence[float], inside: Sequence[int], offsets: Sequence[Sequence[int]]
) -> tuple[float, Span | None]:
    """The best span's log-odds against null (the first token's scores), and its characters in the passage."""
    null = starts[0] + ends[0]
    best, span = -math.inf, None
    for first in inside:
        for last in range(first, min(first + _LONGEST_SPAN, inside[-1] + 1)):
            if starts[first] + ends[last] > best:
                best, span = starts[first] + ends[last], Span(offsets[first][0], offsets[last][1])
    return best - null, span
