"""Right or wrong: intervals of a share and of the difference of two paired shares, and their test.

Wilson 1927 and Clopper and Pearson 1934 (one share); Tango 1998 (difference of paired shares); McNemar 1947 with
the mid-p of Fagerland, Lydersen and Laake 2013, which keeps the level that the exact test wastes.

Two kinds of interval, for two uses. To *describe* a value the whole interval should hold the truth in 95 of 100
runs: Wilson and Tango do, on average over the truth. To *decide* at a bound each end alone has to be wrong in no
more than 2.5 of 100: Clopper–Pearson is exact there, and ``strict=True`` takes the more cautious of Tango's end and
of its skewness-corrected form (Laud 2017, Pharmaceutical Statistics 16).
"""

from __future__ import annotations

import math

__all__ = [
    "clopper_pearson_interval",
    "mcnemar_exact_p",
    "mcnemar_mid_p",
    "paired_proportions_interval",
    "wilson_interval",
]


def wilson_interval(right: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share; inside [0, 1], and sensible where none or all are right.

    Args:
        right: Number of successes, 0 to ``n``.
        n: Number of trials, > 0; not whole where samples of a cluster count for less than one each.
        confidence: Two-sided level.

    >>> [round(end, 4) for end in wilson_interval(8, 10)]
    [0.4902, 0.9433]
    """
    z2 = _z(confidence) ** 2
    centre = (right + z2 / 2) / (n + z2)
    half = math.sqrt(z2) / (n + z2) * math.sqrt(right * (n - right) / n + z2 / 4)
    low = 0.0 if right == 0 else max(0.0, centre - half)
    high = 1.0 if right == n else min(1.0, centre + half)
    return low, high


def clopper_pearson_interval(right: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval of a share: either end is wrong with probability at most (1 − confidence) / 2 at any truth.

    Args:
        right: Number of successes, 0 to ``n``.
        n: Number of trials, > 0; not whole for clusters (Korn and Graubard 1998, Survey Methodology 24).
        confidence: Two-sided level.

    >>> [round(end, 4) for end in clopper_pearson_interval(8, 10)]
    [0.4439, 0.9748]
    """
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    low = 0.0 if right <= 0 else float(betaincinv(right, n - right + 1, tail))
    high = 1.0 if right >= n else float(betaincinv(right + 1, n - right, 1 - tail))
    return low, high


def mcnemar_exact_p(gained: int, lost: int) -> float:
    """Two-sided exact p of McNemar's test: never above its level, and cautious where few samples flip.

    Args:
        gained: Pairs that only the candidate has right.
        lost: Pairs that only the control has right.

    >>> round(mcnemar_exact_p(9, 1), 6)
    0.021484
    """
    from scipy.stats import binom

    return min(1.0, float(2 * binom.cdf(min(gained, lost), gained + lost, 0.5)))


def mcnemar_mid_p(gained: int, lost: int) -> float:
    """Two-sided mid-p of McNemar's test: are gains and losses equally likely?

    Args:
        gained: Pairs that only the candidate has right.
        lost: Pairs that only the control has right.

    Returns:
        p in (0, 1]; 1 where nothing flipped.

    >>> round(mcnemar_mid_p(9, 1), 6)
    0.011719
    """
    from scipy.stats import binom

    flips, fewer = gained + lost, min(gained, lost)
    if gained == lost:
        return 1.0
    return min(1.0, float(2 * binom.cdf(fewer, flips, 0.5) - binom.pmf(fewer, flips, 0.5)))


def paired_proportions_interval(
    gained: int, lost: int, n: int, confidence: float = 0.95, *, strict: bool = False
) -> tuple[float, float]:
    """Tango's score interval of the difference of two shares measured on the same samples.

    Unlike a bootstrap it does not shrink to a point where nothing flipped: with no flip in n pairs it is
    about ±z²/(n + z²).

    Args:
        gained: Pairs that only the candidate has right.
        lost: Pairs that only the control has right.
        n: Pairs, ≥ 1.
        confidence: Two-sided level.
        strict: For a decision at a bound: each end is the more cautious of Tango's and of the one corrected for
            skewness, so that either tail holds its share of the error where few samples flip.

    Returns:
        Ends of the interval of ``(gained - lost) / n``, in [-1, 1].

    >>> [round(end, 4) for end in paired_proportions_interval(0, 0, 20)]
    [-0.1611, 0.1611]
    """
    from scipy.optimize import brentq

    z = _z(confidence)
    difference = (gained - lost) / n

    def excess(delta: float, side: float) -> float:
        score, shift = _tango_score(gained, lost, n, delta, z)
        if strict:  # a bound is ruled out only where both forms rule it out
            score += min(shift, 0.0) if side > 0 else max(shift, 0.0)
        return score - side * z

    edge = 1 - 1e-12
    low = -1.0 if excess(-edge, 1) <= 0 else brentq(excess, -edge, difference, args=(1.0,))
    high = 1.0 if excess(edge, -1) >= 0 else brentq(excess, difference, edge, args=(-1.0,))
    return float(low), float(high)


def _tango_score(gained: int, lost: int, n: int, delta: float, z: float) -> tuple[float, float]:
    """Score statistic for a true difference ``delta`` and what skewness moves it by.

    Returns:
        The statistic, standard normal under ``delta`` and decreasing in it, and the negative of the first
        Cornish–Fisher term at ``z``, γ(z² − 1)/6 with γ the skewness of a sum of n pairs.
    """
    a = 2 * n
    b = -gained - lost + (2 * n - gained + lost) * delta
    c = -lost * delta * (1 - delta)
    q = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)  # P(only the control right) under delta
    spread = max(2 * q + delta * (1 - delta), 1e-300)
    distance = gained - lost - n * delta
    third = delta - 3 * delta * (2 * q + delta) + 2 * delta**3
    shift = -third / max(spread, 1e-12) ** 1.5 / math.sqrt(n) * (z * z - 1) / 6
    return (0.0 if distance == 0 else distance / math.sqrt(n * spread)), shift


def _z(confidence: float) -> float:
    from scipy.special import ndtri

    return float(ndtri((1 + confidence) / 2))
