"""A recipe → index, questions, arms, predictions, figures, advice, report: the whole evaluation in one call."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import JsonValue

from rag_ft.errors import EvaluationError
from rag_ft.evaluation.advice import advise, best_of_roles, role_of
from rag_ft.evaluation.arms.base import Asked, place_of
from rag_ft.evaluation.arms.build import build_arms, check_chat, curve_arms
from rag_ft.evaluation.arms.readers import ReaderArm
from rag_ft.evaluation.error_budget import Flow, flow
from rag_ft.evaluation.figures import ArmFigures, arm_figures, contrasts, document_of, f1_of
from rag_ft.evaluation.memory import Memory
from rag_ft.evaluation.predictions import Prediction
from rag_ft.evaluation.recipe import WATTS, ChatChoice, Price, Prices, Recipe, read_recipe
from rag_ft.evaluation.report.pages import Report
from rag_ft.evaluation.report.results import PARTS, Results, Speed, check_report
from rag_ft.evaluation.runner import Progress, check_claim, read_memory, retrieved, run_arms
from rag_ft.evaluation.selection import choose_questions, development_questions
from rag_ft.evaluation.studies.development import ChosenThreshold, choose_thresholds
from rag_ft.evaluation.studies.faithfulness import Faithfulness, faithfulness, swapped
from rag_ft.evaluation.studies.learning_curve import LearningCurve, learning_curve
from rag_ft.evaluation.studies.robustness import COUNTS, Cell, robustness
from rag_ft.extras import require_extra
from rag_ft.files import is_real_folder
from rag_ft.metrics.retrieval import CUTOFFS, retrieval_metrics
from rag_ft.metrics.statistics import detectable_before
from rag_ft.models.adapter_record import adapter_record, reading_record, trained_documents
from rag_ft.questions.records import moved_evidence, read_questions
from rag_ft.questions.wording import question_key
from rag_ft.schema import Question

if TYPE_CHECKING:
    from rag_ft.evaluation.arms.base import Arm
    from rag_ft.indexing.index import Index

LIBRARIES = ("rag-ft", "torch", "transformers", "peft", "faiss-cpu", "bm25s", "ir-measures", "scipy", "numpy")


def evaluate(
    recipe: Recipe | str | Path,
    output: str | Path,
    *,
    limit: int | None = None,
    arms: Callable[[Recipe, Index], Sequence[Arm]] = build_arms,
    curve: Callable[[Recipe, Index], Iterable[tuple[int, Arm]]] = curve_arms,
    index: Index | None = None,
    say: Callable[[str], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Run an evaluation, going on where an earlier call with the same output stopped, and save its report.

    `limit`: ask only so many questions, for a quick look. `arms`: makes the arms, by default those of the recipe,
    `curve` those of its learning curve.
    `index`: instead of one built from the recipe's documents. `say` gets what can be told before the run, a line each.
    Raises EvaluationError, DatasetError, and what indexing and loading raise.
    """
    from rag_ft.environment import library_versions
    from rag_ft.indexing.index import Index

    require_extra("eval", "an evaluation")
    tell = say or (lambda line: None)
    recipe = recipe if isinstance(recipe, Recipe) else read_recipe(recipe)
    for arm in recipe.arm:
        if isinstance(arm, ChatChoice):
            check_chat(arm)
    output = Path(output)
    check_claim(output)
    check_report(output)
    for name in PARTS:
        if os.path.lexists(output / name) and not is_real_folder(output / name):
            raise EvaluationError(f"{output / name} is a link or a file where an evaluation writes: move it away")
    index = index or Index.build(recipe.documents, output / "index", progress=False)
    records = read_questions(recipe.questions)
    trained = _trained(recipe, index)
    chosen = choose_questions(recipe, records, trained)
    if limit is not None and limit < len(chosen):
        chosen = choose_questions(recipe.limited(limit), records, trained)
    foreign = _foreign(chosen, index)
    _refuse_moved(chosen, index)
    curve_parts = curve(recipe, index)
    documents = len({document_of(one) for one in chosen})
    before = detectable_before(len(chosen), documents)
    tell(
        f"{len(chosen):,} of {len(records):,} questions about {documents:,} documents; differences under"
        f" {before:.2f} F1 will not show"
    )
    retriever = index.as_retriever(k=_deepest(recipe), mode=recipe.retrieval)
    asked = retrieved(chosen, retriever)
    made = list(arms(recipe, index))
    thresholds: dict[str, ChosenThreshold] = {}
    if recipe.choosing:
        apart = development_questions(recipe if limit is None else recipe.limited(limit), records, trained)
        made, thresholds = choose_thresholds(
            made, recipe.choosing, retrieved(apart, retriever), output / "development", on_progress=on_progress
        )
    found = run_arms(made, asked, output, on_progress=on_progress)
    by_id = {one.id: one for one in chosen}
    settings = {arm.name: dict(arm.settings) for arm in made}
    closed = _closed_book(found, settings)
    figures = tuple(
        arm_figures(ones, by_id, closed.get(_model_of(settings[name])), seed=recipe.seed)
        for name, ones in found.items()
    )
    pairs = tuple(contrasts(found, by_id, recipe.primary.metric, seed=recipe.seed))
    declared = [recipe.primary.first, recipe.primary.second]
    primary = next(
        (one if one.first == declared[0] else one.turned() for one in pairs if {one.first, one.second} == {*declared}),
        None,
    )
    leaks = _leaks(made, chosen, index)
    curved = _learning_curve(recipe, curve_parts, chosen, asked, index, output, leaks, on_progress)
    results = Results(
        title=recipe.title,
        recipe=_portable(recipe),
        versions=library_versions(LIBRARIES),
        fingerprints={
            "index": index.fingerprint,
            "questions": hashlib.sha256("".join(one.model_dump_json() for one in chosen).encode()).hexdigest(),
        },
        questions=len(chosen),
        answerable=sum(one.answerable for one in chosen),
        documents=documents,
        near_duplicates=len(chosen) - len({question_key(one.question) for one in chosen}),
        foreign=foreign,
        left_out=len(records) - len(chosen),
        detectable=round(before, 6),
        primary=primary,
        retrieval=_retrieval(asked),
        arms=figures,
        faithfulness=_faithfulness(recipe, made, asked, output, on_progress),
        robustness=tuple(_robustness(recipe, made, chosen, index, output, on_progress)),
        flow=_flow(figures, settings, found, by_id, closed),
        learning_curve=curved,
        leaks=leaks,
        chosen_on=_chosen_on(made, chosen),
        development=thresholds,
        settings=settings,
        contrasts=pairs,
        advice=advise(figures, settings, pairs, curved),
    )
    predictions = {name: tuple(ones) for name, ones in found.items()}
    report = Report(
        results=results,
        speed=_speed(predictions, recipe.prices, settings, read_memory(output)),
        questions=tuple(chosen),
        predictions=predictions,
        prices=recipe.prices,
    )
    report.save(output)
    return report


def _deepest(recipe: Recipe) -> int:
    """Passages that any arm wants."""
    return max([recipe.k, *(getattr(one, "k", None) or 0 for one in recipe.arm)])


def _trained(recipe: Recipe, index: Index) -> frozenset[str]:
    from rag_ft.models.weights import PACKAGED, chosen_adapter, resolve_adapter

    if recipe.split == "all":
        return frozenset()
    folder = chosen_adapter("default", None if recipe.split_adapter == PACKAGED else recipe.split_adapter)
    return (
        frozenset()
        if folder is None
        else trained_documents(adapter_record(resolve_adapter(folder)), index.document_fingerprints())
    )


def _closed_book(
    found: Mapping[str, Sequence[Prediction]], settings: Mapping[str, Mapping[str, JsonValue]]
) -> dict[str, dict[str, str | None]]:
    """Model → question id → what the same model says without passages, where a closed-book arm was run."""
    return {
        _model_of(settings[name]): {one.question_id: one.answer for one in ones if not one.failed}
        for name, ones in found.items()
        if settings[name].get("kind") == "closed book"
    }


def _model_of(settings: Mapping[str, JsonValue]) -> str:
    """What knows by heart what an arm's model knows; empty for one that is no reader's model. A tuned one is asked in
    one way only, an untuned one with worked examples or without.
    """
    if settings.get("kind") not in ("reader", "closed book"):
        return ""
    adapter = settings.get("adapter fingerprint") or settings.get("adapter")
    return f"{settings.get('base fingerprint')} {adapter} {'' if adapter else settings.get('shots')}"


def _flow(
    figures: Sequence[ArmFigures],
    settings: Mapping[str, Mapping[str, JsonValue]],
    found: Mapping[str, Sequence[Prediction]],
    questions: Mapping[str, Question],
    closed: Mapping[str, Mapping[str, str | None]],
) -> Flow | None:
    best = best_of_roles(figures, settings)
    if "retrieve and prompt" not in best or "both" not in best:
        return None
    first, second = (best[role].name for role in ("retrieve and prompt", "both"))
    known = tuple(closed.get(_model_of(settings[name])) for name in (first, second))
    return flow(found[first], found[second], questions, (known[0], known[1]))


def _learning_curve(
    recipe: Recipe,
    arms: Iterable[tuple[int, Arm]],
    questions: Sequence[Question],
    asked: Sequence[Asked],
    index: Index,
    output: Path,
    leaks: dict[str, int],
    on_progress: Callable[[Progress], None] | None,
) -> LearningCurve | None:
    """One adapter in memory at a time; only questions that all of them replied to count. Adds to `leaks`."""
    if recipe.learning_curve is None:
        return None
    made: dict[int, dict[str, Prediction]] = {}
    for records, arm in arms:
        told = run_arms([arm], asked, output / "curve" / str(records), on_progress=on_progress)[arm.name]
        made[records] = {one.question_id: one for one in told if not one.failed}
        leaks.update(_leaks([arm], questions, index))
    common = [one for one in questions if made and all(one.id in replies for replies in made.values())]
    if not common:
        return None
    scores = {records: [f1_of(replies[one.id], one) for one in common] for records, replies in made.items()}
    documents = [document_of(one) for one in common]
    return learning_curve(scores, documents, worth=recipe.learning_curve.worth, seed=recipe.seed)


def _robustness(
    recipe: Recipe,
    arms: Sequence[Arm],
    questions: Sequence[Question],
    index: Index,
    output: Path,
    on_progress: Callable[[Progress], None] | None,
) -> list[Cell]:
    tuned = next((arm for arm in arms if isinstance(arm, ReaderArm) and role_of(arm.settings) == "both"), None)
    some = [one for one in questions if one.answerable]
    few = random.Random(recipe.seed).sample(some, min(recipe.robustness, len(some)))
    if tuned is None or not few:
        return []
    asked = retrieved(few, index.as_retriever(k=max(COUNTS) + 3, mode=recipe.retrieval))
    return robustness(tuned, asked, index, output / "robustness", seed=recipe.seed, on_progress=on_progress)


_READS = ("reader", "chat", "extractive", "function")


def _faithfulness(
    recipe: Recipe,
    arms: Sequence[Arm],
    asked: Sequence[Asked],
    output: Path,
    on_progress: Callable[[Progress], None] | None,
) -> dict[str, Faithfulness]:
    # An arm that is handed the gold passage takes it from the index, where nothing is swapped.
    reading = [arm for arm in arms if arm.settings.get("kind") in _READS and getattr(arm, "perfect", None) is None]
    swaps = swapped(asked) if recipe.faithfulness and reading else {}
    if not swaps:
        return {}
    told = run_arms(reading, [one for one, _ in swaps.values()], output / "swapped", on_progress=on_progress)
    made = {name: faithfulness(ones, swaps, seed=recipe.seed) for name, ones in told.items()}
    return {name: one for name, one in made.items() if one is not None}


def _foreign(questions: Sequence[Question], index: Index) -> int:
    """Questions about none of the index's documents. Raises EvaluationError where all of them are."""
    there = set(index.documents())
    about = [one for one in questions if one.evidence]
    foreign = [one for one in about if not any(piece.document_id in there for piece in one.evidence)]
    if about and len(foreign) == len(about):
        raise EvaluationError(
            f"none of the {len(about):,} questions is about a document of the index: they name"
            f" {about[0].evidence[0].document_id!r}, it holds {min(there, default='nothing')!r}; give the documents"
            " that the questions were written for"
        )
    return len(foreign)


def _refuse_moved(questions: Sequence[Question], index: Index) -> None:
    """Raises EvaluationError where evidence is not at its offsets: then nothing found or cited would count as right."""
    named = {piece.document_id for question in questions for piece in question.evidence}
    texts = {name: index.document(name).text for name in named & set(index.documents())}
    moved = [
        wrong
        for question in questions
        for piece in question.evidence
        if piece.document_id in texts and (wrong := moved_evidence(question, piece, texts[piece.document_id]))
    ]
    if moved:
        raise EvaluationError(
            f"{len(moved):,} pieces of evidence are not where the questions say ({moved[0]}): the documents have"
            " changed since; correct the offsets (rag-ft data check names them all), or give the former documents"
        )


def _chosen_on(arms: Sequence[Arm], questions: Sequence[Question]) -> dict[str, int]:
    """Questions about the documents that an arm's adapter was held out on: its step, and the threshold that it comes
    with, were chosen by such.
    """
    return _questions_about(arms, questions, lambda record: (record.get("data") or {}).get("held_out", ()))


def _leaks(arms: Sequence[Arm], questions: Sequence[Question], index: Index) -> dict[str, int]:
    """Questions about documents that an arm was tuned on, by their names and, where written down, fingerprints."""
    return _questions_about(arms, questions, lambda record: trained_documents(record, index.document_fingerprints()))


def _questions_about(
    arms: Sequence[Arm], questions: Sequence[Question], documents: Callable[[Mapping[str, Any]], Collection[str]]
) -> dict[str, int]:
    """Arm → questions about the documents that its reader's record gives, where there are any."""
    found = {}
    for arm in arms:
        reader = getattr(arm, "reader", None)
        if reader is None:
            continue
        names = documents(reading_record(reader.loaded.weights, reader.loaded.adapter))
        count = sum(any(piece.document_id in names for piece in one.evidence) for one in questions)
        if count:
            found[arm.name] = count
    return found


def _retrieval(asked: Sequence[Asked]) -> dict[str, float]:
    rankings = {one.question.id: [place_of(hit.passage) for hit in one.hits] for one in asked}
    values = retrieval_metrics(
        rankings, {one.question.id: one.question for one in asked}, sorted({*CUTOFFS, max(map(len, rankings.values()))})
    )
    return {name: round(sum(each.values()) / len(each), 6) for name, each in values.items() if each}


def _portable(recipe: Recipe) -> dict[str, JsonValue]:
    """The recipe without paths of the machine that ran it."""
    content = recipe.model_dump(mode="json")
    for name in ("questions", "documents"):
        content[name] = Path(content[name]).name
    curve = content["learning_curve"] or {"adapter": []}
    adapters = [(one, "adapter") for one in (*content["arm"], *curve["adapter"])]
    for table, name in [(content, "split_adapter"), (curve, "folder"), *adapters]:
        if name in table:
            table[name] = Path(table[name]).name
    return content


def _speed(
    predictions: Mapping[str, Sequence[Prediction]],
    prices: Prices | None,
    settings: Mapping[str, Mapping[str, JsonValue]],
    memory: Mapping[str, Memory],
) -> dict[str, Speed]:
    found = {}
    for name, ones in predictions.items():
        seconds = np.array([one.seconds for one in ones if not one.failed])
        if not len(seconds):
            continue
        tokens = sum(one.prompt_tokens + one.completion_tokens for one in ones)
        mean = float(seconds.mean())
        price = _price(name, prices)
        watts = price.watts if price is not None and price.watts is not None else _watts(settings[name])
        found[name] = Speed(
            seconds_p50=round(float(np.quantile(seconds, 0.5)), 4),
            seconds_p95=round(float(np.quantile(seconds, 0.95)), 4),
            tokens_per_second=round(tokens / float(seconds.sum()), 1) if tokens and seconds.sum() else None,
            cost_per_thousand=None if price is None else _cost(ones, mean, price),
            energy_per_thousand=None if watts is None else round(1000 * mean * watts / 3600, 4),
            memory_bytes=memory[name].process_bytes if name in memory else None,
            device_memory_bytes=memory[name].device_bytes if name in memory else None,
        )
    return found


def _price(arm: str, prices: Prices | None) -> Price | None:
    return None if prices is None else prices.arms.get(arm) or prices.arms.get("*")


def _watts(settings: Mapping[str, JsonValue]) -> float | None:
    """What is assumed where the recipe says nothing: a chat model answers on a machine that nobody here knows."""
    return None if settings.get("kind") == "chat" else WATTS


def _cost(predictions: Sequence[Prediction], seconds: float, price: Price) -> float:
    replied = [one for one in predictions if not one.failed]
    prompt = sum(one.prompt_tokens for one in replied) / len(replied)
    made = sum(one.completion_tokens for one in replied) / len(replied)
    by_token = (prompt * price.prompt_million + made * price.completion_million) / 1e6
    return round(1000 * (seconds * price.hour / 3600 + by_token), 6)
