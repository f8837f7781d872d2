"""Text from files, documents and models made harmless for a terminal; everything printed passes through here.

A file may be called `a<ESC>[2Jb.txt`, and a document may hold anything: printed unchanged, it could clear the screen,
overwrite other lines, or show a name backwards.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

import typer

# Controls (C0, DEL, C1), surrogates, line ends of all kinds, and marks that turn the direction of writing.
_HARMFUL = r"\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
HARMFUL = re.compile(f"[{_HARMFUL}]")
_HARMFUL_IN_LINES = re.compile(rf"(?![\n\t])[{_HARMFUL}]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def escaped(character: str) -> str:
    """A character as an escape sequence, as in source code."""
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def shown(text: str) -> str:
    """A text as one line, with visible escapes in place of characters that control a terminal."""
    return HARMFUL.sub(lambda match: escaped(match.group()), text)


def shown_lines(text: str) -> str:
    """A text of several lines, with visible escapes in place of characters that control a terminal."""
    return _HARMFUL_IN_LINES.sub(lambda match: escaped(match.group()), text)


def shown_json(content: str) -> str:
    """Equal JSON without characters that control a terminal; JSON has them only inside strings, so they are escaped."""
    return HARMFUL.sub(
        lambda match: match.group() if match.group() == "\n" else f"\\u{ord(match.group()):04x}", content
    )


def echo_json(content: str) -> None:
    """Print JSON as a line of standard output."""
    typer.echo(shown_json(content))


def shown_traceback(error: BaseException) -> str:
    """The traceback of an error, ending with a line break."""
    return shown_lines("".join(traceback.format_exception(error)))


class _LineHandler(logging.Handler):
    """Prints log records of level INFO as plain lines; errors of printing, such as a closed pipe, are raised."""

    def __init__(self, print_line: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self._print_line = print_line

    def emit(self, record: logging.LogRecord) -> None:
        """Print the message alone; warnings are left to the handler of all logs."""
        if record.levelno == logging.INFO:
            record.printed = True
            self._print_line(record.getMessage())


@contextmanager
def printed_lines(room: str, print_line: Callable[[str], None]) -> Iterator[None]:
    """A context in which the lines that a part of the package logs for people are printed.

    `room`: name of its logger, such as `rag_ft.training`. `print_line` must make a line harmless, as `Terminal` does.
    """
    logger, handler = logging.getLogger(room), _LineHandler(print_line)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


def unprinted(record: logging.LogRecord) -> bool:
    """Whether `printed_lines` has not printed a log record."""
    return not hasattr(record, "printed")


class LogFormatter(logging.Formatter):
    """Formats log records: a message is one line, whatever it contains."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line of a record, made harmless."""
        return shown(super().formatMessage(record))

    def formatException(
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        """The lines of a traceback, made harmless."""
        return shown_lines(super().formatException(ei))
