"""What the samples say about a rule: an estimate with its interval, at any confidence.

The methods are those of ``evalkit.stats`` in their strict form: the numbers of a run are described by intervals that
hold the truth in 95 of 100 runs, a verdict needs each end alone to hold its tail. Right/wrong scores have intervals
in closed form at every level; a bootstrap's is carried to a higher one (see ``stats.widen``), since the
tail it needs lies beyond what 10,000 resamples show.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evalkit.running.score import RESAMPLES
from evalkit.running.scores import Series
from evalkit.stats import UNBOUNDED, add_noise, bootstrap_interval, paired_difference, widen

__all__ = ["Drawing", "Evidence", "Pairs", "Values", "pairs_of", "values_of"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Drawing:
    """How intervals are made.

    Attributes:
        confidence: Two-sided level.
        seed: Of bootstraps.
        resamples: Of bootstraps.
    """

    confidence: float = 0.95
    seed: int = 0
    resamples: int = RESAMPLES


@dataclass(frozen=True, slots=True)
class Evidence:
    """An estimate and where it lies.

    Attributes:
        estimate: The value, or the difference with higher oriented to be better; None where undefined.
        low: Lower end of its interval; None where the samples say nothing about the spread.
        high: Upper end.
        n: Samples, or pairs, behind it.
        at: Confidence → the ends at that level.
        noise_sd: What of it no number of samples makes smaller: the shift between numerical realisations.
    """

    estimate: float | None
    low: float | None
    high: float | None
    n: int
    at: Callable[[float], tuple[float, float]]
    noise_sd: float = 0.0


@dataclass(frozen=True, slots=True)
class Values:
    """One candidate's scored samples.

    Attributes:
        statistics: (n, k).
        scores: (n,).
        value: (..., k) totals → (...) values.
        shares: Scores are right or wrong.
        clusters: n clusters.
        bounds: Least and largest value.
        noise_sd: Of the shift between numerical realisations, which the interval holds too.
    """

    statistics: Array
    scores: Array
    value: Callable[[Array], Array]
    shares: bool
    clusters: Sequence[str | None]
    bounds: tuple[float, float] = UNBOUNDED
    noise_sd: float = 0.0

    def evidence(self, drawing: Drawing) -> Evidence:
        """The value with its interval, in the metric's own unit."""

        def ends(confidence: float) -> tuple[float | None, float | None, float | None]:
            found = bootstrap_interval(
                self.statistics,
                self.value,
                shares=self.shares,
                clusters=self.clusters,
                confidence=confidence,
                resamples=drawing.resamples,
                seed=drawing.seed,
                bounds=self.bounds,
                strict=True,
            )
            if found.value is None or found.low is None or found.high is None:
                return found.value, None, None
            low, high = add_noise(found.value, found.low, found.high, self.noise_sd, confidence, self.bounds)
            return found.value, low, high

        return _evidence(ends, len(self.scores), self.shares, drawing, self.noise_sd)


@dataclass(frozen=True, slots=True)
class Pairs:
    """A candidate and its reference on the same samples, both scored.

    Attributes:
        ids: n ids.
        first: (n, k) the candidate's statistics.
        second: (n, k) the reference's, with the same columns.
        scores: (n,) of the candidate and (n,) of the reference.
        value: (..., k) totals → (...) values.
        mean: The value is the mean of the scores.
        shares: Scores are right or wrong.
        clusters: n clusters.
        sign: 1 where higher is better, else -1.
        bounds: Least and largest value.
        noise_sd: Of the difference's shift between numerical realisations, which the interval holds too.
    """

    ids: list[str]
    first: Array
    second: Array
    scores: tuple[Array, Array]
    value: Callable[[Array], Array]
    mean: bool
    shares: bool
    clusters: Sequence[str | None]
    sign: int
    bounds: tuple[float, float] = UNBOUNDED
    noise_sd: float = 0.0

    @property
    def gains(self) -> Array:
        """(n,) how much better the candidate does on each sample."""
        return self.sign * (self.scores[0] - self.scores[1])

    def evidence(self, drawing: Drawing) -> Evidence:
        """The difference candidate − reference, oriented so that higher is better."""

        def ends(confidence: float) -> tuple[float | None, float | None, float | None]:
            found = paired_difference(
                self.first,
                self.second,
                self.value,
                scores=self.scores if self.mean else None,
                shares=self.shares,
                clusters=self.clusters,
                confidence=confidence,
                resamples=drawing.resamples,
                seed=drawing.seed,
                bounds=self.bounds,
                strict=True,
            )
            if found.difference is None or found.low is None or found.high is None:
                return found.difference, None, None
            most = self.bounds[1] - self.bounds[0]
            ends = add_noise(
                found.difference, found.low, found.high, self.noise_sd, confidence, (-most, most)
            )
            low, high = sorted(self.sign * end for end in ends)
            return self.sign * found.difference + 0.0, low, high  # + 0.0: no difference is 0, not -0

        return _evidence(ends, len(self.first), self.shares, drawing, self.noise_sd)

    def reference(self) -> float:
        """The reference's value over the pairs."""
        return float(self.value(self.second.sum(0)))


def values_of(series: Series) -> Values:
    """The samples of a series that have a score."""
    kept = series.scored
    clusters = [cluster for cluster, keep in zip(series.clusters, kept, strict=True) if keep]
    return Values(
        series.statistics[kept],
        series.scores[kept],
        series.value,
        series.shares,
        clusters,
        series.bounds,
        series.noise_sd or 0.0,
    )


def pairs_of(candidate: Series, reference: Series) -> Pairs:
    """Pair by id the samples that both sides have a score for."""
    place = {id_: index for index, id_ in enumerate(reference.ids)}
    kept = [
        (i, place[id_])
        for i, id_ in enumerate(candidate.ids)
        if id_ in place and candidate.scored[i] and reference.scored[place[id_]]
    ]
    mine = np.array([i for i, _ in kept], dtype=np.int64)
    other = np.array([j for _, j in kept], dtype=np.int64)
    first, second = candidate.aligned(reference)
    return Pairs(
        ids=[candidate.ids[i] for i in mine],
        first=first[mine],
        second=second[other],
        scores=(candidate.scores[mine], reference.scores[other]),
        value=candidate.value,
        mean=candidate.corpus is None and not candidate.weighted,
        shares=candidate.shares and reference.shares,
        clusters=[candidate.clusters[i] for i in mine],
        sign=1 if candidate.higher_is_better else -1,
        bounds=candidate.bounds,
        noise_sd=math.hypot(candidate.noise_sd or 0.0, reference.noise_sd or 0.0),
    )


def _evidence(
    ends: Callable[[float], tuple[float | None, float | None, float | None]],
    n: int,
    closed: bool,
    drawing: Drawing,
    noise_sd: float,
) -> Evidence:
    estimate, low, high = ends(drawing.confidence)
    if estimate is None or low is None or high is None:
        return Evidence(estimate, None, None, n, _undefined)

    def at(confidence: float) -> tuple[float, float]:
        if not closed:
            return widen(estimate, low, high, drawing.confidence, confidence)
        _, wider_low, wider_high = ends(confidence)
        return (low if wider_low is None else wider_low), (high if wider_high is None else wider_high)

    return Evidence(estimate, low, high, n, at, noise_sd)


def _undefined(confidence: float) -> tuple[float, float]:
    return float("-inf"), float("inf")
