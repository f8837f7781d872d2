"""An uploaded file → a document, in a process of its own: a file that eats memory or time takes only that down.

The parent writes the file to the child's standard input and reads the document from its standard output; nothing is put
on disk, so that nothing can be left there.
"""

from __future__ import annotations

import json
import subprocess
import sys
import unicodedata
from pathlib import PurePosixPath

from pydantic import ValidationError

from rag_ft.errors import DocumentError
from rag_ft.formats import READERS, Unreadable, extract
from rag_ft.schema import Document

_MAX_NAME = 150
_REPLY_BYTES = 64_000_000
"""Of the document as JSON: what a text of the most characters needs."""


def check_name(name: str) -> str:
    """The file name, if it is one and of a kind that can be read. Raises DocumentError."""
    shown = name[:80]
    if not name or len(name) > _MAX_NAME or any(_hides(one) for one in name):
        raise DocumentError(repr(shown), f"is no file name of 1 to {_MAX_NAME} visible characters")
    if "/" in name or "\\" in name or name.startswith(".") or ":" in name:
        raise DocumentError(repr(shown), "is a path or hidden: send the file's own name")
    if PurePosixPath(name).suffix.lower() not in READERS:
        raise DocumentError(repr(shown), f"is of a kind that is not read here: send one of {', '.join(READERS)}")
    return name


def _hides(character: str) -> bool:
    """Controls, halves of characters, line ends, and what turns the direction of writing. Joiners and blanks of all
    kinds stand in real names: emoji and Persian words are made with the former, and macOS writes the latter.
    """
    return unicodedata.category(character) in ("Cc", "Cs", "Co", "Cn", "Zl", "Zp") or character in _TURNING


_TURNING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def parse_upload(name: str, data: bytes, *, seconds: float, memory_bytes: int, max_chars: int) -> Document:
    """What an uploaded file says. Raises DocumentError where it cannot be read, or not within the limits."""
    check_name(name)
    if not data.strip():
        raise DocumentError(name, "is empty")
    limits = (int(seconds) + 1, memory_bytes, max_chars)
    command = [sys.executable, "-m", "rag_ft.serving.parsing", name, *map(str, limits)]
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise DocumentError(name, f"could not be read within {seconds:g} s and was refused") from None
    if done.returncode != 0 or len(done.stdout) > _REPLY_BYTES:
        # Ended by a limit of its own: the processor time, the memory, or a crash of a parser.
        raise DocumentError(name, "needs more memory or time than an upload may and was refused")
    reply = json.loads(done.stdout)
    if "error" in reply:
        raise DocumentError(name, str(reply["error"]))
    try:
        return Document.model_validate(reply)
    except ValidationError as error:
        raise DocumentError(name, f"gives no document ({error.errors()[0]['msg']})") from error


def _limit(seconds: int, memory_bytes: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    sys.dont_write_bytecode = True
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(name: str, seconds: int, memory_bytes: int, max_chars: int) -> None:
    """The child: file on standard input, document or error as JSON on standard output."""
    _limit(seconds, memory_bytes)
    try:
        found = extract(name, sys.stdin.buffer.read())
        if not found.text.strip():
            raise Unreadable("holds no text")
        document = Document(
            id=name,
            text=found.text,
            title=found.title.strip() or PurePosixPath(name).stem.strip() or name,
            source=name,
            metadata={**found.metadata, "uploaded": True},
            headings=found.headings,
            page_starts=found.page_starts,
        )
        if len(document.text) > max_chars:
            many = f"{len(document.text):,} characters of text, more than the {max_chars:,} allowed"
            raise Unreadable(f"has {many}")
        reply = document.model_dump_json()
    except Unreadable as error:
        reply = json.dumps({"error": str(error)})
    except ValueError as error:  # pydantic's among them: a text with half a character, say
        first = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        reply = json.dumps({"error": f"gives no document ({first[:200]})"})
    except MemoryError:
        reply = json.dumps({"error": "needs more memory than an upload may and was refused"})
    sys.stdout.buffer.write(reply.encode("utf-8", "replace"))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
