"""Links that lead to the quote itself: a text fragment for a web page, the page of a PDF.

Text fragments: https://wicg.github.io/scroll-to-text-fragment/. A browser that finds the text scrolls to it and marks
it; any other opens the page.
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import NamedTuple
from urllib.parse import quote, urlsplit

WHOLE_CHARS = 200
"""A longer quote is named by its first and last words."""

_ENDS = 6
"""Words at either end of a long quote."""
_AROUND = 4
"""Words before and after a quote that the page has more than once."""
_WEB_PAGE = (".html", ".htm", ".xhtml")
_NOT_ON_PAGE = re.compile(r"\n(?:[-*•]|\d+[.)])\s+|\n|\s\|\s|[\^_]|\[\d+\]")
"""What a page's text has and the page has not: list marks, ends of blocks, bars between cells, marks of powers and
notes."""
_MARK = re.compile(r"(?:[-*•]|\d+[.)])\s+")
_NAME_OF_COLUMN = re.compile(r"[^:|\n]{1,60}: ")


class TextSpan(NamedTuple):
    """A span of a document's text."""

    start: int
    end: int


def source_link(source: str, page: int | None, text: str, span: TextSpan) -> str | None:
    """The source with the place of a span of its text; None for a source that has no such places.

    `source`: an address or a path. A path becomes a relative reference, for a page beside the files.
    """
    scheme, suffix = _scheme(source), PurePath(urlsplit(source).path if _scheme(source) else source).suffix.lower()
    if suffix == ".pdf" and page is not None:
        return f"{_address(source)}#page={page}"
    if scheme not in ("http", "https") and suffix not in _WEB_PAGE:
        return None
    directive = text_directive(text, span)
    if not directive:
        return _address(source)
    address, hash_sign, fragment = _address(source).partition("#")
    # An address may end in a directive already, which would count before this one.
    fragment = fragment.partition(":~:")[0]
    return f"{address}#{fragment if hash_sign else ''}:~:{directive}"


def text_directive(text: str, span: TextSpan) -> str:
    """The directive that names a span: `text=...`, or `text=first,last`, with words around it where that is not enough.

    Empty if nothing of the span can be expected to stand on the page as it does in the text.
    """
    runs = _runs(text, span)
    if not runs:
        return ""
    first, last = runs[0], runs[-1]
    if len(runs) == 1 and first.end - first.start <= WHOLE_CHARS:
        parts = [text[first.start : first.end]]
    else:
        parts = [_words(text[first.start : first.end], _ENDS), _words(text[last.start : last.end], -_ENDS)]
        if len(runs) == 1 and len(parts[0]) + len(parts[1]) >= first.end - first.start:
            parts = [text[first.start : first.end]]
    parts = [" ".join(part.split()) for part in parts]
    directive = ",".join(map(_encoded, parts))
    in_row = " | " in text[span.start : span.end]  # before its cells stand the names of columns
    if not in_row and _is_repeated(text, parts[0]):
        before = _words(_last_run(text[: first.start]), -_AROUND)
        after = _words(_first_run(text[last.end :]), _AROUND)
        directive = (f"{_encoded(before)}-," if before else "") + directive + (f",-{_encoded(after)}" if after else "")
    return f"text={directive}"


def _scheme(source: str) -> str:
    match = re.match(r"([a-zA-Z][a-zA-Z0-9+.-]+)://", source)
    return match[1].lower() if match else ""


def _address(source: str) -> str:
    """An address as it is; a path as a relative reference, in which a colon is not taken for a scheme."""
    if _scheme(source):
        return re.sub(r"[\s\"<>]", lambda match: quote(match[0]), source)
    path = quote(source.replace("\\", "/").encode("utf-8", "replace"), safe="/~!$&'()*+,;=@:")
    return f"./{path}" if ":" in path.split("/", 1)[0] else path


def _runs(text: str, span: TextSpan) -> list[TextSpan]:
    """The parts of a span that stand on the page in one piece, in order."""
    runs: list[TextSpan] = []
    table_row = " | " in text[span.start : span.end]
    start = span.start
    cuts = [*_NOT_ON_PAGE.finditer(text, span.start, span.end)]
    for cut_start, cut_end in [*((cut.start(), cut.end()) for cut in cuts), (span.end, span.end)]:
        run_start = start
        if table_row and (name := _NAME_OF_COLUMN.match(text, run_start, cut_start)):
            run_start = name.end()
        if mark := _MARK.match(text, run_start, cut_start):
            run_start = mark.end()
        stripped = text[run_start:cut_start].strip()
        if any(character.isalnum() for character in stripped):
            run_start += len(text[run_start:cut_start]) - len(text[run_start:cut_start].lstrip())
            runs.append(TextSpan(run_start, run_start + len(stripped)))
        start = cut_end
    return _whole_words(text, span, runs)


def _whole_words(text: str, span: TextSpan, runs: list[TextSpan]) -> list[TextSpan]:
    """Without runs that are cut inside a word, as "10" of "10^6": browsers match whole words."""
    whole = []
    for run in runs:
        start, end = run
        if end < span.end and text[end] in "^_":
            words = text[start:end].rsplit(None, 1)
            end = start + len(words[0]) if len(words) == 2 else start
        if start > span.start and text[start - 1] in "^_":
            words = text[start:end].split(None, 1)
            start = end - len(words[1]) if len(words) == 2 else end
        if start < end:
            whole.append(TextSpan(start, end))
    return whole


def _words(text: str, count: int) -> str:
    """The first words of a text, or with a negative count the last; without spaces, as many characters thrice."""
    words = text.split()
    if len(words) == 1 and len(text) > WHOLE_CHARS:  # Chinese, Japanese, Thai: no spaces
        return text[: count * 3] if count > 0 else text[count * 3 :]
    return " ".join(words[:count] if count > 0 else words[count:])


def _last_run(text: str) -> str:
    """The end of a text, from the last thing on that is not on the page."""
    tail = text[-WHOLE_CHARS:]
    if " | " in tail.rstrip().rpartition("\n")[2]:
        return ""  # a row, whose text repeats the names of its columns
    cuts = [*_NOT_ON_PAGE.finditer(tail.rstrip())]
    return tail[cuts[-1].end() :] if cuts else tail


def _first_run(text: str) -> str:
    """The beginning of a text, up to the first thing that is not on the page."""
    head = text[:WHOLE_CHARS].lstrip()
    if " | " in head.partition("\n")[0]:
        return ""
    cut = _NOT_ON_PAGE.search(head)
    return head[: cut.start()] if cut else head


def _is_repeated(text: str, part: str) -> bool:
    """Whether a text holds a part more than once, but for case and white space."""
    pattern = r"\s+".join(map(re.escape, part.split()))
    found = re.finditer(pattern, text, re.IGNORECASE)
    return next(found, None) is not None and next(found, None) is not None


def _encoded(part: str) -> str:
    """Percent-encode a part of a directive, also the `-` that would make it a prefix or a suffix."""
    return quote(part.encode("utf-8", "replace"), safe="").replace("-", "%2D")
