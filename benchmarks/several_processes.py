"""What it costs that several processes train one adapter: sending the gradients, and waiting for the longest part.

    torchrun --nproc-per-node 2 benchmarks/several_processes.py

Averages gradients as large as those of the default adapter (rank 16 on all projections of the default reader) between
the processes, over gloo on one machine, and divides the training rows of the handbook's records. Needs no weights but
the embedder's and the default reader's tokenizer. Prints the milliseconds of one averaging, and for 2, 4 and 8
processes the share of a step's tokens in its longest part; 1 / processes would be even.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

GRADIENTS = 4_884_480
"""Trainable parameters of the default adapter, as `rag-ft plan default` counts them."""
ROUNDS = 30


def averaging_ms() -> float:
    """Median milliseconds of averaging the gradients between the processes."""
    import torch

    gradients = torch.rand(GRADIENTS)
    seconds = []
    for _ in range(ROUNDS):
        torch.distributed.barrier()
        start = time.perf_counter()
        torch.distributed.all_reduce(gradients)
        gradients /= torch.distributed.get_world_size()
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)


def longest_shares(row_tokens: int) -> dict[int, float]:
    """Processes → tokens of the longest parts over all tokens of the rows that training packs."""
    from transformers import AutoTokenizer

    from rag_ft.answering.prompt import PromptBuilder, TokenBudget
    from rag_ft.environment import handbook_path, handbook_questions_path
    from rag_ft.indexing.index import Index
    from rag_ft.models.weights import resolve_reader
    from rag_ft.questions.records import read_questions
    from rag_ft.training.data.collator import encode, pack
    from rag_ft.training.data.examples import ExampleConfig, make_examples
    from rag_ft.training.data.splitting import split_row

    with tempfile.TemporaryDirectory() as folder:
        index = Index.build(handbook_path(), Path(folder) / "index", progress=False)
        made = make_examples(read_questions(handbook_questions_path()), index, ExampleConfig())
    tokenizer = AutoTokenizer.from_pretrained(resolve_reader("default").path)
    encoded = encode(made.examples, PromptBuilder(tokenizer, shots=False), TokenBudget(2048, 96))
    rows = pack(encoded, row_tokens, 0)
    shares = {}
    for count in (2, 4, 8):
        lengths = [[len(part.input_ids) for part in split_row(row, count)] for row in rows]
        shares[count] = sum(map(max, lengths)) / sum(len(row.input_ids) for row in rows)
    return shares


def main() -> None:
    """Print both figures, from the first process."""
    import torch

    torch.distributed.init_process_group("gloo")
    first = torch.distributed.get_rank() == 0
    took = averaging_ms()
    if first:
        print(
            f"averaging {GRADIENTS:,} gradients between {torch.distributed.get_world_size()} processes: {took:.0f} ms"
        )
        for row_tokens in (1280, 5120):
            shares = longest_shares(row_tokens)
            parts = ", ".join(f"{count}: {share:.0%}" for count, share in shares.items())
            print(f"rows of {row_tokens:,} tokens, tokens of the longest part by number of processes: {parts}")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
