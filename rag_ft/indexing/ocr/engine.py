"""Images → text by the program tesseract, in a process with limits of time and memory."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Annotated, BinaryIO, cast

from pydantic import Field, ValidationError

from rag_ft.errors import UsageError
from rag_ft.extras import require_extra
from rag_ft.indexing.formats.limits import ReadLimits
from rag_ft.indexing.formats.scans import Scan
from rag_ft.indexing.ocr.words import RecognisedPage, Word, page_of
from rag_ft.indexing.parsing.wire import FrameError, read_frame, write_frame
from rag_ft.indexing.places import STEPS
from rag_ft.schema import Record

PROGRAM = "tesseract"
INSTALL = "pip install 'rag-ft[ocr]' and apt install tesseract-ocr"
"""What makes recognition possible, on Debian and Ubuntu."""

_ASK_SECONDS = 30.0
"""Time in which the program must name its version and its languages."""
_START_SECONDS = 60.0
"""Time in which the process must be ready; it takes about a second."""
_MAX_REPLY = 64_000_000
_LANGUAGES = re.compile(r"\w+(?:\+\w+)*", re.ASCII)
_DPI = 300
_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TESSDATA_PREFIX")
_START = (
    "import sys; sys.path[:] = sys.argv[4:];"
    " from rag_ft.indexing.ocr.child import recognise_images;"
    " recognise_images(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))"
)


class PageNotRecognised(Exception):
    """A page's text cannot be recognised; the message completes a sentence that begins with the page."""


@dataclass(frozen=True)
class OcrSettings:
    """How text is recognised: `Index.build(docs, path, ocr=OcrSettings("eng+deu"))`."""

    languages: str = "eng"
    """Languages as tesseract names them, with `+` between them."""
    program: str = ""
    """Path of the program; empty: the first `tesseract` on the PATH."""

    def checked(self) -> CheckedOcr:
        """The program that is installed, with its version. Raises MissingExtraError, UsageError."""
        require_extra("ocr", "recognising text")
        if not _LANGUAGES.fullmatch(self.languages):
            raise UsageError(f"the OCR languages are {self.languages[:40]!r}: give names as in eng+deu")
        program = self.program or shutil.which(PROGRAM)
        if not program or not os.path.isfile(program):
            raise UsageError(
                f"recognising text needs the program {PROGRAM}, which is not installed: apt install tesseract-ocr"
                " (macOS: brew install tesseract)"
            )
        version = (_asked(program, "--version").split() or ["", ""])[1]
        there = {line.strip() for line in _asked(program, "--list-langs").splitlines()[1:]}
        missing = [name for name in self.languages.split("+") if name not in there]
        if missing:
            package = f"tesseract-ocr-{missing[0].replace('_', '-')}"
            raise UsageError(f"{PROGRAM} does not have the language {missing[0]!r}: apt install {package}")
        return CheckedOcr(self.languages, os.path.abspath(program), version)


@dataclass(frozen=True)
class CheckedOcr:
    """Settings with the program that will be run."""

    languages: str
    program: str
    version: str

    @property
    def engine(self) -> str:
        """Name and version of the program, for a document's metadata."""
        return f"{PROGRAM} {self.version}"


def is_available() -> bool:
    """Whether the extra and the program are installed."""
    try:
        require_extra("ocr", "recognising text")
    except UsageError:
        return False
    return shutil.which(PROGRAM) is not None


def _asked(program: str, option: str) -> str:
    try:
        done = subprocess.run(
            [program, option], capture_output=True, text=True, timeout=_ASK_SECONDS, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"{program} cannot be run ({error}): install it again, or give another") from error
    return done.stdout or done.stderr


Step = Annotated[int, Field(ge=0, le=STEPS)]


class _WordsReply(Record):
    """What the process replies."""

    words: tuple[tuple[str, float, int, int, int, Step, Step, Step, Step], ...] = ()
    error: str = ""


class Recogniser:
    """A process that recognises images, started when it is first needed. Close it in the end."""

    def __init__(self, ocr: CheckedOcr, limits: ReadLimits) -> None:
        self.ocr = ocr
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._stopped = False

    def __enter__(self) -> Recogniser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process and all that it has started, and remove its files."""
        process, self._process = self._process, None
        if process is not None:
            _kill(process)
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):  # what was not sent
                        stream.close()
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.cleanup()

    def stop(self) -> None:
        """End the process from another thread: the image that it reads is not recognised, nor are those that follow."""
        self._stopped = True
        process = self._process
        if process is not None:
            _kill(process)

    def recognise(self, scan: Scan) -> RecognisedPage:
        """The text of an image. Raises PageNotRecognised; the next image gets a new process if one had to be ended."""
        if self._process is None and not self._stopped:
            self._process = self._started()
            self._reply(_START_SECONDS)
        if self._stopped:  # perhaps while the process started, which it then did not end
            self.close()
            raise PageNotRecognised("was not recognised: reading was stopped")
        header = {"width": scan.width, "height": scan.height, "languages": self.ocr.languages, "dpi": _DPI}
        reply = self._reply(self._limits.seconds, json.dumps(header).encode(), scan.pixels)
        if reply.error:
            raise PageNotRecognised(f"was not recognised ({reply.error})")
        return page_of(
            Word(text, confidence, (block, paragraph), line, (left, top, right, bottom))
            for text, confidence, block, paragraph, line, left, top, right, bottom in reply.words
        )

    def _reply(self, seconds: float, header: bytes = b"", content: bytes = b"") -> _WordsReply:
        """Send an image, if one is given, and wait for the reply. Raises PageNotRecognised."""
        process = cast("subprocess.Popen[bytes]", self._process)
        timed_out = threading.Event()

        def give_up() -> None:
            timed_out.set()
            _kill(process)

        timer = threading.Timer(seconds, give_up)
        timer.daemon = True
        timer.start()
        try:
            if header:
                write_frame(cast(BinaryIO, process.stdin), header, content)
            frame = read_frame(cast(BinaryIO, process.stdout), max_header=_MAX_REPLY, max_content=0)
            return _WordsReply.model_validate_json(frame.header)
        except (OSError, EOFError, FrameError, ValidationError) as error:
            self.close()
            if timed_out.is_set():
                raise PageNotRecognised(f"was not recognised within {seconds:g} s and was given up") from None
            memory = f"{self._limits.memory_bytes / 1e6:,.0f} MB"
            raise PageNotRecognised(f"ended the recognition: it may need more than {memory} of memory") from error
        finally:
            timer.cancel()

    def _started(self) -> subprocess.Popen[bytes]:
        import rag_ft

        self._folder = self._folder or tempfile.TemporaryDirectory(prefix="rag-ft-ocr-")
        package = str(Path(rag_ft.__file__).parent.parent)
        path = [entry for entry in sys.path if os.path.isabs(entry)]
        path = path if package in path else [*path, package]
        arguments = [str(os.getpid()), self.ocr.program, str(self._limits.memory_bytes), *path]
        return subprocess.Popen(
            [sys.executable, "-I", "-X", "utf8", "-c", _START, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={
                **{name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
                "TMPDIR": self._folder.name,
                "TEMP": self._folder.name,
                "OMP_THREAD_LIMIT": "1",  # more threads make one page hardly faster, and the machine slower
            },
            cwd=self._folder.name,
            start_new_session=True,
        )


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process with all that it has started."""
    try:
        if os.name == "nt":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    except (OSError, ProcessLookupError):  # it has ended
        process.kill()
