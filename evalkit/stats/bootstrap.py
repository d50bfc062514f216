"""Bootstrap intervals from statistics per sample: resample counts × statistics, then the value of every
total.

Efron 1987 (BCa: bias-corrected and accelerated); Efron and Tibshirani 1993, ch. 14. The acceleration comes
from the jackknife, which needs no loop either: the totals without a sample are the totals minus its row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from evalkit.stats.proportions import wilson_interval
from evalkit.stats.resampling import Array, group_rows, resample_counts, share_clusters, unit_of_sample

__all__ = ["Interval", "Replicates", "bca_interval", "bootstrap_interval", "replicate"]

ValueOf = Callable[[Array], Array]
"""Totals (..., k) → values (...)."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and where it lies.

    Attributes:
        value: Of all samples; None without samples.
        low: Lower end; None where the samples say nothing about the spread (fewer than two units).
        high: Upper end.
        method: ``wilson``, ``bca`` or ``none``.
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
) -> Interval:
    """Interval of ``value`` of the summed statistics.

    Args:
        statistics: (n, k) one row a sample.
        value: Vectorised: (..., k) totals to (...) values.
        shares: The value is the mean of right/wrong and the statistics are ``(right, 1)``: Wilson's interval
            where no two samples share a cluster; with clusters it stands in where all samples agree, with the
            clusters as trials.
        clusters: Cluster of each sample; None for samples on their own.
        confidence: Two-sided level.
        resamples: Number of resamples.
        seed: Of the draws.

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
    if shares and (not shared or whole in (0.0, 1.0)):
        trials = count if shared else len(statistics)
        return Interval(whole, *wilson_interval(round(whole * trials), trials, confidence), "wilson")
    if count < 2 or not np.isfinite(whole):
        return Interval(whole if np.isfinite(whole) else None, None, None, "none")
    rows = group_rows(statistics, units)
    low, high = bca_interval(replicate(rows, value, resamples, seed), confidence)
    return Interval(whole, low, high, "bca")


def replicate(rows: Array, value: ValueOf, resamples: int, seed: int) -> Replicates:
    """Resample and jackknife the units' rows (units, k)."""
    chunks = [value(counts @ rows) for counts in resample_counts(len(rows), resamples, seed)]
    total = rows.sum(0)
    return Replicates(float(value(total)), np.concatenate(chunks), value(total - rows))


def bca_interval(replicates: Replicates, confidence: float) -> tuple[float, float]:
    """BCa interval from a bootstrap; the plain percentiles where its corrections are undefined.

    A resample without a value (such as a correlation of one class) is left out.
    """
    values = replicates.resampled[np.isfinite(replicates.resampled)]
    if len(values) == 0:
        return replicates.value, replicates.value
    levels = _bca_levels(values, replicates, confidence)
    low, high = np.quantile(values, levels)
    return float(low), float(high)


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
