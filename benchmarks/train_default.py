"""Makes the adapter that the package ships, from SQuAD's public files.

    python benchmarks/train_default.py PATH/TO/squad-data OUTPUT

The folder holds squad1/train-4323-paragraphs.json, squad2/train-10-articles.json and squad2/dev.json. The last four
articles of dev.json are the held-out set: neither their questions nor their passages are seen here. Run it again to
go on after an interruption.

The threshold is chosen in the end, in the setting that an adapter is used in: an index of whole articles (dev.json's
other twelve), and all questions of the two among them that were not trained on. `--calibrate-only` does that alone.
"""

import argparse
import json
import logging
import random
import sys
from pathlib import Path

from rag_ft.indexing.index import Index
from rag_ft.questions.records import read_questions
from rag_ft.questions.squad import parse_squad
from rag_ft.schema import Document

HELD_OUT = ("Imperialism", "Warsaw", "French_and_Indian_War", "Force")
FILES = ("squad1/train-4323-paragraphs.json", "squad2/train-10-articles.json", "squad2/dev.json")


def read_training_part(folder: Path):
    """Documents and question records of the training part, one document for each paragraph where titles are missing."""
    documents, questions = [], []
    for name in FILES:
        prefix = name.split("/")[0]
        for title, article in parse_squad((folder / name).read_text(encoding="utf-8")):
            if title not in HELD_OUT:
                documents.append(
                    Document(id=f"{prefix}/{title}", text=article.text, title=article.title.replace("_", " "))
                )
        for question in read_questions(folder / name):
            moved = tuple(
                one.model_copy(update={"document_id": f"{prefix}/{one.document_id}"}) for one in question.evidence
            )
            if not any(one.document_id in HELD_OUT for one in question.evidence) and moved:
                questions.append(question.model_copy(update={"evidence": moved}))
    return documents, questions


LONGEST_ANSWER = 128
"""Tokens: a few SQuAD answers are whole sentences."""

CALIBRATED_IN = "squad2/dev.json"
RECOGNISED = 0.65
"""Share of the unanswerable that the packaged adapter must recognise; the threshold is the lowest that does so on the
articles that it is chosen on."""

CHOSEN_ON = ("squad2/Scottish_Parliament", "squad2/Islamism", "squad2/Spectre_(2015_film)")
"""Articles of the training part that the held-out loss, and where they are in dev.json the threshold, are taken from;
not trained on."""


def calibration_set(path: Path):
    """Documents of dev.json but the held-out ones, and the questions of those among them that were not trained on."""
    documents = [
        Document(id=title, text=article.text, title=article.title.replace("_", " "))
        for title, article in parse_squad(path.read_text(encoding="utf-8"))
        if title not in HELD_OUT
    ]
    chosen_on = {one.removeprefix("squad2/") for one in CHOSEN_ON}
    questions = [one for one in read_questions(path) if one.evidence and one.evidence[0].document_id in chosen_on]
    return documents, questions


def calibrate(folder: Path, adapter: Path, index: Path, most: int | None = None) -> None:
    from rag_ft.adapters.calibrate import calibrate_adapter

    documents, questions = calibration_set(folder / CALIBRATED_IN)
    score = calibrate_adapter(
        adapter,
        questions,
        Index.build(documents, index),
        most=most or len(questions),
        recognise=RECOGNISED,
        margin=False,
    )
    print(score.model_dump_json(), flush=True)


def main() -> None:
    from rag_ft.questions.split import Split
    from rag_ft.training.data.examples import ExampleConfig
    from rag_ft.training.lora import AdapterConfig
    from rag_ft.training.run import train_reader
    from rag_ft.training.steps.config import TrainConfig

    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    logging.getLogger("rag_ft").setLevel(logging.INFO)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--wide", type=float, default=1.0, help="share of the SQuAD 1.1 questions")
    parser.add_argument("--questions", type=int, help="train on so many, drawn at random, for a small run")
    parser.add_argument("--documents", type=int, help="train on so many documents, drawn at random, for a small run")
    parser.add_argument("--negatives", type=float, default=0.35, help="hard negatives for each answerable question")
    parser.add_argument("--repeats", type=int, default=2, help="times that an unanswerable question is an example")
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=-1, help="stop after so many updates, for a small run")
    parser.add_argument("--learning-rate", type=float, default=8e-4)
    parser.add_argument("--row-tokens", type=int, default=1280, help="tokens of a step; more of them suit a GPU")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--start-from", help="an adapter's folder, or packaged, to go on learning from")
    parser.add_argument("--calibrate-only", action="store_true", help="choose the threshold of OUTPUT/adapter anew")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--evaluations", type=int, default=8, help="times that the held-out loss is measured")
    parser.add_argument("--calibrate-on", type=int, help="questions that the threshold is chosen on; 0: as trained")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    if given.calibrate_only:
        calibrate(given.data, given.output / "adapter", given.output / "calibration-index", given.calibrate_on)
        return
    documents, questions = read_training_part(given.data)
    index = Index.build(documents, given.output / "index")
    chooser = random.Random(given.seed)
    kept = [
        one
        for one in questions
        if not one.evidence[0].document_id.startswith("squad1/") or chooser.random() < given.wide
    ]
    train = [one for one in kept if one.evidence[0].document_id not in CHOSEN_ON]
    held_out = [one for one in kept if one.evidence[0].document_id in CHOSEN_ON]
    if given.documents is not None:
        drawn = set(
            random.Random(given.seed).sample(sorted({one.evidence[0].document_id for one in train}), given.documents)
        )
        train = [one for one in train if one.evidence[0].document_id in drawn]
    if given.questions is not None:
        train = chooser.sample(train, given.questions)
    made = train_reader(
        kept,
        index,
        given.output / "adapter",
        split=Split(tuple(train), tuple(chooser.sample(held_out, 200))),
        examples=ExampleConfig(negatives=given.negatives, unanswerable_repeats=given.repeats),
        compare=False,
        lora=AdapterConfig(rank=given.rank),
        start_from=given.start_from,
        # The packaged weights are 4-bit values already: quantising them once more would only add an error.
        training=TrainConfig(
            bits=32,
            row_tokens=given.row_tokens,
            epochs=given.epochs,
            max_steps=given.steps,
            learning_rate=given.learning_rate,
            warmup_share=0.03,
            evaluations=given.evaluations,
            checkpoint_minutes=4,
            seed=given.seed,
        ),
        max_answer_tokens=LONGEST_ANSWER,
        licence="cc-by-sa-4.0",
        data_note=(
            "SQuAD 1.1 and 2.0 (Rajpurkar et al., 2016 and 2018; text from Wikipedia), CC BY-SA 4.0. The articles"
            f" {', '.join(HELD_OUT)} of SQuAD 2.0's development set were not seen: figures on them are reported."
        ),
        on_progress=lambda progress: print(json.dumps(dict(progress.figures)), flush=True),
    )
    if given.calibrate_on != 0:
        calibrate(given.data, made.path, given.output / "calibration-index", given.calibrate_on)
    print(made.path)


if __name__ == "__main__":
    main()
