"""AsciiDoc's blocks as HTML: paragraphs, lists, code, tables, with the lines above them that describe them."""

from __future__ import annotations

import re
from html import escape

from rag_ft.indexing.formats.limits import check_document_size
from rag_ft.indexing.formats.markup.asciidoc_inline import Inline, balanced
from rag_ft.indexing.formats.markup.asciidoc_lines import (
    ABOUT,
    ADMONITION,
    ATTRIBUTE,
    BLOCK_MACRO,
    BOX,
    DELIMITER,
    DOTS,
    ITEM,
    LABELS,
    NUMBERING,
    RULE,
    SECTION,
    TERM,
    TITLE,
    UNDERLINES,
    BlockAttributes,
    about_block,
    is_comment,
    is_formula,
    mark_of,
    merged,
)
from rag_ft.indexing.formats.markup.asciidoc_table import TableCell, read_table


class Output:
    """HTML that is being written, with the notes that follow it."""

    def __init__(self) -> None:
        self.inline = Inline({}, {})
        self._parts: list[str] = []
        self._chars = 0

    def add(self, html: str) -> None:
        """Add to what is written."""
        self._parts.append(html)
        self._chars += len(html)
        check_document_size(self._chars // 4, 0, 0)

    def notes(self) -> None:
        """Write the notes whose marks stand in what was written last."""
        notes, self.inline.notes = self.inline.notes, []
        for number, html in notes:
            self.add(f"<p>[{number}] {html}</p>")

    def html(self) -> str:
        """All that was written."""
        return "".join(self._parts)


def set_attribute(inline: Inline, lines: list[str], i: int, match: re.Match[str]) -> int:
    """Set or take away an attribute; returns how many lines its value has."""
    value = match["value"] or ""
    count = 1
    while value.endswith("\\") and i + count < len(lines):
        value = f"{value[:-1].rstrip(' +')} {lines[i + count].strip()}"
        count += 1
    name = match["name"].lower()
    if match["off"] or match["off2"]:
        inline.attributes.pop(name, None)
    else:
        inline.attributes[name] = inline.with_attributes(value)[:10_000]
    return count


class Blocks:
    """Some lines of a document, block by block."""

    def __init__(self, output: Output, lines: list[str], start: int, end: int) -> None:
        self._output = output
        self._inline = output.inline
        self._lines = lines
        self._i = start
        self._end = end

    def read(self) -> None:
        """Read all blocks."""
        while self._i < self._end:
            self._block()
            self._output.notes()

    def _add(self, html: str) -> None:
        self._output.add(html)

    def _line(self) -> str:
        return self._lines[self._i] if self._i < self._end else ""

    def _block(self) -> None:
        """Read a block with the lines above it that describe it."""
        about = BlockAttributes("", [], {})
        while self._i < self._end:
            line = self._line()
            if not line.strip():
                self._i += 1
                return
            if is_comment(line) or (line.startswith("///") and not DELIMITER.match(line)):
                self._i += 1
            elif line.startswith(":") and (match := ATTRIBUTE.match(line)) is not None:
                self._i += set_attribute(self._inline, self._lines, self._i, match)
            elif line.startswith("[") and (match := ABOUT.match(line)) is not None:
                about = about if match["anchor"] else merged(about, about_block(match["content"]))
                self._i += 1
            elif (title := TITLE.match(line)) is not None and ITEM.match(line) is None:
                self._add(f"<p>{self._inline.html(title['title'])}</p>")
                self._i += 1
            else:
                self._content(line, about)
                return

    def _content(self, line: str, about: BlockAttributes) -> None:
        delimiter = DELIMITER.match(line)
        section = SECTION.match(line)
        if section is not None:
            self._heading(section["title"], len(section["marks"]))
            self._i += 1
        elif self._is_underlined():
            self._heading(line.strip(), UNDERLINES.index(self._lines[self._i + 1][0]) + 1)
            self._i += 2
        elif delimiter is not None and not (line.rstrip() == "--" and self._closing("--") is None):
            self._delimited(line.rstrip(), about)
        elif RULE.match(line):
            self._i += 1
        elif (macro := BLOCK_MACRO.match(line)) is not None:
            self._macro(macro)
        elif ITEM.match(line) is not None or TERM.match(line) is not None:
            self._list(about)
        elif line[0] in " \t" and about.style in ("", "literal", "source", "listing"):
            self._literal()
        else:
            self._paragraph(about)

    def _heading(self, title: str, level: int) -> None:
        self._add(f"<h{level}>{self._inline.html(title)}</h{level}>")

    def _is_underlined(self) -> bool:
        """Whether a line of signs as long as this line follows it."""
        if self._i + 1 >= self._end:
            return False
        line, under = self._line().strip(), self._lines[self._i + 1].rstrip()
        signs = under[:1]
        return (
            len(under) > 3
            and signs in UNDERLINES
            and under == signs * len(under)
            and abs(len(line) - len(under)) < 2
            and any(map(str.isalnum, line))
        )

    def _closing(self, delimiter: str) -> int | None:
        """The number of the line that closes a block; None if there is none."""
        fence = "```" if delimiter.startswith("```") else delimiter
        for i in range(self._i + 1, self._end):
            if self._lines[i].startswith(fence[:2]) and self._lines[i].rstrip() == fence:
                return i
        return None

    def _delimited(self, delimiter: str, about: BlockAttributes) -> None:
        closing = self._closing(delimiter)
        first, last = self._i + 1, self._end if closing is None else closing
        kind = delimiter[0]
        if kind in "|!,:":
            self._table(self._lines[first:last], about, kind)
        elif kind == "/":
            pass
        elif kind in ("-", ".", "`") and delimiter != "--":
            self._code("\n".join(self._lines[first:last]), about)
        elif kind == "+":
            text = "\n".join(self._lines[first:last])
            self._add(f"<pre>{escape(text, quote=False)}</pre>" if is_formula(about) else balanced(text))
        elif delimiter == "--" and about.style in ("source", "listing", "literal"):
            self._code("\n".join(self._lines[first:last]), about)
        elif kind == "_" and about.style == "verse":
            self._verse(self._lines[first:last], about)
        else:
            label = about.style if about.style in LABELS else ""
            self._add(f"<p>{label.capitalize()}:</p>" if label else "")
            self._add("<blockquote>" if kind == "_" else "<div>")
            Blocks(self._output, self._lines, first, last).read()
            self._add("</blockquote>" if kind == "_" else "</div>")
            if kind == "_":
                self._attribution(about)
        self._i = last + 1

    def _code(self, text: str, about: BlockAttributes) -> None:
        if "attributes" in about.named.get("subs", "") or about.named.get("subs") == "normal":
            text = self._inline.with_attributes(text)
        self._add(f"<pre>{escape(text, quote=False)}</pre>")

    def _attribution(self, about: BlockAttributes) -> None:
        shown = ", ".join(part for part in about.positional[1:3] if part)
        if about.style in ("quote", "verse") and shown:
            self._add(f"<p>{self._inline.html(shown)}</p>")

    def _verse(self, lines: list[str], about: BlockAttributes) -> None:
        self._add(f"<p>{'<br>'.join(self._inline.html(line) for line in lines)}</p>")
        self._attribution(about)

    def _macro(self, macro: re.Match[str]) -> None:
        name, text = macro["name"], macro["text"]
        self._i += 1
        if name in ("image", "video", "audio"):
            self._add(f"<p>{self._inline.html(f'image:x[{text}]')}</p>" if name == "image" and text else "")
        elif name != "toc":
            shown = text.strip() or macro[0]
            self._add(f"<p>{self._inline.html(shown)}</p>")

    def _literal(self) -> None:
        first = self._i
        while self._i < self._end and self._line().strip() and self._line().strip() != "+":
            self._i += 1
        lines = self._lines[first : self._i]
        indent = min(len(line) - len(line.lstrip()) for line in lines)
        text = "\n".join(line[indent:] for line in lines)
        self._add(f"<pre>{escape(text, quote=False)}</pre>")

    def _paragraph_lines(self) -> list[str]:
        """The lines of a paragraph: up to an empty one, or one that begins something else."""
        first = self._i
        self._i += 1
        while self._i < self._end:
            line = self._line()
            if not line.strip() or line.rstrip() == "+" or (DELIMITER.match(line) and line.rstrip() != "--"):
                break
            if line.startswith("[") and ABOUT.match(line) and "](" not in line:
                break
            self._i += 1
        return [line for line in self._lines[first : self._i] if not is_comment(line)]

    def _paragraph(self, about: BlockAttributes) -> None:
        lines = self._paragraph_lines()
        if about.style in ("source", "listing", "literal") or is_formula(about):
            self._code("\n".join(lines), about)
            return
        if about.style == "verse":
            self._verse(lines, about)
            return
        if about.style == "pass":
            self._add(balanced("\n".join(lines)))
            return
        label = about.style if about.style in LABELS else ""
        admonition = ADMONITION.match(lines[0]) if lines else None
        if admonition is not None:
            label = admonition["label"]
            lines[0] = admonition["text"]
        text = self._with_breaks(lines, "hardbreaks" in about.named.get("options", ""))
        self._add(f"<p>{label.capitalize() + ': ' if label else ''}{text}</p>")
        self._attribution(about)

    def _with_breaks(self, lines: list[str], every: bool = False) -> str:
        """A paragraph as HTML; ` +` at a line's end breaks it."""
        runs: list[list[str]] = [[]]
        for line in lines:
            broken = line.endswith(" +")
            runs[-1].append(line[:-2] if broken else line)
            if broken or every:
                runs.append([])
        return "<br>".join(self._inline.html("\n".join(run)) for run in runs if run)

    def _list(self, about: BlockAttributes) -> None:
        """Read a list with those within it, whose items have other marks."""
        opened: list[tuple[str, str]] = []  # mark and closing tags of each open list
        first = True
        while self._i < self._end:
            line = self._line()
            if is_comment(line):
                self._i += 1
                continue
            item, term = ITEM.match(line), None
            if item is None:
                term = TERM.match(line)
                if term is None:
                    break
            mark = term["mark"] if term is not None else mark_of(item)
            if not first and (line.startswith(".") and TITLE.match(line) and item is None):
                break
            while (
                opened and mark not in [outer for outer, _ in opened[-1:]] and any(mark == outer for outer, _ in opened)
            ):
                self._add(opened.pop()[1])
            if opened and opened[-1][0] == mark:
                self._add("</dd>" if term is not None else "</li>")
            else:
                self._open(mark, item, about if first else BlockAttributes("", [], {}), opened)
            first = False
            self._item(item, term)
            if not self._continues():
                break
        for _, closing in reversed(opened):
            self._add(closing)

    def _open(
        self, mark: str, item: re.Match[str] | None, about: BlockAttributes, opened: list[tuple[str, str]]
    ) -> None:
        if item is None:
            self._add("<dl>")
            opened.append((mark, "</dd></dl>"))
        elif item["bullet"]:
            self._add("<ul>")
            opened.append((mark, "</li></ul>"))
        else:
            depth = len(item["dots"] or ".") - 1
            style = NUMBERING.get(about.style, DOTS[depth] if item["dots"] else "1")
            start = about.named.get("start", "")
            number = item["number"] or (start if start.lstrip("-").isdigit() and len(start) < 9 else "1")
            if item["letter"]:
                style, number = ("a" if item["letter"].islower() else "A"), str(ord(item["letter"].lower()) - 96)
            elif item["roman"]:
                style = "i" if item["roman"].islower() else "I"
            self._add(f'<ol type="{style}" start="{number}">')
            opened.append((mark, "</li></ol>"))

    def _item(self, item: re.Match[str] | None, term: re.Match[str] | None) -> None:
        """Write an item's text and what is attached to it, without its end."""
        if item is not None:
            text = item["text"]
            box = BOX.match(text) if item["bullet"] else None
            self._add("<li>")
            if box is not None:
                self._add("[ ] " if box["on"] == " " else "[x] ")
                text = text[box.end() :]
        else:
            assert term is not None
            self._add(f"<dt>{self._inline.html(term['term'])}</dt><dd>")
            text = term["text"] or ""
        self._i += 1
        lines = [text] if text.strip() else []
        blank = False
        if not lines and term is not None:  # its text may stand below an empty line
            while self._i < self._end and not self._line().strip():
                self._i += 1
                blank = True
            if self._i < self._end and (self._starts_other() or (blank and not self._line()[0].isspace())):
                return
        while self._i < self._end and self._line().strip() and not self._starts_other():
            lines.append(self._line().strip())
            self._i += 1
        self._add(self._with_breaks(lines))
        self._attached()
        self._output.notes()

    def _starts_other(self) -> bool:
        """Whether a line does not continue an item's text."""
        line = self._line()
        return bool(
            line.rstrip() == "+"
            or ITEM.match(line)
            or TERM.match(line)
            or DELIMITER.match(line)
            or BLOCK_MACRO.match(line)
            or (line.startswith("[") and ABOUT.match(line))
            or line.startswith("//")
        )

    def _attached(self) -> None:
        """Read the blocks that a line with a plus sign attaches to an item."""
        while self._i < self._end:
            if self._line().rstrip() == "+":
                self._i += 1
                if self._i < self._end and not self._line().strip():
                    self._i += 1
                if self._i < self._end:
                    self._block()
                continue
            ahead = self._i
            while ahead < self._end and not self._lines[ahead].strip():
                ahead += 1
            line = self._lines[ahead] if ahead < self._end else ""
            if line[:1] in (" ", "\t") and ahead > self._i and not (ITEM.match(line) or TERM.match(line)):
                self._i = ahead
                self._literal()
                continue
            return

    def _continues(self) -> bool:
        """Whether another item follows, perhaps below empty lines."""
        ahead = self._i
        while ahead < self._end and (not self._lines[ahead].strip() or re.match(r"//(?!//)", self._lines[ahead])):
            ahead += 1
        if ahead >= self._end or not (ITEM.match(self._lines[ahead]) or TERM.match(self._lines[ahead])):
            return False
        self._i = ahead
        return True

    def _table(self, lines: list[str], about: BlockAttributes, kind: str) -> None:
        separator = kind
        table = read_table(lines, about.named, separator)
        self._add("<table>")
        for number, row in enumerate(table.rows):
            self._add("<tr>")
            for cell in row:
                tag = "th" if cell.style == "h" or (table.header and number == 0) else "td"
                self._add(f'<{tag} colspan="{cell.columns}" rowspan="{cell.rows}">')
                self._cell(cell)
                self._add(f"</{tag}>")
            self._add("</tr>")
        self._add("</table>")

    def _cell(self, cell: TableCell) -> None:
        if cell.style == "a":
            lines = cell.text.split("\n")
            Blocks(self._output, lines, 0, len(lines)).read()
        elif cell.style == "l":
            self._add(f"<pre>{escape(cell.text, quote=False)}</pre>")
        else:
            paragraphs = re.split(r"\n[ \t]*\n", cell.text)
            self._add("<br>".join(self._with_breaks(paragraph.split("\n")) for paragraph in paragraphs))
