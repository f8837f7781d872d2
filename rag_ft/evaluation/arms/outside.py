"""Arms that the reader is measured against: a chat model behind langchain's interface, and an extractive encoder."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from rag_ft.answering import completion
from rag_ft.answering.citation import Claim, verify
from rag_ft.answering.prompt import SYSTEM, passage_block
from rag_ft.errors import AnswerParseError, WeightsError, first_line
from rag_ft.evaluation.arms.base import Asked, cited_places, cut, depth, failure, place_of
from rag_ft.evaluation.predictions import Prediction
from rag_ft.text.spans import Span

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage

_FENCE = re.compile(r"^\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*$", re.DOTALL)
_LONGEST_SPAN = 30
"""Tokens of an extractive answer, as SQuAD's own baselines take."""

_WINDOW = 384


@dataclass(frozen=True)
class ChatArm:
    """A langchain-core chat model with passages: the large model that a small one is to replace.

    It gets the reader's own system text and passage blocks, and its reply is read as strictly, but for a code fence
    around the JSON: one that is not the JSON asked for is wrong, as a reader's is. A call that fails is tried again
    with growing pauses, then it is that question's failure.
    """

    name: str
    model: BaseChatModel
    k: int = 3
    attempts: int = 4
    at_once: int = 4
    more_settings: Mapping[str, JsonValue] = field(default_factory=dict)
    """Where it is asked, say: what else decides its replies."""

    @property
    def settings(self) -> Mapping[str, JsonValue]:
        """The model's class and name; never its key."""
        name = next((str(getattr(self.model, key)) for key in ("model_name", "model") if hasattr(self.model, key)), "")
        return {"kind": "chat", "class": type(self.model).__name__, "model": name, "k": self.k, **self.more_settings}

    def reply(self, asked: Sequence[Asked]) -> list[Prediction]:
        """The batch, `at_once` calls at a time; a reply's seconds are those of its own call, pauses counted."""
        from langchain_core.runnables import RunnableLambda

        patient = self.model.with_retry(stop_after_attempt=self.attempts, wait_exponential_jitter=True)

        def call(messages: list[tuple[str, str]]) -> tuple[BaseMessage | Exception, float]:
            begin = time.perf_counter()
            try:
                return patient.invoke(messages), time.perf_counter() - begin
            except Exception as error:  # a server may be gone in any way
                return error, time.perf_counter() - begin

        said = RunnableLambda(call).batch(
            [self._messages(one) for one in asked], config={"max_concurrency": self.at_once}
        )
        return [self._prediction(one, *reply) for one, reply in zip(asked, said, strict=True)]

    def _messages(self, one: Asked) -> list[tuple[str, str]]:
        blocks = [passage_block(number, hit.passage) for number, hit in enumerate(one.hits[: self.k], start=1)]
        return [("system", SYSTEM), ("user", f"{''.join(blocks)}\nQuestion: {one.question.question}")]

    def _prediction(self, one: Asked, reply: BaseMessage | BaseException, seconds: float) -> Prediction:
        (one,) = cut([one], self.k)
        if isinstance(reply, BaseException):
            return failure(self.name, one, f"{type(reply).__name__}: {reply}", seconds)
        text = reply.content if isinstance(reply.content, str) else str(reply.content)
        fenced = _FENCE.match(text)
        usage: Any = getattr(reply, "usage_metadata", None) or {}
        passages = [hit.passage for hit in one.hits]
        try:
            parsed = completion.parse(fenced[1] if fenced else text, len(passages))
        except AnswerParseError:
            parsed = None
        answer = None if parsed is None else parsed.answer
        claims = [Claim(passages[number - 1], None) for number in (parsed.citations if parsed is not None else ())]
        return Prediction(
            arm=self.name,
            question_id=one.question.id,
            answer=answer,
            citations=cited_places(verify(answer, claims, passages), passages) if answer else (),
            passages=tuple(place_of(passage) for passage in passages),
            parses=parsed is not None,
            prompt_tokens=int(usage.get("input_tokens", 0)),
            completion_tokens=int(usage.get("output_tokens", 0)),
            seconds=seconds,
        )


@dataclass(frozen=True)
class ExtractiveArm:
    """An encoder with a span head, as trained on SQuAD: a tuned generator has to justify itself against it.

    Each passage is read with the question; the best span of all competes with the first token's null score (Devlin et
    al., 2019, section 4.3).
    """

    name: str
    model: Any
    tokenizer: Any
    source: str
    fingerprint: str
    threshold: float = 0.0
    """How much better than null a span must be, in log-odds."""
    k: int | None = None
    """Passages that it reads; None: all that were retrieved."""

    @classmethod
    def from_pretrained(cls, name: str, source: str, *, threshold: float = 0.0, k: int | None = None) -> ExtractiveArm:
        """The arm `name` with a model by hub id or folder. Raises WeightsError."""
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
        """The encoder."""
        return {
            "kind": "extractive",
            "model": self.source,
            "fingerprint": self.fingerprint,
            "threshold": self.threshold,
            **depth(self.k),
        }

    def reply(self, asked: Sequence[Asked]) -> list[Prediction]:
        """One forward pass for all passages of the batch."""
        import torch

        begin = time.perf_counter()
        asked = cut(asked, self.k)
        pairs = [(one.question.question, hit.passage.text) for one in asked for hit in one.hits]
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
            for row, places in enumerate(offsets):
                inside = [number for number, one in enumerate(batch.sequence_ids(row)) if one == 1]
                best.append(_best_span(out.start_logits[row].tolist(), out.end_logits[row].tolist(), inside, places))
        share = (time.perf_counter() - begin) / max(len(asked), 1)
        made, place = [], 0
        for one in asked:
            ends = place + len(one.hits)
            made.append(self._prediction(one, best[place:ends], sum(tokens[place:ends]), share))
            place = ends
        return made

    def _prediction(
        self, one: Asked, spans: Sequence[tuple[float, Span | None]], tokens: int, seconds: float
    ) -> Prediction:
        passages = [hit.passage for hit in one.hits]
        score, number = max(((score, -place) for place, (score, _) in enumerate(spans)), default=(-math.inf, 0))
        span = spans[-number][1] if spans else None
        answer = passages[-number].text[span.start : span.end] if span is not None else None
        given = answer if answer and score >= self.threshold else None
        claims = [Claim(passages[-number], span)] if given else []
        return Prediction(
            arm=self.name,
            question_id=one.question.id,
            answer=given,
            citations=cited_places(verify(given, claims, passages), passages) if given else (),
            passages=tuple(place_of(passage) for passage in passages),
            confidence=round(1 / (1 + math.exp(-max(min(score, 50.0), -50.0))), 6) if spans else 0.0,
            prompt_tokens=tokens,
            seconds=seconds,
        )


def _best_span(
    starts: Sequence[float], ends: Sequence[float], inside: Sequence[int], offsets: Sequence[Sequence[int]]
) -> tuple[float, Span | None]:
    """The best span's log-odds against null (the first token's scores), and its characters in the passage."""
    null = starts[0] + ends[0]
    best, found = -math.inf, None
    for begin in inside:
        for end in range(begin, min(begin + _LONGEST_SPAN, inside[-1] + 1)):
            if starts[begin] + ends[end] > best:
                best, found = starts[begin] + ends[end], Span(offsets[begin][0], offsets[end][1])
    return best - null, found
