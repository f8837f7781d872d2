"""Probes: questions that show whether two readers are the same, by their completions and the logits behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from rag_ft.answering.reader import Reader
from rag_ft.answering.reading import ReadRequest
from rag_ft.schema import Passage, Question
from rag_ft.training.scoring import retrieved_requests

if TYPE_CHECKING:
    from torch import Tensor

    from rag_ft.indexing.index import Index

_AROUND = 250
"""Characters of the document on each side of a probe's evidence."""


class Difference(BaseModel):
    """How far two readers are apart on the same probes."""

    model_config = ConfigDict(frozen=True)

    probes: int
    identical: int
    """Completions that are the same, character by character."""
    largest_logit: float
    """The largest difference of any logit at any position that decides on a token of a completion."""
    mean_logit: float


@dataclass(frozen=True)
class Observation:
    """A reader's completions of the probes, and its logits."""

    completions: tuple[str, ...]
    answers: tuple[str | None, ...]
    """Answers that the logits were taken along: those of the reader that is compared with."""
    logits: tuple[Tensor, ...]
    """One tensor per probe: (positions, vocabulary), float32, on the CPU."""


def observe(reader: Reader, probes: Sequence[ReadRequest], like: Observation | None = None) -> Observation:
    """The reader's completions, and its logits along its own answers or along those of `like`.

    Give both readers the same threshold: 0, so that no answer hides behind null.
    """
    readings = reader.read_batch(probes)
    answers = tuple(reading.answer for reading in readings) if like is None else like.answers
    logits = tuple(
        reader.logits(probe.question, probe.passages[:1], answer).cpu()
        for probe, answer in zip(probes, answers, strict=True)
    )
    return Observation(tuple(reading.completion for reading in readings), answers, logits)


def difference(first: Observation, second: Observation) -> Difference:
    """How far two readers are apart, the second observed along the answers of the first."""
    gaps = [(a - b).abs() for a, b in zip(first.logits, second.logits, strict=True)]
    return Difference(
        probes=len(first.completions),
        identical=sum(a == b for a, b in zip(first.completions, second.completions, strict=True)),
        largest_logit=max(float(gap.max()) for gap in gaps),
        mean_logit=sum(float(gap.mean()) for gap in gaps) / len(gaps),
    )


def handbook_probes(count: int = 16) -> list[ReadRequest]:
    """Questions of the bundled handbook, spread over it, each with the text around its evidence."""
    from rag_ft.environment import handbook_path, handbook_questions_path
    from rag_ft.indexing.corpus import read_corpus
    from rag_ft.questions.records import read_questions

    texts = {document.id: document.text for document in read_corpus(handbook_path())}
    records = [record for record in read_questions(handbook_questions_path()) if record.evidence]
    probes = []
    for record in _spread(records, count):
        evidence = record.evidence[0]
        text = texts[evidence.document_id]
        start, end = max(0, evidence.start - _AROUND), min(len(text), evidence.end + _AROUND)
        passage = Passage(
            id=f"{evidence.document_id}#{start}-{end}",
            document_id=evidence.document_id,
            text=text[start:end],
            start=start,
            end=end,
        )
        probes.append(ReadRequest(record.question, (passage,)))
    return probes


def retrieved_probes(questions: str | Path | Sequence[Question], index: Index, count: int = 16) -> list[ReadRequest]:
    """Your own questions, spread over their file, each with the passage that the index ranks first."""
    from rag_ft.questions.records import read_questions

    records = read_questions(questions) if isinstance(questions, str | Path) else list(questions)
    questions_asked = [record.question for record in _spread(records, count)]
    return [request for request in retrieved_requests(questions_asked, index, k=1) if request.passages]


def _spread(records: Sequence[Question], count: int) -> list[Question]:
    count = min(count, len(records))
    return [records[i * len(records) // count] for i in range(count)]
