from __future__ import annotations

import numpy as np
import pytest

from evalkit.stats.validity import pairwise_accuracy, rank_correlation


@pytest.mark.parametrize("seed", range(5))
def test_rank_correlation_equals_scipy(seed: int) -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(seed)
    people = rng.integers(1, 6, 80).astype(float)  # ties
    scores = np.round(people + rng.normal(0, 2, 80), 1)
    found = rank_correlation(scores, people, range(80))
    assert found.value == pytest.approx(spearmanr(scores, people).statistic, abs=1e-12)
    assert found.low < found.value < found.high  # type: ignore[operator]


def test_pairs_by_hand() -> None:
    # sample 1: people a > b > c; the metric has a > c > b: two of three. Sample 2: a metric's tie: half.
    scores, people = np.array([3.0, 1, 2, 5, 5, 1]), np.array([3.0, 2, 1, 2, 1, 1])
    found, pairs = pairwise_accuracy(scores, people, [1, 1, 1, 2, 2, 3])
    assert (found.value, pairs) == (pytest.approx(2.5 / 4), 4)


def test_nothing_to_compare() -> None:
    same = np.ones(5)
    assert rank_correlation(same, np.arange(5.0), range(5)).value is None
    assert pairwise_accuracy(same, same, [1] * 5)[0].value is None
    assert pairwise_accuracy(same, np.arange(5.0), range(5))[1] == 0


def test_intervals_cover() -> None:
    """Samples differ in how hard they are, so answers to one hang together. The metric and people share a normal
    quality: pairwise accuracy 1/2 + asin(ρ)/π with ρ of the differences, here 1/√(1.5 · 1.5) = 2/3."""
    rng = np.random.default_rng(1)
    truth = 0.5 + np.arcsin(2 / 3) / np.pi
    hits = 0
    for seed in range(200):
        quality = rng.normal(size=(60, 3))
        hard = rng.normal(size=(60, 1))
        people = (quality + hard + rng.normal(0, 0.5**0.5, (60, 3))).ravel()
        scores = (quality + hard + rng.normal(0, 0.5**0.5, (60, 3))).ravel()
        found, _ = pairwise_accuracy(
            scores, people, np.repeat(np.arange(60), 3).tolist(), resamples=500, seed=seed
        )
        hits += found.low <= truth <= found.high  # type: ignore[operator]
    assert 0.92 <= hits / 200 <= 0.985
