"""One file's bytes → plain text, title, headings, pages. One function for each format, by a well-kept library.

Rich formats become blocks separated by an empty line: paragraphs with soft line breaks as blanks, list items and table
rows one a line (cells joined by ` | `), code as it stands, no markup. Plain text stays exactly as decoded.
"""

from __future__ import annotations

import datetime
import io
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from rag_ft.schema import Heading, Metadata

MAX_FILE_BYTES = 512 * 1024 * 1024
"""A larger file is refused: it is held in memory while it is read."""

MAX_UNPACKED_BYTES = 256 * 1024 * 1024
"""A DOCX or EPUB that unpacks to more is refused, whatever its own size: zip bombs grow a thousandfold."""

MAX_PARTS = 20_000
"""Files inside a DOCX or EPUB."""


class Unreadable(Exception):
    """The file cannot be read; the message completes a sentence that begins with its name."""


@dataclass
class Extracted:
    """What a file says."""

    text: str
    title: str = ""
    headings: tuple[Heading, ...] = ()
    page_starts: tuple[int, ...] = ()
    metadata: Metadata = field(default_factory=dict)


class _Blocks:
    """Text under construction, block by block, with the offsets of headings and pages."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self.length = 0
        self.headings: list[Heading] = []
        self.page_starts: list[int] = []

    def add(self, text: str, level: int = 0) -> None:
        text = text.strip("\n") if level == 0 else " ".join(text.split())
        if not text.strip():
            return
        if self._parts:
            self._parts.append("\n\n")
            self.length += 2
        if level:
            self.headings.append(Heading(start=self.length, level=min(level, 6), text=text))
        self._parts.append(text)
        self.length += len(text)

    def begin_page(self, offset: int = 0) -> None:
        """A page begins with the next block, or at an offset in it."""
        # The gap before the page's first block belongs to the page before.
        self.page_starts.append((self.length + 2 if self._parts else 0) + offset)

    def extracted(self, title: str = "", metadata: Metadata | None = None) -> Extracted:
        first = next((one.text for one in self.headings if one.level == 1), "")
        text = "".join(self._parts)
        # A last page without text begins where the text ends.
        pages = tuple(min(start, len(text)) for start in self.page_starts)
        return Extracted(text, title or first, tuple(self.headings), pages, metadata or {})


def extract(name: str, data: bytes) -> Extracted:
    """What the bytes of a file of this name say. Raises Unreadable."""
    read = READERS[Path(name).suffix.lower()]
    try:
        return read(data)
    except Unreadable:
        raise
    except RecursionError as error:
        raise Unreadable("is nested too deeply") from error
    except Exception as error:  # the parsers raise anything on a damaged file; one file must not stop the others
        lines = str(error).strip().splitlines()
        raise Unreadable(f"is damaged ({(lines[0] if lines else type(error).__name__)[:120]})") from error


def decode(data: bytes) -> tuple[str, str]:
    """The text of bytes in an unknown encoding, and the encoding's name. Raises Unreadable for what is not text."""
    for mark, encoding in (
        (b"\xef\xbb\xbf", "utf-8-sig"),
        (b"\xff\xfe\x00\x00", "utf-32"),
        (b"\x00\x00\xfe\xff", "utf-32"),
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
    ):
        if data.startswith(mark):
            try:
                return data.decode(encoding), encoding
            except UnicodeDecodeError as error:
                raise Unreadable(f"begins as {encoding} but is not") from error
    sample = data[:65536]
    control = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in sample)
    if b"\0" in sample or control * 50 > len(sample):
        raise Unreadable("holds binary data, not text")
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        pass
    return _decode_by_guess(data)


def _decode_by_guess(data: bytes) -> tuple[str, str]:
    """Text in an older encoding. Latin letters are weighed here, as a detector needs more of them than a page of German
    has; charset_normalizer tells the other scripts apart.
    """
    mended = data.decode("utf-8", "replace")
    wrong = mended.count("\ufffd")
    if len(data) - len(mended) > 20 * wrong:  # each longer character is at least one byte more than a character
        return mended, "utf-8 with errors"
    sample = b"\n".join(islice(_around_high_bytes(data), 5000))
    fits = {encoding: _latin_fit(sample, encoding, alphabets) for encoding, alphabets in _ALPHABETS.items()}
    guesses = sorted((encoding for encoding, fit in fits.items() if fit > 0.9), key=lambda one: -fits[one])
    if not guesses and _latin_fit(sample, "cp1252", [_WESTERN]) > 0.9:
        guesses = ["cp1252"]  # words and names of several languages
    for guess in chain(guesses, _detected(data), ["cp1252"]):
        try:
            return data.decode(guess), guess
        except UnicodeDecodeError:
            continue
    raise Unreadable("is in no encoding that can be recognised: save it as UTF-8")


_HIGH_BYTE = re.compile(rb"[\x80-\xff]")


def _around_high_bytes(data: bytes) -> Iterator[bytes]:
    end = 0
    for found in _HIGH_BYTE.finditer(data):
        if found.start() >= end:
            start, end = max(end, found.start() - 40), found.start() + 40
            yield data[start:end]


def _detected(data: bytes) -> Iterator[str]:
    """charset_normalizer's guesses: from what stands around the first byte beyond ASCII, then from everything."""
    from charset_normalizer import from_bytes

    high = _HIGH_BYTE.search(data)
    start = data.rfind(b"\n", 0, high.start() if high else 0) + 1
    for part in (data[start : start + 65536], data):
        best = from_bytes(part).best()
        if best is not None:
            yield best.encoding


_WESTERN = (
    "äöüß àâæçéèêëîïôœùûüÿ áéíóúüñ ãáâàçéêíóôõúü àèéìíîòóùú åäöé æøåéóòôü éèêëïíóöüá áéíóúýþæðö àçèéíïòóúü õäöüšž áéíóú"
)
_ALPHABETS = {
    "cp1252": _WESTERN.split(),
    "cp1250": "ąćęłńóśźż áčďéěíňóřšťúůýž áäčďéíĺľňóôŕšťúýž áéíóöőúüű čćđšž ăâîșțşţ".split(),
    "iso8859_2": "ąćęłńóśźż áčďéěíňóřšťúůýž áéíóöőúüű čćđšž".split(),
    "cp1254": ["çğıöşüâîûi\u0307"],
    "cp1257": "ąčęėįšųūž āčēģīķļņšūž".split(),
    "cp850": _WESTERN.split(),
    "mac_roman": _WESTERN.split(),
}
"""Letters beyond ASCII of the languages written in an encoding; of two that fit as well the first is taken."""

_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")
_WITHIN_WORDS = frozenset("’·–—-\xad")


def _latin_fit(data: bytes, encoding: str, alphabets: Iterable[str]) -> float:
    """The share of the characters beyond ASCII that stand where a text with one of these alphabets has them."""
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return 0.0
    letters: Counter[str] = Counter()
    good = total = 0
    for found in _BEYOND_ASCII.finditer(text):
        one, start = found[0], found.start()
        before, after = text[start - 1 : start], text[start + 1 : start + 2]
        total += 1
        if one.isalpha() and one not in "ªº":
            third = all(near.isalpha() and not near.isascii() for near in (before, after))
            letters[one.lower()] += not third and not (one.isupper() and before.islower())
        elif one.isprintable() or one == "\xa0":
            opens = one in "‚„¿¡" and before.isalpha()
            good += not opens and not (before.isalpha() and after.isalpha() and one not in _WITHIN_WORDS)
    if letters.total() > 0.5 * sum(map(data.lower().count, b"abcdefghijklmnopqrstuvwxyz")):
        return 0.0  # another script
    known = max(sum(letters[one] for one in set(alphabet)) for alphabet in alphabets)
    return (good + known) / total


def _text(data: bytes) -> Extracted:
    text, encoding = decode(data)
    return Extracted(text, metadata=_noted(encoding))


def _noted(encoding: str) -> Metadata:
    return {} if encoding == "utf-8" else {"encoding": encoding}


_FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?)(?:\r?\n)?^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)


def _markdown(data: bytes) -> Extracted:
    text, encoding = decode(data)
    metadata = _noted(encoding)
    found = _FRONT_MATTER.match(text)
    if found:
        metadata |= _front_matter(found[1])
        text = text[found.end() :]
    blocks = _Blocks()
    _markdown_blocks(text, blocks)
    title = metadata.get("title")
    return blocks.extracted(title if isinstance(title, str) else "", metadata)


_MAX_ALIASES = 10
"""In front matter: n of them let a text grow to e^(n/e) times its size, here 40; 80 of them fill the memory."""


def _front_matter(text: str) -> Metadata:
    import yaml

    class Loader(yaml.SafeLoader):
        def date_or_text(self, node: yaml.ScalarNode) -> Any:
            try:
                return self.construct_yaml_timestamp(node)
            except ValueError:  # a day that no calendar has
                return self.construct_scalar(node)

    Loader.add_constructor("tag:yaml.org,2002:timestamp", Loader.date_or_text)
    try:
        if sum(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)) > _MAX_ALIASES:
            return {"front_matter_error": f"more than {_MAX_ALIASES} aliases"}
        loaded = yaml.load(text, Loader)
        return {str(key): json_value(value) for key, value in loaded.items()} if isinstance(loaded, dict) else {}
    except RecursionError:
        return {"front_matter_error": "nested too deeply, or within itself"}
    except Exception as error:  # beside YAMLError what the constructors raise: ValueError, KeyError, AttributeError
        # Broken front matter is no reason to lose the page below it.
        return {"front_matter_error": (str(error).splitlines() or ["unreadable"])[0]}


def json_value(value: Any) -> JsonValue:
    """A value as JSON can hold it: dates in ISO 8601, what is unknown as its text."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)
    if isinstance(value, datetime.date | datetime.datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(key): json_value(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [json_value(one) for one in value]
    return str(value)


_MARKDOWN_KINDS = {"bullet_list": "list", "ordered_list": "list", "list_item": "item"}
_MARKDOWN_KINDS |= {"table": "table", "tr": "row", "th": "cell", "td": "cell"}


def _markdown_blocks(text: str, blocks: _Blocks) -> None:
    from markdown_it import MarkdownIt

    flow = _Flow(blocks)
    level = 0
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        name, _, end = token.type.rpartition("_")
        if token.type == "heading_open":
            level = int(token.tag[1:])
        elif name in _MARKDOWN_KINDS:
            kind = _MARKDOWN_KINDS[name]
            if end == "open":
                flow.open(kind, marker=f"{token.info}. " if kind == "item" and token.info else "")
            else:
                flow.close(kind)
        elif token.type == "inline":
            flow.put(_inline(token.children or []), level)
            level = 0
        elif token.type in ("fence", "code_block"):
            flow.put(token.content)
        elif token.type == "html_block":
            _html_fragment(token.content, flow)
    flow.end()


def _inline(tokens: list[Any]) -> str:
    parts = []
    hidden = ""  # the script or style being passed over
    for token in tokens:
        if token.type == "html_inline":
            tag = _HTML_TAG.match(token.content)
            name = tag[2].lower() if tag else ""
            if name == "br":
                parts.append("\n")
            elif name in ("script", "style"):
                hidden = "" if tag and tag[1] else name
        elif hidden:
            continue
        elif token.type in ("text", "code_inline", "image"):
            parts.append(token.content)
        elif token.type == "softbreak":
            parts.append(" ")
        elif token.type == "hardbreak":
            parts.append("\n")
    return re.sub(" *\n *", "\n", "".join(parts))


_HTML_TAG = re.compile(r"<(/?)([a-zA-Z][\w-]*)")
_PART_OF_TABLE = re.compile(r"\s*</?(?:t[rdh]|tbody|thead|tfoot)\b", re.IGNORECASE)


def _html_fragment(html: str, flow: _Flow) -> None:
    from selectolax.lexbor import LexborHTMLParser

    # An empty line ends Markdown's HTML, within a table too, and outside of one its rows and cells are no tags.
    body = LexborHTMLParser("<table>" + html if _PART_OF_TABLE.match(html) else html).body
    if body is not None:
        _dom_flow(body, flow)


_HTML_CHARSET = re.compile(rb"<(?:meta[^>]+charset|\?xml[^>]+encoding)=[\"']?\s*([\w-]+)", re.IGNORECASE)

# As browsers do (https://encoding.spec.whatwg.org/#names-and-labels): the older name stands for the larger set.
_LARGER = {"iso-8859-1": "cp1252", "latin1": "cp1252", "us-ascii": "cp1252", "ascii": "cp1252", "gb2312": "gb18030"}
_LARGER |= {"gbk": "gb18030", "shift_jis": "cp932", "euc-kr": "cp949", "iso-8859-9": "cp1254"}


def _decode_html(data: bytes) -> tuple[str, str]:
    """The text of a page, and its encoding; "utf-8" too where the page itself says which."""
    declared = _HTML_CHARSET.search(data[:4096])
    name = declared[1].decode("ascii").lower() if declared else ""
    if not name.startswith("utf") and name and not data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        try:
            if not data.isascii():
                return data.decode("utf-8"), "utf-8"  # which other encodings never are by chance
        except UnicodeDecodeError:
            pass
        try:
            return data.decode(_LARGER.get(name, name)), "utf-8"
        except (LookupError, UnicodeDecodeError):
            pass  # the page's own word is wrong often enough: look at the bytes instead
    text, encoding = decode(data)
    return text, encoding


def _html(data: bytes) -> Extracted:
    """The main text of a page by trafilatura; the page's own content where trafilatura finds less than half of it (nine
    tenths of a short page, or of a <main>) or of its headings: its last resort is one paragraph of all words.
    """
    html, encoding = _decode_html(data)
    from defusedxml import ElementTree
    from selectolax.lexbor import LexborHTMLParser
    from trafilatura import extract as main_text

    tree = LexborHTMLParser(html)
    head = tree.css_first("title")
    title = " ".join(head.text().split()) if head is not None else ""
    metadata = _noted(encoding)
    for node in tree.css("meta[name][content]"):
        name = (node.attributes.get("name") or "").lower()
        if name in ("author", "description", "keywords", "date"):
            metadata[name] = node.attributes.get("content") or ""
    mains = tree.css("main")
    root = mains[0] if len(mains) == 1 else tree.body
    content = _dom_blocks(root, skip=_FRAME)
    if not content.length:
        content = _dom_blocks(tree.body)
    xml = main_text(html, output_format="xml", include_comments=False, include_tables=True, include_formatting=True)
    main = _tei_blocks(ElementTree.fromstring(xml)) if xml else _Blocks()
    # Much of a long page is links to others, which trafilatura leaves out rightly; a short page is kept whole.
    short = content.length < 4000
    expected = content if short else _dom_blocks(root, skip=_FRAME | {"a"})
    share = 0.9 if short or len(mains) == 1 else 0.5
    missed = main.length < expected.length * share or len(main.headings) * 2 < len(expected.headings)
    return (content if not main.length or missed else main).extracted(title, metadata)


class _Flow:
    """Blocks from the parts of a document in reading order. A list or table is one block with a line for each item or
    row, and what stands inside an item or a cell stays in its line, further tables and lists too.
    """

    def __init__(self, blocks: _Blocks) -> None:
        self._blocks = blocks
        self._text: list[list[str]] = [[]]  # running text not yet put, by line
        self._lines: list[str] = []  # of the outermost open list or table
        self._depth = 0  # open lists and tables
        self._marker = ""  # of the item whose first line is still to come
        self._numbers: list[int | None] = []  # of the next item of each open list; None: not numbered
        self._rows: list[list[list[str]]] = []  # open rows, each the parts of its cells

    def text(self, text: str) -> None:
        """Running text; any white space in it is a blank."""
        self._text[-1].append(text)

    def line_break(self) -> None:
        """A new line within the running text."""
        self._text.append([])

    def put(self, text: str, level: int = 0) -> None:
        """A whole paragraph, or with a level a heading, as it stands."""
        self._end_text()
        self._put(text, level)

    def open(self, kind: str, first: int | None = None, marker: str = "") -> None:
        """A "list" (first: its first number), "item" (marker: where it is not counted here), "table", "row", "cell";
        any other kind is a paragraph or what holds some.
        """
        self._end_text()
        if kind in ("list", "table"):
            self._depth += 1
        if kind == "list":
            self._numbers.append(first)
        elif kind == "item":
            number = self._numbers[-1] if self._numbers else None
            self._marker = marker or ("- " if number is None else f"{number}. ")
            if number is not None:
                self._numbers[-1] = number + 1
        elif kind == "row":
            self._rows.append([])
        elif kind == "cell" and self._rows:
            self._rows[-1].append([])

    def close(self, kind: str) -> None:
        """The end of what was opened last; a kind "h1" to "h6" makes the text since a heading."""
        self._end_text(int(kind[1]) if kind in _HEADING_TAGS else 0)
        if kind == "item":
            self._marker = ""
        elif kind == "row":
            self._put(" | ".join(" ".join(parts) for parts in self._rows.pop()))
        elif kind in ("list", "table"):
            if kind == "list":
                self._numbers.pop()
            self._depth -= 1
            if self._depth == 0:
                self._end_lines()

    def end(self) -> None:
        """The end of the document."""
        self._end_text()
        self._end_lines()

    def _put(self, text: str, level: int = 0) -> None:
        if not text.strip():
            return
        text = text.strip("\n")
        if self._rows and self._rows[-1]:
            self._rows[-1][-1].append(self._marker + text.replace("\n", " "))
        elif level:
            self._end_lines()
            self._blocks.add(text, level)
        elif self._depth:
            self._lines.append(self._marker + text)
        else:
            self._blocks.add(self._marker + text)
        self._marker = ""

    def _end_text(self, level: int = 0) -> None:
        text = "\n".join(" ".join("".join(line).split()) for line in self._text)
        self._text = [[]]
        self._put(_GAPS.sub("\n\n", text.strip()), level)

    def _end_lines(self) -> None:
        self._blocks.add("\n".join(self._lines))
        self._lines = []


_GAPS = re.compile(r"\n{3,}")
_HEADING_TAGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
_BLOCK_TAGS = _HEADING_TAGS | frozenset(
    "p blockquote dl dt dd figure figcaption caption summary details div section article header footer nav main aside"
    " address form fieldset legend option hr body".split()
)
_KINDS = {"ul": "list", "ol": "list", "menu": "list", "li": "item", "table": "table", "tr": "row"}
_KINDS |= {"td": "cell", "th": "cell"}
_FRAME = frozenset({"nav", "footer"})
_NO_TEXT = frozenset({"script", "style", "noscript", "template", "head", "svg", "-comment"})


def _dom_blocks(root: Any, blocks: _Blocks | None = None, *, skip: Set[str] = frozenset()) -> _Blocks:
    """All visible text of a page or of a part of it, less the elements to skip, added to the blocks."""
    blocks = _Blocks() if blocks is None else blocks
    flow = _Flow(blocks)
    if root is not None:
        _dom_flow(root, flow, skip)
    flow.end()
    return blocks


def _dom_flow(root: Any, flow: _Flow, skip: Set[str] = frozenset()) -> None:
    stack: list[Any] = [root]  # elements to read, and the kinds to close on the way; pages nest too deep to recurse
    layouts: list[bool] = []  # for each open table: are its cells the columns of the page, not data?
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            flow.close(node)
            if node in ("table", "layout"):
                layouts.pop()
            continue
        tag = node.tag
        if tag == "-text":
            flow.text(node.text())
        elif tag == "br":
            flow.line_break()
        elif tag == "pre":
            flow.put(node.text())
        elif tag not in _NO_TEXT and tag not in skip:
            kind = _KINDS.get(tag, tag if tag in _BLOCK_TAGS else "")
            if kind == "table":
                inside = (one for one in node.traverse() if one.tag in ("table", "h1", "h2"))
                layouts.append(any(one.mem_id != node.mem_id for one in inside))
            if kind in ("table", "row", "cell") and layouts and layouts[-1]:
                kind = "layout" if kind == "table" else "p"
            if kind:
                flow.open(kind, _first_number(node) if tag == "ol" else None)
                stack.append(kind)
            stack.extend(reversed(list(node.iter(include_text=True))))


def _first_number(node: Any) -> int:
    start = node.attributes.get("start") or ""
    return int(start) if re.fullmatch(r"[0-9]{1,9}", start) else 1


_TEI_KINDS = {tag: tag for tag in ("list", "item", "table", "row", "cell")}
_TEI_KINDS |= {"head": "h2", "p": "p", "quote": "p", "div": "p", "ab": "p", "main": "p"}


def _tei_blocks(root: Any) -> _Blocks:
    """Blocks of trafilatura's XML: head, p, list/item, table/row/cell, code, quote, lb; text between them too."""
    blocks = _Blocks()
    flow = _Flow(blocks)
    stack: list[Any] = [root]  # elements to read, their tails as (text,), and the kinds to close
    while stack:
        element = stack.pop()
        if isinstance(element, str):
            flow.close(element)
            continue
        if isinstance(element, tuple):
            flow.text(element[0])
            continue
        if element.tag == "lb":
            flow.line_break()
            continue
        code = "".join(element.itertext()) if element.tag == "code" else ""
        if "\n" in code:
            flow.put(code)
            continue
        kind = _TEI_KINDS.get(element.tag, "")
        if element.tag == "head" and element.get("rend", "")[1:].isdecimal():
            kind = element.get("rend")
        if kind:
            flow.open(kind, 1 if element.get("rend") == "ol" else None)
            stack.append(kind)
        for child in reversed(element):
            stack.append((child.tail or "",))
            stack.append(child)
        flow.text(element.text or "")
    flow.end()
    return blocks


def _pdf(data: bytes) -> Extracted:
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise Unreadable("is encrypted: save a copy without a password") from error
        raise Unreadable("is not a PDF that can be read, or is cut off") from error
    try:
        pages: list[list[str]] = []
        labels: list[JsonValue] = []
        for number in range(len(document)):
            page = document[number]
            content = page.get_textpage()
            text = content.get_text_bounded().replace("\r\n", "\n").replace("\r", "\n")
            # After a hyphen pdfium goes on in the same line, with the page's footer too.
            text = re.sub(f"([{_LINE_HYPHENS}])\n?", r"\1\n", text)
            pages.append([line.rstrip() for line in text.split("\n")])
            labels.append(document.get_page_label(number) or str(number + 1))
            content.close()
            page.close()
        said = document.get_metadata_dict(skip_empty=True)
        metadata: Metadata = {
            key.lower(): value for key, value in said.items() if key in ("Author", "Subject", "Keywords")
        }
        if labels != [str(number + 1) for number in range(len(labels))]:
            metadata["page_labels"] = labels
        found = _page_blocks(_without_running_lines(pages)).extracted(str(said.get("Title", "")), metadata)
    finally:
        document.close()
    if not found.text:
        raise Unreadable("has no text layer (scanned pages?): recognise its text first")
    return found


_EDGE_LINES = 3
_NUMBER = re.compile(r"\d+")


def _without_running_lines(pages: list[list[str]]) -> list[list[str]]:
    """Pages less their running headers and footers: lines at the edges of at least 40% of the pages (left and right
    pages may differ) and of three, alike but for a page number. The first lines of "Step 1", "Step 2" are none.
    """
    places: dict[str, dict[int, list[int]]] = {}  # by line without its numbers: page → the numbers there
    for page, lines in enumerate(pages):
        kept = [line for line in lines if line.strip()]
        for line in kept[:_EDGE_LINES] + kept[-_EDGE_LINES:]:
            numbers = [int(number) for number in _NUMBER.findall(line)[:9]]
            places.setdefault(_unnumbered(line), {}).setdefault(page, numbers)
    least = max(3, 0.4 * _with_text(pages))
    running = {line for line, found in places.items() if len(found) >= least and _is_frame(line, found)}
    trimmed = [_trimmed(_trimmed(lines, running)[::-1], running)[::-1] for lines in pages]
    # Pages alike from top to bottom are no frames around nothing.
    return trimmed if _with_text(trimmed) * 2 > _with_text(pages) else pages


def _with_text(pages: list[list[str]]) -> int:
    return sum(any(map(str.strip, lines)) for lines in pages)


def _unnumbered(line: str) -> str:
    return _NUMBER.sub("0", " ".join(line.split()))


_LETTERS = re.compile(r"[^\W\d_]+")
_PAGE_WORDS = frozenset("page pages pg p seite seiten s página pagina pág pag folio sida side strona".split())


def _is_frame(line: str, found: dict[int, list[int]]) -> bool:
    """Whether each number of a line is on all pages the same, or goes up with the pages. A single word that does so
    must be one for a page: "Step 1" and "Chapter 1" are titles.
    """
    columns = [*zip(*found.values(), strict=True)]
    changing = [column for column in columns if len(set(column)) > 1]
    words = _LETTERS.findall(line.lower())
    if changing and len(words) == 1 and words[0] not in _PAGE_WORDS:
        return False
    return all(len({value - page for value, page in zip(column, found, strict=True)}) == 1 for column in changing)


def _trimmed(lines: list[str], running: Set[str]) -> list[str]:
    """Lines less the running ones among the first."""
    first = seen = 0
    for number, line in enumerate(lines):
        if seen == _EDGE_LINES or (line.strip() and _unnumbered(line) not in running):
            break
        seen += bool(line.strip())
        first = number + 1
    return lines[first:]


_SENTENCE_END = re.compile(r"[.!?:;\u2026][\"'”’»)\]]*$")
_LIST_MARK = re.compile(r"\w{1,4}[.)]")


def _page_blocks(pages: list[list[str]]) -> _Blocks:
    """The paragraphs of pages; one that a page's end cuts in the middle of a sentence is one block."""
    blocks = _Blocks()
    paragraph = ""
    begins: list[int] = []  # where in the paragraph a page begins

    def add() -> None:
        for offset in begins:
            blocks.begin_page(offset)
        blocks.add(paragraph.rstrip(_LINE_HYPHENS))
        begins.clear()

    for number, lines in enumerate(pages):
        found = list(_paragraphs(lines))
        goes_on = found and found[0][:1].islower() and not _LIST_MARK.match(found[0])
        if paragraph and goes_on and not _SENTENCE_END.search(paragraph):
            first = found.pop(0)
            paragraph = _joined(paragraph, first)
            begins.append(len(paragraph) - len(first))
        else:
            if number:
                add()
            paragraph = ""
            begins.append(0)
        for one in found:
            if paragraph:
                add()
            paragraph = one
    add()
    return blocks


# pdfium writes these for a hyphen that the layout put at a line's end.
_LINE_HYPHENS = "\ufffe\x02"


def _joined(before: str, after: str) -> str:
    if before.endswith(tuple(_LINE_HYPHENS)):
        return before[:-1] + after
    if before.endswith("-") and after[:1].islower() and before[-2:-1].isalpha():
        return before[:-1] + after
    return f"{before} {after}" if before else after


def _paragraphs(lines: list[str]) -> Iterator[str]:
    """Lines of a PDF page as paragraphs: a line that ends a sentence well short of the others ends a paragraph."""
    widths = sorted(len(line) for line in lines if line)
    usual = widths[len(widths) * 3 // 4] if widths else 0
    current = ""
    for line in lines:
        if not line.strip():
            if current:
                yield current
            current = ""
            continue
        current = _joined(current, line.lstrip())
        if len(line) < usual * 0.8 and line.endswith((".", "!", "?", ":")):
            yield current
            current = ""
    if current:
        yield current


def _open_zip(data: bytes) -> zipfile.ZipFile:
    """A zip file whose declared sizes are within the limits; reading a part still stops at its declared size."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except zipfile.BadZipFile as error:
        raise Unreadable("is not a zip container, or is cut off") from error
    parts = archive.infolist()
    total = sum(part.file_size for part in parts)
    if total > MAX_UNPACKED_BYTES or len(parts) > MAX_PARTS:
        raise Unreadable(
            f"unpacks to {total / 1e6:,.0f} MB in {len(parts):,} parts, more than is opened"
            f" ({MAX_UNPACKED_BYTES / 1e6:,.0f} MB, {MAX_PARTS:,} parts)"
        )
    if any(part.flag_bits & 1 for part in parts):
        raise Unreadable("is encrypted: save a copy without a password")
    return archive


_DOCX_HEADING = re.compile(r"heading (\d)", re.IGNORECASE)
_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_TRANSPARENT = frozenset(_WORD + name for name in ("sdt", "sdtContent", "customXml", "smartTag", "ins", "moveTo"))
# Moved away, the pronunciation of ruby text, and text boxes, which come after their paragraph.
_NOT_IN_LINE = frozenset(_WORD + name for name in ("moveFrom", "del", "rt", "pPr", "txbxContent", "sdtPr"))
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"


def _docx(data: bytes) -> Extracted:
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        raise Unreadable("is encrypted, or an old .doc: save a copy as .docx without a password")
    _open_zip(data).close()
    import docx
    from docx.text.paragraph import Paragraph

    document = docx.Document(io.BytesIO(data))

    def style_of(paragraph: Any) -> str:
        style = Paragraph(paragraph, document).style
        return (style.name if style is not None else "") or ""

    blocks = _Blocks()
    flow = _Flow(blocks)
    _docx_flow(document.element.body, flow, style_of)
    flow.end()
    said = document.core_properties
    metadata: Metadata = {"author": said.author} if said.author and said.author != "python-docx" else {}
    return blocks.extracted(said.title or "", metadata)


def _docx_flow(element: Any, flow: _Flow, style_of: Callable[[Any], str]) -> None:
    """The paragraphs and tables of a body, cell or text box, as all tracked changes leave them. python-docx passes over
    what stands in content controls and insertions.
    """
    open_list = ""  # the kind of the list whose items are being read
    for part in _docx_parts(element):
        paragraph = part.tag == _WORD + "p"
        if not paragraph and part.tag != _WORD + "tbl":
            continue
        style = style_of(part) if paragraph else ""
        kind = "" if not style.startswith("List") else "ol" if style.startswith("List Number") else "ul"
        if kind != open_list:
            if open_list:
                flow.close("list")
            if kind:
                flow.open("list", 1 if kind == "ol" else None)
            open_list = kind
        if not paragraph:
            _docx_table(part, flow, style_of)
            continue
        text = _docx_line(part)
        if kind and text.strip():
            flow.open("item")
            flow.put(" ".join(text.split()))
            flow.close("item")
        elif not kind:
            found = _DOCX_HEADING.match(style)
            flow.put(text, int(found[1]) if found else 1 if style == "Title" else 0)
        for box in part.iter(_WORD + "txbxContent"):
            if next(box.iterancestors(_FALLBACK, _WORD + "txbxContent"), None) is None:
                _docx_flow(box, flow, style_of)
    if open_list:
        flow.close("list")


def _docx_parts(element: Any) -> Iterator[Any]:
    for child in element:
        if child.tag in _TRANSPARENT:
            if not _is_placeholder(child):
                yield from _docx_parts(child)
        else:
            yield child


def _is_placeholder(control: Any) -> bool:
    """Whether a content control says "Click here to enter text" and nothing of its own."""
    return control.find(f"{_WORD}sdtPr/{_WORD}showingPlcHdr") is not None


def _docx_table(table: Any, flow: _Flow, style_of: Callable[[Any], str]) -> None:
    """A cell that goes over several columns is one, its text once; over several rows its text is said in each."""
    flow.open("table")
    above: dict[int, str] = {}  # by column, the paragraphs of the cell that goes on in the rows below
    for row in _docx_parts(table):
        if row.tag != _WORD + "tr":
            continue
        flow.open("row")
        column = _docx_number(row, "trPr/gridBefore", 0)
        for cell in _docx_parts(row):
            if cell.tag != _WORD + "tc":
                continue
            merged = cell.find(f"{_WORD}tcPr/{_WORD}vMerge")
            flow.open("cell")
            if merged is None or merged.get(_WORD + "val") == "restart":
                above[column] = " ".join(_docx_line(part) for part in _docx_parts(cell) if part.tag == _WORD + "p")
                _docx_flow(cell, flow, style_of)
            else:
                flow.put(" ".join(above.get(column, "").split()))
            flow.close("cell")
            column += _docx_number(cell, "tcPr/gridSpan", 1)
        flow.close("row")
    flow.close("table")


def _docx_number(element: Any, path: str, default: int) -> int:
    found = element.find("/".join(_WORD + name for name in path.split("/")))
    value = found.get(_WORD + "val", "") if found is not None else ""
    return int(value) if value.isdecimal() else default


def _docx_line(paragraph: Any) -> str:
    parts = []
    stack = list(reversed(paragraph))
    while stack:
        element = stack.pop()
        if element.tag == _WORD + "t":
            parts.append(element.text or "")
        elif element.tag == _WORD + "tab":
            parts.append("\t")
        elif element.tag in (_WORD + "br", _WORD + "cr"):
            parts.append("\n" if element.get(_WORD + "type", "textWrapping") == "textWrapping" else "")
        elif element.tag == _WORD + "noBreakHyphen":
            parts.append("-")
        elif element.tag not in _NOT_IN_LINE and element.tag != _FALLBACK:
            if not _is_placeholder(element):
                stack.extend(reversed(element))
    return "".join(parts)


def _epub(data: bytes) -> Extracted:
    from defusedxml import ElementTree
    from selectolax.lexbor import LexborHTMLParser

    with _open_zip(data) as archive:
        container = ElementTree.fromstring(archive.read("META-INF/container.xml"))
        package = next(one.get("full-path") or "" for one in container.iter() if one.tag.endswith("}rootfile"))
        root = ElementTree.fromstring(archive.read(package))
        folder = package.rpartition("/")[0]
        items = {one.get("id"): one.get("href") for one in root.iter() if one.tag.endswith("}item")}
        said = {one.tag.rpartition("}")[2]: (one.text or "").strip() for one in root.iter() if "purl.org/dc" in one.tag}
        blocks = _Blocks()
        for reference in (one.get("idref") for one in root.iter() if one.tag.endswith("}itemref")):
            href = items.get(reference)
            if href is None:
                continue
            from posixpath import normpath
            from urllib.parse import unquote

            part = normpath(f"{folder}/{unquote(href.partition('#')[0])}").lstrip("/")
            _dom_blocks(LexborHTMLParser(_decode_html(archive.read(part))[0]).body, blocks)
    metadata: Metadata = {key: said[key] for key in ("creator", "language", "publisher", "date") if said.get(key)}
    return blocks.extracted(said.get("title", ""), metadata)


READERS: dict[str, Callable[[bytes], Extracted]] = {
    ".txt": _text,
    ".text": _text,
    ".md": _markdown,
    ".markdown": _markdown,
    ".html": _html,
    ".htm": _html,
    ".xhtml": _html,
    ".pdf": _pdf,
    ".docx": _docx,
    ".epub": _epub,
}
"""By suffix, in lower case."""
