"""One text printed to PDF by several programs: is what is read of each the text itself, whole and in order?

    python benchmarks/pdf_printers.py --keep /tmp/printed

makes a page of the text with pandoc, prints it with Chromium, LibreOffice (from DOCX) and LaTeX, and compares what is
extracted of each PDF with what is extracted of the HTML: words lost and added, words glued (by the check that every
build makes), headings, rows of tables, items of lists and lines of code that stand as they should. Then pages per
second. A program that is not installed is named and left out.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from rag_ft.indexing.conservation.check import check
from rag_ft.indexing.formats import Extracted, extract

BEGIN, END = "COLUMNSBEGIN", "COLUMNSEND"
"""Paragraphs that stand for the start and end of two columns."""

NOTE = "edition of 2023"

TEXT = r"""
# Harbour handbook

The harbour office keeps this handbook for skippers, for crews and for the people who look after the cranes. It is
revised every year in the winter, when the harbour is quiet, and it replaces all former editions.[^1] Whoever finds a
mistake writes to harbour-office@example.org, and gets an answer within three working days.

[^1]: The edition of 2023 was the first that was printed on recycled paper.

## Berths and prices

A berth is assigned by the harbour master and not by the skipper. The price depends on the quay and on the season, and
it includes water, electricity up to 10 kWh a day and the use of the washrooms.

| Berth | Season | Price |
|:------|:-------|------:|
| North quay | winter | 18 EUR |
| North quay | summer | 31 EUR |
| East quay | winter | 15 EUR |
| East quay | summer | 27 EUR |
| Pier four | winter | 9 EUR |

Prices are for boats of up to twelve metres. Longer boats pay half as much again.

## When you arrive

1. Call the harbour office on channel 12 before you pass the outer mole, and wait for an answer.
2. Moor at the visitors' pontoon, which is the one with the yellow bollards, and leave the engine running until the
   harbour master has seen the papers.
3. Pay at the office.

What you need to bring:

- the papers of the boat,
- a certificate of insurance that covers at least two million euros for damage to others and to the harbour,
- your passport.

## Working the crane

The crane on the east quay lifts forty tonnes, and its brake holds at 6.5 bar. A load of more than 10^6^ grams needs a
second signaller. The emission limit is 40 g of CO~2~ for each tonne that is lifted.

### Starting it

Switch the controller on with the key, and then load the settings:

```
crane --dry-run --site east
    if load > 40:
        raise Overload("too heavy")
    return lift(load)
```

Never leave out `--dry-run` on the first day of a season. The controller writes its log into `/var/log/crane.log`.

## Rules for everybody

COLUMNSBEGIN

Speed in the harbour is limited to four knots, also for boats under oars and for the pilots. The wash of a fast boat
breaks the moorings of the others, and repairs are charged to the skipper who caused them.

Rubbish is sorted into paper, glass, metal and everything else. Used oil and batteries are taken at the workshop on
weekdays between eight and noon, and never belong into the containers on the quay.

Dogs are welcome and are kept on a leash. Children under ten wear a life jacket on all pontoons, whatever the weather,
and are accompanied by somebody who can swim.

Fires are forbidden on board and ashore. Whoever sees smoke calls the office at once, closes the valve of the gas
bottle and takes everybody off the boat before anything else is done.

COLUMNSEND

Whoever breaks these rules is warned once, and has to leave the harbour within a day if it happens again.
"""

STYLE = """
body { font: 11pt serif; line-height: 1.35; text-align: justify; hyphens: auto; }
.two { column-count: 2; column-gap: 8mm; }
table { border-collapse: collapse; } td, th { padding: 1mm 3mm; }
"""

LATEX = r"""\documentclass[10pt]{article}
\usepackage{longtable,array,calc,multicol}\usepackage[colorlinks]{hyperref}
\newcommand{\toprule}[1][]{\hline}\newcommand{\midrule}[1][]{\hline}\newcommand{\bottomrule}[1][]{\hline}
\providecommand{\tightlist}{}\providecommand{\real}[1]{#1}\providecommand{\textsubscript}[1]{$_{#1}$}
\newcounter{none}\setcounter{secnumdepth}{0}
\begin{document}
%s
\end{document}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--keep", type=Path, help="folder for the files; default: a temporary one")
    arguments = parser.parse_args()
    if shutil.which("pandoc") is None:
        print("pandoc is not installed: nothing to compare")
        return 1
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        return compare(folder)


def compare(folder: Path) -> int:
    (folder / "text.md").write_text(TEXT)
    html, docx = folder / "text.html", folder / "text.docx"
    body = pandoc(folder, "html", "--mathml")
    body = body.replace(f"<p>{BEGIN}</p>", '<div class="two">').replace(f"<p>{END}</p>", "</div>")
    head = f"<!doctype html><html lang=en><meta charset=utf-8><style>{STYLE}</style>"
    html.write_text(f"{head}<body>{body}</body></html>")
    plain = TEXT.replace(BEGIN, "").replace(END, "")
    (folder / "plain.md").write_text(plain)
    subprocess.run(["pandoc", "-o", docx, folder / "plain.md"], check=True)
    expected = extract(html.name, html.read_bytes())
    rows = [report("docx", docx.name, docx.read_bytes(), expected)]
    for name, command, print_it in (
        ("Chromium", "chromium", chromium),
        ("LibreOffice", "soffice", libreoffice),
        ("LaTeX", "pdflatex", latex),
    ):
        if shutil.which(command) is None:
            print(f"{name}: {command} is not installed")
            continue
        pdf = print_it(folder)
        rows.append(report(name, pdf.name, pdf.read_bytes(), expected))
    width = max(len(row[0]) for row in rows)
    for name, ok, line in rows:
        print(f"{name:{width}}  {'ok ' if ok else 'BAD'}  {line}")
    return int(not all(ok for name, ok, _ in rows if name != "docx"))


def pandoc(folder: Path, to: str, *options: str) -> str:
    command = ["pandoc", "-t", to, "--wrap=preserve", *options, folder / "text.md"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def chromium(folder: Path) -> Path:
    pdf = folder / "chromium.pdf"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer", f"--print-to-pdf={pdf}"]
    run(["chromium", *options, (folder / "text.html").resolve().as_uri()])
    return pdf


def libreoffice(folder: Path) -> Path:
    run(["soffice", "--headless", "--convert-to", "pdf", "--outdir", str(folder), str(folder / "text.docx")])
    return folder / "text.pdf"


def latex(folder: Path) -> Path:
    body = pandoc(folder, "latex").replace(BEGIN, r"\begin{multicols}{2}").replace(END, r"\end{multicols}")
    (folder / "latex.tex").write_text(LATEX % body)
    for _ in range(2):
        run(["pdflatex", "-interaction=batchmode", "-output-directory", str(folder), str(folder / "latex.tex")])
    return folder / "latex.pdf"


def run(command: list[str]) -> None:
    subprocess.run(command, check=False, capture_output=True, timeout=300)


def report(name: str, file: str, data: bytes, expected: Extracted) -> tuple[str, bool, str]:
    """Compare what is read of a file with the HTML's text; returns its name, whether all holds, and the figures."""
    read = extract(file, data)
    wanted, got = Counter(words(expected.text)), Counter(words(read.text))
    conservation = check(file, data, read)
    lost, added = wanted - got, got - wanted
    glued = conservation.glued if conservation else 0
    counts = [
        (what, *held(what_of(expected), what_of(read)))
        for what, what_of in (("headings", headings), ("rows", rows_of), ("items", items_of), ("code", code_of))
    ]
    order = in_order(words(without_note(expected.text)), words(without_note(read.text)))
    structure = ", ".join(f"{what} {right}/{all_of_them}" for what, right, all_of_them in counts)
    samples = "".join([*(f" -{word}" for word in list(lost)[:6]), *(f" +{word}" for word in list(added)[:6])])
    line = (
        f"words lost {lost.total()}, added {added.total()}{samples}, glued {glued}, in order {order:.1%}, {structure}"
    )
    ok = not (lost or added or glued) and all(right == all_of_them for _, right, all_of_them in counts) and order == 1
    if file.endswith(".pdf"):
        line += f", {pages_per_second(file, data):.0f} pages per second"
    return name, ok, line


def words(text: str) -> list[str]:
    return re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())


def in_order(wanted: list[str], got: list[str]) -> float:
    """Share of neighbours in the one that are neighbours in the other, as multisets."""
    pairs = Counter(pairwise(wanted))
    return (pairs & Counter(pairwise(got))).total() / max(pairs.total(), 1)


def without_note(text: str) -> str:
    """The text without its footnote, which each program puts elsewhere."""
    return re.sub(rf"(?:\[1\]|\b1\.)\s*The {NOTE}.*", "", text)


def headings(read: Extracted) -> list[str]:
    return [heading.text for heading in read.headings]


def blocks(read: Extracted, kind: str) -> list[str]:
    texts = [read.text[block.start : block.end] for block in read.blocks if block.kind == kind]
    return [line for text in texts for line in text.split("\n") if NOTE not in line]


def rows_of(read: Extracted) -> list[str]:
    return blocks(read, "table")


def items_of(read: Extracted) -> list[str]:
    return [re.sub(r"^[•◦▪–-] ", "- ", line) for line in blocks(read, "list")]


def code_of(read: Extracted) -> list[str]:
    return blocks(read, "code")


def held(wanted: list[str], got: list[str]) -> tuple[int, int]:
    levelled: Callable[[str], str] = lambda line: unicodedata.normalize("NFKC", line).rstrip()  # noqa: E731
    there = Counter(map(levelled, got))
    return sum((Counter(map(levelled, wanted)) & there).values()), len(wanted)


def pages_per_second(file: str, data: bytes) -> float:
    started = time.perf_counter()
    rounds, pages = 0, 0
    while rounds < 3 or time.perf_counter() - started < 2:
        pages += len(extract(file, data).page_sizes)
        rounds += 1
    return pages / (time.perf_counter() - started)


if __name__ == "__main__":
    sys.exit(main())
