"""The recognising process: images on standard input, words on standard output, until the input ends.

`engine.Recogniser` starts it with few variables, and ends it with all that it has started when a page takes too long.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any, TypeAlias

from rag_ft.indexing.parsing.sandbox import end_with_parent
from rag_ft.indexing.parsing.wire import read_frame, write_frame
from rag_ft.indexing.places import STEPS

_NOT_SMALLER = 2**32


def recognise_images(parent: int, program: str, memory_bytes: int) -> None:
    """Recognise images until standard input ends; `parent` is the process id of the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(parent)
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not come between the replies
    import pytesseract
    from PIL import Image

    pytesseract.pytesseract.tesseract_cmd = program
    _limit(memory_bytes)  # after the imports: the program inherits it
    write_frame(replies, b"{}")
    while True:
        try:
            frame = read_frame(requests, max_header=_NOT_SMALLER, max_content=_NOT_SMALLER)
        except EOFError:
            return
        try:
            request = json.loads(frame.header)
            image = Image.frombytes("L", (request["width"], request["height"]), frame.content)
            reply: dict[str, Any] = {"words": _words(pytesseract, image, request)}
        except Exception as error:  # the program's own words, or the wrapper's
            reply = {"error": " ".join(str(error).split())[:200]}
        write_frame(replies, json.dumps(reply).encode())


Row: TypeAlias = tuple[str, float, int, int, int, int, int, int, int]
"""Text, confidence, block, paragraph, line, and the corners of the box in steps of the image's width and height."""


def _words(pytesseract: Any, image: Any, request: dict[str, Any]) -> list[Row]:
    """The words of an image; one that is upside down is turned."""
    words = _recognised(pytesseract, image, request)
    if _confidence(words) < _DOUBTFUL:
        turned = _recognised(pytesseract, image.rotate(180), request)
        if _confidence(turned) > _confidence(words):
            return [(*word[:5], STEPS - word[7], STEPS - word[8], STEPS - word[5], STEPS - word[6]) for word in turned]
    return words


_DOUBTFUL = 0.6
"""A page read with less confidence may be upside down; pages on their side are recognised as they are."""


def _recognised(pytesseract: Any, image: Any, request: dict[str, Any]) -> list[Row]:
    table = pytesseract.image_to_data(
        image, lang=request["languages"], config=f"--dpi {request['dpi']}", output_type=pytesseract.Output.DICT
    )
    names = ("text", "conf", "block_num", "par_num", "line_num", "left", "top", "width", "height")
    return [
        (
            str(text),
            float(confidence) / 100,
            block,
            paragraph,
            line,
            _steps(left, image.width),
            _steps(top, image.height),
            _steps(left + width, image.width),
            _steps(top + height, image.height),
        )
        for text, confidence, block, paragraph, line, left, top, width, height in zip(
            *(table[name] for name in names), strict=True
        )
        if str(text).strip() and float(confidence) >= 0
    ]


def _steps(pixels: int, side: int) -> int:
    return round(STEPS * min(max(pixels, 0), side) / side)


def _confidence(words: list[Row]) -> float:
    characters = sum(len(word[0]) for word in words)
    return sum(word[1] * len(word[0]) for word in words) / characters if characters else 0.0


def _limit(memory_bytes: int) -> None:
    try:
        import resource

        for kind, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_AS, memory_bytes)):
            resource.setrlimit(kind, (most, most))
    except (ImportError, OSError, ValueError):  # not on this platform
        pass
