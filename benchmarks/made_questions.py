"""What are made question records worth beside as many that people wrote?

    python benchmarks/made_questions.py PATH/TO/dev.json -o OUT [--records 500] [--epochs 1]

Two of SQuAD 2.0's held-out articles, Warsaw and Force, give the records to tune on: those that `make_questions` makes
from them, as far as they give so many, and as many that people wrote about them. Neither the packaged reader nor the
packaged generator has seen the articles. Two readers are tuned from the untuned base with equal settings and asked
questions about the other two articles, Imperialism and French and Indian War, over an index of all four; so is the
untuned base. A fifth of the made records is unanswerable, and as many of the others. Each step is kept in OUT and not
repeated: `--only human` or `--only made` does one reader's.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import statistics
from pathlib import Path

from rag_ft.answering.reader import Reader
from rag_ft.indexing.index import Index
from rag_ft.metrics.answers import token_f1
from rag_ft.metrics.statistics import compare
from rag_ft.metrics.thresholds import recognising_threshold
from rag_ft.question_generation.make import make_questions
from rag_ft.questions.records import read_questions, write_questions
from rag_ft.questions.split import Split
from rag_ft.questions.squad import parse_squad
from rag_ft.schema import Document, Question
from rag_ft.training.run import train_reader
from rag_ft.training.scoring import retrieved_requests
from rag_ft.training.steps.config import TrainConfig

TUNED_ON = ("Warsaw", "Force")
ASKED_ABOUT = ("Imperialism", "French_and_Indian_War")
READERS = ("untuned", "human", "made")
UNANSWERABLE = 0.2
RECOGNISED = (0.5, 0.7)
MEASURED_IN_TRAINING = 40


def articles(path: Path, titles: tuple[str, ...]) -> list[Document]:
    """The named articles as documents."""
    parsed = dict(parse_squad(path.read_text(encoding="utf-8")))
    return [Document(id=title, text=parsed[title].text, title=parsed[title].title) for title in titles]


def about(questions: list[Question], titles: tuple[str, ...]) -> list[Question]:
    """The records whose evidence stands in one of the articles."""
    return [question for question in questions if question.evidence and question.evidence[0].document_id in titles]


def made_records(output: Path, count: int) -> list[Question]:
    """Records made from the articles to tune on, kept in `output`; fewer than `count` where these give no more."""
    path = output / "made-records.jsonl"
    if not path.is_file():
        source = Index.load(output / "tuned-on")
        made = make_questions(
            source, count, output / "made.jsonl", writer="both", unanswerable=UNANSWERABLE, overwrite=True
        )
        write_questions(made.records, path)
    return read_questions(path)


def human_records(questions: list[Question], made: list[Question]) -> list[Question]:
    """Records that people wrote: with and without an answer, as many of each as were made.

    Raises ValueError where people wrote fewer.
    """
    chooser = random.Random(0)
    chosen = []
    for answerable in (True, False):
        side = [question for question in questions if question.answerable is answerable]
        chosen += chooser.sample(side, sum(record.answerable is answerable for record in made))
    return chosen


def asked(reader: Reader, questions: list[Question], index: Index) -> list[dict[str, float | bool]]:
    """Every question answered with abstention off: F1, and how sure the reader was."""
    requests = retrieved_requests([question.question for question in questions], index, 3, 0.0)
    return [
        {
            "answerable": question.answerable,
            "confidence": reading.not_null,
            "f1": token_f1(reading.answer, question.answers) if question.answerable else 0.0,
        }
        for question, reading in zip(questions, reader.read_batch(requests), strict=True)
    ]


def f1_at(readings: list[dict[str, float | bool]], share: float | None) -> list[float]:
    """F1 of each answerable question, always answering or where `share` of the unanswerable is recognised."""
    null = [float(reading["confidence"]) for reading in readings if not reading["answerable"]]
    threshold = 0.0 if share is None else recognising_threshold(null, share, margin=False)
    assert threshold is not None
    return [
        float(reading["f1"]) if reading["confidence"] >= threshold else 0.0
        for reading in readings
        if reading["answerable"]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("squad", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--records", type=int, default=500)
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--most-asked", type=int, default=400, help="Most questions to ask.")
    parser.add_argument("--only", choices=READERS, action="append")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    output: Path = given.output
    output.mkdir(parents=True, exist_ok=True)

    questions = read_questions(given.squad)
    documents = articles(given.squad, (*TUNED_ON, *ASKED_ABOUT))
    for name, held in (("index", documents), ("tuned-on", documents[: len(TUNED_ON)])):
        if not (output / name).is_dir():
            Index.build(held, output / name, progress=False)
    index = Index.load(output / "index")
    about_others = about(questions, ASKED_ABOUT)
    test = random.Random(1).sample(about_others, min(given.most_asked, len(about_others)))

    for name in given.only or READERS:
        kept = output / f"{name}.json"
        if kept.is_file():
            continue
        if name == "untuned":
            reader = Reader.from_pretrained(adapter="none")
        else:
            records = made_records(output, given.records)
            if name == "human":
                records = human_records(about(questions, TUNED_ON), records)
                write_questions(records, output / "human-records.jsonl")
            tuned = train_reader(
                records,
                index,
                output / name,
                split=Split(tuple(records), tuple(test[:MEASURED_IN_TRAINING])),
                training=TrainConfig(epochs=given.epochs, evaluations=1),
                compare=False,
            )
            reader = Reader.from_pretrained(adapter=tuned.path, whole_sentences=False)
        kept.write_text(json.dumps(asked(reader, test, index)), encoding="utf-8")

    readings = {
        name: json.loads((output / f"{name}.json").read_text(encoding="utf-8"))
        for name in READERS
        if (output / f"{name}.json").is_file()
    }
    if len(readings) < len(READERS):
        return
    records = made_records(output, given.records)
    print(f"{len(records)} records of each kind, {sum(record.answerable for record in records)} with an answer")
    print(f"{len(test)} questions, {sum(question.answerable for question in test)} answerable")
    print("| F1 of the answerable | untuned | people's records | made records | share of the gain | made - people's |")
    print("|---|---|---|---|---|---|")
    for share in (None, *RECOGNISED):
        scores = {name: f1_at(read, share) for name, read in readings.items()}
        untuned, human, made_f1 = (100 * statistics.fmean(scores[name]) for name in READERS)
        test_of = compare(scores["made"], scores["human"])
        low, high = test_of.difference.low, test_of.difference.high
        label = "always answering" if share is None else f"{share:.0%} of the unanswerable recognised"
        gained = f"{(made_f1 - untuned) / (human - untuned):.0%}" if human > untuned else "no gain"
        print(
            f"| {label} | {untuned:.1f} | {human:.1f} | {made_f1:.1f} | {gained} |"
            f" {made_f1 - human:+.1f} ({100 * low:+.1f} to {100 * high:+.1f}) |"
        )


if __name__ == "__main__":
    main()
