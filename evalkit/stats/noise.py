"""Numerical noise: what another batch size and order change, and which part of that an interval does not hold yet.

One run gives one numerical realisation. Let the score of sample i in realisation r be

    x_ir = μ + s_i + e_r + ε_ir,

s_i the sample, ε_ir noise that samples have each for themselves, e_r a shift that all samples of a realisation share.
Between the samples of one run the scores spread by var(s) + var(ε): noise that is independent from sample to sample
is in every interval already, and in a paired test as flips like any other. Adding it again would count it twice.
What no interval over the samples of one run can see is e_r, because it moves all of them together.

A slice answered twice shows it. With d_i the change of sample i and D the mean of m changes,

    E[D²] = 2 var(e) + var(d) / m,     so     var(e) = max(0, (D² − s²_d / m) / 2),

s²_d the variance of the changes between samples (clusters, where samples share one): the mean has to move by more than
independent changes would move it. One slice says little about a variance, so slices of the candidates on one base are
averaged before the maximum is taken (the usual estimate of a variance component; Searle, Casella and McCulloch 1992,
ch. 3). Independent errors add by their squares, arm by arm where an interval is asymmetric (Zou and Donner 2008,
Statistics in Medicine 27).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from evalkit.stats.bootstrap import UNBOUNDED
from evalkit.stats.resampling import Array

__all__ = ["add_noise", "change_of", "noisy_p", "shift_sd"]


def change_of(parts: Array, shares: Array) -> tuple[float, float]:
    """How far a value moved between two realisations, and the variance that independent changes give that.

    Args:
        parts: (units,) what each unit of samples adds to the change; their sum is the change.
        shares: (units,) share of the samples in each unit.

    Returns:
        The change D, and s²_d / m. With a single unit there is nothing to tell a shift from, and both are the same.

    >>> import numpy as np
    >>> moved, variance = change_of(np.array([0.25, 0.25, 0.0, 0.0]), np.full(4, 0.25))
    >>> moved, round(variance, 4)
    (0.5, 0.0833)
    """
    change, units = float(parts.sum()), len(parts)
    if units < 2:
        return change, change**2
    return change, float(((parts - shares * change) ** 2).sum()) * units / (units - 1)


def shift_sd(changes: Iterable[tuple[float, float]]) -> float:
    """Standard deviation of the shift that all samples of a realisation share, ≥ 0, in the metric's unit.

    Args:
        changes: Of each slice, from ``change_of``: slices whose shift has one variance.

    >>> round(shift_sd([(0.5, 0.0833), (0.1, 0.0833)]), 4), shift_sd([(0.1, 0.0833)]), shift_sd([])
    (0.1528, 0.0, 0.0)
    """
    pairs = list(changes)
    moved, expected = sum(change**2 for change, _ in pairs), sum(variance for _, variance in pairs)
    if moved <= expected * (1 + 1e-9):  # a single flip is exactly as much as is expected, but for rounding
        return 0.0
    return math.sqrt((moved - expected) / len(pairs) / 2)


def add_noise(
    value: float,
    low: float,
    high: float,
    sd: float,
    confidence: float,
    bounds: tuple[float, float] = UNBOUNDED,
) -> tuple[float, float]:
    """Lengthen an interval's arms by an independent shift: each becomes √(arm² + z² sd²).

    Args:
        value: The estimate.
        low: Lower end, from the samples.
        high: Upper end.
        sd: Of the shift, in the same unit; 0 changes nothing.
        confidence: Two-sided level of the interval.
        bounds: Least and largest value there is; no end lies outside.

    >>> [round(end, 4) for end in add_noise(0.5, 0.4, 0.6, 0.05, 0.95)]
    [0.36, 0.64]
    """
    if sd <= 0:
        return low, high
    from scipy.special import ndtri

    reach = float(ndtri((1 + confidence) / 2)) * sd
    ends = value - math.hypot(value - low, reach), value + math.hypot(high - value, reach)
    return max(ends[0], min(bounds[0], low)), min(ends[1], max(bounds[1], high))


def noisy_p(
    p_value: float, difference: float, low: float, high: float, sd: float, confidence: float
) -> float:
    """Two-sided p of no difference, when the difference also has a shift: its normal score shrinks as its arm grows.

    Args:
        p_value: Of the samples alone.
        difference: The estimate.
        low: Lower end of its interval, from the samples alone.
        high: Upper end.
        sd: Of the shift.
        confidence: Two-sided level of the interval.

    >>> round(noisy_p(0.01, 0.2, 0.05, 0.35, 0.0, 0.95), 4), round(noisy_p(0.01, 0.2, 0.05, 0.35, 0.0765, 0.95), 4)
    (0.01, 0.0685)
    """
    arm = difference - low if difference > 0 else high - difference
    if sd <= 0 or arm <= 0:
        return p_value
    from scipy.special import ndtr, ndtri

    reach = float(ndtri((1 + confidence) / 2)) * sd
    score = float(ndtri(p_value / 2)) * arm / math.hypot(arm, reach)
    return min(1.0, 2 * float(ndtr(score)))
