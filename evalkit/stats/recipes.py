"""A recipe trained with several seeds: how much of the spread is the seed's, and what holds for the recipe.

A score of seed s on sample i is mean + seed + sample + rest, all at random (two-way random effects, one cell each;
Searle, Casella and McCulloch 1992, ch. 4). The mean squares give each part's variance; a part that comes out negative
is 0. The rest holds what a seed does to single samples and, where answers are sampled, the sampling; several answers
a sample would tell these two apart. The variance of the recipe's mean, for new seeds *and* new samples, is

    (MS_seed + MS_sample − MS_rest) / (seeds · samples)

with Satterthwaite's (1946) degrees of freedom: with three seeds that differ they are few, as they should be.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from evalkit.stats.resampling import Array

__all__ = ["LEAST_SEEDS", "Parts", "RecipeDifference", "recipe_difference", "variance_parts"]

LEAST_SEEDS = 3
"""With fewer nothing is said about a recipe, only about its adapters."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Variances of one score.

    Attributes:
        seed: Between seeds.
        sample: Between samples.
        rest: What a seed does to single samples, with the sampling of answers where they are sampled.
        error: Standard error of the mean over new seeds and new samples.
        degrees: Degrees of freedom of that error.
    """

    seed: float
    sample: float
    rest: float
    error: float
    degrees: float


@dataclass(frozen=True, slots=True)
class RecipeDifference:
    """A recipe minus another recipe or a control, for new seeds and new samples.

    Attributes:
        difference: Of the means.
        low: Lower end of its interval.
        high: Upper end.
        p_value: Two-sided, of no difference (Student's t).
    """

    difference: float
    low: float
    high: float
    p_value: float


def variance_parts(scores: Array) -> Parts:
    """Divide the variance of a score between seeds, samples and the rest.

    Args:
        scores: (seeds, samples), at least 2 of each.

    >>> import numpy as np
    >>> found = variance_parts(np.array([[1.0, 0.0, 1.0, 1.0], [1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 1.0, 1.0]]))
    >>> round(found.seed, 4), round(found.sample, 4), round(found.rest, 4)
    (0.0, 0.1944, 0.0833)
    """
    seeds, samples = scores.shape
    mean = scores.mean()
    by_seed, by_sample = scores.mean(axis=1) - mean, scores.mean(axis=0) - mean
    rest = scores - mean - by_seed[:, None] - by_sample[None, :]
    freedom = (seeds - 1, samples - 1, (seeds - 1) * (samples - 1))
    squares = (
        samples * float((by_seed**2).sum()) / freedom[0],
        seeds * float((by_sample**2).sum()) / freedom[1],
        float((rest**2).sum()) / freedom[2],
    )
    ms_seed, ms_sample, ms_rest = squares
    # Never below what either factor alone shows: the difference of mean squares may come out too small by chance.
    whole = max(ms_seed + ms_sample - ms_rest, ms_seed, ms_sample)
    below = sum(square**2 / freedom for square, freedom in zip(squares, freedom, strict=True))
    return Parts(
        seed=max(0.0, (ms_seed - ms_rest) / samples),
        sample=max(0.0, (ms_sample - ms_rest) / seeds),
        rest=ms_rest,
        error=math.sqrt(whole / (seeds * samples)),
        degrees=max(1.0, whole**2 / below) if below > 0 else float(freedom[1]),
    )


def recipe_difference(first: Array, second: Array, confidence: float = 0.95) -> RecipeDifference | None:
    """Compare a recipe with another one, or with a control, on the same samples.

    Args:
        first: (seeds, samples) scores of the recipe, at least ``LEAST_SEEDS`` seeds.
        second: (seeds, samples) of the other; one row for a control, which has no seed.
        confidence: Two-sided level.

    Returns:
        None where there are too few seeds or samples.

    >>> import numpy as np
    >>> a = np.array([[1.0, 1.0, 1.0, 0.0]] * 3)
    >>> found = recipe_difference(a, np.zeros((1, 4)))
    >>> found.difference
    0.75
    """
    from scipy.special import stdtr, stdtrit

    samples = first.shape[1]
    if len(first) < LEAST_SEEDS or 1 < len(second) < LEAST_SEEDS or samples < 2:
        return None
    # Seeds of two recipes are unrelated; samples are shared. So samples' variance comes from the paired means, and
    # each recipe adds its own seeds' variance.
    gaps = first.mean(axis=0) - second.mean(axis=0)
    squares = [(float(gaps.var(ddof=1)) / samples, samples - 1)]
    for scores in (first, second):
        if len(scores) > 1:
            parts = variance_parts(scores)
            squares.append((parts.seed / len(scores), len(scores) - 1))
    whole = sum(square for square, _ in squares)
    difference = float(gaps.mean())
    if whole == 0:
        return RecipeDifference(difference, difference, difference, 1.0 if difference == 0 else 0.0)
    degrees = whole**2 / sum(square**2 / freedom for square, freedom in squares)
    half = float(stdtrit(degrees, (1 + confidence) / 2)) * math.sqrt(whole)
    p_value = 2 * float(stdtr(degrees, -abs(difference) / math.sqrt(whole)))
    return RecipeDifference(difference, difference - half, difference + half, p_value)
