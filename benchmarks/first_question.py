"""Seconds that a new process takes to answer one question: `rag-ft ask`, a `Pipeline` in Python, and plain libraries.

    OMP_NUM_THREADS=1 python benchmarks/first_question.py [--rounds 3] [--wall]

The plain side is a program that one would write instead: sentence-transformers embeds the question, FAISS searches
vectors that were made before, and transformers' `generate` under PEFT reads three passages, with the same weights. All
sides answer a question of facts, which the reader reads, and one that asks what something is, which the cross-encoder
answers; they take turns. Seconds of the processor, all threads together; `--wall`: of the clock. Every process finds
its files in the system's memory, and conversions made before.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from rag_ft.answering.reader import Reader
from rag_ft.environment import handbook_path
from rag_ft.indexing.chunking import passage_text
from rag_ft.indexing.index import Index
from rag_ft.models.weights import packaged_adapter, resolve_embedder, resolve_reader

QUESTIONS = {"fact": "Which token ends a turn?", "what it is": "What is a label mask?"}

PIPELINE = """
import sys
from rag_ft import Index, Pipeline, Reader
qa = Pipeline(Index.load(sys.argv[1]).as_retriever(k=3), Reader.from_pretrained())
print(qa.ask(sys.argv[2]).answer)
"""

PLAIN = """
import json, sys
import faiss, numpy, torch
from peft import PeftModel
from sentence_transformers import SentenceTransformer
from transformers import AutoModelForCausalLM, AutoTokenizer
given = json.load(open(sys.argv[1]))
encoder = SentenceTransformer(given["embedder"], device="cpu", local_files_only=True)
vectors = numpy.load(given["vectors"])
index = faiss.IndexFlatIP(vectors.shape[1])
index.add(vectors)
_, found = index.search(encoder.encode([sys.argv[2]], normalize_embeddings=True), 3)
tokenizer = AutoTokenizer.from_pretrained(given["reader"])
base = AutoModelForCausalLM.from_pretrained(given["reader"], dtype=getattr(torch, given["dtype"]))
model = PeftModel.from_pretrained(base, given["adapter"]).eval()
passages = "".join(f"[{i}] {given['passages'][row]}\\n" for i, row in enumerate(found[0], start=1))
messages = [{"role": "system", "content": given["system"]},
            {"role": "user", "content": f"{passages}\\nQuestion: {sys.argv[2]}"}]
ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
with torch.inference_mode():
    out = model.generate(**ids, max_new_tokens=48, do_sample=False, pad_token_id=tokenizer.eos_token_id)
print(tokenizer.decode(out[0, ids["input_ids"].shape[1]:]))
"""


def plain_files(folder: Path, index: Index) -> Path:
    """What the plain program needs, made before it starts."""
    from rag_ft.answering.prompt import SYSTEM

    passages = [passage_text(passage) for passage in index.passages()]
    np.save(folder / "vectors.npy", index.embedder.encode_passages(passages))
    given = {
        "embedder": str(resolve_embedder().path),
        "vectors": str(folder / "vectors.npy"),
        "reader": str(resolve_reader().path),
        "adapter": str(packaged_adapter()),
        "dtype": Reader.from_pretrained().loaded.plan.dtype,
        "passages": passages,
        "system": SYSTEM,
    }
    path = folder / "given.json"
    path.write_text(json.dumps(given))
    return path


def seconds_of(command: list[str], wall: bool) -> float:
    """Seconds of a process from its start to its end."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    if wall:
        return time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--wall", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        index = Index.build(handbook_path(), Path(folder) / "index", progress=False)
        files = plain_files(Path(folder), index)
        python, place = sys.executable, str(index.path)
        sides = {
            "rag-ft ask": [python, "-m", "rag_ft", "ask", "--index", place],
            "Pipeline": [python, "-c", PIPELINE, place],
            "plain libraries": [python, "-c", PLAIN, str(files)],
        }
        for name, question in QUESTIONS.items():
            taken: dict[str, list[float]] = {side: [] for side in sides}
            for _ in range(given.rounds):
                for side, command in sides.items():
                    taken[side].append(seconds_of([*command, question], given.wall))
            for side, seconds in taken.items():
                ratios = [plain / own for plain, own in zip(taken["plain libraries"], seconds, strict=True)]
                spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
                print(f"{name:12}{side:18}{statistics.median(seconds):8.2f} s {spread:>24}")


if __name__ == "__main__":
    main()
