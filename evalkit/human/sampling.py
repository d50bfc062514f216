"""Which samples people are shown, and how many samples each one stands for.

Every way to choose has a known chance for each sample, and ``weight`` is its inverse (Horvitz and Thompson
1952): a weighted mean over the chosen samples estimates the mean over the task, also where hard samples were
preferred.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Chosen", "Pick", "choose", "inclusion", "interest", "spread"]

Pick = Literal["random", "stratified", "matters"]
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Chosen:
    """A sample that people are shown.

    Attributes:
        index: Its place among the samples of its task.
        weight: How many samples of the task it stands for; ≥ 1.
    """

    index: int
    weight: float


def choose(
    n: int,
    wanted: int | None,
    rng: np.random.Generator,
    *,
    strata: Sequence[str] | None = None,
    matters: Array | None = None,
) -> list[Chosen]:
    """Choose samples of one task.

    Args:
        n: Samples there are.
        wanted: How many to choose; None for all.
        rng: Decides.
        strata: n names of strata: each gets its share of ``wanted``, and at least one.
        matters: (n,) how much each sample matters, > 0: chances in proportion.

    Returns:
        The chosen, by index.

    >>> rng = np.random.default_rng(0)
    >>> [chosen.weight for chosen in choose(6, 3, rng)]
    [2.0, 2.0, 2.0]
    """
    if wanted is None or wanted >= n:
        return [Chosen(index, 1.0) for index in range(n)]
    if matters is not None:
        return _systematic(inclusion(matters, wanted), rng)
    if strata is not None:
        return _stratified(strata, wanted, rng)
    taken = rng.choice(n, wanted, replace=False)
    return [Chosen(int(index), n / wanted) for index in sorted(taken)]


def interest(
    scores: Mapping[str, Sequence[float | None]],
    disputed: Collection[int] = (),
    near: Collection[int] = (),
) -> Array:
    """How much each sample matters: 1, and 3 more for each reason to look at it.

    The reasons: candidates differ (the wider their scores spread, the more), judges do not agree about an answer, a
    score is near a bound of the gate.

    Args:
        scores: Candidate → n scores of the task's primary metric, None where unscored.
        disputed: Places of samples that judges do not agree on.
        near: Places of samples with a score near a bound.

    Returns:
        (n,) how much each matters.

    >>> [int(value) for value in interest({"a": [1, 0, 1], "b": [1, 1, 1]}, disputed={2})]
    [1, 4, 4]
    """
    n = max((len(values) for values in scores.values()), default=0)
    spreads = np.array([spread([values[i] for values in scores.values()]) for i in range(n)])
    widest = float(spreads.max(initial=0.0))
    found = 1 + 3 * spreads / widest if widest > 0 else np.ones(n)
    for places in (disputed, near):
        found[list(places)] += 3
    return np.asarray(found, dtype=np.float64)


def inclusion(matters: Array, wanted: int) -> Array:
    """(n,) chances in proportion to ``matters``, at most 1, which sum to ``wanted``."""
    chances = np.zeros(len(matters))
    certain = np.zeros(len(matters), dtype=bool)
    while True:
        rest = ~certain
        chances[certain] = 1.0
        chances[rest] = matters[rest] * (wanted - certain.sum()) / matters[rest].sum()
        over = rest & (chances >= 1.0)
        if not over.any():
            return chances
        certain |= over


def _systematic(chances: Array, rng: np.random.Generator) -> list[Chosen]:
    """Exactly round(sum) samples, each with its own chance: a ruler laid over the shuffled chances (Madow 1949)."""
    order = rng.permutation(len(chances))
    ends = np.cumsum(chances[order])
    ticks = np.arange(round(float(ends[-1]))) + rng.random()
    places = np.minimum(np.searchsorted(ends, ticks, side="right"), len(order) - 1)
    return [Chosen(index, 1 / float(chances[index])) for index in sorted({int(order[p]) for p in places})]


def _stratified(strata: Sequence[str], wanted: int, rng: np.random.Generator) -> list[Chosen]:
    """Shares by the greatest remainders, at least one a stratum while there are enough."""
    names = sorted(set(strata))
    sizes = {
        name: strata.count(name) if isinstance(strata, list) else list(strata).count(name) for name in names
    }
    shares = {name: wanted * sizes[name] / len(strata) for name in names}
    counts = {name: max(1, math.floor(shares[name])) for name in names}
    ties = dict(zip(names, rng.permutation(len(names)), strict=True))
    while sum(counts.values()) < wanted:
        open_ = [name for name in names if counts[name] < sizes[name]]
        counts[max(open_, key=lambda name: (shares[name] - counts[name], ties[name]))] += 1
    while sum(counts.values()) > max(wanted, len(names)):
        large = [name for name in names if counts[name] > 1]
        counts[max(large, key=lambda name: (counts[name] - shares[name], ties[name]))] -= 1
    chosen = []
    for name in names:
        members = [index for index, stratum in enumerate(strata) if stratum == name]
        taken = rng.choice(members, counts[name], replace=False)
        chosen += [Chosen(int(index), sizes[name] / counts[name]) for index in taken]
    return sorted(chosen, key=lambda one: one.index)


def spread(values: Iterable[float | None]) -> float:
    """Greatest less least of what is known; 0 where nothing is.

    >>> spread([0.25, None, 1.0])
    0.75
    """
    known = [value for value in values if value is not None]
    return max(known) - min(known) if known else 0.0
