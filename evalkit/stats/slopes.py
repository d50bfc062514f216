"""What else moves a verdict: slopes of wins and scores on an answer's length or form, and wins without them.

The controlled win rate is AlpacaEval 2's (Dubois, Galambosi, Liang and Hashimoto 2024, arXiv:2404.04475): a
logistic model of the win with a term tanh(Δlength / its standard deviation), which is then set to zero. Its term of
instruction difficulty needs many models on the same prompts and is left out. Errors are robust and clustered by prompt.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evalkit.stats.calibration import Estimate
from evalkit.stats.resampling import Array

__all__ = ["ControlledWins", "controlled_wins", "squashed", "within_slopes"]

_RIDGE = 1e-3  # of the squared slopes: keeps separated wins finite, as AlpacaEval's regularisation does
_STEPS = 100


@dataclass(frozen=True, slots=True)
class ControlledWins:
    """Wins with the covariates taken out.

    Attributes:
        win_rate: As if both answers were equal in every covariate, in [0, 1].
        slopes: Log-odds of a win per unit of each covariate.
    """

    win_rate: Estimate
    slopes: tuple[Estimate, ...]


def squashed(gaps: Array) -> Array:
    """Return AlpacaEval's covariate: tanh of the gaps by their standard deviation; zeros where none differ.

    >>> np.round(squashed(np.array([-100.0, 0.0, 100.0])), 3).tolist()
    [-0.762, 0.0, 0.762]
    """
    spread = float(gaps.std(ddof=1)) if len(gaps) > 1 else 0.0
    return np.tanh(gaps / spread) if spread > 0 else np.zeros_like(gaps)


def controlled_wins(
    points: Array, covariates: Array, clusters: Sequence[Hashable], *, confidence: float = 0.95
) -> ControlledWins:
    """Fit a logistic model of wins and read the win rate where all covariates are 0.

    Args:
        points: (n,) 1 a win, 0 a loss, what lies between for ties and for averages over both orders.
        covariates: (n, k) differences between the two answers, near 1 in size (see ``squashed``).
        clusters: (n,) prompts.
        confidence: Two-sided level.

    >>> points, gaps = np.array([1.0, 1, 1, 0, 0, 0, 1, 0]), np.array([1.0, 1, 1, 1, -1, -1, -1, -1])
    >>> round(controlled_wins(points, gaps[:, None], range(8)).win_rate.value, 3)
    0.5
    """
    n = len(points)
    design = np.concatenate([np.ones((n, 1)), covariates], axis=1)
    k = design.shape[1]
    names = {name: number for number, name in enumerate(dict.fromkeys(clusters))}
    units = np.array([names[name] for name in clusters])
    nothing = Estimate(None, None, None, None, n)
    if n == 0:
        return ControlledWins(nothing, (nothing,) * (k - 1))
    beta = np.zeros(k)
    for _ in range(_STEPS):
        shares = 1 / (1 + np.exp(-design @ beta))
        information = (design * (shares * (1 - shares))[:, None]).T @ design + _RIDGE * np.eye(k)
        step = np.clip(np.linalg.solve(information, design.T @ (points - shares) - _RIDGE * beta), -2, 2)
        beta = beta + step
        if np.abs(step).max() < 1e-10:
            break
    bread = np.linalg.inv(information)
    sums = np.zeros((len(names), k))
    np.add.at(sums, units, design * (points - shares)[:, None])
    count = len(names)
    if count <= k:
        return ControlledWins(
            Estimate(_logistic(beta[0]), None, None, None, n),
            tuple(Estimate(float(slope), None, None, None, n) for slope in beta[1:]),
        )
    errors = np.sqrt(np.diag(bread @ (sums.T @ sums) @ bread) * count / (count - k))
    reach = _t(count - k, confidence) * errors
    rate = _logistic(beta[0])
    ends = _logistic(beta[0] - reach[0]), _logistic(beta[0] + reach[0])
    return ControlledWins(
        Estimate(rate, float(errors[0] * rate * (1 - rate)), *ends, n),
        tuple(
            Estimate(float(b), float(e), float(b - r), float(b + r), n)
            for b, e, r in zip(beta[1:], errors[1:], reach[1:], strict=True)
        ),
    )


def within_slopes(
    scores: Array,
    covariates: Array,
    candidates: Sequence[Hashable],
    items: Sequence[Hashable],
    *,
    confidence: float = 0.95,
) -> tuple[Estimate, ...]:
    """Slopes of scores on covariates among answers to the same item, with candidates' means taken out.

    Where every item has one answer only there is nothing within; slopes are then across items.

    Args:
        scores: (n,) scores.
        covariates: (n, k) of the answers, such as log₂ of their length: the slope is then per doubling.
        candidates: (n,) who answered.
        items: (n,) what; errors are clustered by it.
        confidence: Two-sided level.

    >>> scores, length = np.array([3.0, 4, 1, 2, 4, 5]), np.array([1.0, 2, 1, 2, 1, 2])
    >>> round(within_slopes(scores, length[:, None], list("abbaab"), [1, 1, 2, 2, 3, 3])[0].value, 6)
    1.0
    """
    n, k = covariates.shape
    item = _codes(items)
    who = _codes(candidates)
    dummies = np.eye(int(who.max(initial=0)) + 1)[who][:, 1:]
    columns = np.concatenate([covariates, dummies, scores[:, None]], axis=1)
    counts = np.bincount(item)
    within = bool((counts > 1).any())
    if within:
        kept = counts[item] > 1
        columns, item = columns[kept], _codes(item[kept].tolist())
        counts = np.bincount(item)
        means = np.zeros((len(counts), columns.shape[1]))
        np.add.at(means, item, columns)
        columns = columns - (means / counts[:, None])[item]
    else:
        columns = columns - columns.mean(0)
    design, outcome = columns[:, :-1], columns[:, -1]
    clusters = len(counts)
    usable = len(outcome) > design.shape[1] + (clusters if within else 1)
    if not usable or np.linalg.matrix_rank(design) < design.shape[1]:
        return tuple(Estimate(None, None, None, None, n) for _ in range(k))
    bread = np.linalg.inv(design.T @ design)
    beta = bread @ design.T @ outcome
    sums = np.zeros((clusters, design.shape[1]))
    np.add.at(sums, item, design * (outcome - design @ beta)[:, None])
    variances = np.diag(bread @ (sums.T @ sums) @ bread) * clusters / max(clusters - 1, 1)
    errors = np.sqrt(np.maximum(variances, 0.0))  # of candidates that answer alike: 0, and rounding below it
    reach = _t(max(clusters - 1, 1), confidence) * errors
    return tuple(
        Estimate(
            float(beta[i]),
            float(errors[i]),
            float(beta[i] - reach[i]),
            float(beta[i] + reach[i]),
            len(outcome),
        )
        for i in range(k)
    )


def _codes(names: Sequence[Hashable]) -> NDArray[np.int64]:
    seen: dict[Hashable, int] = {}
    return np.array([seen.setdefault(name, len(seen)) for name in names], dtype=np.int64)


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-float(value)))


def _t(freedom: int, confidence: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + confidence) / 2))
