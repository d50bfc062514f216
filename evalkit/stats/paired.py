"""A candidate against a control on the same samples.

Pairing removes what the samples have in common: how hard each one is. Right/wrong scores are tested by
McNemar's mid-p (``proportions``), other means by exchanging the two scores of a sample at random (Fisher
1935; every pattern where there are few), corpus metrics by exchanging the two outputs of a sample
(approximate randomisation, Noreen 1989; Riezler and Maxwell 2005, who show that it errs less than a shifted
bootstrap). Random tests count the observed pattern too, so p is never 0 (Phipson and Smyth 2010).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evalkit.stats.bootstrap import UNBOUNDED, ValueOf, bca_interval, replicate
from evalkit.stats.proportions import mcnemar_exact_p, mcnemar_mid_p, paired_proportions_interval
from evalkit.stats.resampling import Array, group_rows, share_clusters, sign_flips, unit_of_sample

__all__ = ["PairedDifference", "paired_difference"]


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Candidate minus control.

    Attributes:
        difference: Of the values over the pairs; None without pairs.
        low: Lower end of its interval; None with fewer than two units.
        high: Upper end.
        p_value: Two-sided, of no difference.
        test: Names of the test and of the interval, such as ``mcnemar-mid-p, tango``.
        n: Pairs.
    """

    difference: float | None
    low: float | None
    high: float | None
    p_value: float | None
    test: str
    n: int


def paired_difference(
    candidate: Array,
    control: Array,
    value: ValueOf,
    *,
    scores: tuple[Array, Array] | None = None,
    shares: bool = False,
    clusters: Sequence[str | None] | None = None,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
    bounds: tuple[float, float] = UNBOUNDED,
    strict: bool = False,
    exact: bool = False,
) -> PairedDifference:
    """Difference of ``value`` between two sets of outputs for the same n samples.

    Args:
        candidate: (n, k) its statistics, one row a sample.
        control: (n, k) the control's, with the same columns.
        value: Vectorised: (..., k) totals to (...) values.
        scores: Both (n,) scores where the value is their mean; None for a corpus metric.
        shares: The scores are all 0 or 1 and mean wrong or right.
        clusters: Cluster of each sample; None for samples on their own.
        confidence: Two-sided level of the interval.
        resamples: Of the bootstrap and of the permutation test.
        seed: Of both.
        bounds: Least and largest value there is.
        strict: For a decision at a bound: see ``paired_proportions_interval``.
        exact: For right/wrong McNemar's exact test in place of its mid-p, which is never above its level and cautious
            where few samples flip.

    >>> rows = lambda right: np.stack([np.array(right, dtype=float), np.ones(len(right))], axis=1)
    >>> a, b = rows([1] * 10), rows([1] + [0] * 9)
    >>> mean = lambda totals: totals[..., 0] / totals[..., 1]
    >>> result = paired_difference(a, b, mean, scores=(a[:, 0], b[:, 0]), shares=True)
    >>> result.difference, round(result.p_value, 6)
    (0.9, 0.001953)
    """
    n = len(candidate)
    if n == 0:
        return PairedDifference(None, None, None, None, "none", 0)
    difference = float(value(candidate.sum(0)) - value(control.sum(0)))
    if not np.isfinite(difference):
        return PairedDifference(None, None, None, None, "none", n)
    if shares and scores is not None and not share_clusters(clusters):
        gained, lost = int((scores[0] > scores[1]).sum()), int((scores[0] < scores[1]).sum())
        ends = paired_proportions_interval(gained, lost, n, confidence, strict=strict)
        test, p = ("exact", mcnemar_exact_p) if exact else ("mid-p", mcnemar_mid_p)
        return PairedDifference(difference, *ends, p(gained, lost), f"mcnemar-{test}, tango", n)
    units = unit_of_sample(n, clusters, seed)
    first, second = group_rows(candidate, units), group_rows(control, units)
    if len(first) < 2:
        return PairedDifference(difference, None, None, None, "none", n)
    if scores is not None:
        gaps = group_rows((scores[0] - scores[1])[:, None], units)[:, 0]
        p_value, same = _sign_flip_p(gaps, resamples, seed), not gaps.any()
    else:
        p_value, same = _exchange_p(first, second, value, resamples, seed), bool((first == second).all())
    if same:  # a bootstrap of no change is a point; no change in n units is about ±z²/(n + z²) of the range
        low, high = paired_proportions_interval(0, 0, len(first), confidence)
        range_ = _range(bounds, scores, shares)
        return PairedDifference(difference, low * range_, high * range_, p_value, "permutation, tango", n)
    low, high = _bootstrap_ends(first, second, value, confidence, resamples, seed)
    most = bounds[1] - bounds[0]
    return PairedDifference(
        difference, max(low, -most), min(high, most), p_value, "permutation, paired bootstrap", n
    )


def _range(bounds: tuple[float, float], scores: tuple[Array, Array] | None, shares: bool) -> float:
    """How far two values can be apart: by their bounds, else by what was seen."""
    if shares:
        return 1.0
    if np.isfinite(bounds).all():
        return bounds[1] - bounds[0]
    return 0.0 if scores is None else float(np.ptp(np.concatenate(scores)))


def _bootstrap_ends(
    first: Array, second: Array, value: ValueOf, confidence: float, resamples: int, seed: int
) -> tuple[float, float]:
    """BCa ends of the difference, the same units drawn for both sides."""
    k = first.shape[1]

    def difference(totals: Array) -> Array:
        return value(totals[..., :k]) - value(totals[..., k:])

    return bca_interval(
        replicate(np.concatenate([first, second], axis=1), difference, resamples, seed), confidence
    )


def _sign_flip_p(gaps: Array, resamples: int, seed: int) -> float:
    """Two-sided p of the sum of the units' differences when each one's sign is a coin flip."""
    gaps = gaps[gaps != 0]
    if len(gaps) == 0:
        return 1.0
    complete, flips = sign_flips(len(gaps), resamples, seed)
    sums = np.concatenate([gaps.sum() - 2 * (chunk @ gaps) for chunk in flips])
    return _extreme_share(np.abs(sums), abs(float(gaps.sum())), complete)


def _exchange_p(first: Array, second: Array, value: ValueOf, resamples: int, seed: int) -> float:
    """Two-sided p of the difference of corpus values when each unit's two rows are exchanged by a coin
    flip."""
    changed = (first != second).any(axis=1)
    if not changed.any():
        return 1.0
    move = (second - first)[changed]
    totals = first.sum(0), second.sum(0)
    complete, flips = sign_flips(len(move), resamples, seed)
    gaps = []
    for chunk in flips:
        moved = chunk @ move
        gaps.append(value(totals[0] + moved) - value(totals[1] - moved))
    observed = abs(float(value(totals[0]) - value(totals[1])))
    return _extreme_share(np.abs(np.concatenate(gaps)), observed, complete)


def _extreme_share(values: Array, observed: float, complete: bool) -> float:
    # Rounding must not make an equal pattern look smaller than the observed one.
    extreme = int((values >= observed - 1e-12 * max(1.0, observed)).sum())
    return extreme / len(values) if complete else (extreme + 1) / (len(values) + 1)
