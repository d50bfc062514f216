"""How well a cheap score predicts what people say: Spearman's rank correlation and pairwise accuracy.

Pairwise accuracy asks what a user of a metric asks: of two answers to one sample, which do people like better
(Kocmi et al. 2021; Deutsch, Foster and Freitag 2023, with ties of the metric as half)?
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from evalkit.stats.bootstrap import Interval, bootstrap_interval
from evalkit.stats.resampling import Array

__all__ = ["pairwise_accuracy", "rank_correlation"]


def rank_correlation(
    scores: Array,
    people: Array,
    samples: Sequence[Hashable],
    *,
    confidence: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
) -> Interval:
    """Spearman's correlation over all answers, its interval over samples (ranks are those of all answers).

    Args:
        scores: (n,) a metric's scores, oriented so that higher is better.
        people: (n,) people's scores of the same answers.
        samples: (n,) which sample each answers.
        confidence: Two-sided level.
        resamples: Of the bootstrap.
        seed: Of its draws.

    Returns:
        In [−1, 1]; no value where either side says the same of everything.

    >>> rank_correlation(np.array([0.1, 0.4, 0.9]), np.array([1.0, 2.0, 5.0]), range(3), resamples=50).value
    1.0
    """
    from scipy.stats import rankdata

    if len(scores) < 3:
        return Interval(None, None, None, "none")
    x, y = (rankdata(values) - (len(values) + 1) / 2 for values in (scores, people))
    rows = np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y], axis=1)

    def value(totals: Array) -> Array:
        n, sx, sy, sxx, syy, sxy = (totals[..., column] for column in range(6))
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = np.sqrt(np.maximum(n * sxx - sx**2, 0) * np.maximum(n * syy - sy**2, 0))
            return np.asarray(np.where(spread > 0, np.clip((n * sxy - sx * sy) / spread, -1, 1), np.nan))

    return bootstrap_interval(
        rows,
        value,
        clusters=[repr(sample) for sample in samples],
        confidence=confidence,
        resamples=resamples,
        seed=seed,
        bounds=(-1.0, 1.0),
    )


def pairwise_accuracy(
    scores: Array,
    people: Array,
    samples: Sequence[Hashable],
    *,
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
    rows = []
    for members in groups.values():
        metric, said = scores[members], people[members]
        upper = np.triu_indices(len(members), 1)
        liked = np.sign(said[:, None] - said[None, :])[upper]
        told = np.sign(metric[:, None] - metric[None, :])[upper]
        counted = liked != 0
        if counted.any():
            rows.append([float((1 + liked * told)[counted].sum() / 2), float(counted.sum())])
    table = np.array(rows, dtype=np.float64).reshape(-1, 2)
    interval = bootstrap_interval(
        table, _ratio, confidence=confidence, resamples=resamples, seed=seed, bounds=(0.0, 1.0)
    )
    return interval, int(table[:, 1].sum())


def _ratio(totals: Array) -> Array:
    return np.asarray(totals[..., 0] / totals[..., 1])
