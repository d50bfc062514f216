"""Right or wrong: intervals of a share and of the difference of two paired shares, and their test.

Wilson 1927 (one share); Tango 1998 (difference of paired shares); McNemar 1947 with the mid-p of Fagerland,
Lydersen and Laake 2013, which keeps the level that the exact test wastes.
"""

from __future__ import annotations

import math

__all__ = ["mcnemar_mid_p", "paired_proportions_interval", "wilson_interval"]


def wilson_interval(right: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share; inside [0, 1], and sensible where none or all are right.

    Args:
        right: Number of successes, 0 to ``n``.
        n: Number of trials, ≥ 1.
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
    gained: int, lost: int, n: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Tango's score interval of the difference of two shares measured on the same samples.

    Unlike a bootstrap it does not shrink to a point where nothing flipped: with no flip in n pairs it is
    about ±z²/(n + z²).

    Args:
        gained: Pairs that only the candidate has right.
        lost: Pairs that only the control has right.
        n: Pairs, ≥ 1.
        confidence: Two-sided level.

    Returns:
        Ends of the interval of ``(gained - lost) / n``, in [-1, 1].

    >>> [round(end, 4) for end in paired_proportions_interval(0, 0, 20)]
    [-0.1611, 0.1611]
    """
    from scipy.optimize import brentq

    z = _z(confidence)
    difference = (gained - lost) / n

    def excess(delta: float, side: float) -> float:
        return _tango_score(gained, lost, n, delta) - side * z

    edge = 1 - 1e-12
    low = -1.0 if excess(-edge, 1) <= 0 else brentq(excess, -edge, difference, args=(1.0,))
    high = 1.0 if excess(edge, -1) >= 0 else brentq(excess, difference, edge, args=(-1.0,))
    return float(low), float(high)


def _tango_score(gained: int, lost: int, n: int, delta: float) -> float:
    """Score statistic for a true difference ``delta``: standard normal under it, decreasing in ``delta``."""
    a = 2 * n
    b = -gained - lost + (2 * n - gained + lost) * delta
    c = -lost * delta * (1 - delta)
    q = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (
        2 * a
    )  # P(only the control right), restricted to delta
    variance = n * (2 * q + delta * (1 - delta))
    distance = gained - lost - n * delta
    return 0.0 if distance == 0 else distance / math.sqrt(max(variance, 1e-300))


def _z(confidence: float) -> float:
    from scipy.special import ndtri

    return float(ndtri((1 + confidence) / 2))
