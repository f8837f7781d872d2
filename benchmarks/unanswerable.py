"""How the packaged reader takes unanswerable records that are made from answerable ones.

    python benchmarks/unanswerable.py SQUAD.json INDEX [--most 200] [--seed 0] [--sheet FILE]

SQUAD.json: a file in SQuAD's format; INDEX: an index of it (`rag-ft index build SQUAD.json -o INDEX`). Prints what is
made and left out, and for each kind the share of the made questions that the reader declines, beside the share of their
sources that it answers, and answers right. `--sheet` writes both questions with the evidence, to be read by a person.
"""

import argparse
import sys
import time
from collections import defaultdict
from pathlib import Path

from rag_ft.answering.pipeline import Pipeline
from rag_ft.answering.reader import Reader
from rag_ft.indexing.index import Index
from rag_ft.metrics.answers import token_f1
from rag_ft.questions.records import read_questions
from rag_ft.text.sentences import sentences_around
from rag_ft.training.data.unanswerable import UnanswerableConfig, make_unanswerable


def write_sheet(made, sources, index, path):
    """Each made question below its source, with the sentences that answered that."""
    lines = []
    for i, record in enumerate(made, start=1):
        source = sources[record.made_from]
        piece = record.evidence[0]
        text = index.document(piece.document_id).text
        start, end = sentences_around(text, piece.start, piece.end)
        lines += [
            f"{i}. [{record.tags[0]}] {source.question} ({source.answers[0]}) {piece.document_id}",
            f"   {record.question}",
            f"   {text[start:end]}",
            "",
        ]
    path.write_text("\n".join(lines), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", type=Path)
    parser.add_argument("index", type=Path)
    parser.add_argument("--most", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path)
    given = parser.parse_args()
    index, questions = Index.load(given.index), read_questions(given.questions)
    sources = {question.id: question for question in questions}
    start = time.perf_counter()
    made = make_unanswerable(questions, index, UnanswerableConfig(most=given.most, seed=given.seed))
    print("\n".join(made.lines()))
    print(f"{time.perf_counter() - start:.0f} s")
    if given.sheet:
        write_sheet(made.records, sources, index, given.sheet)
    pipeline = Pipeline(index.as_retriever(), Reader.from_pretrained())
    figures = defaultdict(list)
    for first in range(0, len(made.records), 16):
        records = made.records[first : first + 16]
        answered = [sources[record.made_from] for record in records]
        replies = pipeline.ask_batch([record.question for record in (*records, *answered)])
        for record, source, reply, original in zip(
            records, answered, replies[: len(records)], replies[len(records) :], strict=True
        ):
            right = token_f1(original.answer, source.answers) >= 0.5
            row = (reply.answer is None, original.answer is not None, right)
            for name in (record.tags[0], "all"):
                figures[name].append(row)
        print(f"{first + len(records)} of {len(made.records)} asked", file=sys.stderr, flush=True)
    for name, rows in figures.items():
        declined, answered, right = (sum(column) / len(rows) for column in zip(*rows, strict=True))
        both = [row for row in rows if row[1]]
        of_answered = sum(row[0] for row in both) / len(both)
        print(
            f"{name:<15} {len(rows):>4}  declined {declined:.0%}; sources answered {answered:.0%} (right {right:.0%});"
            f" declined where the source is answered {of_answered:.0%}"
        )


if __name__ == "__main__":
    main()
