"""Is a merged reader the reader that it was made from? 200 questions, in float32, decoded greedily without a grammar.

    python benchmarks/merge_equality.py PATH/TO/dev.json

The packaged adapter beside its base against its merge into it; and an adapter trained on NF4 values (here, in a few
steps, unless --nf4-adapter names one) beside the NF4 values, against its merge into them and into the original weights.
With --packed also against the same values held by bitsandbytes, whose kernels have a rounding of their own (bfloat16
products on CPUs that have them, whatever type is asked for). Prints a table; exit code 1 where one that should be equal
is not (a completion, or a logit by 0.001 or more).
"""

import argparse
import logging
import random
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from rag_ft import Index, train_reader
from rag_ft.adapters.merge import merge_adapter
from rag_ft.adapters.probes import difference, observe
from rag_ft.answering.reader import Reader
from rag_ft.answering.reading import ReadRequest
from rag_ft.environment import handbook_path, handbook_questions_path
from rag_ft.indexing.corpus import read_corpus
from rag_ft.models.compute import compute_plan
from rag_ft.questions.records import read_questions
from rag_ft.schema import Passage
from rag_ft.training import TrainConfig

AROUND = 75
TOGETHER = 20
"""Questions whose logits are in memory at once."""


def requests(data: Path, count: int) -> list[ReadRequest]:
    """Questions with the text around their evidence, answerable or not."""
    texts = {document.id: document.text for document in read_corpus(data)}
    records = [one for one in read_questions(data) if one.evidence]
    made = []
    for record in random.Random(0).sample(records, count):
        evidence = record.evidence[0]
        text = texts[evidence.document_id]
        start, end = max(0, evidence.start - AROUND), min(len(text), evidence.end + AROUND)
        passage = Passage(id=record.id, document_id=evidence.document_id, text=text[start:end], start=start, end=end)
        made.append(ReadRequest(record.question, (passage,)))
    return made


class Apart(NamedTuple):
    same: int
    largest: float
    mean: float


def apart(one: Reader, others: list[Reader], asked: list[ReadRequest]) -> list[Apart]:
    """Identical completions, the largest and the mean difference of a logit, for each of the others."""
    found = [Apart(0, 0.0, 0.0) for _ in others]
    for start in range(0, len(asked), TOGETHER):
        batch = asked[start : start + TOGETHER]
        first = observe(one, batch)
        for place, other in enumerate(others):
            new, old = difference(first, observe(other, batch, first)), found[place]
            mean = old.mean + new.mean_logit * len(batch) / len(asked)
            found[place] = Apart(old.same + new.identical, max(old.largest, new.largest_logit), mean)
        print(f"  {start + len(batch)} of {len(asked)}", *found, file=sys.stderr, flush=True)
    return found


def main() -> None:
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    logging.getLogger("rag_ft").setLevel(logging.INFO)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--part", choices=("packaged", "nf4", "both"), default="both")
    parser.add_argument("--packed", action="store_true")
    parser.add_argument("--nf4-adapter", type=Path)
    parser.add_argument("--steps", type=int, default=12, help="of the NF4 adapter's training")
    given = parser.parse_args()
    asked = requests(given.data, given.questions)
    plan = replace(compute_plan(quantisation="none"), dtype="float32")
    # Nothing between the logits and the words: no grammar, no threshold that could hide a difference.
    plainly = {"mode": "free"}

    def reader(base: str | Path = "default", adapter: str | Path = "none", plan=plan) -> Reader:
        return Reader.from_pretrained(str(base), adapter=adapter, plan=plan, **plainly)

    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        groups = []
        probes = asked[:2]
        if given.part != "nf4":
            merge_adapter("packaged", work / "plain", probes=probes)
            merged = ("merged into the original weights", reader(work / "plain"), True)
            groups.append(("the packaged adapter beside the original weights", reader(adapter="packaged"), [merged]))
        if given.part != "packaged":
            nf4 = given.nf4_adapter
            if nf4 is None:
                nf4 = work / "adapter"
                index = Index.build(handbook_path(), work / "index")
                training = TrainConfig(bits=4, max_steps=given.steps, evaluations=1)
                train_reader(handbook_questions_path(), index, nf4, training=training, compare=False)
            assert merge_adapter(nf4, work / "nf4", probes=probes).base == "nf4"
            merge_original(nf4, work / "original")
            others = [
                ("merged into the dequantised NF4 weights", reader(work / "nf4"), True),
                ("merged into the original weights", reader(work / "original"), False),
            ]
            if given.packed:
                packed = replace(plan, quantisation="nf4")
                others.append(
                    ("beside NF4 weights that bitsandbytes holds packed", reader(adapter=nf4, plan=packed), False)
                )
            groups.append(("an NF4-trained adapter beside the NF4 values", reader(adapter=nf4), others))
        print("\n| separate | against | identical completions | largest difference of a logit | mean |")
        print("|---|---|---|---|---|")
        wrong = False
        for separate, one, others in groups:
            found = apart(one, [other for _, other, _ in others], asked)
            for (title, _, equal), each in zip(others, found, strict=True):
                print(
                    f"| {separate} | {title} | {each.same} of {len(asked)} | {each.largest:.2g} | {each.mean:.2g} |",
                    flush=True,
                )
                wrong = wrong or (equal and (each.same < len(asked) or each.largest >= 1e-3))
    sys.exit(1 if wrong else 0)


def merge_original(adapter: Path, output: Path) -> None:
    """The merge that `merge_adapter` would not choose."""
    from rag_ft.adapters.merge import _tuning, _write_json, _write_merged
    from rag_ft.models.adapter_record import adapter_record
    from rag_ft.models.gguf import TUNING_NAME
    from rag_ft.models.loading import load_model
    from rag_ft.models.weights import resolve_adapter

    tuned = resolve_adapter(adapter)
    loaded = load_model(plan=replace(compute_plan(quantisation="none"), dtype="float32"))
    _write_merged(output, loaded, tuned, "original", "float32")
    _write_json(output / TUNING_NAME, _tuning(adapter_record(tuned), tuned, loaded.weights, "original"))


if __name__ == "__main__":
    main()
