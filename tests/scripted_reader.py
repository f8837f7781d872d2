"""A reader that follows a script: it quotes the first words of the first passage, and no model is asked.

Run as a program it answers questions slowly, to be killed: `python scripted_reader.py INDEX QUESTIONS OUTPUT SECONDS`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from fakes import HashingEmbedder

from rag_ft.answering import completion
from rag_ft.answering.bulk.run import answer_questions
from rag_ft.answering.pipeline import Pipeline
from rag_ft.answering.reading import Cited, Reading, ReadRequest, StreamEvent
from rag_ft.errors import PromptTooLongError
from rag_ft.indexing.index import Index
from rag_ft.text.spans import Span

KILLS = "kill the worker"
"""A question with these words ends the process that reads it, as running out of memory does."""
TOO_LONG = "too long to read"


class ScriptedReader:
    """A `PassageReader` without a model; `log` names a file that gets a line for each question it reads."""

    threshold = None
    reranking: dict = {}

    def __init__(self, seconds=0.0, log=None, name="scripted"):
        self.seconds, self.log, self.name = seconds, log, name
        self.batches: list[list[str]] = []

    @property
    def provenance(self):
        return {
            "base_model": self.name,
            "adapter": None,
            "prompt": "scripted",
            "mode": "quote",
            "reading": "separate",
            "cross_encoder": None,
        }

    @property
    def fingerprint_parts(self):
        return [self.name]

    def with_adapter(self, name):
        return self

    def read_batch(self, requests):
        for request in requests:
            if TOO_LONG in request.question:
                raise PromptTooLongError("the question has 9,999 tokens and the prompt has room for 9: shorten it")
        self.batches.append([request.question for request in requests])
        if self.log is not None:
            with open(self.log, "a") as file:
                file.writelines(f"{os.getpid()} {request.question}\n" for request in requests)
        time.sleep(self.seconds)  # a kill comes after the log
        if any(KILLS in request.question for request in requests):
            os.kill(os.getpid(), 9)
        return [self.read(request) for request in requests]

    def stream_request(self, request):
        yield StreamEvent("", self.read(request))

    def read(self, request: ReadRequest) -> Reading:
        words = " ".join(request.passages[0].text.split()[:3]) if request.passages else None
        if "declined" in request.question:
            words = None
        span = None if words is None else Span(0, len(words))
        return Reading(
            answer=words,
            kind="span",
            yes=None,
            cited=() if span is None else (Cited(request.passages[0], span),),
            confidence=0.75,
            answer_confidence=0.75,
            not_null=0.75,
            abstained=words is None,
            complete=True,
            completion=completion.render(words, () if words is None else (1,)),
            read=(True,) * len(request.passages),
            prompt_tokens=1,
            completion_tokens=1,
        )


def scripted_pipeline(index, seconds=0.0, log=None, k=3, name="scripted"):
    """A pipeline over an index with the embedder of the tests."""
    loaded = Index.load(index, embedder=HashingEmbedder())
    return Pipeline(loaded.as_retriever(k=k), ScriptedReader(seconds, log, name))


def scripted_loader(*arguments, **options):
    """A function that loads the pipeline where it is called: on a worker."""
    return partial(scripted_pipeline, *arguments, **options)


if __name__ == "__main__":
    pipeline = scripted_pipeline(sys.argv[1], float(sys.argv[4]), Path(sys.argv[3]).with_suffix(".log"))
    answer_questions(sys.argv[2], sys.argv[3], pipeline, block=20)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of answers without what depends on the clock."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        if "reply" in row:
            for name in ("retrieve_seconds", "read_seconds", "verify_seconds"):
                row["reply"]["usage"].pop(name)
    return rows
