"""Many comparisons at once: the more one looks, the more is found by chance."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["benjamini_hochberg", "bonferroni_confidence", "holm", "widen"]


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values so that the chance of any false finding stays at the level (Holm 1979).

    Args:
        p_values: In any order; None where no test could be made, which then counts as no test.

    Returns:
        Adjusted values in the same order, each ≥ its own and ≤ 1.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    tested = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    running = 0.0
    for rank, (p, index) in enumerate(tested):
        running = max(running, min(1.0, p * (len(tested) - rank)))
        adjusted[index] = running
    return adjusted


def benjamini_hochberg(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values so that the expected share of false findings among the findings stays at the level.

    The step-up procedure of Benjamini and Hochberg 1995, for tests that are independent or positively dependent, as
    comparisons with one control are.

    Args:
        p_values: In any order; None where no test could be made, which then counts as no test.

    Returns:
        Adjusted values in the same order, each ≥ its own and ≤ 1, never above Holm's.

    >>> benjamini_hochberg([0.01, 0.04, 0.03])
    [0.03, 0.04, 0.04]
    """
    tested = sorted(((p, index) for index, p in enumerate(p_values) if p is not None), reverse=True)
    adjusted: list[float | None] = [None] * len(p_values)
    running = 1.0
    for above, (p, index) in enumerate(tested):
        running = min(running, p * len(tested) / (len(tested) - above))
        adjusted[index] = running
    return adjusted


def bonferroni_confidence(confidence: float, comparisons: int) -> float:
    """Level of each interval at which all of ``comparisons`` hold together with ``confidence`` (Bonferroni).

    >>> round(bonferroni_confidence(0.95, 5), 6)
    0.99
    """
    return 1 - (1 - confidence) / max(comparisons, 1)


def widen(value: float, low: float, high: float, confidence: float, wider: float) -> tuple[float, float]:
    """Carry an interval to a higher level: each end moves out by the ratio of the normal quantiles.

    The tail that such a level needs lies beyond what a bootstrap of 10,000 resamples can show; the ends keep
    the asymmetry they have.

    >>> [round(end, 3) for end in widen(0.1, 0.0, 0.3, 0.95, 0.99)]
    [-0.031, 0.363]
    """
    from scipy.special import ndtri

    ratio = float(ndtri((1 + wider) / 2) / ndtri((1 + confidence) / 2))
    return value - ratio * (value - low), value + ratio * (high - value)
