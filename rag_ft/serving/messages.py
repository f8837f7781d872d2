"""Bodies of requests and replies, and how errors become replies."""

from __future__ import annotations

import logging
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from rag_ft.errors import ClosingError, DeadlineError, IndexStoreError, QueueFullError, RagFtError, WeightsError
from rag_ft.files import is_disk_full
from rag_ft.indexing.feedback import FeedbackAction
from rag_ft.questions.review import Judgement
from rag_ft.schema import AnswerKind, Evidence, Hit, Question
from rag_ft.serving.http.openapi import ERRORS, FEEDBACK, VERDICT
from rag_ft.serving.http.security import error_body

logger = logging.getLogger(__name__)


class AskRequest(BaseModel):
    """A question to answer."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"question": "What does gradient checkpointing cost?", "k": 3},
                {"question": "And how is it turned on?", "history": ["What does gradient checkpointing cost?"]},
            ]
        },
    )

    question: Annotated[str, Field(min_length=1)]
    history: list[Annotated[str, Field(min_length=1)]] = []
    """Earlier questions of the conversation that the question follows up, oldest first; the last three are searched
    with it."""
    k: Annotated[int | None, Field(ge=1, strict=True)] = None
    """Number of passages to read."""
    where: dict[str, JsonValue] | None = None
    """Only documents that match: field or metadata key → value, or a list of values of which any matches."""
    adapter: str | None = None
    """Name from `/v1/models`; default: the adapter that the server started with."""
    threshold: Annotated[float | None, Field(ge=0, le=1)] = None
    """Confidence below which the answer is null; 0 always answers. Default: the adapter's threshold."""
    stream: bool = False
    """Reply with server-sent events: `passages` as soon as they are retrieved, then `answer` or `error`."""


class SearchRequest(BaseModel):
    """A search without a reader."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"query": "gradient checkpointing", "k": 5}]}
    )

    query: Annotated[str, Field(min_length=1)]
    k: Annotated[int | None, Field(ge=1, strict=True)] = None
    where: dict[str, JsonValue] | None = None


class SearchReply(BaseModel):
    """Passages, best first."""

    hits: list[Hit]
    index: str
    """Fingerprint of the index that was searched."""
    incomplete: Annotated[tuple[str, ...], Field(exclude_if=lambda sentences: not sentences)] = ()
    """What of the index could not be searched: one sentence for each of its shards that did not answer."""


OriginalKind: TypeAlias = Literal["file", "pages"]


class DocumentEntry(BaseModel):
    """A document of the index."""

    id: str
    title: str
    source: str
    passages: int
    uploaded: bool
    original: OriginalKind | None = None
    """Whether the original can be opened (`/v1/originals`), and its pages seen (`/v1/pages`); null if it is not kept.
    """


class DocumentsReply(BaseModel):
    """The documents, sorted by id, a page at a time."""

    documents: list[DocumentEntry]
    total: int
    index: str


class DocumentText(BaseModel):
    """A document, or a part of it, with the text that offsets refer to."""

    id: str
    title: str
    source: str
    text: str
    start: int
    """Offset of `text` in the document."""
    length: int
    """Characters of the whole document."""


class UploadReply(BaseModel):
    """An uploaded document, which can be asked about from now on."""

    id: str
    title: str
    passages: int
    characters: int
    index: str


class RemovalReply(BaseModel):
    """A document that was removed from the index."""

    removed: str
    index: str
    trained_adapters: tuple[str, ...]
    """Adapters that were trained on the document and may still recite it."""


class FeedbackRequest(BaseModel):
    """What somebody says of an answer."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [FEEDBACK]})

    question: Annotated[str, Field(min_length=1)]
    history: list[Annotated[str, Field(min_length=1)]] = []
    """The earlier questions that the answer gives as its `history`."""
    verdict: FeedbackAction
    """`right`, `wrong`, `better` (with the place of the better words), `no_answer` (it should have been null), or
    `withdraw`, which erases what was said before."""
    evidence: Evidence
    """Where the answer stands: its citation's document, `answer_start`, `answer_end`, and the words there. Where it was
    null: the first passage."""
    answered: bool = True
    """False where the answer was null."""
    better: Evidence | None = None
    """The place of the better words; they become whole sentences if they are long or cross a sentence's end."""
    kind: AnswerKind = "span"
    """The answer's `kind`."""
    yes: bool | None = None
    """The answer's `yes`."""


class FeedbackReply(BaseModel):
    """What is kept now of what this token says of the answer."""

    id: str | None
    """Null where it was withdrawn."""
    verdict: FeedbackAction
    answer: str | None
    """The words that now count as the right answer; null where none do."""


class ReviewRequest(BaseModel):
    """A verdict on a question record, or `undo`, which takes back the one that counts."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [VERDICT]})

    by: str = ""
    """Who reviews, on a server without personal tokens; with them it is the token's name."""
    id: str
    """The record's id."""
    record: str
    """The record's fingerprint, from the reply that showed it."""
    before: Judgement | None = None
    """The verdict that it had in that reply: 409 if somebody has given another since."""
    verdict: Judgement | Literal["undo"]
    """`accept`, `edit` (with `question`, `evidence`, `yes`: at least one), `no answer`, `reject`, `skip`, `undo`."""
    question: str | None = None
    """The question in better words."""
    evidence: Evidence | None = None
    """Where the answer stands; it becomes whole sentences if it is long or crosses a sentence's end."""
    yes: bool | None = None
    """What whole sentences say to a question of yes or no; null: as it was."""

    @model_validator(mode="after")
    def _an_edit_changes_something(self) -> ReviewRequest:
        changes = any(value is not None for value in (self.question, self.evidence, self.yes))
        if changes != (self.verdict == "edit"):
            raise ValueError("'edit' takes question, evidence or yes, and no other verdict does")
        return self


class ReviewPiece(BaseModel):
    """A piece of a document's text."""

    start: int
    """Offset in the document's text."""
    text: str


class ReviewExcerpt(BaseModel):
    """What is shown of a document that a record has evidence in."""

    document_id: str
    heading: str
    """Document and headings."""
    length: int
    """Characters of the whole document."""
    pieces: list[ReviewPiece]
    evidence: list[list[int]]
    """Start and end of each piece of evidence in the document's text."""


class ReviewedRecord(BaseModel):
    """A record to judge."""

    question: Question
    record: str
    """Fingerprint of the record."""
    verdict: Judgement | None
    """The verdict that it has."""
    problems: list[str]
    """Evidence that is not where the record says: it cannot be accepted as it is."""
    excerpts: list[ReviewExcerpt]


class ReviewLast(BaseModel):
    """The verdict that can be taken back next."""

    id: str
    record: str
    """Fingerprint of its record."""
    verdict: Judgement


class ReviewAgreement(BaseModel):
    """How far another reviewer's verdicts agree with one's own."""

    name: str
    """The other reviewer; empty without a name."""
    judged: int
    """Records that both judged, of those that one may see."""
    same: int
    """Those that both gave the same verdict."""
    kappa: float | None
    """Cohen's kappa, the agreement beyond chance; null where it is not defined."""
    line: str
    """The figures in words."""


class ReviewReply(BaseModel):
    """How far a review is, and the record to judge now."""

    name: str
    """Who reviews; empty without a name."""
    file: str
    """Name of the file of records."""
    counts: dict[str, int]
    progress: str
    """The counts in words."""
    notes: list[str]
    agreement: list[ReviewAgreement]
    """With each of the others who judged records that this reviewer judged."""
    last: ReviewLast | None
    record: ReviewedRecord | None
    """Null once every record is judged."""


class Problem(Exception):
    """A request that cannot be served, with the reply that its client gets."""

    def __init__(
        self, status: int, message: str, param: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": error_body(status, message, param)}
        self.headers = headers


def no_document(document_id: str) -> Problem:
    """The reply where a document does not exist, or is hidden from who asks."""
    return Problem(404, f"there is no document {document_id[:80]!r}")


def problem_of(error: Exception) -> Problem:
    """An error of the library as the client sees it: the one place that chooses statuses."""
    if isinstance(error, Problem):
        return error
    message = str(error)
    if isinstance(error, QueueFullError):
        return Problem(429, message, headers={"retry-after": str(error.retry_after)})
    if isinstance(error, DeadlineError):
        return Problem(504, message)
    if isinstance(error, ClosingError):
        return Problem(503, message, headers={"retry-after": "5"})
    if isinstance(error, OSError | IndexStoreError) and is_disk_full(error):
        logger.error("%s", error)
        return Problem(507, DISK_FULL)
    if isinstance(error, IndexStoreError):
        return Problem(503, message)
    if isinstance(error, WeightsError):
        return Problem(500, message)
    if isinstance(error, RagFtError):
        return Problem(422, message)
    logger.error("a request failed", exc_info=error)
    return Problem(500, "the server failed on this request: see its log")


DISK_FULL = "the server's disk is full, and nothing was changed: free space there, then send the request again"


class ErrorDetail(BaseModel):
    """An error's message, type, parameter and code."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorReply(BaseModel):
    """An error, in OpenAI's form."""

    error: ErrorDetail


ERROR_REPLIES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorReply, "description": ERRORS[status]} for status in (422,)
}
"""From these the framework makes the schema of errors; `describe` adds the other statuses, route by route."""
