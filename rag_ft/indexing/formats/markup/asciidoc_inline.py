"""AsciiDoc's marks within a paragraph → HTML: formatting, links, notes, attributes. What is not understood stays."""

from __future__ import annotations

import re
from html import escape

from rag_ft.indexing.formats.blocks import KEPT_SPACE
from rag_ft.indexing.formats.limits import check_document_size

_CHARACTERS = {
    "empty": "",
    "blank": "",
    "sp": " ",
    "nbsp": "\u00a0",
    "zwsp": "",
    "wj": "",
    "apos": "'",
    "quot": '"',
    "lsquo": "‘",
    "rsquo": "’",
    "ldquo": "“",
    "rdquo": "”",
    "deg": "°",
    "plus": "+",
    "brvbar": "¦",
    "vbar": "|",
    "amp": "&",
    "lt": "<",
    "gt": ">",
    "startsb": "[",
    "endsb": "]",
    "caret": "^",
    "asterisk": "*",
    "tilde": "~",
    "backslash": "\\",
    "backtick": "`",
    "two-colons": "::",
    "two-semicolons": ";;",
    "cpp": "C++",
    "pp": "++",
}
_REFERENCE = re.compile(r"(?<!\\)\{([\w][\w-]{0,100})\}")
_DEEPEST = 8
_LONGEST_TEXT = 5_000
"""Characters of the longest text between the brackets of a macro."""

_SPECIAL = re.compile(
    r"\+\+\+(?P<raw>(?:[^+\n]|\+(?!\+\+)){0,2000})\+\+\+"
    r"|`\+(?P<literal>[^\n]{1,500}?)\+`"
    r"|(?<![\w+])\+(?P<plain>[^\s+](?:[^+\n]{0,500}[^\s+])?)\+(?![\w+])"
    r"|\(\(\((?P<hidden>[^()\n]{0,500})\)\)\)"
    r"|\(\((?P<term>[^()\n]{1,500})\)\)"
    r"|(?<!\\)<<(?P<target>[^<>,\n]{1,300})(?:,\s*(?P<shown>[^<>]{0,1000}))?>>"
    r"|(?<![\w\\])(?P<url>(?:https?|ftp|irc)://[^\s\[\]<>{}|\"]{1,2000})(?P<text>\[)?"
    r"|(?<![\w\\])(?P<macro>link|xref|mailto|image|icon|kbd|btn|menu|footnote|footnoteref|anchor|indexterm2?|stem|latexmath"
    r"|asciimath|pass|video|audio):(?!:)(?P<about>[^\s\[\]]{0,1000})\["
    r"|\[\[(?P<anchor>[^\[\]\n]{1,200})\]\]"
    r"|(?P<role>\[[\w .#%-]{1,100}\])(?=[#*_`])"
    r"|(?<!\\)[\"'](?P<quoted>`)(?=[^\s`])|(?<=[^\s`])(?P<unquoted>`)[\"'](?!\w)"
    r"|(?<!\\)\^(?P<above>[^\s^]{1,60})\^|(?<!\\)~(?P<below>[^\s~]{1,60})~"
    r"|\\(?P<escaped>[*_`#^~+\[{<\\](?=\S))"
)
_MARK = re.compile(r"\*\*?|__?|``?|##?")
_PLACE = re.compile("\ue000(\\d{1,7})\ue001")
_URL_END = ".,;:!?)'"


class Inline:
    """Writes text with marks as HTML, and collects its notes."""

    def __init__(self, attributes: dict[str, str], titles: dict[str, str]) -> None:
        self.attributes = attributes
        """Values of the document's attributes so far."""
        self.titles = titles
        """Titles by the names under which other text refers to them."""
        self.notes: list[tuple[int, str]] = []
        """Notes whose marks were written, as HTML, not yet written themselves."""
        self._note_count = 0
        self._numbers: dict[str, int] = {}
        self._chars = 0

    def html(self, text: str, depth: int = 0) -> str:
        """Write a text."""
        if depth > _DEEPEST:
            return escape(text, quote=False)
        text = self.with_attributes(text)
        places: list[str] = []
        parts: list[str] = []
        end = 0
        position = 0
        closing = _closing_brackets(text) if "[" in text else {}
        while (match := _SPECIAL.search(text, position)) is not None:
            html, position = self._special(text, match, closing, depth)
            if html is None:
                position = match.start() + 1
                continue
            parts += [text[end : match.start()], f"\ue000{len(places)}\ue001"]
            places.append(html)
            end = position
        parts.append(text[end:])
        written = escape(_without_marks("".join(parts)), quote=False)
        return _PLACE.sub(lambda place: places[int(place[1])] if int(place[1]) < len(places) else place[0], written)

    def with_attributes(self, text: str) -> str:
        """Put the values of attributes into a text; those that have none stay."""
        if "{" not in text:
            return text

        def value(reference: re.Match[str]) -> str:
            name = reference[1].lower()
            shown = self.attributes.get(name, _CHARACTERS.get(name))
            if shown is None:
                return reference[0]
            self._chars += len(shown)
            check_document_size(self._chars, 0, 0)
            return shown

        return _REFERENCE.sub(value, text)

    def _special(self, text: str, match: re.Match[str], closing: dict[int, int], depth: int) -> tuple[str | None, int]:
        """What a special mark is written as, None if it is text, and where it ends."""
        kind, end = match.lastgroup, match.end()
        content = match[kind] if kind else ""
        if kind == "raw":
            return balanced(content), end
        if kind in ("literal", "plain"):
            return _code(content) if kind == "literal" else escape(content, quote=False), end
        if kind in ("hidden", "anchor", "role"):
            return "", end
        if kind in ("quoted", "unquoted"):
            return match[0].replace("`", ""), end
        if kind == "term":
            return self.html(content, depth + 1), end
        if kind in ("above", "below"):
            tag = "sup" if kind == "above" else "sub"
            return f"<{tag}>{self.html(content, depth + 1)}</{tag}>", end
        if kind == "escaped":
            return escape(content, quote=False), end
        if kind in ("target", "shown"):
            return self._reference(match["target"], match["shown"] or "", depth), end
        if kind == "url":
            url = content.rstrip(_URL_END)
            return escape(url, quote=False), match.start() + len(url)
        stop = closing.get(end - 1)
        if stop is None:
            return None, end
        inner = text[end:stop].replace("\\]", "]")
        if kind == "text":
            shown = _label(inner)
            return self.html(shown, depth + 1) if shown else escape(match["url"], quote=False), stop + 1
        return self._macro(match["macro"], match["about"], inner, depth), stop + 1

    def _macro(self, name: str, about: str, text: str, depth: int) -> str:
        if name in ("footnote", "footnoteref"):
            return self._note(name, about, text, depth)
        if name == "xref":
            return self._reference(about, _label(text), depth)
        if name in ("link", "mailto"):
            shown = _label(text) or about
            return self.html(shown, depth + 1) if shown != about else escape(about, quote=False)
        if name in ("image", "icon", "video", "audio"):
            shown = _label(text) if name == "image" else ""
            return f'<img alt="{escape(shown.replace(chr(10), " "))}">' if shown else ""
        if name in ("stem", "latexmath", "asciimath"):
            return _code(text)
        if name == "pass":
            return balanced(text)
        if name in ("anchor", "indexterm"):
            return ""
        if name == "menu":
            return escape(" > ".join(part for part in (about, text) if part), quote=False)
        return escape(text, quote=False)

    def _reference(self, target: str, shown: str, depth: int) -> str:
        if shown.strip():
            return self.html(shown.strip(), depth + 1)
        name = target.strip().rpartition("#")[2]
        return escape(self.titles.get(name) or target.strip(), quote=False)

    def _note(self, name: str, about: str, text: str, depth: int) -> str:
        if name == "footnoteref":
            about, _, text = text.partition(",")
        number = self._numbers.get(about) if about else None
        if number is None:
            self._note_count += 1
            number = self._note_count
            if about:
                self._numbers[about] = number
            if text.strip():
                self.notes.append((number, self.html(text.strip(), depth + 1)))
        return f"<sup>[{number}]</sup>"


_BRACKET = re.compile(r"\\\]|[\[\]]")


def _closing_brackets(text: str) -> dict[int, int]:
    """Where the bracket stands that closes each one; none for those further away than a text may be long."""
    closing: dict[int, int] = {}
    opened: list[int] = []
    for match in _BRACKET.finditer(text):
        if match[0] == "[":
            opened.append(match.start())
        elif match[0] == "]" and opened:
            start = opened.pop()
            if match.start() - start <= _LONGEST_TEXT:
                closing[start] = match.start()
    return closing


_NAMED = re.compile(r",\s*\w+=(?:\"[^\"]*\"|[^,\"]*)")


def _label(text: str) -> str:
    """The text of a link, without attributes such as `window=_blank`."""
    text = text.strip()
    if text.startswith('"') and (end := text.find('"', 1)) > 0:
        return text[1:end].removesuffix("^")
    if re.match(r"\w+=\S", text):
        return ""
    if "=" in text:
        text = _NAMED.sub("", text)
    return text.removesuffix("^").strip()


def _code(text: str) -> str:
    return f"<code>{escape(text.replace(' ', KEPT_SPACE) if '  ' in text else text, quote=False)}</code>"


def _without_marks(text: str) -> str:
    """Take out the marks of formatting that stand in pairs, in one pass."""
    opened: dict[str, int] = {}
    dropped: list[tuple[int, int]] = []
    for match in _MARK.finditer(text):
        start, end = match.span()
        mark = match[0]
        before, after = text[start - 1 : start], text[end : end + 1]
        wide = len(mark) == 2
        opens = bool(after.strip()) and (wide or not (before.isalnum() or (before in ("\\", "_") and before)))
        closes = mark in opened and bool(before.strip()) and (wide or not (after.isalnum() or after == "_"))
        if closes and end > opened[mark] + 2 * len(mark):
            first = opened.pop(mark)
            dropped += [(first, first + len(mark)), (start, end)]
        elif opens:
            opened[mark] = start
    if not dropped:
        return text
    parts: list[str] = []
    position = 0
    for start, end in sorted(dropped):
        parts.append(text[position:start])
        position = end
    return "".join([*parts, text[position:]])


def balanced(html: str) -> str:
    """HTML parsed and written again, so that no tag is left open."""
    from selectolax.lexbor import LexborHTMLParser

    body = LexborHTMLParser(html).body
    return "" if body is None else re.sub(r"</?(?:plaintext|body)\b[^>]*>", "", body.html or "", flags=re.IGNORECASE)
