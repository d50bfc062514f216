"""The best of several candidates: intervals that hold for all at once, and what is left of the winner's lead.

*Max-t* (Westfall and Young 1993; Chernozhukov, Chetverikov and Kato 2013): the level at which every interval of a
family holds together follows from the largest of the studentised deviations, whose correlation the samples show.
Candidates of one base are correlated, so that it asks for less than Bonferroni.

*Winner's curse*: the largest of several estimates is too large on average. The corrected one picks the winner without
a part of the samples and looks at it on that part, again and again (cross-validation, averaged over ``REPEATS``
divisions into ``FOLDS`` parts): picked and judged on different samples, it is not flattered. Its interval reaches
down as far as the simultaneous one and up as far as the winner's own.
"""

from __future__ import annotations

import numpy as np

from evalkit.stats.resampling import Array

__all__ = ["corrected_lead", "max_t_confidence"]

FOLDS = 8
REPEATS = 25
DRAWS = 20_000


def max_t_confidence(
    parts: Array, confidence: float = 0.95, seed: int = 0, shares: Array | None = None
) -> float:
    """Level of each interval at which the intervals of all candidates hold together with ``confidence``.

    Args:
        parts: (units, candidates): what each unit adds to each candidate's estimate; columns sum to the estimates.
        confidence: Of all together.
        seed: Of the draws.
        shares: (units,) share of the samples that each unit has; None: equal shares.

    Returns:
        A level from ``confidence`` (candidates that move together) to about Bonferroni's (independent ones).

    >>> import numpy as np
    >>> alike = np.repeat(np.random.default_rng(0).normal(size=(200, 1)), 5, axis=1)
    >>> round(max_t_confidence(alike), 3)
    0.95
    """
    from scipy.special import ndtr

    deviations = _deviations(parts, shares)
    spread = np.sqrt((deviations**2).sum(axis=0))
    moving = deviations[:, spread > 0] / spread[spread > 0]  # (units, moving candidates), columns of length 1
    if moving.shape[1] < 2:
        return confidence
    rng = np.random.default_rng(seed)
    values, vectors = np.linalg.eigh(moving.T @ moving)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    draws = np.abs(rng.normal(size=(DRAWS, moving.shape[1])) @ root.T).max(axis=1)
    critical = float(np.quantile(draws, confidence))
    return max(confidence, float(2 * ndtr(critical) - 1))


def corrected_lead(parts: Array, seed: int = 0, shares: Array | None = None) -> tuple[int, float]:
    """Which candidate leads, and an estimate of its advantage that its having been picked does not flatter.

    Args:
        parts: As for ``max_t_confidence``, turned so that larger is better.
        seed: Of the divisions.
        shares: As for ``max_t_confidence``.

    Returns:
        The leader's column, and the corrected estimate. With one candidate it is the plain estimate.

    >>> import numpy as np
    >>> rows = np.random.default_rng(1).normal(size=(400, 8)) / 400  # eight candidates, none better than another
    >>> leader, corrected = corrected_lead(rows)
    >>> round(float(rows.sum(axis=0)[leader]), 3), round(corrected, 3)
    (0.049, -0.046)
    """
    total = parts.sum(axis=0)
    leader = int(total.argmax())
    units = len(parts)
    if parts.shape[1] < 2 or units < 2:
        return leader, float(total[leader])
    weights = np.full(units, 1 / units) if shares is None else shares
    folds = min(FOLDS, units)
    rng = np.random.default_rng(seed)
    found = 0.0
    for _ in range(REPEATS):
        fold = rng.permutation(units) % folds
        held = np.stack([parts[fold == f].sum(axis=0) for f in range(folds)])  # (folds, candidates)
        weight = np.array([weights[fold == f].sum() for f in range(folds)])
        rest = (total - held) / np.maximum(1 - weight, 1e-12)[:, None]
        found += float(held[np.arange(folds), rest.argmax(axis=1)].sum())
    return leader, found / REPEATS


def _deviations(parts: Array, shares: Array | None) -> Array:
    weights = np.full(len(parts), 1 / max(len(parts), 1)) if shares is None else shares
    return np.asarray(parts - weights[:, None] * parts.sum(axis=0))
