"""Whether vLLM with an exported adapter completes our prompts as the reader does in mode `free`.

    rag-ft adapter export packaged exported --to peft
    vllm serve BASE_FOLDER --enable-lora --max-lora-rank 16 --lora-modules rag-ft=exported --dtype float32
    python benchmarks/vllm_equality.py http://127.0.0.1:8000 --model rag-ft [--questions 24]

Questions of the bundled handbook, each with its first retrieved passage, decoded greedily by both. Tells how many
completions are the same, and each that differs.
"""

import argparse
import random
import tempfile
from pathlib import Path

import httpx

from rag_ft.answering import completion
from rag_ft.answering.config import MAX_ANSWER_TOKENS
from rag_ft.answering.reader import Reader
from rag_ft.environment import handbook_path
from rag_ft.errors import AnswerParseError
from rag_ft.indexing.index import Index
from rag_ft.questions.records import read_questions
from rag_ft.training.scoring import retrieved_requests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", help="of vLLM's server")
    parser.add_argument("--model", default="rag-ft", help="name of the adapter there")
    parser.add_argument("--adapter", help="the same adapter's folder here; without it the packaged one")
    parser.add_argument("--questions", type=int, default=24)
    given = parser.parse_args()
    asked = [one.question for one in read_questions(handbook_path() / "questions.jsonl")]
    asked = random.Random(0).sample(asked, given.questions)
    with tempfile.TemporaryDirectory() as folder:
        requests = retrieved_requests(asked, Index.build(handbook_path(), Path(folder) / "i", progress=False), k=1)
    reader = Reader.from_pretrained(adapter=given.adapter, mode="free", threshold=0.0)
    same = parsed = 0
    for request in requests:
        prompt = reader.prompts.build(request.question, request.passages, reader.budget)
        body = {"model": given.model, "prompt": list(prompt.ids), "max_tokens": 2 * MAX_ANSWER_TOKENS, "temperature": 0}
        reply = httpx.post(f"{given.address}/v1/completions", json=body, timeout=120).raise_for_status().json()
        theirs = reply["choices"][0]["text"].strip()
        ours = reader.read(request.question, request.passages).completion
        ours = ours.removesuffix(reader.loaded.tokenizer.eos_token).strip()
        same += theirs == ours
        if theirs != ours:
            print(f"{request.question}\n  vLLM: {theirs}\n  here: {ours}")
        try:
            completion.parse(theirs, 1)
            parsed += 1
        except AnswerParseError as error:
            print(f"{request.question}\n  vLLM: {theirs}\n  {error}")
    print(f"{same} of {len(requests)} completions are the same, {parsed} parse")


if __name__ == "__main__":
    main()
