"""From scores to comparisons: a candidate against its control on the same samples, corrected for how many there are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalkit.metrics import Measured, Metric
from evalkit.records import Comparison, Unscored
from evalkit.running.score import RESAMPLES, Scored, right_or_wrong
from evalkit.specs.study import Correction
from evalkit.stats import (
    PairedDifference,
    add_noise,
    benjamini_hochberg,
    holm,
    noisy_p,
    paired_difference,
    paired_proportions_interval,
    widen,
)

__all__ = ["compare_scored", "correct", "ends_at", "uncorrected"]


def compare_scored(
    first: Scored,
    second: Scored,
    *,
    candidate: str,
    control: str,
    task: str,
    confidence: float = 0.95,
    seed: int = 0,
    exact: bool = False,
    noise: Mapping[str, float | None] | None = None,
) -> list[Comparison]:
    """Compare a candidate with its control on every metric that both have.

    Samples are paired by id; a sample that either side could not be scored on is left out of that metric's
    pairs (``n`` counts the pairs that remain).

    Args:
        first: The candidate's scores.
        second: The control's.
        candidate: Name of the first.
        control: Name of the second.
        task: Name of the task.
        confidence: Two-sided level of the intervals.
        seed: Of bootstrap and permutation.
        exact: McNemar's exact test for right/wrong in place of its mid-p.
        noise: Metric → standard deviation of the difference between numerical realisations, where it was measured.

    Returns:
        One comparison a metric; adjusted values are None until ``correct``.
    """
    place = {id_: index for index, id_ in enumerate(second.ids)}
    shared = [(index, place[id_]) for index, id_ in enumerate(first.ids) if id_ in place]
    names = {"candidate": candidate, "control": control, "task": task}
    return [
        _compare(metric, first, second, shared, names, confidence, seed, exact, (noise or {}).get(name))
        for name, metric in first.metrics.items()
        if name in second.metrics
    ]


def correct(
    comparisons: Sequence[Comparison], *, confidence: float = 0.95, method: Correction = "holm"
) -> list[Comparison]:
    """Correct all comparisons of a run for their number.

    With Holm the chance of any false finding stays at the level, and intervals are at Bonferroni's level, so that all
    of them hold together with ``confidence``. With Benjamini and Hochberg the expected share of false findings among
    the R findings of m does, and intervals are at 1 − R (1 − confidence) / m, so that the expected share of those
    findings' intervals that miss does too (Benjamini and Yekutieli 2005). Tango's intervals are computed anew,
    bootstrap intervals carried there by the ratio of normal quantiles.

    Args:
        comparisons: Those that count as one family: give only the ones that a reader would act on.
        confidence: The level their intervals have.
        method: ``holm`` or ``bh``.
    """
    p_values = [comparison.p_value for comparison in comparisons]
    adjusted = holm(p_values) if method == "holm" else benjamini_hochberg(p_values)
    tests = sum(p is not None for p in adjusted)
    found = 1 if method == "holm" else max(1, sum(p is not None and p <= 1 - confidence for p in adjusted))
    wider = 1 - found * (1 - confidence) / max(tests, 1)
    return [
        replace(comparison, p_adjusted=p, low_adjusted=low, high_adjusted=high)
        for comparison, p in zip(comparisons, adjusted, strict=True)
        for low, high in [ends_at(comparison, confidence, wider)]
    ]


def _compare(
    metric: Metric,
    first: Scored,
    second: Scored,
    shared: list[tuple[int, int]],
    names: Mapping[str, Any],
    confidence: float,
    seed: int,
    exact: bool,
    noise_sd: float | None,
) -> Comparison:
    ours, theirs = first.measured[metric.name], second.measured[metric.name]
    kept = [(i, j) for i, j in shared if ours.scored[i] and theirs.scored[j]]
    mine, other = [i for i, _ in kept], [j for _, j in kept]
    a, b = metric.align(ours, theirs)
    scores = _floats(ours, mine), _floats(theirs, other)
    shares = right_or_wrong(metric, ours, mine) and right_or_wrong(metric, theirs, other)
    found = paired_difference(
        a[mine],
        b[other],
        metric.value,
        scores=scores if metric.additive_mean else None,
        shares=shares,
        clusters=[first.clusters[i] for i in mine],
        confidence=confidence,
        resamples=RESAMPLES,
        seed=seed,
        bounds=metric.bounds,
        exact=exact,
    )
    better = (scores[0] - scores[1]) * (1 if metric.higher_is_better else -1)
    ids = [first.ids[i] for i in mine]
    most = metric.bounds[1] - metric.bounds[0]
    return uncorrected(
        found, ids, better, noise_sd=noise_sd, most=most, confidence=confidence, metric=metric.name, **names
    )


def uncorrected(
    found: PairedDifference,
    ids: Sequence[str],
    better: NDArray[np.float64],
    *,
    noise_sd: float | None = None,
    most: float = math.inf,
    confidence: float = 0.95,
    **names: str,
) -> Comparison:
    """The comparison that a difference makes, before it is corrected for the others beside it.

    Args:
        found: The difference.
        ids: The n samples it rests on.
        better: (n,) by how much the candidate is better on each, above 0 for better whatever the metric's direction.
        noise_sd: Of the difference between numerical realisations, which joins interval and p-value; None where it
            was not measured.
        most: Largest difference there is.
        confidence: The level that the interval has.
        **names: ``candidate``, ``control``, ``task``, ``metric``.
    """
    value, low, high, p_value = found.difference, found.low, found.high, found.p_value
    if noise_sd and value is not None and low is not None and high is not None:
        if p_value is not None:
            p_value = noisy_p(p_value, value, low, high, noise_sd, confidence)
        low, high = add_noise(value, low, high, noise_sd, confidence, (-most, most))
    return Comparison(
        candidate=names["candidate"],
        control=names["control"],
        task=names["task"],
        metric=names["metric"],
        difference=value,
        low=low,
        high=high,
        low_adjusted=None,
        high_adjusted=None,
        p_value=p_value,
        p_adjusted=None,
        test=found.test,
        n=found.n,
        gained=[i for i, gain in zip(ids, better, strict=True) if gain > 0],
        lost=[i for i, gain in zip(ids, better, strict=True) if gain < 0],
        noise_sd=noise_sd,
    )


def _floats(measured: Measured, rows: list[int]) -> np.ndarray[Any, np.dtype[np.float64]]:
    scores = [measured.scores[row] for row in rows]
    return np.array([score for score in scores if not isinstance(score, Unscored)], dtype=np.float64)


def ends_at(comparison: Comparison, confidence: float, wider: float) -> tuple[float | None, float | None]:
    """Carry a comparison's interval from one level to a wider one, by the method that made it."""
    value, low, high = comparison.difference, comparison.low, comparison.high
    if value is None or low is None or high is None:
        return None, None
    if comparison.test in ("mcnemar-mid-p, tango", "mcnemar-exact, tango"):
        up, down = len(comparison.gained), len(comparison.lost)
        if (value > 0) != (up > down):  # lower is better: a gain is a smaller score
            up, down = down, up
        ends = paired_proportions_interval(up, down, comparison.n, wider)
        return add_noise(value, *ends, comparison.noise_sd or 0.0, wider, (-1.0, 1.0))
    return widen(value, low, high, confidence, wider)
