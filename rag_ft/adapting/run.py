"""The seven stages of an adaptation, in order; each calls the function that a command of its own calls."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from rag_ft.adapters.calibrate import calibrate_adapter
from rag_ft.adapting.judge import (
    BEFORE,
    by_origin,
    held_out_records,
    judge_readers,
    judged_questions,
    remove_evaluation,
    stored_replies,
    stored_results,
)
from rag_ft.adapting.next_steps import (
    documents_without_records,
    passages_to_mend,
    records_to_look_at,
    where_questions_go_wrong,
)
from rag_ft.adapting.page import basis, verdict_json, verdict_page
from rag_ft.adapting.plan import AdaptPlan, Training, Tuned, make_plan, training_split
from rag_ft.adapting.records import MakeQuestions, collect_records, record_lines
from rag_ft.adapting.sentences import SENTENCE_WEIGHTS, sentence_plan, train_sentences, what_to_tune
from rag_ft.adapting.sides import Sides, independent_documents, take_sides, why_too_few
from rag_ft.adapting.stages import (
    ADAPTER,
    EVALUATION,
    INDEX,
    LABEL,
    PAGE,
    QUESTIONS,
    RESULT,
    Folder,
)
from rag_ft.adapting.verdict import Advised, Findings, Verdict, decide, undecided
from rag_ft.checksums import sha256_of
from rag_ft.environment import library_versions
from rag_ft.errors import DatasetError, UsageError
from rag_ft.evaluation.report.results import RESULTS
from rag_ft.extras import require_extra
from rag_ft.files import is_plain_file, remove_tree
from rag_ft.models.adapter_record import adapter_record
from rag_ft.models.folder import ADAPTER_WEIGHTS, CROSS_ENCODER_FOLDER
from rag_ft.models.weights import resolve_adapter, resolve_reader, weights_identity
from rag_ft.progress import OnProgress
from rag_ft.question_generation.make import Writer, checked_writer
from rag_ft.questions.records import read_questions
from rag_ft.schema import Question
from rag_ft.training.cross_encoder.folder import is_cross_encoder_run
from rag_ft.training.folder import RUN_FOLDER, clear_run, is_run
from rag_ft.training.run import train_reader
from rag_ft.training.saving import PACKAGES, write_record
from rag_ft.training.scoring import FEWEST, FEWEST_OF_EACH
from rag_ft.training.start import read_start
from rag_ft.training.steps.processes import refuse_processes

if TYPE_CHECKING:
    from rag_ft.indexing.corpus import Source
    from rag_ft.indexing.embedding import Embedder
    from rag_ft.indexing.index import Index

logger = logging.getLogger(__name__)

DEFAULT_MADE = 300
"""Records to make where no file of them is given."""

_STAGES = {
    "index": "cuts the documents into passages; only what has changed since is done again.",
    "records": "are questions with the place of their answer: the reader learns from them, and is judged by them.",
    "plan": "holds whole documents out: on a document that it has learned, a reader would be judged by its memory.",
    "train": "shows the reader your questions beside passages that hold the answer, and others that only look like it.",
    "judge": "asks all readers the same questions about documents that none of them has learned.",
    "calibrate": "chooses how sure the reader must be before it answers: too low it invents, too high it declines.",
    "verdict": "weighs the difference against chance: only an interval wholly above zero is a reason to change.",
}
"""What each stage does, as a sentence after its name."""


@dataclass(frozen=True)
class Prepared:
    """What the first three stages give."""

    index: Index
    records: dict[str, Any]
    questions: list[Question]
    training: Training
    sides: Sides | None
    plan: AdaptPlan


@dataclass(frozen=True)
class Adaptation:
    """The arguments of a call, checked."""

    documents: Source
    output: Path
    questions: Path | None
    make: int
    minutes: float
    seed: int
    reader: str
    start_from: str
    embedder: str | Embedder
    source: Any = None
    writer: Writer | None = None
    make_questions: MakeQuestions | None = None
    on_progress: OnProgress | None = None

    @classmethod
    def of(
        cls, documents: Source, output: str | Path, make: int | None, questions: str | Path | None, **given: Any
    ) -> Adaptation:
        """The arguments, with what was left out filled in. Raises UsageError, MissingExtraError."""
        require_extra("train", "adapting a reader")
        require_extra("eval", "judging an adapted reader")
        refuse_processes("a reader is adapted")
        if make is None:
            make = 0 if questions is not None else DEFAULT_MADE
        if make < 0 or (not make and questions is None):
            raise UsageError(f"make is {make}: give the number of records to make, or a file of records (--questions)")
        if not 0 < given["minutes"] < math.inf:
            raise UsageError(f"minutes is {given['minutes']:g} but must be a number above 0")
        if not 0 <= given["seed"] < 2**32:
            raise UsageError(f"seed is {given['seed']} but must be 0 or more, and below {2**32}")
        output = Path(output)
        if isinstance(documents, str | Path):
            folder = Path(documents).resolve()
            if output.resolve() == folder or folder in output.resolve().parents:
                raise UsageError(
                    f"{output} is inside {documents}, and would be read as documents the next time: give a folder"
                    " elsewhere (--output)"
                )
        given["writer"] = checked_writer(given["writer"] or (None if given["source"] else "both"), given["source"])
        return cls(documents, output, None if questions is None else Path(questions), make, **given)

    def prepare(self, folder: Folder) -> Prepared:
        """The stages index, records and plan."""
        start = read_start(self.start_from)
        base = weights_identity(resolve_reader(self.reader))  # fetched now, not after the records are made
        _say("index")
        index = self._index(folder)
        if index.manifest.counts.documents < 2:
            raise DatasetError(
                f"{self._named_documents} holds one document, and a reader must be judged on another than it was tuned"
                f" on: add a second one at least (the index is kept: rag-ft ask QUESTION --index {folder.file(INDEX)})"
            )
        _say("records")
        records = collect_records(
            folder,
            index,
            self.questions,
            self.make,
            self.seed,
            source=self.source,
            writer=self.writer,
            maker=self.make_questions,
            on_progress=self.on_progress,
        )
        _tell(record_lines(records))
        _say("plan")
        questions = read_questions(folder.file(QUESTIONS))
        training = Training(start, self.reader, self.seed)
        count = independent_documents(questions, index)
        if count < 2:
            raise DatasetError(
                f"all records are about one document of {self._named_documents}, or copies of it, and a reader must be"
                " judged on another than it was tuned on: add records about a second one at least (the index is kept)"
            )
        sides = take_sides(questions, index, self.seed) if count > 2 else None
        tunes, too_few = _what_to_tune(questions, sides, count, training)
        inputs: dict[str, JsonValue] = {
            "index": index.fingerprint,
            "records": records["sha256"],
            "minutes": self.minutes,
            "seed": self.seed,
            "base": base,
            "start": start.weights.fingerprint,
            "tunes": tunes,
        }

        def work() -> dict[str, JsonValue]:
            if sides is None or too_few:
                plan = AdaptPlan.nothing(too_few, self.minutes)
            else:
                spent = folder.seconds("index", "made", "records")
                if tunes == "cross-encoder":
                    plan = sentence_plan(sides, index, training, self.minutes, spent)
                else:
                    plan = make_plan(sides, index, training, folder.file(ADAPTER), self.minutes, spent)
            return plan.model_dump(mode="json")

        plan = AdaptPlan.model_validate(folder.stage("plan", inputs, work))
        _tell(plan.lines())
        return Prepared(index, records, questions, training, sides, plan)

    @property
    def _named_documents(self) -> str:
        return str(self.documents) if isinstance(self.documents, str | Path) else "the source"

    def _index(self, folder: Folder) -> Index:
        """The index of the documents as they are now; what is unchanged is left as it is."""
        from rag_ft.indexing.index import Index

        index = Index.build(self.documents, folder.file(INDEX), embedder=self.embedder, progress=False)
        report = index.build_report
        documents = index.manifest.counts.documents
        changed = report is None or bool(report.added or report.changed or report.removed)
        _tell([f"{documents:,} documents, {len(index):,} passages" + ("" if changed else ": unchanged")])
        if report is not None:
            _tell([f"not read: {failure.source} {failure.reason}" for failure in report.failures[:_MOST_FAILURES]])
            if len(report.failures) > _MOST_FAILURES:
                _tell([f"and {len(report.failures) - _MOST_FAILURES:,} more were not read"])
        # Recorded for its seconds alone: a build finds out by itself what has changed.
        seconds = 0.0 if report is None else report.seconds
        folder.note("index", {"fingerprint": index.fingerprint}, seconds if changed else None)
        return index

    def without_training(self, folder: Folder, prepared: Prepared) -> Verdict:
        """The verdict where the records are too few to judge by."""
        _say("verdict")
        advised = Advised(
            passages_to_mend(prepared.records["not retrieved"], prepared.index),
            (),
            folder.file(LABEL),
            documents_without_records(prepared.questions, prepared.index),
        )
        verdict = undecided(prepared.plan.too_few, prepared.records, advised, self.output, self.start_from, self.reader)
        return self._written(folder, verdict, prepared, judged=False)

    def finish(self, folder: Folder, prepared: Prepared, sides: Sides) -> Verdict:
        """The stages train, judge, calibrate and verdict."""
        index, plan, training = prepared.index, prepared.plan, prepared.training
        _say("train")
        trained = self._train(folder, prepared, sides)
        _say("judge")
        held_out = held_out_records(sides)

        def judge() -> dict[str, JsonValue]:
            _with_threshold(folder.file(ADAPTER), trained["threshold"])
            judge_readers(folder, index, sides, plan, training, folder.file(ADAPTER), on_progress=self.on_progress)
            return {"sha256": sha256_of(folder.file(EVALUATION) / RESULTS)}

        judged = folder.stage(
            "judge",
            {
                "weights": trained["weights"],
                "threshold": trained["threshold"],
                "judge": plan.judge,
                "records": prepared.records["sha256"],
                "seed": self.seed,
            },
            judge,
            stands=lambda result: folder.holds(f"{EVALUATION}/{RESULTS}", result["sha256"]),
            renew=lambda: remove_evaluation(folder),
        )
        results = stored_results(folder)
        replies, asked = stored_replies(folder), judged_questions(folder)
        wrong, not_retrieved = where_questions_go_wrong(replies.get(BEFORE, {}), asked)
        findings = Findings(results, by_origin(replies, asked, self.seed), wrong, not_retrieved)
        picks = records_to_look_at(replies, asked, results.settings, index)
        advised = Advised(
            passages_to_mend(prepared.records["not retrieved"], index),
            [(pick.question.id, pick.question.question, pick.reasons) for pick in picks],
            folder.file(LABEL),
            documents_without_records(prepared.questions, index),
        )
        verdict = decide(findings, advised, self.output, self.start_from, self.reader)
        _say("calibrate")
        if verdict.worth_it and plan.tunes == "cross-encoder":
            _tell(["skipped: training has calibrated the cross-encoder, as far as its records sufficed"])
        elif verdict.worth_it:
            self._calibrate(folder, index, held_out, trained, judged)
        else:
            _tell(["skipped: the tuned reader is not the one to ask with"])
        _say("verdict")
        if picks:
            folder.write(LABEL, "".join(_line(pick.question) for pick in picks))
        return self._written(folder, verdict, prepared, judged=True)

    def _train(self, folder: Folder, prepared: Prepared, sides: Sides) -> dict[str, Any]:
        plan, training, path = prepared.plan, prepared.training, folder.file(ADAPTER)
        split = training_split(sides, training, plan)

        def work() -> dict[str, JsonValue]:
            if plan.tunes == "cross-encoder":
                start = training.start.weights.path
                return train_sentences(sides, prepared.index, start, path, plan, self.seed, self.on_progress)
            trained = train_reader(
                [*split.train, *split.held_out],
                prepared.index,
                path,
                reader=self.reader,
                start_from=self.start_from,
                examples=training.examples,
                training=training.steps(plan.epochs),
                split=split,
                compare=False,
                on_progress=self.on_progress,
            )
            record = adapter_record(resolve_adapter(trained.path))
            return {
                "weights": sha256_of(path / ADAPTER_WEIGHTS),
                "threshold": record.get("threshold"),
                "verdict": list[JsonValue](trained.verdict.lines()),
            }

        tuned = SENTENCE_WEIGHTS if plan.tunes == "cross-encoder" else ADAPTER_WEIGHTS

        def stands(result: dict[str, JsonValue]) -> bool:
            weights = path / tuned
            return is_plain_file(weights) and sha256_of(weights) == result["weights"]

        trained = folder.stage(
            "train",
            {
                "tunes": plan.tunes,
                "train": plan.train,
                "epochs": plan.epochs,
                "index": prepared.index.fingerprint,
                "records": prepared.records["sha256"],
                "seed": self.seed,
                "start": training.start.weights.fingerprint,
                "base": weights_identity(resolve_reader(self.reader)),
            },
            work,
            stands=stands,
            renew=lambda: _clear_run(path),
        )
        lines: Any = trained["verdict"]
        _tell(lines)
        return trained

    def _calibrate(
        self,
        folder: Folder,
        index: Index,
        questions: Sequence[Question],
        trained: dict[str, Any],
        judged: dict[str, Any],
    ) -> None:
        """Choose the tuned reader's threshold again, on all held-out questions, if they are enough."""
        answerable = sum(question.answerable for question in questions)
        unanswerable = len(questions) - answerable
        if len(questions) < FEWEST or min(answerable, unanswerable) < FEWEST_OF_EACH:
            _tell(
                [
                    f"skipped: {answerable} answerable and {unanswerable} unanswerable held-out records are too few"
                    f" ({FEWEST} in all and {FEWEST_OF_EACH} of each are the least); training's threshold stays"
                ]
            )
            return

        def work() -> dict[str, JsonValue]:
            score = calibrate_adapter(folder.file(ADAPTER), questions, index, reader=self.reader)
            record = adapter_record(resolve_adapter(folder.file(ADAPTER)))
            return {"threshold": record.get("threshold"), "line": score.line()}

        result = folder.stage(
            "calibrate",
            {"weights": trained["weights"], "judged": judged["sha256"]},
            work,
            stands=lambda result: (
                adapter_record(resolve_adapter(folder.file(ADAPTER))).get("threshold") == result["threshold"]
            ),
        )
        _tell([str(result["line"])])

    def _written(self, folder: Folder, verdict: Verdict, prepared: Prepared, *, judged: bool) -> Verdict:
        """Write the verdict's page and JSON."""
        lines = basis(prepared.records, prepared.plan.lines(), library_versions(PACKAGES))
        folder.write(PAGE, verdict_page(verdict, stored_results(folder) if judged else None, lines))
        folder.write(RESULT, verdict_json(verdict))
        return verdict


def _what_to_tune(
    questions: Sequence[Question], sides: Sides | None, documents: int, training: Training
) -> tuple[Tuned | None, str]:
    """Which model has something to learn, or None and why nothing can be tuned or judged."""
    too_few = why_too_few(questions, sides, documents)
    if too_few or sides is None:
        return None, too_few
    tunes = what_to_tune(sides, training)
    if tunes is None:
        too_few = (
            "Nearly all answers are whole sentences, which the adapter to start from does not choose: it has nothing to"
            " learn. Add records whose answers are words of a sentence, about several documents."
        )
    return tunes, too_few


_MOST_FAILURES = 5
"""Documents that could not be read and are named; the others are counted."""


def _say(stage: str) -> None:
    """Log that a stage begins, and what it does."""
    number = list(_STAGES).index(stage) + 1
    logger.info("%s", f"{number}/{len(_STAGES)} {stage:<9} {_STAGES[stage]}")


def _tell(lines: Sequence[str]) -> None:
    for line in lines:
        logger.info("%s", f"{'':<13} {line}")


def _line(question: Question) -> str:
    return question.model_dump_json(exclude_defaults=True) + "\n"


def _clear_run(adapter: Path) -> None:
    """Remove what a training run with other inputs left, so that nothing of it is resumed or used."""
    if is_run(adapter / RUN_FOLDER):
        clear_run(adapter / RUN_FOLDER)
    if is_cross_encoder_run(adapter / CROSS_ENCODER_FOLDER):
        remove_tree(adapter / CROSS_ENCODER_FOLDER, inside=adapter)


def _with_threshold(adapter: Path, threshold: Any) -> None:
    """Give the adapter the threshold of its training again, if it was calibrated since: on questions to be judged."""
    weights = resolve_adapter(adapter)
    record = adapter_record(weights)
    if record.get("threshold") != threshold:
        write_record(weights.path, {**record, "threshold": threshold})
