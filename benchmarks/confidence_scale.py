"""What the scale of confidences is worth, how many answers it wants, and what a threshold on it buys.

    python benchmarks/confidence_scale.py [evals/tuned/records-quote-separate-0.jsonl]

From answers of the packaged adapter that were made without a threshold (`reader_quality.py` wrote them): so many are
drawn at random, a scale is fitted on them, and the others say how far it is off: expected calibration error and
log-loss of an answer's being right, means of 50 draws, beside the reader's own confidences and the packaged scale.
Then, on the packaged scale, what is answered at a threshold, and how much of it is right.
"""

import argparse
import json
import math
import random
import statistics
from pathlib import Path

from reader_quality import is_right

from rag_ft.answering.confidence import PlattScale, trained_threshold
from rag_ft.metrics.answers import calibration_error
from rag_ft.models.adapter_record import adapter_record
from rag_ft.models.adapter_slots import adapter_folder
from rag_ft.models.weights import resolve_adapter
from rag_ft.training.scoring import fit_platt

SIZES = (20, 40, 80, 200, 400)
DRAWS = 50
THRESHOLDS = (0.0, 0.25, 0.4, 0.5, 0.6, 0.7, 0.8)


def off(confidences: list[float], right: list[bool]) -> tuple[float, float]:
    """Calibration error and log-loss."""
    sure = [min(max(one, 1e-9), 1 - 1e-9) for one in confidences]
    losses = [-math.log(one if was else 1 - one) for one, was in zip(sure, right, strict=True)]
    return calibration_error(confidences, right), statistics.fmean(losses)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path, nargs="?", default=Path("evals/tuned/records-quote-separate-0.jsonl"))
    given = parser.parse_args()
    packaged = trained_threshold(adapter_record(resolve_adapter(adapter_folder("packaged"))), "quote", "separate").scale
    records = [json.loads(line) for line in given.records.read_text(encoding="utf-8").splitlines()]
    own = [packaged.unscaled(one["confidence"]) for one in records]
    right = [is_right(one) for one in records]
    print(f"{len(records)} answers\n\n| scale | calibration error | log-loss |\n|---|---|---|")
    for name, scale in (("none", PlattScale()), ("packaged", packaged)):
        error, loss = off([scale.scaled(one) for one in own], right)
        print(f"| {name} | {error:.3f} | {loss:.3f} |")
    for size in SIZES:
        found = []
        for draw in range(DRAWS):
            places = random.Random(f"{size} {draw}").sample(range(len(own)), len(own))
            fitted, judged = places[:size], places[size:]
            scale = fit_platt([own[one] for one in fitted], [right[one] for one in fitted])
            found.append(off([scale.scaled(own[one]) for one in judged], [right[one] for one in judged]))
        error, loss = (statistics.fmean(one) for one in zip(*found, strict=True))
        print(f"| fitted on {size} | {error:.3f} | {loss:.3f} |")
    print("\n| threshold | answered | of these right | F1 of the answerable | unanswerable recognised |")
    print("|---|---|---|---|---|")
    yes = [one for one in records if one["answerable"]]
    no = [one for one in records if not one["answerable"]]
    for threshold in THRESHOLDS:
        given_right = [was for one, was in zip(records, right, strict=True) if one["confidence"] >= threshold]
        f1 = statistics.fmean(one["f1"] if one["confidence"] >= threshold else 0.0 for one in yes)
        recognised = statistics.fmean(one["confidence"] < threshold for one in no)
        answered, sure = len(given_right) / len(records), statistics.fmean(given_right)
        print(f"| {threshold} | {answered:.0%} | {sure:.0%} | {100 * f1:.1f} | {recognised:.0%} |")


if __name__ == "__main__":
    main()
