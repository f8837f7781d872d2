"""What whole sentences do for questions as people ask them: the handbook's, with the packaged reader.

    python benchmarks/whole_sentences.py [--questions FILE --index DIR] [--limit N]

Every question is read once and answered twice: with words of a sentence, and with whole sentences where it asks
for them. Printed for each tag of the questions: how many are answered, how many answers share at least half of their
words with an accepted answer (token F1 of .5), and how many cite at least half of an accepted piece of evidence.
Unanswerable questions: how many are declined.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from rag_ft.answering.outcome import combine
from rag_ft.answering.reader import Reader
from rag_ft.answering.reading import Reading, ReadRequest
from rag_ft.environment import handbook_path
from rag_ft.indexing.index import Index
from rag_ft.metrics.answers import token_f1
from rag_ft.questions.records import read_questions
from rag_ft.schema import Question

WAYS = ("words", "sentences")


def cites(reading: Reading, question: Question) -> bool:
    """Whether the words cited are at least half of a piece of the question's evidence."""
    for cited in reading.cited:
        if cited.span is None:
            continue
        start, end = cited.passage.start + cited.span.start, cited.passage.start + cited.span.end
        for piece in question.evidence:
            shared = min(end, piece.end) - max(start, piece.start)
            if piece.document_id == cited.passage.document_id and 2 * shared >= piece.end - piece.start:
                return True
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=Path, default=handbook_path() / "asked.jsonl")
    parser.add_argument("--index", type=Path, help="index of the documents; the handbook's is built if none is given")
    parser.add_argument("--limit", type=int)
    given = parser.parse_args()
    questions = read_questions(given.questions)
    if given.limit is not None:
        questions = random.Random(0).sample(questions, min(given.limit, len(questions)))
    with tempfile.TemporaryDirectory() as folder:
        index = Index.load(given.index) if given.index else Index.build(handbook_path(), Path(folder) / "index")
        hits = index.as_retriever(k=3).retrieve_batch([question.question for question in questions])
    reader = Reader.from_pretrained()
    counts: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: {way: Counter() for way in WAYS})
    for first in range(0, len(questions), 8):
        requests = [
            ReadRequest(question.question, tuple(hit.passage for hit in question_hits))
            for question, question_hits in zip(questions[first : first + 8], hits[first : first + 8], strict=True)
        ]
        for question, request, rows in zip(
            questions[first : first + 8], requests, reader.read_rows(requests), strict=True
        ):
            for way in WAYS:
                whole = way == "sentences"
                reading = combine(rows, request.passages, reader.threshold, reader.scale, reader.kinds, whole=whole)
                for name in (question.tags[-1] if question.tags else "all", "all answerable"):
                    if question.answerable or name != "all answerable":
                        count = counts[name][way]
                        count["asked"] += 1
                        count["answered"] += reading.answer is not None
                        if question.answerable and reading.answer is not None:
                            count["right"] += token_f1(reading.answer, question.answers) >= 0.5
                            count["cites"] += cites(reading, question)
    print(f"{'':16}{'asked':>6}  " + "  ".join(f"{way}: answered, right, cited" for way in WAYS))
    for name, ways in sorted(counts.items()):
        figures = "  ".join(
            f"{ways[way]['answered']:>{len(way) + 10}}{ways[way]['right']:>7}{ways[way]['cites']:>7}" for way in WAYS
        )
        print(f"{name:16}{ways['words']['asked']:>6}  {figures}")


if __name__ == "__main__":
    main()
