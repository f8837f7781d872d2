"""Every error that a caller may want to catch. A message is one sentence: what is wrong, where, what to do.

RagFtError
  x UsageError               the call itself was wrong (command line: exit code 2)
    - EvidenceMovedError     a document does not have the quoted words at their offsets
    - MissingExtraError      the call needs a part of the package that is not installed
  x WeightsError             model weights missing, altered, unreadable or unsupported
  x CorpusError              a source of documents has nothing usable
    - DocumentError          one document cannot be read
  x IndexStoreError          a stored index cannot be used or written
    - IndexMissingError      there is no index at the path
    - IndexCorruptError      a file is truncated, edited or fails its checksum
    - IndexFormatError       written by a newer version of the program
    - IndexMismatchError     the index was built with another embedder
    - IndexLockedError       another process is writing it
  x PromptError
    - PromptTooLongError     the question alone, or with every single passage, does not fit
    - PromptMismatchError    an adapter was trained under another prompt
  x ReaderError
    - AnswerParseError       a completion is not the JSON of an answer
    - ReaderUnreachableError the server of a remote reader gives no reply
  x DatasetError             question records that cannot be read or are inconsistent
  x TrainingError            a run cannot start or continue
  x AdapterError             an adapter cannot be merged or exported accurately
  x EvaluationError          an evaluation cannot start, or its results cannot be used
  x EngineError              the engine of a large job cannot be reached, or has lost its workers
  x ServingError             the server does not answer this question
    - QueueFullError         the queue is full
    - DeadlineError          the answer did not come in time
    - ClosingError           the server is shutting down
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import ValidationError


class RagFtError(Exception):
    """Base of every error raised on purpose; the command line prints it as one line, exit code 1."""


class UsageError(RagFtError, ValueError):
    """The call was wrong: a bad argument value or combination (command line: exit code 2)."""


class EvidenceMovedError(UsageError):
    """A document does not have the quoted words at their offsets: it has changed since."""


class MissingExtraError(UsageError):
    """The call needs an extra of the package that is not installed; `extra` names it."""

    def __init__(self, work: str, extra: str) -> None:
        super().__init__(f"{work} needs the extra {extra!r}: pip install 'rag-ft[{extra}]'")
        self.work = work
        self.extra = extra

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        """How another process gets it."""
        return type(self), (self.work, self.extra)


class WeightsError(RagFtError):
    """Model weights are missing, altered, unreadable or of an unsupported kind."""


class CorpusError(RagFtError):
    """A source of documents has nothing usable."""


class DocumentError(CorpusError):
    """One document cannot be read; `source` names it and `reason` says why."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"{source}: {reason}")
        self.source = source
        self.reason = reason


class IndexStoreError(RagFtError):
    """A stored index cannot be used or written."""


class IndexMissingError(IndexStoreError):
    """There is no index at the path."""


class IndexCorruptError(IndexStoreError):
    """A file of the index is truncated, edited or fails its checksum."""


class IndexFormatError(IndexStoreError):
    """The index was written in a format that this version does not know."""


class IndexMismatchError(IndexStoreError):
    """The index was built with another embedder than the one given."""


class IndexLockedError(IndexStoreError):
    """Another process is writing the index."""


class PromptError(RagFtError):
    """A prompt cannot be built."""


class PromptTooLongError(PromptError):
    """The question, or every passage with it, is longer than the room for the prompt."""


class PromptMismatchError(PromptError):
    """An adapter was trained under another prompt than the one in use."""


class ReaderError(RagFtError):
    """The reader cannot produce an answer."""


class AnswerParseError(ReaderError):
    """A completion is not the JSON of an answer."""


class ReaderUnreachableError(ReaderError):
    """The server of a remote reader gives no reply, whatever the question is."""


class DatasetError(RagFtError):
    """Question records cannot be read or are inconsistent.

    `problems`: one sentence for each wrong record; the message names the first.
    """

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems) or (message,)


class TrainingError(RagFtError):
    """A training run cannot start or continue."""


class AdapterError(RagFtError):
    """An adapter cannot be merged or exported, or the result differs too much from the adapter."""


class EvaluationError(RagFtError):
    """An evaluation cannot start, or stored results cannot be used."""


class EngineError(RagFtError):
    """The engine that a large job runs on cannot be reached, or has lost its workers."""


class ServingError(RagFtError):
    """The server cannot answer a question, whatever the question is."""


class QueueFullError(ServingError):
    """The queue is full; `retry_after` is the seconds after which there should be room."""

    def __init__(self, waiting: int, retry_after: int) -> None:
        super().__init__(f"{waiting} questions are waiting already: try again in {retry_after} s")
        self.retry_after = retry_after


class DeadlineError(ServingError):
    """The answer did not come in time."""


class ClosingError(ServingError):
    """The server is shutting down and takes no more questions."""


def first_problem(error: ValidationError) -> str:
    """Word pydantic's first error as `field: what is wrong`."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    return f"{field + ': ' if field else ''}{first['msg'].removeprefix('Value error, ')}"


def first_line(error: BaseException) -> str:
    """First line of another library's error, shortened to fit into a message; its type if it is empty."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")[:200]
