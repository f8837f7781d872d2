"""What is each rule on made questions worth: how many more would be kept without it, and are they good?

    python benchmarks/made_filters.py INDEX SHEET.jsonl [--requests 320]

Asks the packaged generator for questions about an index, drops the limit on how likely they must be, and holds every
question against all rules of `make_questions`, not only against the first that it breaks. SHEET gets the questions that
break one rule at most: what is kept, and what would be if one rule were switched off. Whether a question is good no
program can say: read them, write `"passes": true` or `false` into up to 20 lines of each rule, and run the command
again. It then prints the table of the sheet as it stands.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rag_ft.answering.pipeline import Pipeline
from rag_ft.answering.reader import Reader
from rag_ft.files import write_atomic
from rag_ft.indexing.index import Index
from rag_ft.question_generation.choosing import SHARES, Chooser
from rag_ft.question_generation.duplicates import AskedBefore
from rag_ft.question_generation.fitting import Surroundings, fit_problem
from rag_ft.question_generation.generator import QuestionGenerator, SamplingConfig
from rag_ft.question_generation.round_trip import round_trip_problem
from rag_ft.question_generation.self_contained import problem_of
from rag_ft.question_generation.source import WriteRequest, WrittenQuestion
from rag_ft.schema import Evidence, Passage

LIKELY = "likely enough"
OWN = "stands on its own"
KIND = "answer of the kind asked for"
NEW = "new"
BACK = "evidence comes back"
RULES = (LIKELY, OWN, KIND, NEW, BACK)
KEPT = ""


class Sheet:
    """The questions that break one rule at most."""

    def __init__(self, index: Index) -> None:
        reader = Reader.from_pretrained()
        self._pipeline = Pipeline(index.as_retriever(), reader)
        self._generator = QuestionGenerator.beside(reader, SamplingConfig(least_logprob=-math.inf))
        self._before = AskedBefore()
        self.rows: list[dict[str, Any]] = []

    def add(self, requests: Sequence[WriteRequest]) -> None:
        """Write, judge and ask one question for each request."""
        asked = []
        for request, written in zip(requests, self._generator.write(requests), strict=True):
            if isinstance(written, WrittenQuestion):
                evidence = written.evidence_in(request.passage)
                broken = self._broken(request.passage, written, evidence)
                if len(broken) < 2:
                    asked.append((request, written, evidence, broken))
        answers = self._pipeline.ask_batch([written.question for _, written, _, _ in asked]) if asked else []
        for (request, written, evidence, broken), answer in zip(asked, answers, strict=True):
            if round_trip_problem(evidence, written.kind, written.yes, request.passage, answer) is not None:
                broken = [*broken, BACK]
            if len(broken) < 2:
                self.rows.append(
                    {
                        "breaks": broken[0] if broken else KEPT,
                        "question": written.question,
                        "asks_for": request.asked_for,
                        "answer": evidence.quote,
                        "document": evidence.document_id,
                        "logprob": round(written.logprob, 3),
                        "passes": None,
                    }
                )

    def _broken(self, passage: Passage, written: WrittenQuestion, evidence: Evidence) -> list[str]:
        """The rules that a question breaks, but for the last, which has to ask."""
        question = written.question
        around = Surroundings.of(passage.text, written.span)
        breaks = {
            LIKELY: written.logprob < SamplingConfig().least_logprob,
            OWN: problem_of(question, evidence.quote, written.kind, passage) is not None,
            KIND: fit_problem(question, evidence.quote, written.yes, around) is not None,
        }
        broken = [rule for rule, is_broken in breaks.items() if is_broken]
        near = self._before.is_near(question, evidence) if broken else not self._before.add(question, evidence)
        return [*broken, NEW] if near else broken


def table(rows: Sequence[dict[str, Any]]) -> str:
    """What would be kept without each rule, and the share of it that passes, as far as it was read."""
    kept = [row for row in rows if row["breaks"] == KEPT]
    lines = ["| rule switched off | kept | more | of these read | pass |", "|---|---|---|---|---|"]
    for rule in (KEPT, *RULES):
        own = [row for row in rows if row["breaks"] == rule]
        read = [row for row in own if row["passes"] is not None]
        more = "" if rule == KEPT else f"{len(own):+}"
        count = len(own) + (0 if rule == KEPT else len(kept))
        lines.append(f"| {rule or 'none'} | {count} | {more} | {len(read)} | {sum(row['passes'] for row in read)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("sheet", type=Path)
    parser.add_argument("--requests", type=int, default=320)
    given = parser.parse_args()
    if not given.sheet.is_file():
        index = Index.load(given.index)
        chooser, sheet, requested = Chooser(index.passages(), 1, SHARES), Sheet(index), 0
        while requested < given.requests and (requests := chooser.next_batch()):
            sheet.add(requests)
            requested += len(requests)
            print(requested, dict(Counter(row["breaks"] for row in sheet.rows)), flush=True)
            write_atomic(given.sheet, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in sheet.rows))
    print(table([json.loads(line) for line in given.sheet.read_text(encoding="utf-8").splitlines()]))


if __name__ == "__main__":
    main()
