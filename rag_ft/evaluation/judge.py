"""A recipe → index, questions, arms, predictions, figures, advice, report: the whole evaluation in one call."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from rag_ft.dataset import moved_evidence, read_questions
from rag_ft.errors import EvaluationError
from rag_ft.evaluation.advice import Advice, advise, best_of_roles, role_of
from rag_ft.evaluation.arms import Asked, ReaderArm, place_of
from rag_ft.evaluation.development import ChosenThreshold, choose_thresholds
from rag_ft.evaluation.error_budget import Flow, flow
from rag_ft.evaluation.faithfulness import Faithfulness, faithfulness, swapped
from rag_ft.evaluation.figures import ArmFigures, Contrast, arm_figures, contrasts, document_of, f1_of
from rag_ft.evaluation.learning_curve import LearningCurve, learning_curve
from rag_ft.evaluation.memory import Memory
from rag_ft.evaluation.predictions import Prediction
from rag_ft.evaluation.recipe import (
    WATTS,
    Price,
    Prices,
    Recipe,
    build_arms,
    choose_questions,
    curve_arms,
    development_questions,
    read_recipe,
    trained_documents,
)
from rag_ft.evaluation.retrieval_metrics import CUTOFFS, retrieval_metrics
from rag_ft.evaluation.robustness import COUNTS, Cell, robustness
from rag_ft.evaluation.runner import Progress, check_claim, read_memory, retrieved, run_arms
from rag_ft.evaluation.statistics import detectable_before
from rag_ft.files import full_disk_as, is_plain_file, is_real_folder, replacing_together
from rag_ft.schema import Question
from rag_ft.tuning_record import adapter_record, reading_record
from rag_ft.wording import question_key

if TYPE_CHECKING:
    from rag_ft.evaluation.arms import Arm
    from rag_ft.index import Index

RESULTS = "results.json"
SPEED = "speed.json"
QUESTIONS = "questions.jsonl"
PAGE, TEXT = "report.html", "report.md"
_FILES = (RESULTS, PAGE, TEXT, SPEED, QUESTIONS)
"""Of a report, in the order in which they are put in place: the results, which a reader looks for, go first and come
back last; the page next, because it says whose it is."""
GENERATOR = '<meta name="generator" content="rag_ft">'
_PARTS = ("development", "swapped", "robustness", "curve")
"""Folders of an evaluation with more predictions."""
LIBRARIES = ("rag-ft", "torch", "transformers", "peft", "faiss-cpu", "bm25s", "ir-measures", "scipy", "numpy")


class Speed(BaseModel):
    """What one arm took on the machine of the run; not part of `results.json`, which two runs must agree on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds_p50: float
    seconds_p95: float
    tokens_per_second: float | None
    cost_per_thousand: float | None = None
    """Of a thousand questions, by the recipe's prices; None without a price for the arm."""
    energy_per_thousand: float | None = None
    """Watt-hours of a thousand questions, estimated: seconds times the recipe's watts; None for a model elsewhere."""
    memory_bytes: int | None = None
    """Peak of the process, which holds the models of all arms, while this one answered."""
    device_memory_bytes: int | None = None
    """Peak of what torch allocated on the GPU."""


class Results(BaseModel):
    """Everything that a report is drawn from, and nothing that a clock says: equal inputs give equal bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    recipe: dict[str, JsonValue]
    versions: dict[str, str]
    fingerprints: dict[str, str]
    """index, questions, and for each arm what it is made of."""
    questions: int
    answerable: int
    documents: int
    near_duplicates: int
    """Questions that another one asks too, word order and little words apart: they count twice."""
    foreign: int = 0
    """Questions about documents that the index does not have, which nothing can retrieve."""
    left_out: int
    """Questions of the file that were not asked, by document, split, sample or limit."""
    detectable: float
    """Smallest difference that so many questions can be expected to show."""
    primary: Contrast | None
    """The contrast declared in the recipe; None where its arms share no reply."""
    retrieval: dict[str, float]
    arms: tuple[ArmFigures, ...]
    faithfulness: dict[str, Faithfulness]
    """For arms that read passages: what they say where the gold passage says something else."""
    robustness: tuple[Cell, ...]
    """Of the tuned reader with passages, where the recipe asks for it."""
    flow: Flow | None = None
    """From the best prompted reader with passages to the best tuned one; None where the run has not both."""
    learning_curve: LearningCurve | None = None
    """F1 by records that the reader was trained on, where the recipe names adapters."""
    leaks: dict[str, int]
    """Arm → questions about documents that its adapter was trained on, where there are any."""
    chosen_on: dict[str, int] = {}
    """The same of documents that it was held out on, by which its step and its own threshold were chosen."""
    development: dict[str, ChosenThreshold] = {}
    """Arm → the threshold that was chosen for it on questions that are not judged."""
    settings: dict[str, dict[str, JsonValue]]
    contrasts: tuple[Contrast, ...]
    advice: Advice


class Report(BaseModel):
    """Results with what they were computed from, ready to be drawn."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    results: Results
    speed: dict[str, Speed]
    questions: tuple[Question, ...]
    predictions: dict[str, tuple[Prediction, ...]]
    prices: Prices | None = None

    def save(self, folder: str | Path) -> Path:
        """Write results.json, speed.json, report.md and report.html; the path of the last.

        The questions with their accepted answers, for `rag-ft eval compare`, are written where the recipe lets them be
        shown. A kill leaves the former report, this one, or files without results.json: no mixture of both can be read
        as a report. Raises EvaluationError for a file of that name that is from no report, and for a full disk.
        """
        from rag_ft.evaluation.report import html, markdown

        folder = Path(folder)
        check_report(folder)
        speed = {name: one.model_dump() for name, one in self.speed.items()}
        texts = {
            RESULTS: json.dumps(self.results.model_dump(mode="json"), indent=1, allow_nan=False) + "\n",
            PAGE: html(self),
            TEXT: markdown(self),
            SPEED: json.dumps(speed, indent=1) + "\n",
            QUESTIONS: "".join(one.model_dump_json(exclude_defaults=True) + "\n" for one in self.questions),
        }
        if not self.results.recipe.get("show_questions", True):
            del texts[QUESTIONS]
        with full_disk_as(EvaluationError, folder, "the replies are kept"):
            folder.mkdir(parents=True, exist_ok=True)
            if QUESTIONS not in texts:
                (folder / QUESTIONS).unlink(missing_ok=True)  # of a report that showed them
            with replacing_together([folder / name for name in texts]) as works:
                for work, text in zip(works, texts.values(), strict=True):
                    work.write_text(text, encoding="utf-8")
        return folder / PAGE


def check_report(folder: Path) -> None:
    """Raise EvaluationError where a report in this folder would write over what is from no report."""
    try:
        before = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
        ours = {"recipe", "arms", "fingerprints"} <= before.keys()
    except (OSError, ValueError, AttributeError, RecursionError):
        before, ours = {}, False
    hidden = ours and before["recipe"].get("show_questions") is False
    ours = ours or is_own_page(folder / PAGE)
    for name in _FILES:
        path = folder / name
        theirs = not ours or not is_plain_file(path) or (name == QUESTIONS and hidden)
        if os.path.lexists(path) and theirs:
            raise EvaluationError(
                f"{path} is not from an evaluation of rag_ft, and is not written over: give another folder"
            )


def is_own_page(path: Path) -> bool:
    """Whether a page was written by this program."""
    if not is_plain_file(path):
        return False
    with path.open("rb") as file:
        return GENERATOR.encode() in file.read(1000)


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
    from rag_ft.index import Index
    from rag_ft.index_build import library_versions

    tell = say or (lambda line: None)
    recipe = recipe if isinstance(recipe, Recipe) else read_recipe(recipe)
    output = Path(output)
    check_claim(output)
    check_report(output)
    for name in _PARTS:
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


def read_results(folder: str | Path) -> Results:
    """The results of a finished evaluation. Raises EvaluationError."""
    path = Path(folder) / RESULTS
    try:
        return Results.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EvaluationError(f"{path} cannot be read ({error.strerror}): give the folder of a finished run") from error
    except ValidationError as error:
        raise EvaluationError(f"{path} is not an evaluation's results: run the evaluation again") from error


def differences(first: Results, second: Results) -> list[str]:
    """What two results disagree on, a sentence each: first of what they were made from, then figure by figure."""
    return [*made_differently(first, second), *moved_figures(first, second)]


def made_differently(first: Results, second: Results) -> list[str]:
    """What two results were made from that is not the same: index, questions, libraries, arms and their settings."""
    found = [
        f"made from another {name}: {str(one)[:12]} and {str(other)[:12]}"
        for name, one, other in _both(first.fingerprints, second.fingerprints)
        if one != other
    ]
    found += [
        f"version of {name}: {one} and {other}"
        for name, one, other in _both(first.versions, second.versions)
        if one != other
    ]
    for name, one, other in _both(first.settings, second.settings):
        if one is None or other is None:
            found.append(f"arm {name!r} is in one of the two only")
        elif one != other:
            keys = ", ".join(key for key, was, now in _both(one, other) if was != now)
            found.append(f"arm {name!r} has other settings: {keys}")
    return found


def moved_figures(first: Results, second: Results) -> list[str]:
    """Figures that differ between two results, a sentence each."""
    found = [
        f"retrieval, {name}: {_shown(was)} and {_shown(now)}"
        for name, was, now in _both(first.retrieval, second.retrieval)
        if was != now
    ]
    arms, others = ({arm.name: arm for arm in results.arms} for results in (first, second))
    for name, one, other in _both(arms, others):
        if one is None or other is None:
            continue
        means = ({key: value.mean for key, value in arm.figures.items()} for arm in (one, other))
        plain = ({key: getattr(arm, key) for key in _PLAIN_FIGURES} for arm in (one, other))
        bins = (dict(arm.budget) for arm in (one, other))
        for pair in (means, plain, bins):
            for figure, was, now in _both(*pair):
                if was != now:
                    found.append(f"arm {name!r}, {figure.replace('_', ' ')}: {_shown(was)} and {_shown(now)}")
    return found


_PLAIN_FIGURES = ("replied", "failed", "abstention_precision", "abstention_recall", "risk_area", "calibration_error")


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value}" if isinstance(value, int) else f"{value:.4f}"


def _both(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(name, one.get(name), other.get(name)) for name in dict.fromkeys((*one, *other))]


def _deepest(recipe: Recipe) -> int:
    """Passages that any arm wants."""
    return max([recipe.k, *(getattr(one, "k", None) or 0 for one in recipe.arm)])


def _trained(recipe: Recipe, index: Index) -> frozenset[str]:
    from rag_ft.weights import PACKAGED, chosen_adapter, resolve_adapter

    if recipe.split == "all":
        return frozenset()
    folder = chosen_adapter("default", None if recipe.split_adapter == PACKAGED else recipe.split_adapter)
    return frozenset() if folder is None else trained_documents(adapter_record(resolve_adapter(folder)), index)


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
    return _questions_about(arms, questions, lambda record: trained_documents(record, index))


def _questions_about(
    arms: Sequence[Arm], questions: Sequence[Question], documents: Callable[[Mapping[str, Any]], Collection[str]]
) -> dict[str, int]:
    """Arm → questions about the documents that its reader's record gives, where there are any."""
    found = {}
    for arm in arms:
        reader = getattr(arm, "reader", None)
        if reader is None:
            continue
        names = documents(reading_record(reader.loaded))
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
