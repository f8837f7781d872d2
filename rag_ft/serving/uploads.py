"""Reads an uploaded file into a document, in a process of its own: a file that eats memory or time ends only that.

Nothing is written to disk, so nothing can be left there.
"""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath

from rag_ft.errors import DocumentError
from rag_ft.indexing.formats import READERS, SOURCE_SUFFIXES, ReadLimits, Unreadable
from rag_ft.indexing.parsing.wire import Request
from rag_ft.indexing.parsing.worker import Worker, WorkerNotReady
from rag_ft.indexing.sources.events import ReadDocument
from rag_ft.indexing.sources.file import REPLACED
from rag_ft.indexing.sources.original import Original
from rag_ft.schema import Document

_MAX_NAME = 150


def check_name(name: str) -> str:
    """The file name, if it is valid and of a format that can be read. Raises DocumentError."""
    shown = name[:80]
    if not name or len(name) > _MAX_NAME or any(_is_invisible(character) for character in name):
        raise DocumentError(repr(shown), f"is not a file name of 1 to {_MAX_NAME} visible characters")
    if "/" in name or "\\" in name or name.startswith(".") or ":" in name:
        raise DocumentError(repr(shown), "is a path or a hidden file: send the bare name of an ordinary file")
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in REPLACED:
        raise DocumentError(repr(shown), f"is a binary {suffix}, which is not read: save it as {REPLACED[suffix]}")
    if suffix not in READERS:
        others = [suffix for suffix in READERS if suffix not in SOURCE_SUFFIXES]
        raise DocumentError(repr(shown), f"has an unsupported format: send one of {', '.join(others)} or source code")
    return name


def _is_invisible(character: str) -> bool:
    """Whether this is a control, half of a character, a line end, or turns the direction of writing.

    Joiners and blanks of all kinds are allowed, because real names have them: emoji and Persian words need the former,
    and macOS writes the latter.
    """
    return unicodedata.category(character) in ("Cc", "Cs", "Co", "Cn", "Zl", "Zp") or character in _TURNING


_TURNING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def parse_upload(name: str, data: bytes, *, seconds: float, memory_bytes: int, max_chars: int) -> ReadDocument:
    """Read the document in an uploaded file. Raises DocumentError where it cannot be read within the limits.

    Each upload gets a process of its own, so that none finds what another left there.
    """
    check_name(name)
    if not data.strip():
        raise DocumentError(name, "is empty")
    limits = ReadLimits(seconds=seconds, memory_bytes=memory_bytes, max_chars=max_chars)
    try:
        with Worker(limits, start_seconds=seconds) as worker:
            # Unpacking reads to the end: exactly one answer is expected.
            (read,) = worker.read(Request(kind="file", name=name), lambda: [data], len(data))
    except WorkerNotReady:
        raise DocumentError(name, f"could not be read within {seconds:g} s") from None
    except Unreadable as error:
        raise DocumentError(name, str(error)) from error
    except ValueError as error:  # no answer, or several
        raise DocumentError(name, "does not hold exactly one document") from error
    reply, text, headings, blocks, places, _ = read
    if reply.kind != "document":
        raise DocumentError(name, reply.reason)
    document = Document(
        id=name,
        text=text,
        title=reply.title.strip() or PurePosixPath(name).stem.strip() or name,
        source=name,
        metadata={**reply.metadata, "uploaded": True},
        headings=headings,
        page_starts=reply.page_starts,
        blocks=blocks,
        locations=reply.locations,
    )
    return ReadDocument(document, places=places, original=Original.of_bytes(data))
