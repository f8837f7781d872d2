"""Fit the confidence of whole-sentence answers, and say how well it tells right answers from wrong ones.

    python benchmarks/sentence_confidence.py QUESTIONS.jsonl INDEX [--cross-encoder DIR] [--judge QUESTIONS INDEX]...

INDEX: an index, or a folder of indexes whose names end the beginnings of document ids in the records: of
`faq/owner/name/guide.md`, `guide.md` in `owner+name`. Only questions that ask for sentences count, and of these only
records whose evidence stands in the index where they say. --judge: other questions that nothing is fitted on.

Each question is searched, reranked and answered as `rag-ft ask` does, with abstention off. An answer is right if its
part shares a character with a piece of evidence. Each answerable question is asked a second time with all passages
taken out of the search that hold a piece of its evidence: what is answered then is wrong. Such an answer counts
`--taken-out-weight` (0.25) in all figures and in the fit, a record without an answer counts 1.

Printed: the area under the ROC curve (AUC) and the log-loss of the relevance alone, of all three signs, and of the
record as it is. A question is judged by what was fitted without its index, or, of a single index, without its half of
the documents. Then what each confidence as a threshold buys, and what to put into `cross_encoder.json`.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import rankdata

from rag_ft.answering.confidence import PartCalibration, PartSigns, PartWeights
from rag_ft.answering.evidence import EvidenceReader, choose_part, part_signs
from rag_ft.indexing.index import Index
from rag_ft.indexing.query import Query
from rag_ft.indexing.reranking import FIRST_WEIGHT, RERANK_DEPTH, rerank
from rag_ft.indexing.retriever import OWN_WEIGHT
from rag_ft.metrics.kinds import overlaps_evidence
from rag_ft.models.cross_encoder import CrossEncoder
from rag_ft.models.weights import PACKAGED
from rag_ft.questions.records import read_questions
from rag_ft.questions.split import split_by_document
from rag_ft.schema import Hit, Question
from rag_ft.text.asking import asks_for_sentences

READ = 3
"""Passages that the reader is given."""
SPARE = 10
"""Further passages of the first search, for those that are taken out."""
PENALTY = 0.5
"""Of the sum of squared weights, so that they stay finite where everything right is surer than everything wrong."""
THRESHOLDS = (0.0, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
SIGNS = {"relevance": (0,), "relevance, evidence": (0, 1), "relevance, margin": (0, 2), "all three": (0, 1, 2)}


class Answered(NamedTuple):
    """What came of one question."""

    question: Question
    group: str
    """What is held out together."""
    taken_out: bool
    """Whether the passages with its evidence were taken out."""
    signs: PartSigns
    right: bool
    hits: Sequence[Hit]
    """The passages that it was answered from."""


class Sample(NamedTuple):
    """Answers as arrays."""

    signs: NDArray[np.float64]
    """(answers, 3)"""
    right: NDArray[np.bool_]
    weights: NDArray[np.float64]


def questions_by_index(path: Path, folder: Path) -> Iterator[tuple[str, Index, list[Question]]]:
    """Each index with its questions, whose document ids are made those of the index; prints what does not fit."""
    questions = [question for question in read_questions(path) if asks_for_sentences(question.question)]
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


def groups_of(name: str, questions: Sequence[Question], single: bool) -> dict[str, str]:
    """What is held out together, by question id: an index, or half of the documents of the only one."""
    if not single:
        return {question.id: name for question in questions}
    held_out = {question.id for question in split_by_document(questions, 0.5, 0).held_out}
    return {question.id: "second half" if question.id in held_out else "first half" for question in questions}


def answer_all(path: Path, folder: Path, cross_encoder: CrossEncoder) -> list[Answered]:
    """All questions answered, as they are and with the evidence taken out."""
    answered: list[Answered] = []
    for name, index, questions in questions_by_index(path, folder):
        groups = groups_of(name, questions, (folder / "manifest.json").is_file())
        found = index.as_retriever(k=RERANK_DEPTH + SPARE).retrieve_batch([one.question for one in questions])
        for question, first in zip(questions, found, strict=True):
            for taken_out in (False, True) if question.answerable else (False,):
                kept = [
                    hit
                    for hit in first
                    if not taken_out
                    or not overlaps_evidence(
                        hit.passage.document_id, hit.passage.start, hit.passage.end, question.evidence
                    )
                ][:RERANK_DEPTH]
                if not kept:
                    continue
                (hits,) = rerank([Query(question.question)], [kept], cross_encoder, FIRST_WEIGHT, OWN_WEIGHT)
                passages = [hit.passage for hit in hits[:READ]]
                scores, *others = cross_encoder.score(question.question, passages)
                part = choose_part(passages[0], scores)
                if part is None:
                    continue
                right = overlaps_evidence(
                    passages[0].document_id,
                    passages[0].start + part.span.start,
                    passages[0].start + part.span.end,
                    question.evidence,
                )
                signs = part_signs(part, scores, others, hits[0].margin)
                answered.append(Answered(question, groups[question.id], taken_out, signs, right, hits[:READ]))
        print(f"{name}: {len(questions)} questions", flush=True)
    return answered


def sample_of(answered: Sequence[Answered], taken_out_weight: float) -> Sample:
    """The answers as arrays, weighted."""
    return Sample(
        np.array([one.signs for one in answered], dtype=np.float64).reshape(-1, 3),
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


def print_quality(name: str, confidence: NDArray[np.float64], sample: Sample, as_is: NDArray[np.bool_]) -> None:
    """One row: AUC of all answers, AUC without those whose evidence was taken out, log-loss."""
    apart = Sample(sample.signs[as_is], sample.right[as_is], sample.weights[as_is])
    figures = area(confidence, sample), area(confidence[as_is], apart), log_loss(confidence, sample)
    print(f"| {name} | " + " | ".join(f"{figure:.3f}" for figure in figures) + " |")


def print_thresholds(confidence: NDArray[np.float64], answered: Sequence[Answered], also: Sequence[float]) -> None:
    """What is answered at each threshold, and what becomes of the questions without an answer."""
    kinds = {
        "answerable": [not one.taken_out and one.question.answerable for one in answered],
        "unanswerable": [not one.taken_out and not one.question.answerable for one in answered],
        "evidence taken out": [one.taken_out for one in answered],
    }
    right = np.array([one.right for one in answered])
    totals = {name: sum(members) for name, members in kinds.items()}
    print("\n| threshold | " + " | ".join(f"answered of {count} {name}" for name, count in totals.items()), end="")
    print(" | right | share right, of the answers to answerable questions |\n|---|---|---|---|---|---|")
    for threshold in sorted({*THRESHOLDS, *also}):
        given = confidence >= threshold
        counts = [int((given & np.array(members)).sum()) for members in kinds.values()]
        count = int((given & right).sum())
        share = f"{count / counts[0]:.0%}" if counts[0] else "-"
        print(f"| {threshold:.3g} | " + " | ".join(map(str, counts)) + f" | {count} | {share} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", type=Path)
    parser.add_argument("index", type=Path)
    parser.add_argument("--cross-encoder", type=Path, help="the folder of one; the packaged one if none is given")
    parser.add_argument("--judge", type=Path, nargs=2, action="append", default=[], metavar=("QUESTIONS", "INDEX"))
    parser.add_argument("--taken-out-weight", type=float, default=0.25)
    given = parser.parse_args()
    cross_encoder = CrossEncoder.from_pretrained(given.cross_encoder or PACKAGED)
    recorded = EvidenceReader(cross_encoder).calibration.confidence
    answered = answer_all(given.questions, given.index, cross_encoder)
    sample = sample_of(answered, given.taken_out_weight)
    groups = np.array([one.group for one in answered])
    as_is = np.array([not one.taken_out for one in answered])
    print(f"\n{as_is.sum()} questions, {(~as_is).sum()} again without their evidence; {sample.right.sum()} right")
    print("\n| confidence from | AUC | AUC with the evidence there | log-loss |\n|---|---|---|---|")
    print_quality("the record as it is", confidences(recorded, sample), sample, as_is)
    for name, used in SIGNS.items():
        confidence = np.zeros(len(answered))
        for group in np.unique(groups):
            inside = groups == group
            others = fit(Sample(*(column[~inside] for column in sample)), used)
            confidence[inside] = confidences(others, Sample(*(column[inside] for column in sample)))
        print_quality(f"{name}, fitted without the question's group", confidence, sample, as_is)
    # The threshold under which as many answerable questions are answered as with the record's.
    answerable = np.array([not one.taken_out and one.question.answerable for one in answered])
    count = int((confidences(recorded, sample)[answerable] >= (recorded.value or 0.0)).sum())
    ranked = np.sort(confidence[answerable])[::-1]
    same = float(ranked[count - 1]) if count else 1.0
    print_thresholds(confidence, answered, (same,))
    weights = fit(sample, SIGNS["all three"])
    for questions, index in given.judge:
        judged = answer_all(questions, index, cross_encoder)
        other = sample_of(judged, given.taken_out_weight)
        there = np.array([not one.taken_out for one in judged])
        print(f"\n{questions.name}: {there.sum()} questions, {(~there).sum()} again; {other.right.sum()} right")
        print("\n| confidence from | AUC | AUC with the evidence there | log-loss |\n|---|---|---|---|")
        print_quality("the record as it is", confidences(recorded, other), other, there)
        for name, used in SIGNS.items():
            print_quality(f"{name}, fitted above", confidences(fit(sample, used), other), other, there)
        print_thresholds(confidences(weights, other), judged, (same,))
    numbers = {name: round(value, 3) for name, value in weights.model_dump().items()}
    record = {"value": round(same, 3), "weights": numbers}
    print(f"\nFor cross_encoder.json; value answers {count} of {answerable.sum()}, as the record as it is does:")
    print(f'"confidence": {json.dumps(record)}')


if __name__ == "__main__":
    main()
