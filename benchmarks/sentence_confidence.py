"""Fit the confidence of whole-sentence answers, and say how well it tells right answers from wrong ones.

    python benchmarks/sentence_confidence.py QUESTIONS INDEX [--cross-encoder DIR] [--and QUESTIONS INDEX]...
        [--judge QUESTIONS INDEX]...

QUESTIONS: records of ours, or SQuAD's JSON. INDEX: an index, or a folder of indexes whose names end the beginnings of
document ids in the records: of `faq/owner/name/guide.md`, `guide.md` in `owner+name`. Only questions that ask for
sentences count, and of these only records whose evidence stands in the index where they say. --and: more to fit on,
such as unanswerable questions. --judge: other questions that nothing is fitted on. --most: so many of each file.
--generator-weight: of the log-odds, by the packaged generator, that the part chosen from a passage answers, in the
choice among the passages; 0: it is not asked, and the answer is always that of the first passage.

Each question is searched, reranked and answered as `rag-ft ask` does, with abstention off. An answer is right if the
question has one and the part shares a character with a piece of its evidence. Each answerable question is asked a
second time with all passages taken out of the search that hold a piece of its evidence: what is answered then is wrong.
Such an answer counts `--taken-out-weight` (0.25) in the fit, AUC and log-loss; any other counts 1, also one to an
unanswerable record.

Printed: the area under the ROC curve (AUC) and the log-loss of the relevance alone, of more signs, and of the record
as it is. A question is judged by what was fitted without its index, or, of a single index, without its half of
the documents. Then what each threshold buys, and what to put into `cross_encoder.json`, with the threshold that
`rag-ft train` would choose.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import rankdata

from rag_ft.answering.confidence import PartCalibration, PartSigns, PartWeights
from rag_ft.answering.evidence import EvidenceReader, best_candidate, parts_alone
from rag_ft.answering.opinions import NO_OPINION
from rag_ft.answering.reader import Reader
from rag_ft.answering.reading import ReadRequest
from rag_ft.indexing.index import Index
from rag_ft.indexing.query import Query
from rag_ft.indexing.reranking import FIRST_WEIGHT, RERANK_DEPTH, rerank
from rag_ft.indexing.retriever import OWN_WEIGHT
from rag_ft.metrics.kinds import overlaps_evidence
from rag_ft.metrics.thresholds import best_threshold
from rag_ft.models.cross_encoder import CrossEncoder
from rag_ft.models.weights import PACKAGED
from rag_ft.questions.records import read_questions
from rag_ft.questions.split import split_by_document
from rag_ft.schema import Passage, Question
from rag_ft.text.asking import asks_for_sentences
from rag_ft.text.spans import Span
from rag_ft.training.cross_encoder.scoring import TAKEN_OUT_WEIGHT

READ = 3
"""Passages that the reader is given."""
SPARE = 10
"""Further passages of the first search, for those that are taken out."""
PENALTY = 0.5
"""Of the sum of squared weights, so that they stay finite where everything right is surer than everything wrong."""
THRESHOLDS = (0.0, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
AS_RECORDED = "the record as it is"
RECORDED, RECORDED_WITH_GENERATOR = "relevance and margin, fitted", "all four, fitted"
"""The signs that the packaged record weighs."""
SIGNS = {
    "relevance, fitted": (0,),
    "relevance and evidence, fitted": (0, 1),
    RECORDED: (0, 2),
    "all three, fitted": (0, 1, 2),
}
SIGNS_WITH_GENERATOR = {
    RECORDED: (0, 2),
    "generator, fitted": (3,),
    "relevance, margin and generator, fitted": (0, 2, 3),
    RECORDED_WITH_GENERATOR: (0, 1, 2, 3),
}


class Models(NamedTuple):
    """What answers."""

    evidence: EvidenceReader
    reader: Reader | None
    """Whose generator is asked; None: none is."""
    generator_weight: float


class Answered(NamedTuple):
    """What came of one question."""

    group: str
    """What is held out together."""
    answerable: bool
    taken_out: bool
    """Whether the passages with its evidence were taken out."""
    signs: PartSigns
    right: bool


class Sample(NamedTuple):
    """Answers as arrays."""

    signs: NDArray[np.float64]
    """(answers, 4)"""
    right: NDArray[np.bool_]
    weights: NDArray[np.float64]


def questions_by_index(path: Path, folder: Path, most: int | None) -> Iterator[tuple[str, Index, list[Question]]]:
    """Each index with its questions, whose document ids are made those of the index; prints what does not fit."""
    questions = [question for question in read_questions(path) if asks_for_sentences(question.question)]
    if most is not None:
        questions = random.Random(0).sample(questions, min(most, len(questions)))
    single = (folder / "manifest.json").is_file()
    left_out, fitting = 0, 0
    for child in [folder] if single else sorted(folder.iterdir()):
        index = Index.load(child)
        known = {document_id: index.document(document_id).text for document_id in index.documents()}
        beginning = "" if single else child.name.replace("+", "/") + "/"
        chosen = []
        for question in questions:
            if not single and not any(f"/{beginning}" in f"/{piece.document_id}" for piece in question.evidence):
                continue
            evidence = tuple(
                piece.model_copy(update={"document_id": piece.document_id.partition(beginning)[2]})
                if beginning
                else piece
                for piece in question.evidence
            )
            if all(known.get(piece.document_id, "")[piece.start : piece.end] == piece.quote for piece in evidence):
                chosen.append(question.model_copy(update={"evidence": evidence}))
            else:
                left_out += 1
        fitting += len(chosen)
        yield child.name, index, chosen
    if left_out:
        print(f"{left_out} of {left_out + fitting} questions left out: their evidence is not where the records say")


def halves(name: str, questions: Sequence[Question]) -> dict[str, str]:
    """Which half of an index's documents a question is about, by its id."""
    held_out = {question.id for question in split_by_document(questions, 0.5, 0).held_out}
    return {question.id: f"{name}, {'second' if question.id in held_out else 'first'} half" for question in questions}


def holds_evidence(passage: Passage, question: Question, part: Span | None = None) -> bool:
    """Whether a passage, or a part of it, shares a character with a piece of the question's evidence."""
    inside = part or Span(0, len(passage.text))
    start, end = passage.start + inside.start, passage.start + inside.end
    return overlaps_evidence(passage.document_id, start, end, question.evidence)


def answer_all(path: Path, folder: Path, models: Models, most: int | None, *, halve: bool = False) -> list[Answered]:
    """All questions answered, as they are and with the evidence taken out; `halve`: group those of a single index."""
    answered: list[Answered] = []
    for name, index, questions in questions_by_index(path, folder, most):
        groups = halves(name, questions) if halve and (folder / "manifest.json").is_file() else {}
        begun = time.monotonic()
        found = index.as_retriever(k=RERANK_DEPTH + SPARE).retrieve_batch([one.question for one in questions])
        asked = [(question, False, hits) for question, hits in zip(questions, found, strict=True)]
        asked += [
            (question, True, [hit for hit in hits if not holds_evidence(hit.passage, question)])
            for question, _, hits in asked
            if question.answerable
        ]
        asked = [(question, taken_out, hits) for question, taken_out, hits in asked if hits]
        reranked = rerank(
            [Query(question.question) for question, _, _ in asked],
            [hits[:RERANK_DEPTH] for _, _, hits in asked],
            models.evidence.cross_encoder,
            FIRST_WEIGHT,
            OWN_WEIGHT,
        )
        requests = [
            ReadRequest.of_hits(question.question, hits[:READ])
            for (question, _, _), hits in zip(asked, reranked, strict=True)
        ]
        candidates = [models.evidence.candidates(request) for request in requests]
        opinions = [NO_OPINION] * len(requests)
        if models.reader is not None:
            opinions = models.reader.opinions.of(list(map(parts_alone, requests, candidates)))
        for (question, taken_out, _), request, own, opinion in zip(asked, requests, candidates, opinions, strict=True):
            best = best_candidate(own, request.margins, opinion, models.generator_weight)
            if best is not None:
                # An unanswerable record may have evidence all the same: that of a plausible answer.
                right = question.answerable and holds_evidence(own[best.position].passage, question, best.part.span)
                group = groups.get(question.id, name)
                answered.append(Answered(group, question.answerable, taken_out, best.signs, right))
        print(f"{name}: {len(questions)} questions, {time.monotonic() - begun:.0f} s", flush=True)
    return answered


def held_out_confidences(answered: Sequence[Answered], sample: Sample, used: Sequence[int]) -> NDArray[np.float64]:
    """The confidence of each answer, by what was fitted on the other groups."""
    confidence = np.zeros(len(answered))
    groups = np.array([one.group for one in answered])
    for group in np.unique(groups):
        inside = groups == group
        weights = fit(Sample(*(column[~inside] for column in sample)), used)
        confidence[inside] = confidences(weights, Sample(*(column[inside] for column in sample)))
    return confidence


def sample_of(answered: Sequence[Answered], taken_out_weight: float) -> Sample:
    """The answers as arrays, weighted."""
    return Sample(
        np.array([one.signs for one in answered], dtype=np.float64).reshape(-1, len(PartSigns._fields)),
        np.array([one.right for one in answered]),
        np.array([taken_out_weight if one.taken_out else 1.0 for one in answered]),
    )


def fit(sample: Sample, used: Sequence[int]) -> PartWeights:
    """The weights of some of the signs under which the outcomes are likeliest; none is negative."""
    features = np.column_stack([sample.signs[:, used], np.ones(len(sample.right))])

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        score = features @ weights
        miss = sample.weights * (1 / (1 + np.exp(-score)) - sample.right)
        held = weights * ([1.0] * len(used) + [0.0])
        total = sample.weights @ (np.logaddexp(0, score) - sample.right * score) + PENALTY * held @ held
        return float(total), features.T @ miss + 2 * PENALTY * held

    start = np.array([0.5] * len(used) + [-1.0])
    found = minimize(loss, start, jac=True, bounds=[(0.0, None)] * len(used) + [(None, None)])
    weights = dict(zip((PartSigns._fields[i] for i in used), map(float, found.x), strict=False))
    return PartWeights(**{"relevance": 0.0, **weights}, intercept=float(found.x[-1]))


def confidences(scale: PartWeights | PartCalibration, sample: Sample) -> NDArray[np.float64]:
    """The confidence of each answer."""
    return np.array([scale.confidence(PartSigns(*map(float, signs))) for signs in sample.signs])


def area(confidence: NDArray[np.float64], sample: Sample) -> float:
    """AUC: how often a right answer is surer than a wrong one, each pair by the product of its weights; ties half."""
    right = sample.right
    if not right.any() or right.all():
        return math.nan
    order = rankdata(confidence, method="dense")
    of_rank = np.bincount(order, weights=sample.weights * ~right)
    below = np.cumsum(of_rank) - of_rank / 2
    share = sample.weights * right
    return float(share @ below[order] / share.sum() / of_rank.sum())


def log_loss(confidence: NDArray[np.float64], sample: Sample) -> float:
    """The mean surprise at the outcomes, in nats."""
    certain = np.clip(confidence, 1e-9, 1 - 1e-9)
    return float(np.average(-np.log(np.where(sample.right, certain, 1 - certain)), weights=sample.weights))


def print_quality(scales: Mapping[str, NDArray[np.float64]], answered: Sequence[Answered], sample: Sample) -> None:
    """A row for each scale's confidences: AUC, AUC without answers whose evidence was taken out, log-loss."""
    as_is = np.array([not one.taken_out for one in answered])
    apart = Sample(*(column[as_is] for column in sample))
    print(f"\n{as_is.sum()} questions, {(~as_is).sum()} again without their evidence; {sample.right.sum()} right\n")
    print("| confidence from | AUC | AUC with the evidence there | log-loss |\n|---|---|---|---|")
    for name, confidence in scales.items():
        figures = area(confidence, sample), area(confidence[as_is], apart), log_loss(confidence, sample)
        print(f"| {name} | " + " | ".join(f"{figure:.3f}" for figure in figures) + " |")


def print_thresholds(rows: Mapping[str, NDArray[np.bool_]], answered: Sequence[Answered]) -> None:
    """How many questions of each kind are answered, for each row that says which are."""
    right = np.array([one.right for one in answered])
    kinds = {
        "answerable": np.array([one.answerable and not one.taken_out for one in answered]),
        "unanswerable": np.array([not one.answerable for one in answered]),
        "evidence taken out": np.array([one.taken_out for one in answered]),
    }
    heads = [f"answered of {members.sum()} {name}" for name, members in kinds.items()]
    print("\n| threshold | " + " | ".join(heads) + " | right |\n|---|---|---|---|---|")
    for name, given in rows.items():
        print(f"| {name} | " + " | ".join(str((given & members).sum()) for members in (*kinds.values(), right)) + " |")


def rows_of(
    scale: NDArray[np.float64], also: Mapping[str, float], recorded: NDArray[np.float64], value: float | None
) -> dict[str, NDArray[np.bool_]]:
    """Which questions are answered: by the record, then by a fitted scale at several thresholds."""
    thresholds = sorted({**{str(threshold): threshold for threshold in THRESHOLDS}, **also}.items(), key=itemgetter(1))
    rows = {f"{AS_RECORDED}, {value or 0.0}": recorded >= (value or 0.0)}
    return rows | {name: scale >= threshold for name, threshold in thresholds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", type=Path)
    parser.add_argument("index", type=Path)
    parser.add_argument("--cross-encoder", type=Path, help="the folder of one; the packaged one if none is given")
    parser.add_argument(
        "--and", type=Path, nargs=2, action="append", default=[], dest="more", metavar=("QUESTIONS", "INDEX")
    )
    parser.add_argument("--most", type=int)
    parser.add_argument("--generator-weight", type=float, default=0.0)
    parser.add_argument("--judge", type=Path, nargs=2, action="append", default=[], metavar=("QUESTIONS", "INDEX"))
    parser.add_argument("--taken-out-weight", type=float, default=TAKEN_OUT_WEIGHT)
    given = parser.parse_args()
    evidence = EvidenceReader(CrossEncoder.from_pretrained(given.cross_encoder or PACKAGED))
    reader = Reader.from_pretrained(cross_encoder="none") if given.generator_weight else None
    models = Models(evidence, reader, given.generator_weight)
    calibration = evidence.calibration
    recorded = calibration.confidence
    if reader is not None and calibration.with_generator is not None:
        recorded = calibration.with_generator.confidence
    answered: list[Answered] = []
    for questions, index in ((given.questions, given.index), *given.more):
        answered += answer_all(questions, index, models, given.most, halve=True)
    sample = sample_of(answered, given.taken_out_weight)
    candidates = SIGNS if reader is None else SIGNS_WITH_GENERATOR
    kept = RECORDED if reader is None else RECORDED_WITH_GENERATOR
    scales = {AS_RECORDED: confidences(recorded, sample)}
    for name, used in candidates.items():
        scales[name] = held_out_confidences(answered, sample, used)
    print_quality(scales, answered, sample)
    # The rule by which the thresholds of readers are chosen, on what each question gets from the others' fit.
    pairs = list(zip(map(float, scales[kept]), answered, strict=True))
    value = best_threshold(
        [(confidence, float(one.right)) for confidence, one in pairs if one.answerable and not one.taken_out],
        [confidence for confidence, one in pairs if not one.answerable or one.taken_out],
    )
    also = {f"{value:.3f} (chosen)": value}
    print_thresholds(rows_of(scales[kept], also, scales[AS_RECORDED], recorded.value), answered)
    for questions, index in given.judge:
        print(f"\n{questions.name}, with what was fitted above")
        judged = answer_all(questions, index, models, given.most)
        other = sample_of(judged, given.taken_out_weight)
        scales = {name: confidences(fit(sample, used), other) for name, used in candidates.items()}
        scales = {AS_RECORDED: confidences(recorded, other), **scales}
        print_quality(scales, judged, other)
        print_thresholds(rows_of(scales[kept], also, scales[AS_RECORDED], recorded.value), judged)
    weights = fit(sample, candidates[kept])
    numbers = {name: round(value, 3) for name, value in weights.model_dump().items()}
    record = {"value": round(value, 3), "weights": numbers}
    print("\nFor cross_encoder.json, with the chosen threshold; the table says what another one buys:")
    if reader is None:
        print(f'"confidence": {json.dumps(record)}')
    else:
        print(f'"with_generator": {json.dumps({"weight": given.generator_weight, "confidence": record})}')


if __name__ == "__main__":
    main()
