"""The reading process: requests on standard input, documents on standard output, until the input ends.

`worker.Worker` starts it with an empty environment, and it gives up every right it does not need before the first file.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from pydantic import ValidationError

from rag_ft.errors import first_problem
from rag_ft.indexing.conservation.check import check
from rag_ft.indexing.conservation.record import Conservation
from rag_ft.indexing.formats import extract
from rag_ft.indexing.formats.extracted import Extracted, Unreadable
from rag_ft.indexing.formats.limits import ReadLimits, check_document_size, current, limited_by
from rag_ft.indexing.formats.pdf.rendering import render_page
from rag_ft.indexing.formats.scans import draw_scans
from rag_ft.indexing.parsing.records import document_from_record, holds_question, id_of, parse_record
from rag_ft.indexing.parsing.sandbox import end_with_parent, limit_seconds, peak_bytes, restrict
from rag_ft.indexing.parsing.wire import MAX_HEADER_BYTES, Hello, Ready, Reply, Request, read_frame, write_frame
from rag_ft.indexing.places import encode_places
from rag_ft.questions.squad import parse_squad
from rag_ft.schema import Document, Heading

_NOT_SMALLER = 2**32
_ALL_BUT_FULL = 0.8
_CHECKED_SHARE = 0.25
"""Share of time and of memory within which a document must be read if its text is to be checked."""


def serve_requests(parent: int) -> None:
    """Read files on request until standard input ends; `parent` is the process id of the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C the parent ends this process when it is ready
    end_with_parent(parent)
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not come between the replies
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
                # The rest of the file would be read as a request: this process must end.
                _send(replies, Reply(kind="no_memory"))
                return
            limit_seconds(limits.seconds)
            before = peak_bytes()
            try:
                for reply, content in _answers(Request.model_validate_json(frame.header), frame.content):
                    # Out of memory, some parsers report a damaged file.
                    if reply.kind == "failure" and before < limits.memory_bytes * _ALL_BUT_FULL < peak_bytes():
                        raise MemoryError
                    _send(replies, reply, content)
            except MemoryError:
                _send(replies, Reply(kind="no_memory"))
                return
            _send(replies, Reply(kind="end"))
            del frame


def _send(stream: BinaryIO, reply: Reply, text: str | Content = "") -> None:
    try:
        whole = text if isinstance(text, Content) else Content(text)
        reply = reply.model_copy(update={"binary_bytes": len(whole.binary)})
        header, content = reply.model_dump_json().encode(), whole.text.encode() + whole.binary
        if len(header) > MAX_HEADER_BYTES:
            raise Unreadable("has more metadata, title and headings than are read")
    except (ValueError, Unreadable) as error:  # half of a surrogate pair, or nesting too deep for JSON
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


class Content(NamedTuple):
    """A document's text and the places of its characters in the file, or an image."""

    text: str
    binary: bytes = b""


def _answers(request: Request, data: bytes) -> Iterator[tuple[Reply, str | Content]]:
    """Yield the replies to a request, without the final `end`."""
    if request.kind == "lines":
        yield from _lines(request, data)
        return
    try:
        if not data.strip():
            raise Unreadable("is empty")
        if request.kind == "page":
            yield _page(request, data)
        elif request.kind == "scans":
            yield from _scans(request, data)
        else:
            yield from _squad(request, data) if request.kind == "squad" else [_file(request, data)]
    except (Unreadable, ValueError, RecursionError) as error:
        yield Reply(kind="failure", reason=_why(error)), ""


def _page(request: Request, data: bytes) -> tuple[Reply, Content]:
    page_number, width = request.numbers
    return Reply(kind="image"), Content("", render_page(data, page_number, width))


def _scans(request: Request, data: bytes) -> Iterator[tuple[Reply, Content]]:
    for page, pages, width, height, pixels, size in draw_scans(request.name, data, request.numbers[0]):
        reply = Reply(kind="scan", page=page, pages=pages, width=width, height=height, page_size=size)
        yield reply, Content("", pixels)


def _file(request: Request, data: bytes) -> tuple[Reply, Content]:
    started, peak_before = time.monotonic(), peak_bytes()
    extracted = extract(request.name, data)
    if not extracted.text.strip():
        unread = extracted.metadata.get("unread_parts")
        raise Unreadable(
            f"holds no text that can be read: {unread[0]}" if unread and isinstance(unread, list) else "holds no text"
        )
    check_document_size(len(extracted.text), len(extracted.headings), len(extracted.page_starts))
    # A document that was read must not be lost to the check: it is not made where reading came near the limits. The
    # peak tells something only if it grew: at its start, a process has that of its parent.
    limits, peak = current(), peak_bytes()
    slow = time.monotonic() - started > limits.seconds * _CHECKED_SHARE
    large = peak_before < peak and peak > limits.memory_bytes * _CHECKED_SHARE
    conservation = None if slow or large else check(request.name, data, extracted)
    return _reply(extracted, conservation), Content(extracted.text, encode_places(extracted))


def _reply(extracted: Extracted, conservation: Conservation | None) -> Reply:
    return Reply(
        kind="document",
        title=extracted.title,
        metadata=extracted.metadata,
        headings=_spans(extracted.headings),
        page_starts=extracted.page_starts,
        blocks=tuple((block.start, block.end, block.kind) for block in extracted.blocks),
        locations=extracted.locations,
        conservation=conservation,
    )


def _spans(headings: tuple[Heading, ...]) -> tuple[tuple[int, int, int], ...]:
    return tuple((heading.start, len(heading.text), heading.level) for heading in headings)


def _lines(request: Request, data: bytes) -> Iterator[tuple[Reply, str]]:
    documents = request.documents_before
    for line_number, line in zip(request.numbers, data.split(b"\n"), strict=False):
        document_id: str | None = None
        try:
            record = parse_record(line, first=line_number == 1)
            if not documents and holds_question(record):
                yield Reply(kind="questions", line=line_number), ""
                return
            document_id = id_of(record, f"{request.name}:{line_number}")
            document = document_from_record(record, document_id, f"{request.source}:{line_number}")
            check_document_size(len(document.text), 0, 0)
        except (ValueError, RecursionError, Unreadable) as error:
            yield Reply(kind="failure", line=line_number, id=_sendable(document_id), reason=_why(error)), ""
        else:
            documents = True
            yield _document_reply(document, line=line_number), document.text


def _sendable(name: str | None) -> str | None:
    """The id, or None if UTF-8 cannot hold it: no document can have had such an id."""
    try:
        return name and name.encode().decode()
    except UnicodeEncodeError:
        return None


def _document_reply(document: Document, line: int = 0) -> Reply:
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
            yield _document_reply(document), text
