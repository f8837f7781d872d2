"""The recipe of an evaluation without a recipe file: prompting, retrieval, tuning and both, judged fairly."""

from __future__ import annotations

from pathlib import Path

from rag_ft.answering.evidence import recorded_calibration
from rag_ft.errors import UsageError
from rag_ft.evaluation.recipe import (
    ArmThreshold,
    ClosedBookChoice,
    CrossEncoderChoice,
    Development,
    PassageChoice,
    Primary,
    ReaderChoice,
    Recipe,
    SentenceChoice,
)
from rag_ft.models.cross_encoder_files import cross_encoder_beside, read_record
from rag_ft.models.weights import NO_ADAPTER, PACKAGED


def fair_recipe(
    questions: str | Path, documents: str | Path, adapter: str | Path = PACKAGED, *, k: int = 3, seed: int = 0
) -> Recipe:
    """The recipe that `evaluate` runs for questions and an adapter: prompting, retrieval, tuning, and both.

    The arms are those of evals/handbook.toml, and share retriever, k, budget and grammar. The adapter is judged on
    documents that it was not trained on, with the cross-encoder that was tuned beside it, or else the packaged one.
    Untuned readers get thresholds chosen on 30% of these; so does the adapter, unless it is the packaged one: its own
    threshold may have been chosen on the questions asked here. Raises UsageError, WeightsError.
    """
    if str(adapter) == NO_ADAPTER:
        raise UsageError("the comparison needs an adapter: give its folder, or leave it out for the packaged one")
    tuned = PACKAGED if str(adapter) == PACKAGED else str(Path(adapter).resolve())
    threshold: ArmThreshold = None if tuned == PACKAGED else "development"
    beside = None if tuned == PACKAGED else cross_encoder_beside(Path(tuned))
    cross_encoder = PACKAGED if beside is None else str(beside)
    # One that was tuned before cross-encoders marked words, or from the embedder, cannot answer alone.
    marks_words = beside is None or recorded_calibration(read_record(beside)).span_weight
    alone = CrossEncoderChoice(
        name="cross-encoder alone", kind="cross-encoder", cross_encoder=cross_encoder, threshold="development"
    )

    def closed_book(name: str, adapter: str, shots: bool = True) -> ClosedBookChoice:
        return ClosedBookChoice(name=name, kind="closed book", adapter=adapter, shots=shots, threshold="development")

    def prompted(name: str, shots: bool) -> ReaderChoice:
        return ReaderChoice(name=name, kind="reader", adapter=NO_ADAPTER, shots=shots, threshold="development")

    def trained(name: str, gold: bool = False, cross_encoder: str = "none") -> ReaderChoice:
        return ReaderChoice(
            name=name, kind="reader", adapter=tuned, threshold=threshold, gold=gold, cross_encoder=cross_encoder
        )

    return Recipe(
        title=f"{Path(questions).stem}: prompt, retrieve, tune, or both?",
        questions=str(Path(questions).resolve()),
        documents=str(Path(documents).resolve()),
        split="held out",
        split_adapter=tuned,
        k=k,
        rerank=True if cross_encoder == PACKAGED else cross_encoder,
        faithfulness=True,
        seed=seed,
        primary=Primary(first="tuned, with passages", second="prompted, with passages"),
        development=Development(),
        arm=(
            closed_book("prompted zero-shot, no passages", NO_ADAPTER, shots=False),
            closed_book("prompted, no passages", NO_ADAPTER),
            SentenceChoice(name="best sentence of the top passage", kind="sentence"),
            prompted("prompted zero-shot, with passages", shots=False),
            prompted("prompted, with passages", shots=True),
            closed_book("tuned, no passages", tuned),
            trained("tuned, with passages"),
            trained("tuned, with passages and cross-encoder", cross_encoder=cross_encoder),
            *((alone,) if marks_words else ()),
            trained("tuned, gold passage first", gold=True),
            PassageChoice(name="whole top passage", kind="passage"),
            PassageChoice(name="a random retrieved passage", kind="passage", pick="random"),
        ),
    )
