"""What a reader is asked and what it returns: requests, readings, modes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, TypedDict, get_args

from pydantic import JsonValue

from rag_ft.answering import completion
from rag_ft.errors import UsageError
from rag_ft.schema import AnswerKind, Hit, Passage
from rag_ft.text.spans import Span

Mode: TypeAlias = Literal["quote", "schema", "free"]
ReadingWay: TypeAlias = Literal["joint", "separate"]
Decoding: TypeAlias = Literal["search", "greedy"]

MODES: tuple[Mode, ...] = get_args(Mode)
READING_WAYS: tuple[ReadingWay, ...] = get_args(ReadingWay)
DECODINGS: tuple[Decoding, ...] = get_args(Decoding)


class ReadRequest(NamedTuple):
    """A question and its passages in rank order."""

    question: str
    passages: tuple[Passage, ...]
    threshold: float | None = None
    """Replaces the reader's threshold for this question."""
    margins: tuple[float | None, ...] = ()
    """Log-odds by which a reranker put each passage before the next one (`Hit.margin`); none, or None: not known."""

    @classmethod
    def of_hits(cls, question: str, hits: Sequence[Hit], threshold: float | None = None) -> ReadRequest:
        """A question with what was retrieved for it."""
        return cls(question, tuple(hit.passage for hit in hits), threshold, tuple(hit.margin for hit in hits))


def standings(margins: Sequence[float | None], passages: int) -> list[float]:
    """The log-odds of passages in a reranking, the first one's being 0; empty where a margin is not known."""
    known = [margin for margin in margins[: passages - 1] if margin is not None]
    return [-lag for lag in accumulate(known, initial=0.0)] if len(known) == passages - 1 else []


class Cited(NamedTuple):
    """A passage that a completion cites, and where the answer stands in it if the reader knows."""

    passage: Passage
    span: Span | None

    @property
    def text(self) -> str | None:
        """The words of the passage at the span."""
        return None if self.span is None else self.passage.text[self.span.start : self.span.end]


@dataclass(frozen=True)
class Reading:
    """What the reader makes of one question."""

    answer: str | None
    kind: AnswerKind
    yes: bool | None
    """What a part says to a question of yes or no."""
    cited: tuple[Cited, ...]
    confidence: float
    """Confidence in the outcome: `answer_confidence`, or 1 minus it where the reader abstained."""
    answer_confidence: float
    """Probability that the best answer, given or not, is right: `not_null` on the adapter's scale, or what the
    cross-encoder's record makes of several signs. The threshold is compared with this; 0 where there is no answer."""
    not_null: float
    """Probability that the reader does not say null to the passage of the best answer, nor to the answer's sentence
    alone; 0 where there is no answer. A tuned reader is surer of that than it is right."""
    abstained: bool
    complete: bool
    completion: str
    """The JSON. Its citation numbers count the passages that were read, in rank order."""
    read: tuple[bool, ...]
    """Whether each passage of the request was in a prompt."""
    prompt_tokens: int
    completion_tokens: int
    passes: int = 0
    """Tree passes of the span search; 0 in other modes."""
    declined: Reading | None = None
    """What would have been read at the threshold 0, if the reader abstained and has an answer."""

    def decline(self) -> Reading:
        """A null in place of this answer, which it keeps as `declined`."""
        return replace(
            self,
            answer=None,
            kind="span",
            yes=None,
            cited=(),
            confidence=1 - self.confidence,
            abstained=True,
            completion=completion.render(None),
            declined=self,
        )


class StreamEvent(NamedTuple):
    """A piece of the completion as it comes (`text`), or, last, the whole `reading`."""

    text: str
    reading: Reading | None


class ReaderProvenance(TypedDict):
    """Fields of an answer's `Provenance` that its reader knows."""

    base_model: str
    adapter: str | None
    prompt: str
    mode: str
    reading: str
    cross_encoder: str | None


class PassageReader(Protocol):
    """What a `Pipeline` needs of a reader: `Reader` on this machine, `RemoteReader` at a server."""

    @property
    def threshold(self) -> float | None:
        """An answer with a lower confidence becomes null; None: the reader decides."""
        ...

    @property
    def reranking(self) -> Mapping[str, Any]:
        """Fields of a `Retriever` that reranks for this reader; empty where none is to."""
        ...

    @property
    def provenance(self) -> ReaderProvenance:
        """What its answers are made with."""
        ...

    @property
    def fingerprint_parts(self) -> list[JsonValue]:
        """Everything of the reader that decides its answers."""
        ...

    def with_adapter(self, name: str) -> PassageReader:
        """A reader of the same base under another adapter. Raises UsageError for an unknown name."""
        ...

    def read_batch(self, requests: Sequence[ReadRequest]) -> list[Reading]:
        """What the passages of each request answer to its question, in the order given."""
        ...

    def stream_request(self, request: ReadRequest) -> Iterator[StreamEvent]:
        """The completion of a request piece by piece, then the reading."""
        ...


def check_threshold(threshold: float | None) -> None:
    """Raise UsageError unless the threshold is None or a confidence from 0 to 1."""
    if threshold is not None and not 0 <= threshold <= 1:
        raise UsageError(f"threshold is {threshold} but must lie between 0 (always answer) and 1 (never answer)")
