"""The records that cross a file or a model boundary, and nothing else: no behaviour, no torch, no faiss.

Offsets everywhere are Python string indices (code points) into `Document.text`, start inclusive, end exclusive.
"""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

SCHEMA_VERSION = 1
"""Version of the published `Answer` schema; raised when a field changes meaning."""


FINGERPRINT = 16
"""Hex digits of a document's fingerprint that an adapter's record keeps for each document: enough to tell millions."""


Metadata: TypeAlias = dict[str, JsonValue]


class Record(BaseModel):
    """Base of all records: immutable, unknown fields rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Heading(Record):
    """A heading inside a document."""

    start: Annotated[int, Field(ge=0)]
    """Offset of the heading's text in the document's text."""
    level: Annotated[int, Field(ge=1, le=6)]
    """1 for the document's title, 6 for the deepest."""
    text: str


class Document(Record):
    """One source: a file, one line of a JSONL file, one article, or one langchain Document."""

    id: Annotated[str, Field(min_length=1)]
    """Unique in a corpus: the path relative to the corpus folder with forward slashes, or the given id."""
    text: str
    """The text that offsets refer to: as read from text files, as extracted from all other formats."""
    title: str = ""
    """From front matter, the first heading or the file's own properties; else the file name without suffix."""
    source: str = ""
    """Path or URL to show to a person."""
    metadata: Metadata = Field(default_factory=dict)
    """Front matter, file properties, and whatever a loader gave; unknown keys are kept."""
    headings: tuple[Heading, ...] = ()
    """In order of `start`."""
    page_starts: tuple[int, ...] = ()
    """For paged formats the offset at which each page starts, ascending, the first one 0; else empty."""


class Passage(Record):
    """A span of a document: the unit that is embedded, retrieved, read and cited."""

    id: Annotated[str, Field(min_length=1)]
    """`<document id>#<start>-<end>`."""
    document_id: str
    text: str
    """Equals `document.text[start:end]`."""
    start: Annotated[int, Field(ge=0)]
    end: Annotated[int, Field(ge=0)]
    title: str = ""
    """The document's title."""
    source: str = ""
    """The document's source."""
    headings: tuple[str, ...] = ()
    """Texts of the headings that the passage stands under, outermost first."""
    page: int | None = None
    """Page that the passage starts on, counted from 1; None for formats without pages."""
    metadata: Metadata = Field(default_factory=dict)
    """The document's metadata."""


class Hit(Record):
    """A retrieved passage with its place in the ranking."""

    passage: Passage
    score: float
    """Higher is better; comparable within one ranking only."""
    rank: Annotated[int, Field(ge=1)]
    """1 for the best."""


Verdict: TypeAlias = Literal["supported", "misattributed", "unfounded"]


class Citation(Record):
    """Where an answer comes from, checked at answer time."""

    passage_id: str
    document_id: str
    source: str
    """Path or URL of the document."""
    title: str
    page: int | None
    """Page on which the quote starts, counted from 1; None for formats without pages."""
    quote: str
    """Text of the document at `start:end`, verbatim: the sentences that hold the answer; where the cited passage does
    not hold it, the whole passage."""
    start: int
    """Offset of the quote in the document's text."""
    end: int
    answer_start: int | None = None
    """Offset of the answer itself in the document's text; None where the cited passage does not hold it."""
    answer_end: int | None = None
    verdict: Verdict
    """supported: the answer's words stand in the cited passage, in this order (case, white space and quotation marks
    apart). misattributed: they stand in another retrieved passage, named by `supported_by`. unfounded: in none.
    Whether the passage answers the question is not judged."""
    supported_by: str | None = None
    """Id of the passage that does hold the answer, when misattributed."""


class RetrievedPassage(Record):
    """A passage that was retrieved for a question, cited or not."""

    passage: Passage
    score: float
    rank: int
    read: bool
    """False if it did not fit into the prompt, so that the reader never saw it."""


class Usage(Record):
    """What an answer cost."""

    prompt_tokens: int
    """Tokens of all prompts that were read for the answer."""
    completion_tokens: int
    retrieve_seconds: float
    read_seconds: float
    verify_seconds: float


class Provenance(Record):
    """Fingerprints of what an answer was made from: `rag-ft why` walks them back to the bytes."""

    index: str
    """Fingerprint of the index; empty where passages were given by hand."""
    embedder: str
    base_model: str
    """Fingerprint of the base model's weights."""
    adapter: str | None
    prompt: str
    """Fingerprint of the prompt builder."""
    mode: str
    reading: str
    index_path: str = ""
    """Where the index was when the answer was given."""


class Answer(Record):
    """The reply to one question."""

    schema_version: int = SCHEMA_VERSION
    question: str
    answer: str | None
    """None where the reader abstained or produced nothing usable: see `abstained` and `complete`."""
    citations: tuple[Citation, ...] = ()
    confidence: Annotated[float, Field(ge=0, le=1)]
    """Of an answer, in mode `quote`: the probability that it is right, as far as the questions say on which the
    adapter's threshold was chosen; where it abstained, the rest to 1. Of an untuned reader, and in the other modes, the
    model's own probability of the outcome, which is not calibrated."""
    abstained: bool
    """True where null won, or the answer's confidence was under the threshold."""
    complete: bool
    """False where the completion hit its token limit or could not be parsed: `answer` is None then."""
    completion: str
    """The completion itself, as the model gave it."""
    passages: tuple[RetrievedPassage, ...] = ()
    """All retrieved passages in rank order."""
    usage: Usage
    provenance: Provenance


class Evidence(Record):
    """Where the answer to a question stands."""

    document_id: str
    start: Annotated[int, Field(ge=0)]
    end: Annotated[int, Field(ge=0)]
    quote: str
    """Equals `document.text[start:end]`."""

    @model_validator(mode="after")
    def _in_order(self) -> Evidence:
        if self.end < self.start:
            raise ValueError(f"evidence in {self.document_id!r} ends at {self.end}, before its start at {self.start}")
        return self


class Question(Record):
    """One question record: for training, for evaluation, or both."""

    id: Annotated[str, Field(min_length=1)]
    question: Annotated[str, Field(min_length=1)]
    answers: tuple[str, ...] = ()
    """Accepted answers; empty exactly where the question is unanswerable."""
    evidence: tuple[Evidence, ...] = ()
    """Where the answers stand. For an unanswerable question: the text that makes it look answerable, or the paragraph
    that it was asked about, if known; without any, nothing tells which side of a split by document it belongs to."""
    answerable: bool = True
    tags: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _answers_match_answerable(self) -> Question:
        if not self.question.strip():
            raise ValueError(f"question {self.id!r} has blank text")
        if any(not answer.strip() for answer in self.answers):
            raise ValueError(f"question {self.id!r} has a blank answer among its accepted ones")
        if self.answerable and not self.answers:
            raise ValueError(f"question {self.id!r} is answerable but has no accepted answer")
        if not self.answerable and self.answers:
            raise ValueError(f"question {self.id!r} is unanswerable but has accepted answers")
        return self


def json_value(value: Any) -> JsonValue:
    """A value as JSON can hold it: dates in ISO 8601, what is unknown as its text."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)
    if isinstance(value, datetime.date | datetime.datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(key): json_value(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [json_value(one) for one in value]
    return str(value)
