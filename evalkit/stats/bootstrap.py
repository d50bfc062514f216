"""Bootstrap intervals from statistics per sample: resample counts × statistics, then the value of every
total.

Efron 1987 (BCa: bias-corrected and accelerated); Efron and Tibshirani 1993, ch. 14. The acceleration comes
from the jackknife, which needs no loop either: the totals without a sample are the totals minus its row. Below
``FEW`` units a bootstrap is too narrow, as a z-interval is; there both arms grow by t/z · √(n/(n − 1)), which makes
it Student's interval for a mean of normal scores (Hesterberg 2015, The American Statistician 69).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from evalkit.stats.clusters import design_effect
from evalkit.stats.proportions import clopper_pearson_interval, wilson_interval
from evalkit.stats.resampling import Array, group_rows, resample_counts, share_clusters, unit_of_sample

__all__ = ["Interval", "Replicates", "bca_interval", "bootstrap_interval", "replicate"]

ValueOf = Callable[[Array], Array]
"""Totals (..., k) → values (...)."""

FEW = 50
"""Units below which a bootstrap's arms are lengthened."""

UNBOUNDED = (-math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and where it lies.

    Attributes:
        value: Of all samples; None without samples.
        low: Lower end; None where the samples say nothing about the spread (fewer than two units).
        high: Upper end.
        method: ``wilson``, ``clopper-pearson``, ``bca`` or ``none``.
    """

    value: float | None
    low: float | None
    high: float | None
    method: str


@dataclass(frozen=True, slots=True)
class Replicates:
    """What a bootstrap leaves behind.

    Attributes:
        value: Of all samples.
        resampled: (resamples,) values of the resamples.
        jackknife: (units,) values with one unit left out.
    """

    value: float
    resampled: Array
    jackknife: Array


def bootstrap_interval(
    statistics: Array,
    value: ValueOf,
    *,
    shares: bool = False,
    clusters: Sequence[str | None] | None = None,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
    bounds: tuple[float, float] = UNBOUNDED,
    strict: bool = False,
) -> Interval:
    """Interval of ``value`` of the summed statistics.

    Args:
        statistics: (n, k) one row a sample.
        value: Vectorised: (..., k) totals to (...) values.
        shares: The value is the mean of right/wrong and the statistics are ``(right, 1)``: closed form, with the
            number of trials that clusters are worth where samples share one (see ``stats.clusters``).
        clusters: Cluster of each sample; None for samples on their own.
        confidence: Two-sided level.
        resamples: Number of resamples.
        seed: Of the draws.
        bounds: Least and largest value there is; no end lies outside.
        strict: For a decision at a bound: each end is wrong in no more than (1 − confidence) / 2 (Clopper–Pearson
            instead of Wilson for right/wrong; the rest is the same).

    >>> right = np.array([1.0] * 8 + [0.0] * 2)
    >>> rows = np.stack([right, np.ones(10)], axis=1)
    >>> interval = bootstrap_interval(rows, lambda totals: totals[..., 0] / totals[..., 1], shares=True)
    >>> round(interval.low, 4), interval.value, round(interval.high, 4)
    (0.4902, 0.8, 0.9433)
    """
    if len(statistics) == 0:
        return Interval(None, None, None, "none")
    whole = float(value(statistics.sum(0)))
    shared = share_clusters(clusters)
    units = unit_of_sample(len(statistics), clusters, seed)
    count = int(units.max()) + 1
    if shares:
        trials = float(len(statistics))
        if shared:
            rows = group_rows(statistics, units)
            trials /= design_effect(rows[:, 0], rows[:, 1])
        interval = clopper_pearson_interval if strict else wilson_interval
        return Interval(whole, *interval(whole * trials, trials, confidence), _name(interval))
    if count < 2 or not np.isfinite(whole):
        return Interval(whole if np.isfinite(whole) else None, None, None, "none")
    rows = group_rows(statistics, units)
    low, high = bca_interval(replicate(rows, value, resamples, seed), confidence)
    return Interval(whole, max(low, min(bounds[0], whole)), min(high, max(bounds[1], whole)), "bca")


def _name(interval: Callable[..., object]) -> str:
    return "wilson" if interval is wilson_interval else "clopper-pearson"


def replicate(rows: Array, value: ValueOf, resamples: int, seed: int) -> Replicates:
    """Resample and jackknife the units' rows (units, k)."""
    chunks = [value(counts @ rows) for counts in resample_counts(len(rows), resamples, seed)]
    total = rows.sum(0)
    return Replicates(float(value(total)), np.concatenate(chunks), value(total - rows))


def bca_interval(replicates: Replicates, confidence: float) -> tuple[float, float]:
    """BCa interval from a bootstrap; the plain percentiles where its corrections are undefined.

    A resample without a value (such as a correlation of one class) is left out. With fewer than ``FEW`` units the
    arms are lengthened.
    """
    values = replicates.resampled[np.isfinite(replicates.resampled)]
    if len(values) == 0:
        return replicates.value, replicates.value
    levels = _bca_levels(values, replicates, confidence)
    low, high = (float(end) for end in np.quantile(values, levels))
    middle, factor = replicates.value, _lengthened(len(replicates.jackknife), confidence)
    return min(low, middle - factor * (middle - low)), max(high, middle + factor * (high - middle))


def _lengthened(units: int, confidence: float) -> float:
    """By how much the arms of a bootstrap over few units are too short."""
    if units >= FEW:
        return 1.0
    from scipy.special import ndtri, stdtrit

    level = (1 + confidence) / 2
    ratio = float(stdtrit(units - 1, level)) / float(ndtri(level))
    return ratio * math.sqrt(units / (units - 1))


def _bca_levels(values: Array, replicates: Replicates, confidence: float) -> list[float]:
    from scipy.special import ndtr, ndtri

    tail = (1 - confidence) / 2
    below = ((values < replicates.value).mean() + (values <= replicates.value).mean()) / 2
    influence = replicates.jackknife.mean() - replicates.jackknife
    spread = float((influence**2).sum())
    if not 0 < below < 1 or not spread > 0:  # NaN included: a jackknife value is undefined
        return [tail, 1 - tail]
    bias = float(ndtri(below))
    acceleration = float((influence**3).sum()) / (6 * spread**1.5)
    ends = bias + ndtri(np.array([tail, 1 - tail]))
    return [float(level) for level in ndtr(bias + ends / (1 - acceleration * ends))]
