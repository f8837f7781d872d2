"""A reader at an OpenAI-compatible server: the same prompt, the same parser, the same check of the quote.

The server decodes under a JSON schema and reports no probabilities. So a `RemoteReader` has no threshold, no search
over spans, and no confidence: it is always .5. In mode `quote` it refuses what `Reader` cannot even say: an answer
whose words do not stand in a passage that it cites.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from pydantic import JsonValue

from rag_ft.answering import completion
from rag_ft.answering.citation import find_answer
from rag_ft.answering.prompt import chat_fingerprint, chat_messages
from rag_ft.answering.reading import Cited, Mode, ReaderProvenance, Reading, ReadRequest, StreamEvent
from rag_ft.errors import AnswerParseError, ReaderError, ReaderUnreachableError, UsageError, first_line
from rag_ft.models.chat import (
    CUT,
    FILTERED,
    KEY_VARIABLE,
    TIMEOUT_S,
    chat_model_name,
    invoke_together,
    reply_text,
    server_chat_model,
    server_models,
    status_of,
)

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import Runnable

UNKNOWN_CONFIDENCE = 0.5
"""Confidence of every answer and every null: the server does not say how sure its model is."""

_URL = re.compile(r"https?://", re.IGNORECASE)
_REFUSED = (400, 413, 422)
"""Statuses of a server that refuses one question, and would answer another."""


def is_server(name: str) -> bool:
    """Whether the name of a reader is the URL of a server."""
    return _URL.match(name) is not None


class RemoteReader:
    """A chat model as the reader of a `Pipeline`. It reads all passages in one prompt.

    `confidence` is always .5 and thresholds are refused: nothing is known of how sure the model is. Passages are never
    left out; a prompt that is too long is the server's error for this question. The model must be allowed to see the
    passages: they are sent to it.
    """

    threshold: float | None = None

    def __init__(
        self,
        model: BaseChatModel,
        *,
        mode: Mode = "quote",
        shots: bool = False,
        attempts: int = 4,
        at_once: int = 4,
        url: str = "",
        key_variable: str = KEY_VARIABLE,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """`mode`: `quote` gives words of a cited passage, `schema` any text. `shots`: show two worked examples first.

        `url`: the server's, if it decodes under a JSON schema and has other models; see `from_server`. Raises
        UsageError.
        """
        if mode not in ("quote", "schema"):
            raise UsageError(f"mode is {mode!r} but a remote reader has only the modes quote and schema")
        self.mode: Mode = mode
        self.model = model
        self.shots = shots
        self._attempts, self._at_once = attempts, at_once
        self._url, self._key_variable, self._timeout_s = url, key_variable, timeout_s
        wanted = {"name": "answer", "strict": True, "schema": completion.SCHEMA}
        self._call: Runnable[Any, BaseMessage] = (
            model.bind(response_format={"type": "json_schema", "json_schema": wanted}) if url else model
        )

    @classmethod
    def from_server(
        cls,
        url: str,
        model: str | None = None,
        *,
        key_variable: str = KEY_VARIABLE,
        timeout_s: float = TIMEOUT_S,
        **options: Any,
    ) -> RemoteReader:
        """The reader at a URL that ends in /v1; `model`: None stands for the only one that the server has.

        `key_variable`: the environment variable that holds the key. `options` are those of the class. Raises UsageError
        where there are several models, MissingExtraError, ReaderUnreachableError.
        """
        if model is None:
            try:
                names = server_models(url, key_variable, timeout_s)
            except UsageError:
                raise
            except Exception as error:  # a server may fail in any way
                raise _unreachable(error, url, "", key_variable) from error
            if len(names) != 1:
                known = f"has {len(names)} models ({', '.join(names)[:200]})" if names else "lists no model"
                raise UsageError(f"the server at {url} {known}: name one (--model)")
            model = names[0]
        chat = server_chat_model(
            model, url, key_variable=key_variable, timeout_s=timeout_s, work="a reader at a server"
        )
        return cls(chat, url=url, key_variable=key_variable, timeout_s=timeout_s, **options)

    @property
    def reranking(self) -> Mapping[str, Any]:
        """Empty: it brings no cross-encoder. Give the retriever a `reranker` to have one."""
        return {}

    @property
    def name(self) -> str:
        """The model's name, and where it is."""
        name = chat_model_name(self.model) or type(self.model).__name__
        return f"{name} at {self._url}" if self._url else name

    @property
    def provenance(self) -> ReaderProvenance:
        """What its answers are made with, as far as it is known: a server may change its model under the same name."""
        return {
            "base_model": f"remote-{hashlib.sha256(self.name.encode()).hexdigest()}",
            "adapter": None,
            "prompt": chat_fingerprint(self.shots),
            "mode": self.mode,
            "reading": "joint",
            "cross_encoder": None,
        }

    @property
    def fingerprint_parts(self) -> list[JsonValue]:
        """Everything that is known to decide its answers."""
        return [*cast("dict[str, JsonValue]", self.provenance).values()]

    def with_adapter(self, name: str) -> RemoteReader:
        """The reader with another model of its server: servers name a LoRA adapter as a model. Raises UsageError."""
        if not self._url:
            raise UsageError(f"{self.name} has no other models: give a reader of a server")
        return type(self).from_server(
            self._url,
            name,
            key_variable=self._key_variable,
            timeout_s=self._timeout_s,
            mode=self.mode,
            shots=self.shots,
            attempts=self._attempts,
            at_once=self._at_once,
        )

    def read_batch(self, requests: Sequence[ReadRequest]) -> list[Reading]:
        """What the model answers to each request, some calls at a time; without passages the answer is null.

        Raises UsageError, ReaderError where the server refuses a question, ReaderUnreachableError.
        """
        for request in requests:
            if request.threshold is not None:
                raise UsageError(
                    "a remote reader does not know how sure it is, so it has no threshold: leave the threshold out"
                )
        asked = [i for i, request in enumerate(requests) if request.passages]
        conversations = [chat_messages(requests[i].question, requests[i].passages, shots=self.shots) for i in asked]
        replies = invoke_together(self._call, conversations, attempts=self._attempts, at_once=self._at_once)
        readings = [_null(request) for request in requests]
        for i, (reply, _) in zip(asked, replies, strict=True):
            readings[i] = self._reading(requests[i], reply)
        return readings

    def stream_request(self, request: ReadRequest) -> Iterator[StreamEvent]:
        """The completion in one piece, then the reading: a quote is checked before it is shown."""
        (reading,) = self.read_batch([request])
        yield StreamEvent(reading.completion, None)
        yield StreamEvent("", reading)

    def _reading(self, request: ReadRequest, reply: BaseMessage | Exception) -> Reading:
        """What a reply says; one that cannot be read, or quotes nothing, is not complete."""
        if isinstance(reply, Exception):
            if type(reply).__name__ == CUT:
                return _reading(request, None, (), complete=False, text="")
            if type(reply).__name__ == FILTERED or status_of(reply) in _REFUSED:
                raise ReaderError(f"{self.name} refuses the question ({first_line(reply)}): change it, or give less")
            where = self._url or self.name
            raise _unreachable(reply, where, chat_model_name(self.model), self._key_variable) from reply
        usage: Any = getattr(reply, "usage_metadata", None) or {}
        tokens = (int(usage.get("input_tokens", 0)), int(usage.get("output_tokens", 0)))
        text = reply_text(reply)
        try:
            parsed = completion.parse(text, len(request.passages))
        except AnswerParseError:
            return _reading(request, None, (), complete=False, text=text, tokens=tokens)
        passages = [request.passages[number - 1] for number in parsed.citations]
        if parsed.answer is None:
            return _reading(request, None, (), text=text, tokens=tokens)
        cited = tuple(Cited(passage, find_answer(parsed.answer, passage.text)) for passage in passages)
        if self.mode == "schema":
            return _reading(request, parsed.answer, cited, text=text, tokens=tokens)
        quoted = tuple(citation for citation in cited if citation.span is not None)
        if not quoted:
            return _reading(request, None, (), complete=False, text=text, tokens=tokens)
        return _reading(request, quoted[0].text, quoted, text=text, tokens=tokens)


def _null(request: ReadRequest) -> Reading:
    return _reading(request, None, (), text=completion.render(None))


def _reading(
    request: ReadRequest,
    answer: str | None,
    cited: tuple[Cited, ...],
    *,
    text: str,
    complete: bool = True,
    tokens: tuple[int, int] = (0, 0),
) -> Reading:
    return Reading(
        answer=answer,
        kind="span",
        yes=None,
        cited=cited,
        confidence=UNKNOWN_CONFIDENCE,
        answer_confidence=UNKNOWN_CONFIDENCE,
        not_null=UNKNOWN_CONFIDENCE,
        abstained=complete and answer is None,
        complete=complete,
        completion=text,
        read=(True,) * len(request.passages),
        prompt_tokens=tokens[0],
        completion_tokens=tokens[1],
    )


def _unreachable(error: Exception, where: str, model: str, key_variable: str) -> ReaderUnreachableError:
    """The error of a server that answers no question."""
    status = status_of(error)
    if status in (401, 403):
        problem = f"refuses the key ({status}): set {key_variable} to one that it knows"
    elif status == 404 and model:
        problem = f"does not know the model {model!r} (404): name one of its models, and a URL that ends in /v1"
    else:
        reason = f"{type(error).__name__}: {first_line(error)}"
        problem = f"gave no reply ({reason}): check its address, then ask again"
    return ReaderUnreachableError(f"the server at {where} {problem}")
