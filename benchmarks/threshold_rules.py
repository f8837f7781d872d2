"""Which rule for a threshold does best on questions that it was not chosen on?

    python benchmarks/threshold_rules.py PATH/TO/dev.json [--readings readings.jsonl]

Questions of the two articles that the packaged adapter was not trained on, in an index of the file's other articles
but the held-out ones, are answered once (four minutes on two cores; kept in --readings, and read from there the next
time). Then samples are drawn: each rule chooses on a sample and is judged on the rest, by the harmonic mean of
answerable F1 and unanswerable recognised. The spread is the standard deviation of the threshold between samples.
"""

import argparse
import itertools
import json
import random
import statistics
import tempfile
from pathlib import Path

from train_default import calibration_set

from rag_ft.answering.reader import Reader
from rag_ft.indexing.index import Index
from rag_ft.metrics.answers import token_f1
from rag_ft.metrics.thresholds import best_threshold, harmonic_mean
from rag_ft.training.scoring import retrieved_requests

SIZES = (20, 40, 80, 200, 400)
SAMPLES = 200
TOGETHER = 32


def readings(path: Path) -> list[dict]:
    documents, questions = calibration_set(path)
    reader = Reader.from_pretrained(threshold=0.0)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        index = Index.build(documents, Path(folder) / "index", progress=False)
        for start in range(0, len(questions), TOGETHER):
            batch = questions[start : start + TOGETHER]
            asked = retrieved_requests([one.question for one in batch], index)
            for question, reading in zip(batch, reader.read_batch(asked), strict=True):
                f1 = token_f1(reading.answer, question.answers) if question.answerable else 0.0
                found.append({"answerable": question.answerable, "confidence": reading.not_null, "f1": f1})
    return found


def parts(sample: list[dict]) -> tuple[list[tuple[float, float]], list[float]]:
    answered = [(one["confidence"], one["f1"]) for one in sample if one["answerable"]]
    return answered, [one["confidence"] for one in sample if not one["answerable"]]


def worth(sample: list[dict], threshold: float) -> float:
    answered, null = parts(sample)
    f1 = statistics.fmean(f1 if confidence >= threshold else 0.0 for confidence, f1 in answered)
    return harmonic_mean(f1, statistics.fmean(float(confidence < threshold) for confidence in null))


def highest_point(sample: list[dict]) -> float:
    values = sorted({0.0, 1.0, *(one["confidence"] for one in sample)})
    candidates = [(low + high) / 2 for low, high in itertools.pairwise(values)]
    return max(candidates, key=lambda one: worth(sample, one))


RULES = {"highest point": highest_point, "middle of one standard error": lambda sample: best_threshold(*parts(sample))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("squad", type=Path)
    parser.add_argument("--readings", type=Path)
    given = parser.parse_args()
    if given.readings is not None and given.readings.is_file():
        found = [json.loads(line) for line in given.readings.read_text(encoding="utf-8").splitlines()]
    else:
        found = readings(given.squad)
        if given.readings is not None:
            given.readings.write_text("".join(json.dumps(one) + "\n" for one in found), encoding="utf-8")
    print(f"{len(found)} questions, {sum(one['answerable'] for one in found)} answerable; {SAMPLES} samples a size")
    print("| questions chosen on | rule | harmonic mean on the rest | threshold, mean | spread |")
    print("|---|---|---|---|---|")
    for size in SIZES:
        chooser = random.Random(size)
        orders = [chooser.sample(found, len(found)) for _ in range(SAMPLES)]
        for name, rule in RULES.items():
            thresholds = [rule(order[:size]) for order in orders]
            judged = [worth(order[size:], one) for order, one in zip(orders, thresholds, strict=True)]
            print(
                f"| {size} | {name} | {100 * statistics.fmean(judged):.1f} |"
                f" {statistics.fmean(thresholds):.2f} | {statistics.stdev(thresholds):.3f} |"
            )


if __name__ == "__main__":
    main()
