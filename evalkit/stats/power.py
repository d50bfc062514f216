"""What so many samples can show, and how many would be needed: before anything is spent.

Normal theory (Chow, Shao and Wang 2008, ch. 3): two estimates whose difference has the spread s per sample (or pair)
are told apart at level α with power 1 − β where the true difference is at least (z₁₋α/₂ + z₁₋β) · s / √n. For two
candidates with share p right on the same samples and correlation ρ, s = √(2p(1 − p)(1 − ρ)); on different samples
ρ = 0. Of a run, s is measured: √(share of flipped samples − difference²) for right/wrong.
"""

from __future__ import annotations

import math

__all__ = ["detectable", "needed", "spread"]


def spread(share: float, correlation: float = 0.0) -> float:
    """Standard deviation of the difference between two right/wrong answers to one sample.

    Args:
        share: Right answers, 0 to 1.
        correlation: Between the two candidates' answers; 0 for two sets of samples.

    >>> round(spread(0.7), 3), round(spread(0.7, 0.5), 3)
    (0.648, 0.458)
    """
    return math.sqrt(max(0.0, 2 * share * (1 - share) * (1 - correlation)))


def detectable(n: int, each: float, *, confidence: float = 0.95, power: float = 0.8) -> float | None:
    """Least true difference that n pairs show with ``power``; None without samples.

    Args:
        n: Pairs; or samples of each candidate where they are not paired.
        each: Spread of one pair's difference (see ``spread``).
        confidence: Two-sided level of the test.
        power: Chance of seeing a difference of that size.

    >>> round(detectable(1830, spread(0.7, 0.5)), 4)
    0.03
    """
    return None if n < 1 else _quantiles(confidence, power) * each / math.sqrt(n)


def needed(effect: float, each: float, *, confidence: float = 0.95, power: float = 0.8) -> int | None:
    """Pairs at which a true difference of ``effect`` is seen with ``power``; None for an effect of 0.

    >>> needed(0.03, spread(0.7)), needed(0.03, spread(0.7, 0.5)), needed(0.03, spread(0.7, 0.7))
    (3663, 1832, 1099)
    """
    if effect == 0:
        return None
    return math.ceil((_quantiles(confidence, power) * each / effect) ** 2)


def _quantiles(confidence: float, power: float) -> float:
    from scipy.special import ndtri

    return float(ndtri((1 + confidence) / 2) + ndtri(power))
