"""How far raters agree beyond chance: Cohen's kappa, Fleiss' kappa and Krippendorff's alpha.

All three are 1 − observed / expected disagreement; they differ in what "expected" is. Each keeps statistics per
item and is a function of their sum, so that a bootstrap over items never reads a label twice.

Cohen 1960 and 1968 (weighted); Fleiss 1971; Krippendorff 2004, *Content Analysis*, ch. 11 (alpha, with gaps);
Hayes and Krippendorff 2007 (its bootstrap).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evalkit.stats.bootstrap import Interval, Replicates, bca_interval
from evalkit.stats.proportions import wilson_interval
from evalkit.stats.resampling import Array, group_rows, resample_counts, unit_of_sample

__all__ = ["Level", "Weights", "cohen_kappa", "fleiss_kappa", "krippendorff_alpha", "ordinal_distances"]

Codes = NDArray[np.int64]
"""Positions of labels among the values; −1 where a rater gave none."""
Level = Literal["nominal", "ordinal", "interval"]
Weights = Literal["linear", "quadratic"]

COMPLETE_SHARE = 0.1
"""Fleiss' kappa leaves incomplete items out where at least this share of the items is complete."""
_CHUNK = 8_000_000  # entries of (resamples, statistics): 64 MB


@dataclass(frozen=True, slots=True)
class _Statistics:
    """Rows per item whose sum the coefficient is a function of, and how many items show no disagreement."""

    rows: Array
    value: Callable[[Array], Array]
    disagreement: Array


def cohen_kappa(
    first: Codes,
    second: Codes,
    *,
    weights: Weights | None = None,
    clusters: Sequence[str] | None = None,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Cohen's kappa of two raters, over the items that both labelled.

    Args:
        first: (n,) codes of one rater, −1 where there is no label.
        second: (n,) codes of the other.
        weights: How far apart two labels are: None: any two alike; ``linear`` and ``quadratic``: by the
            distance of their codes, which must then be in order.
        clusters: (n,) what is resampled together, where several rows are about one item.
        confidence: Two-sided level of the interval.
        resamples: Of the bootstrap over items.
        seed: Of its draws.

    Returns:
        Kappa in [−1, 1], 0 for chance; its value is None where both raters gave one and the same label
        throughout, so that chance alone would agree completely.

    >>> first = np.repeat([0, 0, 1, 1], [20, 5, 10, 15])  # 20 both yes, 15 both no, 15 apart
    >>> second = np.repeat([0, 1, 0, 1], [20, 5, 10, 15])
    >>> round(cohen_kappa(first, second, resamples=100).value, 6)
    0.4
    """
    both = (first >= 0) & (second >= 0)
    a, b = first[both], second[both]
    k = int(max(a.max(initial=0), b.max(initial=0))) + 1
    gap = np.abs(a - b).astype(np.float64)
    apart = {None: (gap > 0) * 1.0, "linear": gap, "quadratic": gap**2}[weights]
    steps = np.abs(np.arange(k)[:, None] - np.arange(k)).astype(np.float64)
    distance = {None: (steps > 0) * 1.0, "linear": steps, "quadratic": steps**2}[weights]

    def value(totals: Array) -> Array:
        observed, n = totals[..., 0], totals[..., 1]
        rows, columns = totals[..., 2 : 2 + k], totals[..., 2 + k :]
        return _one_minus(observed, ((rows @ distance) * columns).sum(-1) / n)

    eye = np.eye(k)
    rows = np.concatenate([apart[:, None], np.ones((len(a), 1)), eye[a], eye[b]], axis=1)
    named = None if clusters is None else [name for name, kept in zip(clusters, both, strict=True) if kept]
    return _interval(_Statistics(rows, value, apart), confidence, resamples, seed, named)


def fleiss_kappa(
    codes: Codes,
    *,
    clusters: Sequence[str] | None = None,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> tuple[Interval, int]:
    """Fleiss' kappa of any number of raters, who need not be the same for every item.

    It is defined for equally many labels an item. With gaps, items that lack a label are left out, as long as
    every rater labelled a tenth of the items; else (everybody has a share of their own) all items with two or
    more labels count, each with its own share of agreeing pairs, and the labels' shares are of all of them.

    Args:
        codes: (items, raters), −1 where a rater gave no label.
        clusters: (items,) what is resampled together, where several rows are about one item.
        confidence: Two-sided level of the interval.
        resamples: Of the bootstrap over items.
        seed: Of its draws.

    Returns:
        Kappa with its interval, and the number of items it is over; the value is None where all labels are
        the same.

    >>> kappa, items = fleiss_kappa(np.array([[0, 0, 0], [0, 1, 1], [1, 1, 1], [1, 1, -1]]), resamples=100)
    >>> round(kappa.value, 6), items
    (0.55, 3)
    """
    counts = _counts(codes)
    n = counts.sum(1)
    complete = n == codes.shape[1]
    shared = n >= 2
    if complete.sum() < COMPLETE_SHARE * max(int(shared.sum()), 1):
        complete = shared
    counted = complete & shared
    counts, n = counts[counted], n[counted]
    named = None if clusters is None else [name for name, kept in zip(clusters, counted, strict=True) if kept]
    apart = (n**2 - (counts**2).sum(1)) / (n * (n - 1))

    def value(totals: Array) -> Array:
        shares = totals[..., 2:] / totals[..., 2:].sum(-1, keepdims=True)
        return _one_minus(totals[..., 0] / totals[..., 1], 1 - (shares**2).sum(-1))

    rows = np.concatenate([apart[:, None], np.ones((len(n), 1)), counts], axis=1)
    return _interval(_Statistics(rows, value, apart), confidence, resamples, seed, named), len(n)


def krippendorff_alpha(
    codes: Codes,
    values: Sequence[float] | None = None,
    *,
    level: Level = "nominal",
    clusters: Sequence[str] | None = None,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Krippendorff's alpha of any number of raters with any gaps; items with one label say nothing.

    Args:
        codes: (items, raters), −1 where a rater gave no label; in order for ``ordinal``.
        values: The number each code stands for; read for ``interval`` only.
        level: How labels differ: ``nominal`` any two alike, ``ordinal`` by the labels that lie between them,
            ``interval`` by their squared difference.
        clusters: What is resampled together, where several rows are about one item.
        confidence: Two-sided level of the interval.
        resamples: Of the bootstrap over items.
        seed: Of its draws.

    Returns:
        Alpha ≤ 1, 0 for chance; its value is None where all labels are the same.

    >>> table = np.array([[0, 0], [1, 1], [1, 0], [2, 2], [2, -1]])
    >>> round(krippendorff_alpha(table, resamples=100).value, 6)
    0.666667
    """
    counts = _counts(codes)
    pairable = counts.sum(1) >= 2
    counts = counts[pairable]
    if level == "interval":
        numbers = (
            np.arange(counts.shape[1], dtype=np.float64) if values is None else np.asarray(values, float)
        )
        statistics = _interval_statistics(counts, numbers)
    else:
        statistics = _nominal_statistics(counts) if level == "nominal" else _ordinal_statistics(counts)
    named = (
        None if clusters is None else [name for name, kept in zip(clusters, pairable, strict=True) if kept]
    )
    return _interval(statistics, confidence, resamples, seed, named)


def ordinal_distances(totals: Array) -> Array:
    """Squared ordinal distances of labels that occur ``totals`` times: differences of their mid-ranks.

    >>> ordinal_distances(np.array([2.0, 4.0, 2.0])).tolist()
    [[0.0, 9.0, 36.0], [9.0, 0.0, 9.0], [36.0, 9.0, 0.0]]
    """
    ranks = _mid_ranks(totals)
    return np.asarray((ranks[..., :, None] - ranks[..., None, :]) ** 2)


def _counts(codes: Codes) -> Array:
    """(items, raters) codes → (items, k) how often each label was given."""
    k = int(codes.max(initial=0)) + 1
    counts = np.zeros((len(codes), k))
    item, rater = np.nonzero(codes >= 0)
    np.add.at(counts, (item, codes[item, rater]), 1.0)
    return counts


def _nominal_statistics(counts: Array) -> _Statistics:
    n = counts.sum(1)
    apart = (n**2 - (counts**2).sum(1)) / (n - 1)

    def value(totals: Array) -> Array:
        labels = totals[..., 1:]
        n = labels.sum(-1)
        return _one_minus(totals[..., 0], (n**2 - (labels**2).sum(-1)) / (n - 1))

    return _Statistics(np.concatenate([apart[:, None], counts], axis=1), value, apart)


def _interval_statistics(counts: Array, values: Array) -> _Statistics:
    n = counts.sum(1)
    values = values[: counts.shape[1]]
    centred = values - (counts.sum(0) @ values) / max(
        float(n.sum()), 1.0
    )  # sums of squares keep their digits
    scale = float(np.abs(centred).max(initial=0.0)) or 1.0
    centred = centred / scale
    sums, squares = counts @ centred, counts @ centred**2
    apart = np.where((counts > 0).sum(1) > 1, 2 * (n * squares - sums**2) / (n - 1), 0.0)

    def value(totals: Array) -> Array:
        observed, n, sums, squares = (totals[..., column] for column in range(4))
        expected = 2 * (n * squares - sums**2) / (n - 1)
        return _one_minus(observed, np.where(expected > 1e-12 * n, expected, 0.0))

    return _Statistics(np.stack([apart, n, sums, squares], axis=1), value, apart)


def _ordinal_statistics(counts: Array) -> _Statistics:
    """Distances depend on how often each label occurs, so every pair of labels is counted on its own."""
    n, k = counts.sum(1), counts.shape[1]
    low, high = np.triu_indices(k, 1)
    pairs = 2 * counts[:, low] * counts[:, high] / (n - 1)[:, None]

    def value(totals: Array) -> Array:
        labels, together = totals[..., :k], totals[..., k:]
        ranks, n = _mid_ranks(labels), labels.sum(-1)
        observed = (together * (ranks[..., low] - ranks[..., high]) ** 2).sum(-1)
        mean = (labels * ranks).sum(-1) / n
        expected = 2 * n * (labels * (ranks - mean[..., None]) ** 2).sum(-1) / (n - 1)
        return _one_minus(observed, expected)

    return _Statistics(np.concatenate([counts, pairs], axis=1), value, pairs.sum(1))


def _mid_ranks(totals: Array) -> Array:
    return np.asarray(np.cumsum(totals, axis=-1) - totals / 2)


def _one_minus(observed: Array, expected: Array) -> Array:
    """1 − observed / expected; NaN where nothing could be expected to differ."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(expected > 0, 1 - observed / expected, np.nan))


def _interval(
    statistics: _Statistics,
    confidence: float,
    resamples: int,
    seed: int,
    clusters: Sequence[str] | None = None,
) -> Interval:
    """Value and BCa interval over items.

    Where no item shows any disagreement every resample says 1. The low end is then Wilson's for n of n items:
    what kappa or alpha would be if the items that were not seen to disagree did so as by chance.
    """
    rows = statistics.rows
    if len(rows) == 0:
        return Interval(None, None, None, "none")
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = float(statistics.value(rows.sum(0)))
        if not np.isfinite(whole):
            return Interval(None, None, None, "none")
        units = unit_of_sample(len(rows), clusters, seed)
        count = int(units.max()) + 1
        if not statistics.disagreement.any():
            return Interval(1.0, wilson_interval(count, count, confidence)[0], 1.0, "wilson")
        if count < 2:
            return Interval(whole, None, None, "none")
        rows = group_rows(rows, units)
        values: list[Array] = []
        for counts in resample_counts(len(rows), resamples, seed):
            parts = -(-len(counts) * rows.shape[1] // _CHUNK)
            values += [statistics.value(part @ rows) for part in np.array_split(counts, parts)]
        left_out = statistics.value(rows.sum(0) - rows)
        low, high = bca_interval(Replicates(whole, np.concatenate(values), left_out), confidence)
    if low == high:  # a handful of items whose resamples all agree: that is no knowledge of the spread
        return Interval(whole, None, None, "none")
    return Interval(whole, max(low, -1.0), min(high, 1.0), "bca")
