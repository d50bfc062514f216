"""Random draws for bootstraps and permutations, seeded and in chunks.

Statistics of samples that share a cluster are summed first, and clusters are drawn. Above ``MAX_UNITS`` units
random groups of equal size are drawn instead of units: sums of random groups have the spread and the skewness
of the sums of their members, and 100,000 samples then cost what 5,000 do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "group_rows", "resample_counts", "share_clusters", "sign_flips", "unit_of_sample"]

Array = NDArray[np.float64]

MAX_UNITS = 10_000
GROUPS = 5_000
CHUNK = 4_000_000
"""Entries of a chunk of draws: 32 MB as float64."""


def share_clusters(clusters: Sequence[str | None] | None) -> bool:
    """Whether any two samples share a cluster.

    >>> share_clusters(["a", None, None]), share_clusters(["a", "a"])
    (False, True)
    """
    named = [name for name in clusters or () if name is not None]
    return len(set(named)) < len(named)


def unit_of_sample(n: int, clusters: Sequence[str | None] | None, seed: int) -> NDArray[np.int64]:
    """Number of the unit each of n samples is drawn with, from 0.

    Args:
        n: Samples.
        clusters: Their clusters; None for a sample on its own, or for no clusters at all.
        seed: Of the random grouping of very many units.
    """
    units = np.arange(n)
    if clusters is not None:
        names: dict[object, int] = {}
        keys = [("alone", i) if name is None else ("named", name) for i, name in enumerate(clusters)]
        units = np.array([names.setdefault(key, len(names)) for key in keys], dtype=np.int64)
    count = int(units.max(initial=-1)) + 1
    if count <= MAX_UNITS:
        return units
    return (np.random.default_rng(seed).permutation(count) % GROUPS)[units]


def group_rows(rows: Array, units: NDArray[np.int64]) -> Array:
    """(n, k) rows → (units, k) sums."""
    if np.array_equal(units, np.arange(len(units))):
        return rows
    sums = np.zeros((int(units.max()) + 1, rows.shape[1]))
    np.add.at(sums, units, rows)
    return sums


def resample_counts(units: int, resamples: int, seed: int) -> Iterator[Array]:
    """Yield (chunk, units) how often each unit is drawn in a resample; ``resamples`` rows in all."""
    rng = np.random.default_rng(seed)
    for size in _chunks(resamples, units):
        draws = rng.integers(0, units, (size, units), dtype=np.int32)
        draws += np.arange(size, dtype=np.int32)[:, None] * units
        counts = np.bincount(draws.ravel(), minlength=size * units)
        yield counts.reshape(size, units).astype(np.float64)


def sign_flips(units: int, resamples: int, seed: int) -> tuple[bool, Iterator[Array]]:
    """Which units are exchanged: every pattern if there are no more than ``resamples``, else a random choice.

    Returns:
        Whether all patterns are there, and chunks (chunk, units) of 0 and 1.
    """
    if units < 40 and 2**units <= resamples:
        patterns = (np.arange(2**units)[:, None] >> np.arange(units)) & 1
        return True, iter([patterns.astype(np.float64)])
    return False, _random_flips(units, resamples, seed)


def _random_flips(units: int, resamples: int, seed: int) -> Iterator[Array]:
    rng = np.random.default_rng(seed)
    for size in _chunks(resamples, units):
        packed = np.frombuffer(rng.bytes(size * ((units + 7) // 8)), dtype=np.uint8)
        yield np.unpackbits(packed.reshape(size, -1), axis=1, count=units).astype(np.float64)


def _chunks(resamples: int, units: int) -> Iterator[int]:
    size = max(1, CHUNK // max(units, 1))
    for start in range(0, resamples, size):
        yield min(size, resamples - start)
