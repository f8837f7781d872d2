"""How sure a figure is: intervals, paired differences, tests, and what a number of questions can tell apart.

Questions about one document stand or fall together, so documents are resampled, not questions. Everything is a pure
function over numbers, with the seed as an argument: equal arguments give equal results.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 4000
"""Resamples of a bootstrap or permutation test: the p-value's own error is below .004 at .05."""

CONFIDENCE_LEVEL = 0.95
POWER = 0.80
_FEWEST_DRAWN = 10
"""Fewest documents that are resampled: nine can be flipped in only 2^9 ways, and two resampled documents are mostly
the same two."""

_MOST_ALIKE = 0.005
"""Share of draws without an error of their own above which Student's t replaces them."""

_WIDEST = 1.5
"""Times the width of Student's interval above which bootstrap-t is not trusted: where few questions of few documents
score, draws with nearly no error of their own make its ends (simulated: twice as wide, covering no more)."""

_CORRELATION = 0.05
"""Correlation of scores within a document, where it has to be guessed."""

_BLOCK = 2_000_000
"""Weights drawn at once: 16 MB."""


class Interval(NamedTuple):
    """A mean with its interval; the interval is None where it cannot be computed."""

    mean: float
    low: float | None
    high: float | None
    questions: int
    documents: int

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return self.low is not None


class PairedTest(NamedTuple):
    """Two arms on the same questions."""

    difference: Interval
    """Mean of first minus second."""
    p: float
    """Two-sided p-value: by flipping the signs of documents' differences at random, or with fewer than ten documents by
    Student's t over documents. 1 with one document, which shows nothing."""
    flipped: str
    """"documents", or "nothing" where they are too few."""
    p_mcnemar: float | None
    """Exact two-sided p-value of right against wrong; None unless all scores are 0 or 1."""
    detectable: float | None
    """Smallest true difference that these questions would show in 80 of 100 such evaluations of one pair; None with one
    document, or where all differences are equal."""


def mean_interval(
    scores: Sequence[float],
    documents: Sequence[Hashable] | None = None,
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    confidence: float = CONFIDENCE_LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The mean of scores with a bootstrap-t interval that resamples whole documents.

    Bootstrap-t (Efron, 1981), studentised by the cluster-robust error of a ratio of sums; Cameron, Gelbach and Miller
    (2008) find it closer to its confidence with few clusters than percentiles. With fewer than ten documents, or
    where nearly all questions score alike, Student's t with one degree of freedom less than documents replaces the
    draws. The interval is never narrower than that of as many independent questions, however alike a few documents
    happen to be. Where all scores are equal, it covers the largest share of questions that could score otherwise and
    have been missed by chance. It is cut at `bounds`, and None with fewer than two documents. `documents` None: every
    question stands alone. Raises ValueError for no scores, a score that is not finite, or lists of different
    lengths.
    """
    values, names = _checked(scores, documents)
    return _interval(_Grouped.of(values, names), bounds, confidence, resamples, seed)


class _Grouped(NamedTuple):
    """Scores by document, with the cluster-robust error of their mean."""

    sums: NDArray[np.float64]
    counts: NDArray[np.float64]
    mean: float
    error: float
    """NaN with one document."""
    independent: float
    """The error if all questions were independent."""
    alike: bool
    """Whether all scores are equal."""

    @classmethod
    def of(cls, values: NDArray[np.float64], names: Sequence[Hashable]) -> _Grouped:
        """Each document's sum and number of questions, in order of first use."""
        sums, counts = _by_document(values, names)
        error = float(_error(np.ones((1, len(sums))), sums, counts)[0]) if len(sums) > 1 else math.nan
        independent = float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan
        return cls(sums, counts, float(values.mean()), error, independent, bool((values == values[0]).all()))

    def quantile(self, share: float) -> float:
        """Quantile of the mean's error: of Student's t with few documents, else of the normal distribution."""
        from scipy.stats import norm, t

        few = len(self.sums) < _FEWEST_DRAWN
        return float(t.ppf(share, len(self.sums) - 1) if few else norm.ppf(share))


def _interval(grouped: _Grouped, bounds: tuple[float, float], confidence: float, resamples: int, seed: int) -> Interval:
    questions, clusters, mean = int(grouped.counts.sum()), len(grouped.sums), grouped.mean
    if clusters < 2:
        return Interval(mean, None, None, questions, clusters)
    if grouped.alike:
        # The share that could score otherwise and still be seen in none of these by chance, as rarely as the confidence
        # allows. Where no score differs, the correlation within a document is unknown: the usual one is assumed.
        missed = 1 - ((1 - confidence) / 2) ** (_design(questions, clusters, _CORRELATION) / questions)
        low, high = mean - missed * (mean - bounds[0]), mean + missed * (bounds[1] - mean)
        return Interval(mean, low, high, questions, clusters)
    from scipy.stats import norm, t

    plain = float(t.ppf((1 + confidence) / 2, clusters - 1))
    ends = None if clusters < _FEWEST_DRAWN else _studentised_quantiles(grouped, confidence, resamples, seed)
    if ends is None or ends[1] - ends[0] > _WIDEST * 2 * plain:
        ends = -plain, plain
    least = float(norm.ppf((1 + confidence) / 2)) * grouped.independent
    return Interval(
        mean,
        max(bounds[0], mean - max(ends[1] * grouped.error, least)),
        min(bounds[1], mean + max(-ends[0] * grouped.error, least)),
        questions,
        clusters,
    )


def _studentised_quantiles(
    grouped: _Grouped, confidence: float, resamples: int, seed: int
) -> tuple[float, float] | None:
    """Quantiles of (drawn mean - mean) / drawn error; None where too many draws have documents that are all alike."""
    sums, counts, mean = grouped[:3]
    clusters = len(sums)
    chooser = np.random.default_rng(seed)
    blocks: list[NDArray[np.float64]] = []
    for size in _blocks(resamples, clusters):
        weights = chooser.multinomial(clusters, np.full(clusters, 1 / clusters), size=size).astype(np.float64)
        means, errors = (weights @ sums) / (weights @ counts), _error(weights, sums, counts)
        # Where all drawn documents are alike, there is no error to divide by.
        sound = errors > 1e-12
        blocks.append((means[sound] - mean) / errors[sound])
    drawn = np.concatenate(blocks)
    # With a few right answers among hundreds most draws have none, and a quantile of the rest would be chance.
    if len(drawn) < (1 - _MOST_ALIKE) * resamples:
        return None
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def compare(
    first: Sequence[float],
    second: Sequence[float],
    documents: Sequence[Hashable] | None = None,
    *,
    confidence: float = CONFIDENCE_LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> PairedTest:
    """Compare two arms' scores on the same questions, in the same order. Raises ValueError as `mean_interval` does."""
    if len(first) != len(second):
        raise ValueError(f"{len(first)} scores cannot be paired with {len(second)}: give both arms the same questions")
    first_scores, names = _checked(first, documents)
    second_scores, _ = _checked(second, documents)
    difference = first_scores - second_scores
    grouped = _Grouped.of(difference, names)
    by_documents = len(grouped.sums) >= _FEWEST_DRAWN
    p = _sign_flips(grouped.sums, resamples, seed) if by_documents else _p_of_few(grouped)
    binary = np.isin(first_scores, (0.0, 1.0)).all() and np.isin(second_scores, (0.0, 1.0)).all()
    return PairedTest(
        _interval(grouped, (-1.0, 1.0), confidence, resamples, seed),
        p,
        "documents" if by_documents else "nothing",
        mcnemar(first_scores, second_scores) if binary else None,
        None if grouped.alike or math.isnan(grouped.error) else _detectable(grouped),
    )


def _p_of_few(grouped: _Grouped) -> float:
    """Two-sided p of a mean of zero over too few documents to flip, consistent with their interval.

    By Student's t over documents or the normal distribution over questions, whichever is larger.
    """
    from scipy.stats import norm, t

    clusters, mean = len(grouped.sums), abs(grouped.mean)
    if clusters < 2 or mean == 0.0:
        return 1.0
    if grouped.alike:
        return float(2.0 ** (1 - clusters))  # every document on one side, as the sign test counts it
    by_questions = 2 * norm.sf(mean / grouped.independent)
    by_documents = 2 * t.sf(mean / grouped.error, clusters - 1) if grouped.error > 0 else 0.0
    return float(max(by_questions, by_documents))


def mcnemar(first: Sequence[float] | NDArray[np.float64], second: Sequence[float] | NDArray[np.float64]) -> float:
    """McNemar's test, exact and two-sided: are the questions that only one arm gets right split evenly?

    A score of a half or more is right.
    """
    from scipy.stats import binomtest

    first_right, second_right = np.asarray(first) >= 0.5, np.asarray(second) >= 0.5
    only_first, only_second = int((first_right & ~second_right).sum()), int((second_right & ~first_right).sum())
    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second).pvalue)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's (1979) adjusted p-values by name: reject those below the level, which then holds for all together."""
    ordered = sorted(p_values.items(), key=lambda item: item[1])
    adjusted: dict[str, float] = {}
    worst = 0.0
    for i, (name, p) in enumerate(ordered):
        worst = max(worst, min(1.0, p * (len(ordered) - i)))
        adjusted[name] = worst
    return {name: adjusted[name] for name in p_values}


def detectable_before(
    questions: int, documents: int, *, spread: float = 0.5, correlation: float = _CORRELATION
) -> float:
    """Smallest difference that this many questions can be expected to show, computed before a run; 1 at most.

    `spread`: standard deviation of a question's difference between two arms (F1 of two readers here: .4 to .55);
    `correlation`: correlation of differences within a document. Raises ValueError without questions.
    """
    if questions < 1 or documents < 1:
        raise ValueError(f"{questions} questions about {documents} documents show nothing: give at least one of each")
    design = _design(questions, documents, correlation)
    each = np.ones(max(2, documents))  # one document shows nothing: two, with one degree of freedom, is close
    shaped = _Grouped(each, each, 0.0, spread * math.sqrt(design / questions), 0.0, False)
    return min(1.0, _detectable(shaped))


def _design(questions: int, documents: int, correlation: float) -> float:
    """Kish's design effect: how many correlated questions are worth one independent question."""
    return 1 + (questions / documents - 1) * correlation


def _detectable(grouped: _Grouped) -> float:
    from scipy.stats import norm

    by_questions = (norm.ppf((1 + CONFIDENCE_LEVEL) / 2) + norm.ppf(POWER)) * grouped.independent
    by_documents = (grouped.quantile((1 + CONFIDENCE_LEVEL) / 2) + grouped.quantile(POWER)) * grouped.error
    return float(max(by_questions, by_documents))


def _checked(
    scores: Sequence[float], documents: Sequence[Hashable] | None
) -> tuple[NDArray[np.float64], Sequence[Hashable]]:
    values = np.asarray(scores, dtype=np.float64)
    if not len(values):
        raise ValueError("there are no scores: give at least one question")
    if not np.isfinite(values).all():
        raise ValueError(f"score {int(np.flatnonzero(~np.isfinite(values))[0])} is not finite: report it as missing")
    names = range(len(values)) if documents is None else documents
    if len(names) != len(values):
        raise ValueError(f"{len(values)} scores and {len(names)} documents: give a document for each score")
    return values, names


def _by_document(
    values: NDArray[np.float64], names: Sequence[Hashable]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum of scores and number of questions of each document, in order of first use."""
    indices: dict[Hashable, int] = {}
    document = np.array([indices.setdefault(name, len(indices)) for name in names])
    sums = np.bincount(document, values, len(indices)).astype(np.float64)
    return sums, np.bincount(document, minlength=len(indices)).astype(np.float64)


def _error(weights: NDArray[np.float64], sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cluster-robust standard error of the mean for each row of document weights (R, C), by linearisation."""
    clusters = len(sums)
    totals = weights @ counts
    means = (weights @ sums) / totals
    residuals = sums[None] - means[:, None] * counts[None]
    squares = (weights * residuals**2).sum(1)
    error: NDArray[np.float64] = np.sqrt(squares * clusters / (clusters - 1)) / totals
    return error


def _sign_flips(differences: NDArray[np.float64], resamples: int, seed: int) -> float:
    """Share of sign flips whose sum is as far from zero as the real sum, which is counted too."""
    wanted = abs(float(differences.sum())) - 1e-12
    chooser = np.random.default_rng(seed)
    reached = 0
    for size in _blocks(resamples, len(differences)):
        signs = chooser.integers(0, 2, (size, len(differences))) * 2 - 1
        reached += int((np.abs(signs @ differences) >= wanted).sum())
    return (reached + 1) / (resamples + 1)


def _blocks(resamples: int, width: int) -> list[int]:
    most = max(1, _BLOCK // width)
    return [min(most, resamples - start) for start in range(0, resamples, most)]
