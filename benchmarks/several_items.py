"""Items given to questions that ask for several things, against the one best span: MultiSpanQA's item F1.

    python benchmarks/several_items.py PATH/TO/multispanqa/valid.json [--limit 60] [--k 3]

All contexts are one index, and each question is asked over it with the packaged reader, which always answers. Only
those questions are asked that ask for several things by their words (`asks_for_several`). Ways of giving items: the one
span of an answer; the items that it lists, as `Answer.items` has them; and the span of each passage whose log-odds over
null reach a threshold, which is chosen on half of the questions. All are reported on the other half. The last way is
not in the product: it is here to be measured again.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rag_ft.answering.decoding import quote, span_search
from rag_ft.answering.decoding.prompt_rows import PromptRow, best_row
from rag_ft.answering.reader import Reader
from rag_ft.answering.reading import ReadRequest
from rag_ft.indexing.index import Index
from rag_ft.metrics.answers import normalise
from rag_ft.metrics.items import item_scores
from rag_ft.schema import Document
from rag_ft.text.asking import asks_for_several
from rag_ft.text.enumerations import enumerated

THRESHOLDS = [step / 2 for step in range(-12, 13)]
"""Least log-odds over null of a further passage's span."""


class Asked(NamedTuple):
    """A question's accepted items, and what was read for it."""

    accepted: list[str]
    rows: list[PromptRow]


def search_all(scorer: span_search.TreeScorer, groups: Sequence[Sequence[span_search.SpanSearch]]) -> list[Any]:
    """Search each passage until its own best span is proved: passages do not compete."""
    return span_search.search_spans(scorer, [[search] for group in groups for search in group])


def read_data(path: Path) -> tuple[list[Document], list[tuple[str, list[str]]]]:
    """Each context as a document, and the questions with their items."""
    contexts: dict[str, None] = {}
    questions = []
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            contexts[paragraph["context"]] = None
            for record in paragraph["qas"]:
                questions.append((record["question"], [answer["text"] for answer in record["answers"]]))
    return [Document(id=f"context-{i}", text=text) for i, text in enumerate(contexts)], questions


def span(asked: Asked) -> list[str]:
    """The best span of all passages."""
    best = best_row(asked.rows)
    return [] if best is None or best.best is None else [best.best]


def listed(asked: Asked) -> list[str]:
    """The items that the best span lists."""
    return [item for answer in span(asked) for item in parted(answer)]


def parted(answer: str) -> list[str]:
    return [answer[item.start : item.end] for item in enumerated(answer)] or [answer]


def of_passages(asked: Asked, least: float, parts: Callable[[str], Sequence[str]]) -> list[str]:
    """The best span, then that of each other passage from `least` log-odds on; nothing twice."""
    items: list[str] = []
    first = best_row(asked.rows)
    for row in sorted(asked.rows, key=lambda row: -row.odds):
        if row.best is None or (row is not first and row.odds < least):
            continue
        known = [f" {normalise(item)} " for item in items]
        items += [
            part
            for part in parts(row.best)
            if not any(f" {normalise(part)} " in item or item in part for item in known)
        ]
    return items


def report(name: str, items: Sequence[Sequence[str]], half: Sequence[Asked]) -> None:
    scores = item_scores(items, [asked.accepted for asked in half])
    given = sum(map(len, items)) / max(len(items), 1)
    partial = scores.partial
    print(
        f"{name:42}{100 * scores.exact.f1:8.1f}{100 * partial.f1:9.1f}{100 * partial.precision:11.1f}"
        f"{100 * partial.recall:8.1f}{given:8.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--k", type=int, default=3)
    given = parser.parse_args()
    documents, questions = read_data(given.data)
    several = [(question, items) for question, items in questions if asks_for_several(question)]
    print(f"{len(several)} of {len(questions)} questions ask for several things by their words")
    several = random.Random(0).sample(several, min(len(several), given.limit or len(several)))
    with tempfile.TemporaryDirectory() as folder:
        index = Index.build(documents, Path(folder) / "index")
        hits = index.as_retriever(k=given.k).retrieve_batch([question for question, _ in several])
    quote.search_spans = search_all
    reader = Reader.from_pretrained()
    requests = [ReadRequest.of_hits(question, found) for (question, _), found in zip(several, hits, strict=True)]
    asked = []
    for first in range(0, len(requests), 8):
        rows = reader.read_rows(requests[first : first + 8])
        asked += [Asked(items, own) for (_, items), own in zip(several[first : first + 8], rows, strict=True)]
    chosen_on, half = asked[::2], asked[1::2]
    print(f"{len(half)} questions; thresholds chosen on {len(chosen_on)} others")
    print(f"{'':42}{'exact':>8}{'partial':>9}{'precision':>11}{'recall':>8}{'items':>8}")
    report("one span", [span(question) for question in half], half)
    report("the items that it lists", [listed(question) for question in half], half)
    for name, parts in (("spans of passages", lambda answer: [answer]), ("items of spans of passages", parted)):

        def worth(least: float, parts: Callable[[str], Sequence[str]] = parts) -> float:
            items = [of_passages(question, least, parts) for question in chosen_on]
            return item_scores(items, [question.accepted for question in chosen_on]).exact.f1

        least = max(THRESHOLDS, key=worth)
        report(f"{name}, from {least:+.1f}", [of_passages(question, least, parts) for question in half], half)


if __name__ == "__main__":
    main()
