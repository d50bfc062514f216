"""How well a cheap score predicts what people say: Spearman's rank correlation and pairwise accuracy.

Pairwise accuracy asks what a user of a metric asks: of two answers to one sample, which do people like better
(Kocmi et al. 2021; Deutsch, Foster and Freitag 2023, with ties of the metric as half)?
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from evalkit.stats.bootstrap import Interval, Replicates, bca_interval, bootstrap_interval
from evalkit.stats.resampling import CHUNK, Array, resample_counts, unit_of_sample

__all__ = ["pairwise_accuracy", "rank_correlation"]


def rank_correlation(
    scores: Array,
    people: Array,
    samples: Sequence[Hashable],
    *,
    weights: Array | None = None,
    confidence: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
) -> Interval:
    """Spearman's correlation over all answers, its interval over samples, ranked anew in each resample.

    Args:
        scores: (n,) a metric's scores, oriented so that higher is better.
        people: (n,) people's scores of the same answers.
        samples: (n,) which sample each answers.
        weights: (n,) how many samples that sample stands for; None: all alike.
        confidence: Two-sided level.
        resamples: Of the bootstrap.
        seed: Of its draws.

    Returns:
        In [−1, 1]; no value where either side says the same of everything.

    >>> rank_correlation(np.array([0.1, 0.4, 0.9]), np.array([1.0, 2.0, 5.0]), range(3), resamples=50).value
    1.0
    """
    if len(scores) < 3:
        return Interval(None, None, None, "none")
    own = np.ones(len(scores)) if weights is None else np.asarray(weights, np.float64)
    units = unit_of_sample(len(scores), [repr(sample) for sample in samples], seed)
    count = int(units.max()) + 1
    x, y = _Ranks(scores), _Ranks(people)

    def value(drawn: Array) -> Array:
        """(r, units) how often each sample is drawn → (r,) the correlation, with ranks among what was drawn."""
        parts = np.array_split(drawn, -(-drawn.shape[0] * len(own) // CHUNK))
        return np.concatenate([_correlation(times, x(times), y(times)) for part in parts
                               for times in [part[:, units] * own]])  # fmt: skip

    whole = float(value(np.ones((1, count)))[0])
    if count < 2 or not np.isfinite(whole):
        return Interval(whole if np.isfinite(whole) else None, None, None, "none")
    values = np.concatenate([value(drawn) for drawn in resample_counts(count, resamples, seed)])
    low, high = bca_interval(Replicates(whole, values, value(1.0 - np.eye(count))), confidence)
    return Interval(whole, max(low, -1.0), min(high, 1.0), "bca")


class _Ranks:
    """Mid-ranks of the same values under any weights: a value counts as often as its weight says."""

    def __init__(self, values: Array) -> None:
        self.order = np.argsort(values, kind="stable")
        ordered = values[self.order]
        self.first = np.searchsorted(ordered, values, "left")
        self.last = np.searchsorted(ordered, values, "right")

    def __call__(self, weights: Array) -> Array:
        below = np.zeros((len(weights), weights.shape[1] + 1))
        np.cumsum(weights[:, self.order], axis=1, out=below[:, 1:])
        return np.asarray((below[:, self.first] + below[:, self.last]) / 2)


def _correlation(weights: Array, x: Array, y: Array) -> Array:
    """(r,) Pearson's, each row weighted; NaN where one side does not vary."""
    with np.errstate(divide="ignore", invalid="ignore"):
        n = weights.sum(1, keepdims=True)
        x, y = (side - (weights * side).sum(1, keepdims=True) / n for side in (x, y))
        xx, yy, xy = ((weights * product).sum(1) for product in (x * x, y * y, x * y))
        spread = np.sqrt(xx * yy)
        return np.asarray(np.where(spread > 1e-12 * n[:, 0] ** 3, np.clip(xy / spread, -1, 1), np.nan))


def pairwise_accuracy(
    scores: Array,
    people: Array,
    samples: Sequence[Hashable],
    *,
    weights: Array | None = None,
    confidence: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
) -> tuple[Interval, int]:
    """Share of pairs of answers to one sample that a metric orders as people do; its ties count half.

    Pairs that people find equal are left out.

    Args:
        scores: (n,) a metric's scores, oriented so that higher is better.
        people: (n,) people's scores of the same answers.
        samples: (n,) which sample each answers.
        weights: (n,) how many samples that sample stands for; None: all alike.
        confidence: Two-sided level.
        resamples: Of the bootstrap over samples.
        seed: Of its draws.

    Returns:
        In [0, 1], 0.5 for chance, and the number of pairs; no value without a pair.

    >>> found, pairs = pairwise_accuracy(np.array([1.0, 0, 0, 0]), np.array([5.0, 3, 4, 2]), [1, 1, 2, 2])
    >>> found.value, pairs
    (0.75, 2)
    """
    groups: dict[Hashable, list[int]] = {}
    for index, sample in enumerate(samples):
        groups.setdefault(sample, []).append(index)
    rows, pairs = [], 0
    for members in groups.values():
        metric, said = scores[members], people[members]
        weight = 1.0 if weights is None else float(weights[members[0]])
        upper = np.triu_indices(len(members), 1)
        liked = np.sign(said[:, None] - said[None, :])[upper]
        told = np.sign(metric[:, None] - metric[None, :])[upper]
        counted = liked != 0
        if counted.any():
            pairs += int(counted.sum())
            rows.append(
                [weight * float((1 + liked * told)[counted].sum() / 2), weight * float(counted.sum())]
            )
    table = np.array(rows, dtype=np.float64).reshape(-1, 2)
    interval = bootstrap_interval(
        table, _ratio, confidence=confidence, resamples=resamples, seed=seed, bounds=(0.0, 1.0)
    )
    return interval, pairs


def _ratio(totals: Array) -> Array:
    return np.asarray(totals[..., 0] / totals[..., 1])
