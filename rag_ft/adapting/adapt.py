"""From a folder of documents to a tuned reader with a verdict: one call, seven stages (`run.py`).

1 index, 2 records, 3 plan, 4 train, 5 judge, 6 calibrate, 7 verdict. A stage whose inputs are as in an earlier call is
skipped, and one that was killed resumes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from typing_extensions import Unpack

from rag_ft.adapting.plan import AdaptPlan
from rag_ft.adapting.records import MakeQuestions
from rag_ft.adapting.run import Adaptation
from rag_ft.adapting.stages import opened
from rag_ft.adapting.verdict import Verdict
from rag_ft.models.weights import DEFAULT, PACKAGED
from rag_ft.progress import OnProgress
from rag_ft.question_generation.make import Writer

if TYPE_CHECKING:
    from rag_ft.indexing.corpus import Source
    from rag_ft.indexing.embedding import Embedder

DEFAULT_MINUTES = 30.0


class AdaptOptions(TypedDict, total=False):
    """Keywords of `adapt`."""

    questions: str | Path | None
    """A file of question records about the documents."""
    make: int | None
    """Number of records to make beside those of `questions`; None: 300 without `questions`, else none."""
    minutes: float
    """What the whole should stay within, 30 by default: epochs, and if need be records, follow from a measurement of
    this machine."""
    seed: int
    """Draws records and sides, and initial values."""
    reader: str
    """The base model: `default`, a folder, or a hub id."""
    start_from: str | Path
    """The adapter to go on with and to judge against: `packaged`, or a folder."""
    embedder: str | Embedder
    """The embedding model of the index."""
    source: Any
    """What writes questions; None: what `writer` says."""
    writer: Writer | None
    """What writes questions where there is no source; None: "both", for tuning and judging take many."""
    make_questions: MakeQuestions | None
    """What makes the records; None: the package's `make_questions`."""
    on_progress: OnProgress | None
    """Gets how far each long stage is."""


def adapt(documents: Source, output: str | Path, **options: Unpack[AdaptOptions]) -> Verdict:
    """Tune the reader to a folder of documents, and say whether that was worth it.

    ```python
    from rag_ft import adapt

    verdict = adapt("docs/", "adapted", questions="questions.jsonl")
    print(verdict.headline, verdict.command)
    ```

    Builds the index, makes question records or takes those of a file, trains from the packaged reader, and judges
    before against after and against prompting on documents that were held out. If the tuned reader is not better by
    more than chance, the reader before tuning stays the chosen one. Everything is in `output`; called again with equal
    arguments, finished stages are skipped, and a killed one resumes. `options`: the fields of `AdaptOptions`. What each
    stage does is logged line by line (logger `rag_ft.adapting`, level INFO).

    Raises DatasetError where all is about one document, or records do not fit the documents; UsageError for an output
    folder that holds something else; and what the stages raise.
    """
    run = _checked(documents, output, options)
    with opened(run.output) as folder:
        prepared = run.prepare(folder)
        if prepared.sides is None or prepared.plan.too_few:
            return run.without_training(folder, prepared)
        return run.finish(folder, prepared, prepared.sides)


def plan_adaptation(documents: Source, output: str | Path, **options: Unpack[AdaptOptions]) -> AdaptPlan:
    """What `adapt` would train, and how long that would take: does its first three stages, which it then skips."""
    run = _checked(documents, output, options)
    with opened(run.output) as folder:
        return run.prepare(folder).plan


def _checked(documents: Source, output: str | Path, options: AdaptOptions) -> Adaptation:
    return Adaptation.of(
        documents,
        output,
        make=options.get("make"),
        questions=options.get("questions"),
        minutes=options.get("minutes", DEFAULT_MINUTES),
        seed=options.get("seed", 0),
        reader=options.get("reader", DEFAULT),
        start_from=str(options.get("start_from", PACKAGED)),
        embedder=options.get("embedder", "default"),
        source=options.get("source"),
        writer=options.get("writer"),
        make_questions=options.get("make_questions"),
        on_progress=options.get("on_progress"),
    )
