"""The products of reading made in another way, beside the shipped one: time, start, memory, F1.

    OMP_NUM_THREADS=1 python benchmarks/reading_products.py WAY [--questions 8] [--rounds 3]
    OMP_NUM_THREADS=1 python benchmarks/reading_products.py WAY --judge 300 --squad dev.json
    OMP_NUM_THREADS=1 python benchmarks/reading_products.py WAY --judge 100

`merged`: the adapter is added to the weights when the reader is loaded; W + scale B A is computed in float32 with the A
and B that the reader reads with, and rounded to the type of the products. `packed`: the weights are put once into the
order in which oneDNN reads them, which it otherwise does in every product; the same numbers. `int8`: weights in 8 bits
by output, inputs by the largest of a pass (torch's dynamic quantisation); the adapter's products as shipped.

Without `--judge` questions of facts of the bundled handbook are read with their three passages, one after another, both
readers in turns, with passages that are new and that were read before for another question; in seconds of the
processor. With `--judge` both answer the same questions, always, in batches of 16: of the last four articles of a
SQuAD 2.0 file, or of the handbook. F1 is printed for always answering and at the adapter's threshold.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from rag_ft.answering.pipeline import Pipeline
from rag_ft.answering.reader import Reader
from rag_ft.environment import handbook_path, handbook_questions_path
from rag_ft.indexing.corpus import read_corpus
from rag_ft.indexing.index import Index
from rag_ft.metrics.answers import token_f1
from rag_ft.models.loading import LoadedModel, load_model
from rag_ft.models.plain_llama import PlainLlama, _Linear
from rag_ft.models.weights import chosen_adapter
from rag_ft.questions.records import read_questions
from rag_ft.schema import Question
from rag_ft.text.asking import asks_for_sentences
from rag_ft.training.scoring import retrieved_requests

ANOTHER = "Which token ends a turn?"
"""What passages are read for first, where they are not new."""
BATCH = 16


class Asked(NamedTuple):
    """A question's answer from both sides."""

    question: Question
    answers: tuple[str | None, str | None]
    confidences: tuple[float, float]

    def given(self, side: int, threshold: float) -> str | None:
        """The answer of one side at a threshold."""
        return self.answers[side] if self.confidences[side] >= threshold else None


def memory() -> str:
    """Memory of this process: its own, and mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    sizes = {
        name: int(rest.split()[0]) // 1024 for name, _, rest in (line.partition(":") for line in lines) if "Rss" in name
    }
    return f"{sizes['RssAnon']} MB of its own, {sizes['RssFile']} MB of files"


def loaded() -> LoadedModel:
    start = time.process_time()
    found = load_model(adapter=chosen_adapter("default", None), only_read=True)
    assert isinstance(found.network, PlainLlama)
    print(f"loading: {time.process_time() - start:.2f} CPU s; {memory()}", flush=True)
    return found


def linear_layers(model: LoadedModel) -> Iterator[tuple[str, _Linear]]:
    """The layers that multiply, by the names of their weights."""
    for number, layer in enumerate(model.network._layers):
        for name, linear in {
            "self_attn.q_proj": layer._query,
            "self_attn.k_proj": layer._key,
            "self_attn.v_proj": layer._value,
            "self_attn.o_proj": layer._out,
            "mlp.gate_proj": layer._gate,
            "mlp.up_proj": layer._up,
            "mlp.down_proj": layer._down,
        }.items():
            yield f"model.layers.{number}.{name}.weight", linear


def merge(model: LoadedModel) -> None:
    """Replace each adapted layer's weights by the merged ones, and take its update away."""
    tensors = load_file(model.weights.path / "model.safetensors")
    for name, linear in linear_layers(model):
        if linear._update is not None:
            down, up, scale = linear._update
            wide = tensors[name].float()
            linear.weight = torch.addmm(wide, up.float(), down.float(), alpha=scale).to(linear.weight.dtype)
            linear._update = None


def multiply_by(model: LoadedModel, product: Callable[[Tensor], Callable[[Tensor], Tensor]]) -> None:
    """Have each layer multiply by what `product` makes of its weights."""
    products = {id(linear): product(linear.weight) for _, linear in linear_layers(model)}

    def call(linear: _Linear, x: Tensor, adapted: bool) -> Tensor:
        own = products.get(id(linear))
        out = functional.linear(x, linear.weight) if own is None else own(x)
        if adapted and linear._update is not None:
            down, up, scale = linear._update
            out.view(-1, out.shape[-1]).addmm_(x.reshape(-1, x.shape[-1]) @ down.t(), up.t(), alpha=scale)
        return out

    _Linear.__call__ = call  # the shipped reader's layers are not among the products


def packed(weight: Tensor) -> Callable[[Tensor], Tensor]:
    ordered = torch.ops.mkldnn._reorder_linear_weight(weight, 64)
    return lambda x: torch.ops.mkldnn._linear_pointwise(x, ordered, None, "none", [], "")


def in_int8(weight: Tensor) -> Callable[[Tensor], Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's quantisation moves to torchao
        plain = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        plain.weight.data = weight.float()
        quantised = torch.ao.quantization.quantize_dynamic(
            torch.nn.Sequential(plain),
            {torch.nn.Linear: torch.ao.quantization.per_channel_dynamic_qconfig},
            dtype=torch.qint8,
        )
    return lambda x: quantised(x.float()).to(x.dtype)


def change(model: LoadedModel, way: str) -> None:
    """Have a model multiply in another way."""
    start = time.process_time()
    with torch.inference_mode():
        if way == "merged":
            merge(model)
        else:
            multiply_by(model, packed if way == "packed" else in_int8)
    gc.collect()
    print(f"{way}: {time.process_time() - start:.2f} CPU s; {memory()}", flush=True)


def timed(models: dict[str, LoadedModel], count: int, rounds: int) -> None:
    asked = [
        one.question
        for one in read_questions(handbook_questions_path())
        if one.answerable and not asks_for_sentences(one.question)
    ]
    with tempfile.TemporaryDirectory() as folder:
        index = Index.build(handbook_path(), Path(folder) / "index", progress=False)
        requests = retrieved_requests(random.Random(0).sample(asked, count), index, k=3)
    for kind, size in (("new", 0), ("read before", 512)):
        readers = {side: Reader(model, passage_cache_mb=size) for side, model in models.items()}
        seconds: dict[str, list[list[float]]] = {side: [[] for _ in range(rounds)] for side in readers}
        for reader in readers.values():
            reader.read_batch(requests[:1])
        order = list(readers)
        for turn in range(rounds):
            for request in requests:
                order.reverse()
                for side in order:
                    if size:
                        readers[side].read_batch([request._replace(question=ANOTHER)])
                    start = time.process_time()
                    readers[side].read_batch([request])
                    seconds[side][turn].append(time.process_time() - start)
        shipped, changed = (seconds[side] for side in models)
        ratios = [sum(one) / sum(other) for one, other in zip(changed, shipped, strict=True)]
        p50 = [statistics.median(value for one in side for value in one) for side in (shipped, changed)]
        print(
            f"passages {kind}: {p50[0]:.2f} CPU s as shipped, {p50[1]:.2f} changed; changed / shipped"
            f" {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
            flush=True,
        )


def judged(models: dict[str, LoadedModel], count: int, squad: Path | None) -> list[Asked]:
    """What both sides answer to the same questions, always answering."""
    if squad is None:
        questions, source = read_questions(handbook_questions_path()), handbook_path()
    else:
        source = list(read_corpus(squad))[-4:]
        names = {one.id for one in source}
        questions = [one for one in read_questions(squad) if one.evidence and one.evidence[0].document_id in names]
    random.Random(0).shuffle(questions)
    questions = questions[:count]
    found: list[Asked] = []
    with tempfile.TemporaryDirectory() as folder:
        index = Index.build(source, Path(folder) / "index", progress=False)
        pipelines = [Pipeline(index.as_retriever(k=3), Reader(model, threshold=0)) for model in models.values()]
        for start in range(0, len(questions), BATCH):
            batch = questions[start : start + BATCH]
            sides = [one.ask_batch([question.question for question in batch]) for one in pipelines]
            for question, shipped, changed in zip(batch, *sides, strict=True):
                found.append(
                    Asked(question, (shipped.answer, changed.answer), (shipped.confidence, changed.confidence))
                )
            print(f"{len(found)} of {len(questions)}", flush=True)
    return found


def report(asked: list[Asked], threshold: float) -> None:
    answerable = [one for one in asked if one.question.answerable]
    print(f"{len(asked)} questions, {len(answerable)} of them answerable")
    for name, least in (("always answering", 0.0), (f"at the threshold {threshold:.2f}", threshold)):
        others = sum(one.given(0, least) != one.given(1, least) for one in asked)
        print(f"{name}: another answer {others}")
        for kind, group in (("answerable", answerable), ("all", asked)):
            shipped, changed = (
                statistics.fmean(token_f1(one.given(side, least), one.question.answers) for one in group)
                for side in (0, 1)
            )
            gain = 100 * (changed - shipped)
            print(f"  F1 of {kind}: {100 * shipped:.2f} as shipped, {100 * changed:.2f} changed, {gain:+.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("way", choices=("merged", "packed", "int8"))
    parser.add_argument("--questions", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--judge", type=int, default=0, metavar="QUESTIONS")
    parser.add_argument("--squad", type=Path)
    given = parser.parse_args()
    models = {"shipped": loaded(), "changed": loaded()}
    change(models["changed"], given.way)
    print(models["shipped"].plan.line)
    if not given.judge:
        timed(models, given.questions, given.rounds)
        return
    asked = judged(models, given.judge, given.squad)
    report(asked, Reader(models["shipped"]).trained_threshold or 0.0)


if __name__ == "__main__":
    main()
