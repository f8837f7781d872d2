"""Text from files, documents and models made harmless for a terminal; everything that is printed comes through here.

A file may be called `a<ESC>[2Jb.txt`, and a document may hold anything: printed as it is, it would clear the screen,
write over what stands there, or show a name backwards.
"""

from __future__ import annotations

import logging
import re
import traceback
from types import TracebackType

import typer

# Controls (C0, DEL, C1), halves of characters, line ends of all kinds, and what turns the direction of writing.
_HARMFUL = r"\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
HARMFUL = re.compile(f"[{_HARMFUL}]")
_HARMFUL_IN_LINES = re.compile(rf"(?![\n\t])[{_HARMFUL}]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def escape(character: str) -> str:
    """A character as it is written in a program."""
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def shown(text: str) -> str:
    """A text as one line, with visible escapes in place of what would steer the terminal."""
    return HARMFUL.sub(lambda match: escape(match.group()), text)


def shown_lines(text: str) -> str:
    """The same for a text of several lines, which stay."""
    return _HARMFUL_IN_LINES.sub(lambda match: escape(match.group()), text)


def shown_json(content: str) -> str:
    """JSON that says the same and holds nothing harmful. JSON has such characters only inside strings, if at all."""
    return HARMFUL.sub(
        lambda match: match.group() if match.group() == "\n" else f"\\u{ord(match.group()):04x}", content
    )


def echo_json(content: str) -> None:
    """Print JSON as a line of standard output."""
    typer.echo(shown_json(content))


def shown_traceback(error: BaseException) -> str:
    """An error with where it was raised, ending with a line break."""
    return shown_lines("".join(traceback.format_exception(error)))


class LogFormatter(logging.Formatter):
    """Log lines: a message is one line, whatever it names."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line itself."""
        return shown(super().formatMessage(record))

    def formatException(
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        """The lines of a traceback."""
        return shown_lines(super().formatException(ei))
