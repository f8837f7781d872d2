"""Training speed against stock trl: examples a second and peak memory, both sides in one run.

    python benchmarks/training_speed.py PATH/TO/dev.json [--rounds 1]

Both sides train rank 16 on all projections of the default reader, on the same examples (questions of the file's first
articles with one passage each, gold or hard negative), in the same compute type, with the base in 32 bits. Stock is
`SFTTrainer` with `completion_only_loss` and its defaults (batch 4 padded, gradient checkpointing). Also printed: the
floating point operations that our side does each second, against this machine's matrix multiplication.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

ARTICLES = 3
STOCK_STEPS, OUR_STEPS = 6, 8


def examples_of(squad: Path, folder: Path):
    from rag_ft.indexing.index import Index
    from rag_ft.questions.records import read_questions
    from rag_ft.questions.squad import parse_squad
    from rag_ft.schema import Document
    from rag_ft.training.data.examples import ExampleConfig, make_examples

    articles = parse_squad(squad.read_text(encoding="utf-8"))[:ARTICLES]
    documents = [Document(id=name, text=one.text, title=name) for name, one in articles]
    index = Index.build(documents, folder / "index", progress=False)
    names = {one.id for one in documents}
    questions = [one for one in read_questions(squad) if one.evidence and one.evidence[0].document_id in names]
    return make_examples(questions, index, ExampleConfig(negatives=0.35)).examples


class Clock:
    """Times of the steps after the first two, which set things up."""

    def __init__(self):
        from transformers import TrainerCallback

        class Marks(TrainerCallback):
            times: list[float] = []  # noqa: RUF012

            def on_step_end(self, args, state, control, **kwargs):
                self.times.append(time.perf_counter())

        self.callback = Marks()

    def per_step(self) -> float:
        times = self.callback.times[1:]
        return (times[-1] - times[0]) / (len(times) - 1)


def ours(squad: Path, folder: Path) -> dict:
    from rag_ft.answering.prompt import PromptBuilder, TokenBudget
    from rag_ft.training.data.collator import encode, pack
    from rag_ft.training.lora import AdapterConfig
    from rag_ft.training.steps.config import TrainConfig
    from rag_ft.training.steps.setup import adapt, load_base
    from rag_ft.training.steps.trainer import train_rows

    config = TrainConfig(bits=32, max_steps=OUR_STEPS)
    loaded = load_base("default", config)
    encoded = encode(examples_of(squad, folder), PromptBuilder(loaded.tokenizer, shots=False), TokenBudget(2048, 128))
    rows = pack(encoded, config.row_tokens, 0)
    rows = rows[:OUR_STEPS]
    examples = sum(len(row.records) for row in rows) / len(rows)
    tokens = sum(len(row.input_ids) for row in rows) / len(rows)
    clock = Clock()
    model = adapt(loaded, AdapterConfig(), config)
    train_rows(model, loaded.tokenizer, rows, [], config, folder / "out", callbacks=[clock.callback])
    frozen = sum(one.numel() for name, one in model.named_parameters() if "proj.base_layer" in name)
    return {
        "examples_per_second": examples / clock.per_step(),
        "tokens_per_second": tokens / clock.per_step(),
        "gflops": 4 * frozen * tokens / clock.per_step() / 1e9,
    }


def stock(squad: Path, folder: Path) -> dict:
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    from datasets import Dataset
    from rag_ft.answering.prompt import PromptBuilder, TokenBudget
    from rag_ft.models.compute import autocast
    from rag_ft.training.data.collator import IGNORE_INDEX, encode, pack, sequence_of
    from rag_ft.training.steps.config import TrainConfig
    from rag_ft.training.steps.setup import load_base

    loaded = load_base("default", TrainConfig(bits=32))
    encoded = encode(examples_of(squad, folder), PromptBuilder(loaded.tokenizer, shots=False), TokenBudget(2048, 128))
    records = []
    for row in pack(encoded, 1280, 0)[:OUR_STEPS]:
        for place in range(len(row.records)):
            _, tokens, labels = sequence_of(row, place)
            cut = next(number for number, label in enumerate(labels) if label != IGNORE_INDEX)
            decode = loaded.tokenizer.decode
            records.append({"prompt": decode(tokens[:cut]), "completion": decode(tokens[cut:-1])})
    clock = Clock()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        arguments = SFTConfig(
            output_dir=str(folder / "out"),
            completion_only_loss=True,
            max_length=1024,
            per_device_train_batch_size=4,
            max_steps=STOCK_STEPS,
            bf16=autocast(True) == "bfloat16",
            use_cpu=True,
            report_to="none",
            disable_tqdm=True,
            save_strategy="no",
        )
    trainer = SFTTrainer(
        model=loaded.model,
        args=arguments,
        train_dataset=Dataset.from_list(records),
        processing_class=loaded.tokenizer,
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
        callbacks=[clock.callback],
    )
    trainer.train()
    return {"examples_per_second": 4 / clock.per_step()}


def matmul_gflops() -> float:
    """Of this machine, at the model's own shapes, in the type that products are computed in."""
    import torch

    from rag_ft.models.compute import autocast

    dtype = getattr(torch, autocast(True), torch.float32)
    given, weight = torch.randn(1536, 576, dtype=dtype), torch.randn(1536, 576, dtype=dtype)
    torch.nn.functional.linear(given, weight)
    begin = time.perf_counter()
    for _ in range(200):
        torch.nn.functional.linear(given, weight)
    return 200 * 2 * 1536 * 576 * 1536 / (time.perf_counter() - begin) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("squad", type=Path)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--side", choices=["ours", "stock"])
    given = parser.parse_args()
    if given.side:
        with tempfile.TemporaryDirectory() as folder:
            found = {"ours": ours, "stock": stock}[given.side](given.squad, Path(folder))
        found["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print("RESULT " + json.dumps(found))
        return
    for number in range(given.rounds):
        results = {}
        for side in ("stock", "ours"):
            command = [sys.executable, __file__, str(given.squad), "--side", side]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            line = next(one for one in done.stdout.splitlines() if one.startswith("RESULT "))
            results[side] = json.loads(line.removeprefix("RESULT "))
            print(number, side, {name: round(value, 2) for name, value in results[side].items()}, flush=True)
        ratio = results["ours"]["examples_per_second"] / results["stock"]["examples_per_second"]
        limit = matmul_gflops()
        print(f"ours: {ratio:.1f} times the examples a second of stock")
        print(f"ours: {results['ours']['gflops']:.0f} of {limit:.0f} GFLOP/s of matrix multiplication here")


if __name__ == "__main__":
    main()
