"""The quick set: what is measured, on which texts, and the table."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from rag_ft.benchmarking.comparison import Comparison, table_head
from rag_ft.errors import UsageError

if TYPE_CHECKING:
    from rag_ft.indexing.index import Index
    from rag_ft.indexing.sentence_embedding import WindowedEmbedder

QUESTIONS_SEARCHED = 20
QUESTIONS_READ = 2


class Bench(BaseModel):
    """Everything that was measured, and on what."""

    model_config = ConfigDict(frozen=True)

    embedding: str
    """How texts were embedded, in one line."""
    reading: str
    """How passages were read, in one line; empty if none were."""
    rounds: int
    rows: tuple[Comparison, ...]

    def lines(self) -> list[str]:
        """The measurements as a Markdown table."""
        return [*table_head(), *(row.line for row in self.rows)]


def run_bench(
    *,
    passages: int = 128,
    rounds: int = 3,
    embedder: str = "default",
    reader: str | None = "default",
    on_row: Callable[[Comparison], None] = lambda row: None,
) -> Bench:
    """Measure embedding, searching, starting and reading on the bundled handbook, beside what else one would run.

    `on_row` gets each row as soon as it is measured. `reader` None: no question is read, and no reader is loaded.
    Raises UsageError, WeightsError.
    """
    from rag_ft.environment import handbook_path, handbook_questions_path
    from rag_ft.indexing.embedding import load_embedder
    from rag_ft.indexing.index import Index
    from rag_ft.questions.records import read_questions

    for name, value in (("passages", passages), ("rounds", rounds)):
        if value < 1:
            raise UsageError(f"{name} is {value} and must be at least 1")
    ours = load_embedder(embedder)
    asked = [record.question for record in read_questions(handbook_questions_path()) if record.answerable]
    rows: list[Comparison] = []
    plan = ""
    with tempfile.TemporaryDirectory(prefix="rag-ft-bench-") as scratch:
        index = Index.build(handbook_path(), Path(scratch) / "index", embedder=ours, progress=False)
        for row in _vectors(index, ours, embedder, asked, passages, rounds):
            rows.append(row)
            on_row(row)
        if reader is not None:
            plan, more = _reading(index, asked, rounds, reader)
            for row in more:
                rows.append(row)
                on_row(row)
    return Bench(embedding=ours.plan.line, reading=plan, rounds=rounds, rows=tuple(rows))


def _vectors(
    index: Index, ours: WindowedEmbedder, embedder: str, asked: list[str], passages: int, rounds: int
) -> Iterator[Comparison]:
    from rag_ft.benchmarking.processes import start_and_memory
    from rag_ft.benchmarking.vectors import embedding_speed, plain_embedder, search_speed
    from rag_ft.indexing.chunking import passage_text
    from rag_ft.models.weights import resolve_embedder

    weights = resolve_embedder(embedder)
    plain = plain_embedder(weights, ours.plan.device)
    texts = [passage_text(passage) for passage in index.passages()][:passages]
    yield embedding_speed(ours, plain, texts, rounds)
    yield from search_speed(index, plain, asked[:QUESTIONS_SEARCHED], rounds)
    yield from start_and_memory(weights, embedder, min(rounds, 2))


def _reading(index: Index, asked: list[str], rounds: int, name: str) -> tuple[str, Iterator[Comparison]]:
    from rag_ft.answering.reading import ReadRequest
    from rag_ft.benchmarking.asking import reading_speed
    from rag_ft.models.loading import load_model
    from rag_ft.models.weights import chosen_adapter

    loaded = load_model(name, adapter=chosen_adapter(name, None), only_read=True)
    requests = [ReadRequest.of_hits(question, index.search(question)) for question in asked[:QUESTIONS_READ]]
    return loaded.plan.line, reading_speed(loaded, requests, rounds)
