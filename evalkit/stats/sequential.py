"""Looking after every batch: e-processes by betting, and the confidence sequence that belongs to them.

Waudby-Smith and Ramdas 2024 (JRSS B 86, "Estimating means of bounded random variables by betting"). Against "the mean
is at most m" a gambler with capital 1 stakes the share λ on each unit: the capital after t units is
Π (1 + λ (x − m)). If the claim is true no stake makes money on average, so that the capital ever reaches 1/α with
probability at most α (Ville 1939): one may look after every unit, stop whenever one likes, and the error is still at
most α. Here the capital is spread over ``STAKES`` stakes from cautious to bold, and each part is left where it is; the
sum does nearly as well as the stake that turns out best.

Samples of one cluster are one unit: its gain is the sum over its samples, which is at most as many times a single one
as the largest cluster has samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from evalkit.stats.resampling import Array

__all__ = ["confidence_sequence", "e_process"]

STAKES = np.geomspace(0.01, 0.95, 24)
"""As shares of the largest stake that cannot lose more than the capital."""


def e_process(
    sums: Array, bound: float, *, low: float, high: float, sizes: Array | None = None, largest: float = 1.0
) -> Array:
    """Evidence, after each unit, against "the mean of the samples is at most ``bound``".

    For the claim "at least", turn the sign of everything. The mean is that of the samples: a cluster's sum stands
    for as many samples as it has.

    Args:
        sums: (t,) sum over each unit's samples, in the order in which they were looked at.
        bound: The claim's bound, from ``low`` to ``high``.
        low: Least value a sample can have.
        high: Largest value.
        sizes: (t,) samples in each unit; None: one each.
        largest: Samples in the largest unit that may come, known before the first look.

    Returns:
        (t,) e-values: the claim is refuted at level α as soon as one of them is at least 1/α.

    >>> wins = np.array([1.0] * 20 + [0.0] * 2)
    >>> [round(float(e), 1) for e in e_process(wins, 0.5, low=0.0, high=1.0)[[0, 9, 21]]]
    [1.2, 59.7, 454.0]
    """
    gains = np.asarray(sums, dtype=np.float64) - bound * (1.0 if sizes is None else np.asarray(sizes))
    most = (bound - low) * largest
    if most <= 0:  # nothing lies below the claim: it needs no money to be refuted by
        return np.where(np.cumsum(gains) > 0, math.inf, 1.0)
    stakes = STAKES / most
    logs = np.cumsum(np.log1p(np.maximum(np.outer(gains, stakes), -1 + 1e-12)), axis=0)  # (t, stakes)
    top = logs.max(axis=1, initial=0.0)
    return np.asarray(np.exp(np.minimum(top, 700.0)) * np.exp(logs - top[:, None]).mean(axis=1))


def confidence_sequence(
    sums: Array,
    *,
    low: float,
    high: float,
    confidence: float = 0.95,
    sizes: Array | None = None,
    largest: float = 1.0,
) -> tuple[float, float]:
    """Interval of the mean that holds at every stopping time with ``confidence``: what no look so far refuted.

    Args:
        sums: As for ``e_process``.
        low: Least value a sample can have.
        high: Largest value.
        confidence: Two-sided level.
        sizes: As for ``e_process``.
        largest: As for ``e_process``.

    >>> wins = np.array([1.0, 1.0, 0.0, 1.0, 1.0] * 40)
    >>> [round(end, 2) for end in confidence_sequence(wins, low=0.0, high=1.0)]
    [0.7, 0.88]
    """
    if len(sums) == 0:
        return low, high
    needed = 2 / (1 - confidence)

    def refuted(bound: float, upward: bool) -> bool:
        sign = 1.0 if upward else -1.0
        ends = (low, high) if upward else (-high, -low)
        found = e_process(
            sign * np.asarray(sums), sign * bound, low=ends[0], high=ends[1], sizes=sizes, largest=largest
        )
        return float(found.max()) >= needed

    lower = _last(low, high, lambda bound: refuted(bound, upward=True))
    upper = _last(high, low, lambda bound: refuted(bound, upward=False))
    return min(lower, upper), max(lower, upper)


def _last(start: float, end: float, ask: Callable[[float], bool]) -> float:
    """The furthest bound from ``start`` towards ``end`` that is refuted, by bisection."""
    width = end - start
    inside = start + 1e-9 * width
    if not ask(inside):
        return start
    near, far = inside, end
    for _ in range(40):
        middle = (near + far) / 2
        near, far = (middle, far) if ask(middle) else (near, middle)
    return near
