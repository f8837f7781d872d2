"""What a confidence should be the probability of: four definitions on the same readings.

    python benchmarks/confidence.py PATH/TO/dev.json [--questions 600]

Questions of the four held-out articles, in an index of the whole file, and of two articles that the packaged adapter
was not trained on, in an index of the other twelve. For each definition: F1 of the answerable questions where 50, 65,
80 and 90% of the unanswerable are recognised, and the expected calibration error of an answer's being right (F1 of at
least half).
"""

import argparse
import json
import math
import random
import tempfile
from pathlib import Path

import numpy as np
from train_default import HELD_OUT, calibration_set

from rag_ft.answering.decoding.prompt_rows import best_row
from rag_ft.answering.outcome import not_null_probability
from rag_ft.answering.reader import Reader
from rag_ft.indexing.index import Index
from rag_ft.metrics.answers import calibration_error, token_f1
from rag_ft.questions.records import read_questions
from rag_ft.training.scoring import retrieved_requests

RECOGNISED = (0.5, 0.65, 0.8, 0.9)

NOT_NULL = {
    "not null in the answering passage": slice(0, 1),
    "not null in the answer's sentence alone": slice(1, 2),
    "not null in both, mean of log-odds": slice(0, 2),
}
"""Which of the two probabilities of null."""


def readings(reader: Reader, index: Index, questions) -> list[dict]:
    found = []
    for start in range(0, len(questions), 16):
        batch = questions[start : start + 16]
        requests = retrieved_requests([one.question for one in batch], index)
        for question, rows in zip(batch, reader.read_rows(requests), strict=True):
            best = best_row(rows)
            odds = [np.logaddexp.reduce(list(row.scored.values())) - row.null for row in rows if row.scored]
            everything = np.logaddexp.reduce([0.0, *odds])
            nulls = [best.null, best.null if best.second_look is None else best.second_look.null]
            found.append(
                {
                    "answerable": question.answerable,
                    "f1": token_f1(best.best, question.answers) if question.answerable else 0.0,
                    "share of all answers": math.exp(best.odds - everything),
                    **{name: not_null_probability(nulls[part]) for name, part in NOT_NULL.items()},
                }
            )
    return found


def figures(found: list[dict], name: str) -> dict:
    yes = [one for one in found if one["answerable"]]
    null = sorted(one[name] for one in found if not one["answerable"])
    at = {share: null[math.ceil(share * len(null))] for share in RECOGNISED}
    right = [one["f1"] >= 0.5 for one in found]
    return {
        "confidence": name,
        "questions": len(found),
        "f1_made_to_answer": round(100 * np.mean([one["f1"] for one in yes]), 1),
        "f1_where_recognised": {
            f"{share:.0%}": round(100 * np.mean([one["f1"] * (one[name] >= threshold) for one in yes]), 1)
            for share, threshold in at.items()
        },
        "calibration_error": round(calibration_error([one[name] for one in found], right), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("squad", type=Path)
    parser.add_argument("--questions", type=int, default=600)
    parser.add_argument("--adapter", help="a folder, or none; left out: the packaged one")
    given = parser.parse_args()
    others, apart = calibration_set(given.squad)
    held_out = [one for one in read_questions(given.squad) if one.evidence and one.evidence[0].document_id in HELD_OUT]
    reader = Reader.from_pretrained(adapter=given.adapter, threshold=0.0)
    with tempfile.TemporaryDirectory() as folder:
        for part, records, source in (("held-out", held_out, given.squad), ("other", apart, others)):
            index = Index.build(source, Path(folder) / part, progress=False)
            questions = random.Random(0).sample(records, min(given.questions, len(records)))
            found = readings(reader, index, questions)
            for name in ("share of all answers", *NOT_NULL):
                print(json.dumps({"part": part, **figures(found, name)}), flush=True)


if __name__ == "__main__":
    main()
