"""One file's bytes → plain text, title, headings, pages. One function for each format, by a well-kept library.

Rich formats become blocks separated by an empty line: paragraphs with soft line breaks as blanks, list items and table
rows one a line (cells joined by ` | `), code as it stands, no markup. Plain text stays exactly as decoded.
"""

from __future__ import annotations

import datetime
import io
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
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
        self._length = 0
        self.headings: list[Heading] = []
        self.page_starts: list[int] = []

    def add(self, text: str, level: int = 0) -> None:
        text = text.strip("\n") if level == 0 else " ".join(text.split())
        if not text.strip():
            return
        if self._parts:
            self._parts.append("\n\n")
            self._length += 2
        if level:
            self.headings.append(Heading(start=self._length, level=min(level, 6), text=text))
        self._parts.append(text)
        self._length += len(text)

    def begin_page(self) -> None:
        # The gap before the page's first block belongs to the page before.
        self.page_starts.append(self._length + 2 if self._parts else 0)

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
    from charset_normalizer import from_bytes

    best = from_bytes(sample).best()
    if best is None:
        raise Unreadable("is in no encoding that can be recognised: save it as UTF-8")
    try:
        return data.decode(best.encoding), best.encoding
    except UnicodeDecodeError as error:
        raise Unreadable(f"begins as {best.encoding} but is not: save it as UTF-8") from error


def _text(data: bytes) -> Extracted:
    text, encoding = decode(data)
    return Extracted(text, metadata={} if encoding == "utf-8" else {"encoding": encoding})


_FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?)(?:\r?\n)?^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)


def _markdown(data: bytes) -> Extracted:
    text, _ = decode(data)
    metadata: Metadata = {}
    found = _FRONT_MATTER.match(text)
    if found:
        metadata = _front_matter(found[1])
        text = text[found.end() :]
    blocks = _Blocks()
    _markdown_blocks(text, blocks)
    title = metadata.get("title")
    return blocks.extracted(title if isinstance(title, str) else "", metadata)


def _front_matter(text: str) -> Metadata:
    import yaml

    try:
        loaded = yaml.safe_load(text)
    except yaml.YAMLError as error:
        # Broken front matter is no reason to lose the page below it.
        return {"front_matter_error": (str(error).splitlines() or ["unreadable"])[0]}
    return {str(key): json_value(value) for key, value in loaded.items()} if isinstance(loaded, dict) else {}


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


def _markdown_blocks(text: str, blocks: _Blocks) -> None:
    from markdown_it import MarkdownIt

    lines: list[str] = []  # of the list or table being read
    cells: list[str] = []
    depth = level = 0
    in_cell = False
    marker = ""
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        kind = token.type
        if kind == "heading_open":
            level = int(token.tag[1:])
        elif kind in ("bullet_list_open", "ordered_list_open", "table_open"):
            depth += 1
        elif kind in ("bullet_list_close", "ordered_list_close", "table_close"):
            depth -= 1
            if depth == 0:
                blocks.add("\n".join(lines))
                lines = []
        elif kind == "list_item_open":
            marker = f"{token.info}. " if token.info else "- "
        elif kind == "tr_open":
            cells = []
        elif kind == "tr_close":
            lines.append(" | ".join(cells))
        elif kind in ("th_open", "td_open", "th_close", "td_close"):
            in_cell = kind.endswith("open")
        elif kind == "inline":
            content = _inline(token.children or [])
            if level:
                blocks.add(content, level)
                level = 0
            elif in_cell:
                cells.append(content)
            elif depth:
                lines.append(marker + content)
                marker = ""
            else:
                blocks.add(content)
        elif kind in ("fence", "code_block"):
            if depth:
                lines.append(token.content.rstrip("\n"))
            else:
                blocks.add(token.content)
        elif kind == "html_block":
            blocks.add(_html_text(token.content))


def _inline(tokens: list[Any]) -> str:
    parts = []
    for token in tokens:
        if token.type in ("text", "code_inline"):
            parts.append(token.content)
        elif token.type == "softbreak":
            parts.append(" ")
        elif token.type == "hardbreak":
            parts.append("\n")
        elif token.type == "image":
            parts.append(token.content)
    return "".join(parts)


def _html_text(html: str) -> str:
    from selectolax.lexbor import LexborHTMLParser

    body = LexborHTMLParser(html).body
    return " ".join(body.text(separator=" ").split()) if body is not None else ""


_HTML_CHARSET = re.compile(rb"<meta[^>]+charset=[\"']?\s*([\w-]+)", re.IGNORECASE)


def _decode_html(data: bytes) -> str:
    declared = _HTML_CHARSET.search(data[:4096])
    if declared and not data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        try:
            return data.decode(declared[1].decode("ascii"))
        except (LookupError, UnicodeDecodeError):
            pass  # the page's own word is wrong often enough: look at the bytes instead
    return decode(data)[0]


def _html(data: bytes) -> Extracted:
    """The main text of a page by trafilatura; all its text where trafilatura finds less than half of a short page."""
    html = _decode_html(data)
    from defusedxml import ElementTree
    from selectolax.lexbor import LexborHTMLParser
    from trafilatura import extract as main_text

    tree = LexborHTMLParser(html)
    whole = _Blocks()
    _dom_blocks(tree, whole)
    head = tree.css_first("title")
    title = " ".join(head.text().split()) if head is not None else ""
    metadata: Metadata = {}
    for node in tree.css("meta[name][content]"):
        name = (node.attributes.get("name") or "").lower()
        if name in ("author", "description", "keywords", "date"):
            metadata[name] = node.attributes.get("content") or ""
    everything = whole.extracted(title, metadata)
    xml = main_text(html, output_format="xml", include_comments=False, include_tables=True, include_formatting=True)
    if not xml:
        return everything
    main = _Blocks()
    _tei_blocks(ElementTree.fromstring(xml), main)
    found = main.extracted(title, metadata)
    short = len(everything.text) < 4000
    return everything if short and len(found.text) * 2 < len(everything.text) else found


def _tei_blocks(root: Any, blocks: _Blocks) -> None:
    """Blocks of trafilatura's XML: head, p, list/item, table/row/cell, code, quote."""
    for element in root.iter():
        if element.tag == "head":
            rend = element.get("rend", "h2")
            blocks.add("".join(element.itertext()), int(rend[1:]) if rend[1:].isdigit() else 2)
        elif element.tag == "list":
            blocks.add("\n".join(_listed(map(_flat, element.iter("item")), numbered=element.get("rend") == "ol")))
        elif element.tag == "table":
            rows = (" | ".join(_flat(cell) for cell in row.iter("cell")) for row in element.iter("row"))
            blocks.add("\n".join(rows))
        elif element.tag == "code" and (element.text or "").count("\n"):
            blocks.add("".join(element.itertext()))
        elif element.tag in ("p", "quote") and not any(child.tag in ("p", "list", "table") for child in element):
            blocks.add(_flat(element))


def _listed(items: Iterable[str], *, numbered: bool) -> Iterator[str]:
    for number, item in enumerate(items, start=1):
        yield f"{number}. {item}" if numbered else f"- {item}"


def _flat(element: Any) -> str:
    return " ".join("".join(element.itertext()).split())


_BLOCK_TAGS = frozenset("h1 h2 h3 h4 h5 h6 p li tr pre blockquote dt dd figcaption div section article body".split())
_NUMBERED = "li of an ol"
_NO_TEXT = "script, style, noscript, template, head, svg"


def _dom_blocks(tree: Any, blocks: _Blocks) -> None:
    """All visible text of a page: each innermost block element is a block; runs of list items and rows are one."""
    for node in tree.css(_NO_TEXT):
        if node.tag != "head":
            node.decompose()
    run: list[str] = []
    kind = ""

    def add() -> None:
        blocks.add("\n".join(run if kind == "tr" else _listed(run, numbered=kind == _NUMBERED)))
        run.clear()

    for tag, text in _dom_texts(tree.body):
        group = tag if tag in ("li", _NUMBERED, "tr") else ""
        if run and group != kind:
            add()
        kind = group
        if group:
            run.append(text)
        elif tag in ("h1", "h2", "h3", "h4", "h5", "h6"):
            blocks.add(text, int(tag[1]))
        else:
            blocks.add(text)
    add()


def _dom_texts(node: Any) -> Iterator[tuple[str, str]]:
    """(tag, text) of the innermost blocks, in order; text directly inside an outer block comes as its own."""
    if node is None:
        return
    stack: list[Any] = [node]
    loose: list[str] = []
    loose_tag = "p"
    while stack:
        current = stack.pop()
        if isinstance(current, str):
            text = " ".join("".join(loose).split())
            loose.clear()
            if text:
                yield loose_tag, text
            loose_tag = current
            continue
        if current.tag == "-text":
            loose.append(current.text())
            continue
        if current.tag == "br":
            loose.append(" ")
            continue
        if current.tag == "pre" or current.tag == "tr":
            text = (
                current.text().strip("\n")
                if current.tag == "pre"
                else " | ".join(" ".join(cell.text(separator=" ").split()) for cell in current.css("td, th"))
            )
            before = " ".join("".join(loose).split())
            loose.clear()
            if before:
                yield loose_tag, before
            if text.strip():
                yield current.tag, text
            continue
        children = list(current.iter(include_text=True))
        if current.tag in _BLOCK_TAGS:
            stack.append("p")
            stack.extend(reversed(children))
            numbered = current.tag == "li" and current.parent is not None and current.parent.tag == "ol"
            stack.append(_NUMBERED if numbered else current.tag)
        else:
            stack.extend(reversed(children))
    text = " ".join("".join(loose).split())
    if text:
        yield loose_tag, text


def _pdf(data: bytes) -> Extracted:
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise Unreadable("is encrypted: save a copy without a password") from error
        raise Unreadable("is not a PDF that can be read, or is cut off") from error
    try:
        blocks = _Blocks()
        labels: list[JsonValue] = []
        for number in range(len(document)):
            page = document[number]
            content = page.get_textpage()
            blocks.begin_page()
            for paragraph in _paragraphs(content.get_text_bounded()):
                blocks.add(paragraph)
            labels.append(document.get_page_label(number) or str(number + 1))
            content.close()
            page.close()
        said = document.get_metadata_dict(skip_empty=True)
        metadata: Metadata = {
            key.lower(): value for key, value in said.items() if key in ("Author", "Subject", "Keywords")
        }
        if labels != [str(number + 1) for number in range(len(labels))]:
            metadata["page_labels"] = labels
        found = blocks.extracted(str(said.get("Title", "")), metadata)
    finally:
        document.close()
    if not found.text:
        raise Unreadable("has no text layer (scanned pages?): recognise its text first")
    return found


def _paragraphs(text: str) -> Iterator[str]:
    """Lines of a PDF page as paragraphs: a line that ends a sentence well short of the others ends a paragraph."""
    lines = [line.rstrip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    widths = sorted(len(line) for line in lines if line)
    usual = widths[len(widths) * 3 // 4] if widths else 0
    current = ""
    for line in lines:
        if not line.strip():
            if current:
                yield current
            current = ""
            continue
        # pdfium writes U+FFFE (or U+0002) for a hyphen that the layout put at a line's end.
        if current.endswith(("\ufffe", "\x02")):
            current = current[:-1] + line.lstrip()
        elif current.endswith("-") and line.lstrip()[:1].islower() and current[-2:-1].isalpha():
            current = current[:-1] + line.lstrip()
        else:
            current = f"{current} {line.lstrip()}" if current else line.lstrip()
        if len(line) < usual * 0.8 and line.endswith((".", "!", "?", ":")):
            yield current
            current = ""
    if current:
        yield current.rstrip("\ufffe\x02")


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


def _docx(data: bytes) -> Extracted:
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        raise Unreadable("is encrypted, or an old .doc: save a copy as .docx without a password")
    _open_zip(data).close()
    import docx
    from docx.table import Table

    document = docx.Document(io.BytesIO(data))
    blocks = _Blocks()
    items: list[str] = []
    numbered = False

    def add() -> None:
        blocks.add("\n".join(_listed(items, numbered=numbered)))
        items.clear()

    for part in document.iter_inner_content():
        if isinstance(part, Table):
            add()
            blocks.add("\n".join(" | ".join(" ".join(cell.text.split()) for cell in row.cells) for row in part.rows))
            continue
        style = (part.style.name if part.style is not None else "") or ""
        if style.startswith("List"):
            if items and style.startswith("List Number") != numbered:
                add()
            numbered = style.startswith("List Number")
            if part.text.strip():
                items.append(" ".join(part.text.split()))
            continue
        add()
        found = _DOCX_HEADING.match(style)
        level = int(found[1]) if found else 1 if style == "Title" else 0
        blocks.add(part.text, level)
    add()
    said = document.core_properties
    metadata: Metadata = {"author": said.author} if said.author and said.author != "python-docx" else {}
    return blocks.extracted(said.title or "", metadata)


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
            _dom_blocks(LexborHTMLParser(_decode_html(archive.read(part))), blocks)
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
