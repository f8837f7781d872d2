"""Question records and an index in, a tuned cross-encoder out: sources, training, choice of the state, calibration."""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from rag_ft.answering.evidence import recorded_calibration
from rag_ft.environment import library_versions, packaged_cross_encoder_path
from rag_ft.errors import DatasetError, TrainingError, WeightsError
from rag_ft.extras import require_extra
from rag_ft.files import full_disk_as, require_space
from rag_ft.models.adapter_record import documents_trained_on
from rag_ft.models.cross_encoder import CrossEncoder
from rag_ft.models.cross_encoder_files import (
    add_changes,
    base_of,
    check_base,
    read_changes,
    read_record,
    write_cross_encoder,
)
from rag_ft.models.cross_encoder_network import CrossEncoderNetwork, changes_since, new_network
from rag_ft.models.folder import ADAPTER_CONFIG
from rag_ft.models.weights import NO_ADAPTER, PACKAGED, Weights, resolve_embedder, weights_in
from rag_ft.progress import OnProgress
from rag_ft.questions.records import read_questions
from rag_ft.questions.split import Split, documents_of, split_by_document
from rag_ft.schema import FINGERPRINT, Question
from rag_ft.text.asking import asks_for_sentences
from rag_ft.training.cross_encoder.calibration import ChosenCalibration, calibrate
from rag_ft.training.cross_encoder.card import cross_encoder_card
from rag_ft.training.cross_encoder.config import CrossEncoderConfig
from rag_ft.training.cross_encoder.examples import PairSources, draw_example, pair_sources
from rag_ft.training.cross_encoder.folder import CHECKPOINT, check_cross_encoder_folder, claim_run
from rag_ft.training.cross_encoder.losses import losses
from rag_ft.training.cross_encoder.scoring import (
    CrossEncoderScore,
    Outcome,
    Quoted,
    RankedQuestion,
    gain,
    outcomes_of,
    quotes_with_opinion,
    rank_questions,
    score_outcomes,
    without_evidence,
)
from rag_ft.training.cross_encoder.trainer import PairTrainer, TrainedPairs
from rag_ft.training.saving import PACKAGES
from rag_ft.training.steps.processes import refuse_processes

if TYPE_CHECKING:
    from torch import Tensor

    from rag_ft.answering.opinions import Opinions
    from rag_ft.indexing.index import Index

logger = logging.getLogger(__name__)

_COPIES = 8
"""Trained weights in 32 bits that a checkpoint has at most, twice: weights, two moments, the best state."""


@dataclass(frozen=True)
class TrainedCrossEncoder:
    """The result of a run."""

    path: Path
    kept_step: int
    """0: no step was better than the cross-encoder that it started from, whose weights were kept."""
    start: CrossEncoderScore | None
    """Figures of the cross-encoder that it started from; None from the embedder."""
    tuned: CrossEncoderScore
    """Figures of what was written."""


class StartCrossEncoder(NamedTuple):
    """The cross-encoder that a run tunes further."""

    weights: Weights
    record: dict[str, Any]
    changes: dict[str, Tensor]

    def identity(self) -> dict[str, str]:
        """What the record of a cross-encoder that was tuned from it says of it."""
        name = PACKAGED if self.weights.path == packaged_cross_encoder_path() else self.weights.name
        return {
            "name": name,
            "fingerprint": self.weights.fingerprint,
            "licence": str(self.record.get("licence", "other")),
        }


@dataclass(frozen=True)
class PreparedPairs:
    """What a run would train and measure on."""

    train: PairSources
    held_out: PairSources
    held_out_questions: tuple[Question, ...]
    records: str
    """Fingerprint of the records of both sides."""
    asking: int
    """How many of all questions ask for sentences."""

    def lines(self) -> list[str]:
        """The counts for people to read."""
        dropped = {**self.train.dropped, **self.held_out.dropped}
        total = len(self.train.sources) + len(self.held_out.sources)
        lines = [
            f"questions       {len(self.train.sources)} about {len(self.train.documents)} documents; held out:"
            f" {len(self.held_out.sources)} about {len(self.held_out.documents)} other documents",
            f"                {self.asking} of {total} ask how, why, yes or no, or what something is: 'rag-ft ask'"
            " leaves these to the cross-encoder",
        ]
        if dropped:
            record, reason = next(iter(dropped.items()))
            lines.append(f"left out        {len(dropped)} records, the first {record}: {reason}")
        return lines


def prepare_pairs(
    questions: str | Path | Sequence[Question],
    index: Index,
    config: CrossEncoderConfig,
    *,
    split: Split | None = None,
) -> PreparedPairs:
    """Split the records and find the passages of each question; what they come to is logged. Raises DatasetError."""
    records = read_questions(questions) if isinstance(questions, str | Path) else list(questions)
    if split is None and not any(record.answerable and record.evidence for record in records):
        raise DatasetError(
            f"none of the {len(records)} question records is answerable and has evidence, which a cross-encoder learns"
            " from: say where the answers stand (evidence)"
        )
    split = split or split_by_document(records, config.held_out, config.seed)
    held_out = pair_sources(split.held_out, index, config)
    train = pair_sources(split.train, index, config, apart=documents_of(split.held_out))
    used = [source.question for source in (*train.sources, *held_out.sources)]
    prepared = PreparedPairs(
        train,
        held_out,
        tuple(source.question for source in held_out.sources),
        _fingerprint(split),
        sum(asks_for_sentences(question.question) for question in used),
    )
    for line in prepared.lines():
        logger.info("%s", line)
    return prepared


def train_cross_encoder(
    questions: str | Path | Sequence[Question],
    index: Index,
    output: str | Path,
    *,
    split: Split | None = None,
    start_from: str | Path | None = PACKAGED,
    config: CrossEncoderConfig | None = None,
    licence: str = "other",
    data_note: str = "The question records and documents of whoever trained it.",
    on_progress: OnProgress | None = None,
) -> TrainedCrossEncoder:
    """Tune a cross-encoder on question records about the documents of an index; it is written to the folder `output`.

    `start_from`: the packaged one, another one's folder, or None for the embedder with new heads, which needs
    thousands of questions. `split`: records to train on and to hold out, instead of a split of `questions` by document.
    The state that is worth most on the held-out questions is kept, the start included; its confidence is calibrated
    on them as far as they suffice. Logs and reports as `train_reader` does, and resumes like it. Raises DatasetError,
    TrainingError, UsageError, WeightsError.
    """
    output, config = Path(output), config or CrossEncoderConfig()
    start = check_cross_encoder_run(output, start_from)
    prepared = prepare_pairs(questions, index, config, split=split)
    run = _Run(output, index, config, start, prepared, licence, data_note, resolve_embedder())
    return run.train(on_progress)


def check_cross_encoder_run(output: Path, start_from: str | Path | None) -> StartCrossEncoder | None:
    """Check all that can be checked before the records are read; the cross-encoder to start from.

    Raises UsageError, WeightsError.
    """
    require_extra("train", "training")
    refuse_processes("a cross-encoder is trained")
    check_cross_encoder_folder(output)
    if start_from is None:
        return None
    folder = packaged_cross_encoder_path() if str(start_from) == PACKAGED else Path(start_from)
    record = read_record(folder)
    check_base(folder, record, resolve_embedder())
    recorded_calibration(record)  # raises: its values may stay as they are
    return StartCrossEncoder(weights_in(folder, "cross-encoder"), record, read_changes(folder))


def _fingerprint(split: Split) -> str:
    """SHA-256 over the records of both sides."""
    digest = hashlib.sha256()
    for side in split:
        digest.update(b"side")
        for question in side:
            digest.update(question.model_dump_json().encode() + b"\n")
    return digest.hexdigest()


@dataclass(frozen=True)
class _Run:
    """One run, from its sources to the files that it writes."""

    output: Path
    index: Index
    config: CrossEncoderConfig
    start: StartCrossEncoder | None
    prepared: PreparedPairs
    licence: str
    data_note: str
    embedder: Weights

    def train(self, on_progress: OnProgress | None) -> TrainedCrossEncoder:
        """Train, choose, calibrate and write."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            network, tokenizer = new_network(self.embedder)
        if self.start is not None:
            add_changes(network, self.start.changes, self.start.weights.path)
        with full_disk_as(TrainingError, self.output, "nothing was trained yet"):
            work = claim_run(self.output, self._identity())
            trainable = sum(value.numel() for name, value in network.named_parameters() if "embeddings" not in name)
            require_space(self.output, _COPIES * 4 * trainable, error=TrainingError)
        logger.info(
            "cross-encoder   starts from %s; %.1f million weights, word embeddings fixed",
            "the embedder" if self.start is None else self.start.weights.path,
            trainable / 1e6,
        )
        ranked = rank_questions(self.prepared.held_out_questions, self.index)
        before = self._outcomes(CrossEncoder(network.eval(), tokenizer, None, {}), ranked)
        trainer = PairTrainer(
            network,
            tokenizer,
            self.prepared.train.sources,
            self.config,
            self.config.rates(tuned_before=self.start is not None),
            work,
            lambda: self._measure(network, tokenizer, ranked),
            keep_start=self.start is not None,
        )
        return self._finish(trainer.train(on_progress), trainer, network, before, ranked, work)

    def _identity(self) -> dict[str, Any]:
        """What a checkpoint is resumed with."""
        return {
            "records": self.prepared.records,
            "index": self.index.fingerprint,
            "base": base_of(self.embedder)["sha256"],
            "start": None if self.start is None else self.start.weights.fingerprint,
            "settings": self.config.model_dump(mode="json", exclude={"checkpoint_minutes"}),
        }

    def _outcomes(self, cross_encoder: CrossEncoder, ranked: Sequence[RankedQuestion]) -> list[Outcome]:
        """What a state makes of the held-out questions; of words, if those of the start count beside a generator's."""
        marks_words = self.start is not None and bool(self.start.record.get("span_weight"))
        return outcomes_of(cross_encoder, ranked, marks_words=marks_words)

    def _measure(
        self, network: CrossEncoderNetwork, tokenizer: Any, ranked: Sequence[RankedQuestion]
    ) -> tuple[float, dict[str, float]]:
        """What the network is worth on the held-out questions, and its figures there."""
        score = score_outcomes(self._outcomes(CrossEncoder(network.eval(), tokenizer, None, {}), ranked))
        loss = held_out_loss(network, tokenizer, self.prepared.held_out, self.config)
        figures = {name: float(value) for name, value in score.model_dump().items() if name != "questions"}
        logger.info("measured        held-out loss %.3f; %s", loss, score.figures())
        return score.worth, {"eval_loss": loss, **figures}

    def _finish(
        self,
        trained: TrainedPairs,
        trainer: PairTrainer,
        network: CrossEncoderNetwork,
        before: Sequence[Outcome],
        ranked: Sequence[RankedQuestion],
        work: Path,
    ) -> TrainedCrossEncoder:
        """Choose between the best state, as it is after rounding to its file, and the start; calibrate and write it."""
        kept, outcomes = trained.best_step, list(before)
        written: CrossEncoder | None = None
        changes: dict[str, Tensor] = {} if self.start is None else self.start.changes
        if trained.best is not None:
            trainer.load(trained.best)
            rounded = changes_since(self.embedder, network, self.config.rank)
            tuned = self._cross_encoder(rounded)
            after = self._outcomes(tuned, ranked)
            if self.start is None or gain(before, after)[0] > 0:
                changes, outcomes, written = rounded, after, tuned
            else:
                kept = 0
        score, start_score = score_outcomes(outcomes), score_outcomes(before)
        for line in self._verdict(kept, before, outcomes):
            logger.info("%s", line)
        calibration = self._calibrate(written or self._cross_encoder(changes), outcomes, ranked)
        logger.info("confidence      %s", calibration.note)
        results = {"start": start_score, "tuned": score} if self.start is not None else {"tuned": score}
        record = {
            **self._record(trained, kept),
            "results": {name: figures.model_dump(mode="json") for name, figures in results.items()},
            **calibration.calibration.model_dump(mode="json"),
            "chosen_on": calibration.chosen_on,
            "calibration_note": calibration.note,
        }
        with full_disk_as(TrainingError, self.output, "the trained states are kept, and only the end is repeated"):
            card = cross_encoder_card(record, self.embedder.name)
            write_cross_encoder(self.output, changes, self.embedder, record, card)
        (work / CHECKPOINT).unlink(missing_ok=True)  # last: until then, the same command only measures again
        return TrainedCrossEncoder(self.output, kept, None if self.start is None else start_score, score)

    def _cross_encoder(self, changes: dict[str, Tensor]) -> CrossEncoder:
        """A cross-encoder with these changes, as it is read from its file."""
        network, tokenizer = new_network(self.embedder)
        add_changes(network, changes, self.output)
        return CrossEncoder(network.eval(), tokenizer, None, {})

    def _calibrate(
        self, written: CrossEncoder, outcomes: Sequence[Outcome], ranked: Sequence[RankedQuestion]
    ) -> ChosenCalibration:
        """The calibration of the cross-encoder that is written."""
        bare = without_evidence(ranked)

        def with_opinion(record: Mapping[str, Any]) -> list[Quoted]:
            if (opinions := self._opinions()) is None:
                return []
            weighs = written.with_record(record)
            taken_out = [quoted._replace(taken_out=True) for quoted in quotes_with_opinion(weighs, opinions, bare)]
            return [*quotes_with_opinion(weighs, opinions, ranked), *taken_out]

        before = None if self.start is None else self.start.record
        return calibrate(outcomes, before, outcomes_of(written, bare), with_opinion)

    def _opinions(self) -> Opinions | None:
        """The opinions of the reader that is used beside this cross-encoder.

        Its adapter is the one in the folder around the output, else the packaged one. None where its probabilities have
        no scale, or it is one of another base model: such an opinion is not weighed.
        """
        from rag_ft.answering.reader import Reader

        around = self.output.parent
        adapter = around if (around / ADAPTER_CONFIG).is_file() else None
        try:
            reader = Reader.from_pretrained(adapter=adapter, cross_encoder=NO_ADAPTER)
        except WeightsError:
            return None
        return None if reader.scale.plain else reader.opinions

    def _verdict(self, kept: int, before: Sequence[Outcome], after: Sequence[Outcome]) -> list[str]:
        score = score_outcomes(after)
        if self.start is None:
            return [f"kept            step {kept}: on {score.questions} held-out questions, {score.figures()}"]
        start = score_outcomes(before)
        lines = [f"before          {start.questions} held-out questions: {start.figures()}"]
        if not kept:
            return [*lines, "kept            the start: no step was better on the held-out questions"]
        mean, error = gain(before, after)
        return [
            *lines,
            f"kept            step {kept}: {score.figures()}",
            f"                gain of hit@1 and F1 in the mean {mean:+.3f}, standard error {error:.3f}"
            + ("" if mean > 2 * error else ": not certain"),
        ]

    def _record(self, trained: TrainedPairs, kept: int) -> dict[str, Any]:
        """What the cross-encoder was made from and how."""
        train, held_out, start = self.prepared.train, self.prepared.held_out, self.start
        fingerprints = self.index.document_fingerprints()
        learned = {fingerprints[name][:FINGERPRINT] for name in train.documents if name in fingerprints}
        before = documents_trained_on(start.record) if start is not None else frozenset()
        rates = self.config.rates(tuned_before=start is not None)
        every = max(1, len(trained.history) // 200)
        own = {"licence": self.licence, "data_note": self.data_note}
        return {
            # Weights that were kept as they were have their own licence.
            **(own if kept or start is None else {name: start.record.get(name, own[name]) for name in own}),
            "started_from": None if start is None else start.identity(),
            "data": {
                "fingerprint": self.prepared.records,
                "index": self.index.fingerprint,
                "train_questions": len(train.sources),
                "held_out_questions": len(held_out.sources),
                "train_documents": len(train.documents),
                "held_out_documents": len(held_out.documents),
                "held_out": sorted(held_out.documents),
                "documents": sorted(train.documents),
                "document_fingerprints": sorted({*learned, *before} if kept else before),
            },
            "training": {
                **self.config.model_dump(mode="json"),
                "encoder_rate": rates.encoder,
                "head_rate": rates.heads,
                "steps": trained.step,
            },
            "versions": library_versions(PACKAGES),
            "history": [
                measurement for i, measurement in enumerate(trained.history) if "worth" in measurement or i % every == 0
            ],
            "kept_step": kept,
        }


def held_out_loss(
    network: CrossEncoderNetwork, tokenizer: Any, sources: PairSources, config: CrossEncoderConfig
) -> float:
    """The mean loss of one example of each held-out question, always the same ones: at most 200."""
    chooser = random.Random(f"{config.seed} held out")
    examples = [draw_example(source, config, chooser) for source in sources.sources[:200]]
    size = config.questions_per_step
    with torch.inference_mode():
        parts = [losses(network, tokenizer, examples[i : i + size]) for i in range(0, len(examples), size)]
    return float(torch.cat(parts).mean())
