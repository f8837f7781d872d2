"""The process that reads: requests on standard input, documents on standard output, until the input ends.

It is started by `worker.Worker` with an empty environment, and gives up what it does not need before the first file.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from typing import BinaryIO

from pydantic import ValidationError

from rag_ft.errors import first_problem
from rag_ft.indexing.formats import extract
from rag_ft.indexing.formats.extracted import Extracted, Unreadable
from rag_ft.indexing.formats.limits import ReadLimits, check_document_size, limited_by
from rag_ft.indexing.parsing.records import document_from_record, holds_question, id_of, record_of
from rag_ft.indexing.parsing.sandbox import end_with_parent, limit_seconds, peak_bytes, restrict
from rag_ft.indexing.parsing.wire import MAX_HEADER_BYTES, Hello, Ready, Reply, Request, read_frame, write_frame
from rag_ft.questions.squad import parse_squad
from rag_ft.schema import Document, Heading

_NOT_SMALLER = 2**32
_ALL_BUT_FULL = 0.8


def main(parent: int) -> None:
    """Read what is asked for until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent, interrupted, ends this process in its own time
    end_with_parent(parent)
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints goes nowhere, and not between the replies
    hello = Hello.model_validate_json(read_frame(requests, max_header=MAX_HEADER_BYTES, max_content=0).header)
    limits = ReadLimits(**hello.model_dump())
    write_frame(replies, Ready(kept_from=restrict(limits.memory_bytes)).model_dump_json().encode())
    with limited_by(limits):
        while True:
            try:
                frame = read_frame(requests, max_header=_NOT_SMALLER, max_content=_NOT_SMALLER)
            except EOFError:
                return
            except MemoryError:
                # The rest of the file would be taken for a request: this process cannot go on.
                _send(replies, Reply(kind="no_memory"))
                return
            limit_seconds(limits.seconds)
            before = peak_bytes()
            try:
                for reply, text in _answers(Request.model_validate_json(frame.header), frame.content):
                    # Some parsers, refused more memory, call the file damaged.
                    if reply.kind == "failure" and before < limits.memory_bytes * _ALL_BUT_FULL < peak_bytes():
                        raise MemoryError
                    _send(replies, reply, text)
            except MemoryError:
                _send(replies, Reply(kind="no_memory"))
                return
            _send(replies, Reply(kind="end"))
            del frame


def _send(stream: BinaryIO, reply: Reply, text: str = "") -> None:
    try:
        header, content = reply.model_dump_json().encode(), text.encode()
        if len(header) > MAX_HEADER_BYTES:
            raise Unreadable("says more of itself than is read (metadata, title and headings)")
    except (ValueError, Unreadable) as error:  # half a character, or nesting beyond what JSON may have
        header = Reply(kind="failure", line=reply.line, id=reply.id, reason=_why(error)).model_dump_json().encode()
        content = b""
    write_frame(stream, header, content)


def _why(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    if isinstance(error, ValidationError):
        nested = error.errors(include_url=False)[0]["type"].startswith("recursion")
        return "is nested too deeply" if nested else f"gives no document ({first_problem(error)})"
    return str(error) if isinstance(error, Unreadable) else f"gives no document ({str(error)[:200]})"


def _answers(request: Request, data: bytes) -> Iterator[tuple[Reply, str]]:
    """What is to be sent, less the end."""
    if request.kind == "lines":
        yield from _lines(request, data)
        return
    try:
        if not data.strip():
            raise Unreadable("is empty")
        yield from _squad(request, data) if request.kind == "squad" else [_file(request, data)]
    except (Unreadable, ValueError, RecursionError) as error:
        yield Reply(kind="failure", reason=_why(error)), ""


def _file(request: Request, data: bytes) -> tuple[Reply, str]:
    found = extract(request.name, data)
    if not found.text.strip():
        raise Unreadable("holds no text")
    check_document_size(len(found.text), len(found.headings), len(found.page_starts))
    return _reply(found), found.text


def _reply(found: Extracted) -> Reply:
    return Reply(
        kind="document",
        title=found.title,
        metadata=found.metadata,
        headings=_spans(found.headings),
        page_starts=found.page_starts,
    )


def _spans(headings: tuple[Heading, ...]) -> tuple[tuple[int, int, int], ...]:
    return tuple((heading.start, len(heading.text), heading.level) for heading in headings)


def _lines(request: Request, data: bytes) -> Iterator[tuple[Reply, str]]:
    documents = request.documents_before
    for number, line in zip(request.numbers, data.split(b"\n"), strict=False):
        own: str | None = None
        try:
            record = record_of(line, number)
            if not documents and holds_question(record):
                yield Reply(kind="questions", line=number), ""
                return
            own = id_of(record, f"{request.name}:{number}")
            document = document_from_record(record, own, f"{request.source}:{number}")
            check_document_size(len(document.text), 0, 0)
        except (ValueError, RecursionError, Unreadable) as error:
            yield Reply(kind="failure", line=number, id=_sendable(own), reason=_why(error)), ""
        else:
            documents = True
            yield _of_document(document, line=number), document.text


def _sendable(name: str | None) -> str | None:
    """An id as UTF-8 can hold it; one with half a character is none that a document could have had."""
    try:
        return name and name.encode().decode()
    except UnicodeEncodeError:
        return None


def _of_document(document: Document, line: int = 0) -> Reply:
    return Reply(
        kind="document",
        line=line,
        id=document.id,
        title=document.title,
        source=document.source,
        metadata=document.metadata,
    )


def _squad(request: Request, data: bytes) -> Iterator[tuple[Reply, str]]:
    try:
        articles = parse_squad(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        yield Reply(kind="not_squad"), ""
        return
    for name, article in articles:
        text = article.text
        try:
            if not text.strip():
                raise Unreadable("holds no text")
            check_document_size(len(text), 0, 0)
            document = Document(id=name, text=text, title=article.title.replace("_", " "), source=request.source)
        except (ValueError, Unreadable) as error:
            yield Reply(kind="failure", id=_sendable(name), reason=_why(error)), ""
        else:
            yield _of_document(document), text
