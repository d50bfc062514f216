from __future__ import annotations

import time

import numpy as np
import pytest

from evalkit.stats import Interval, bootstrap_interval
from evalkit.stats.resampling import Array, group_rows, resample_counts, unit_of_sample


def mean(totals: Array) -> Array:
    return np.asarray(totals[..., 0] / totals[..., 1])


def rows(scores: object) -> Array:
    column = np.asarray(scores, dtype=float)
    return np.stack([column, np.ones(len(column))], axis=1)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_bca_of_a_mean_equals_scipy(seed: int) -> None:
    """Same method and same draws, so the same ends: scipy 1.17's ``bootstrap`` with ``method="BCa"``."""
    from scipy.stats import bootstrap

    scores = np.random.default_rng(seed).lognormal(size=60)  # skewed, so that the corrections matter
    expected = bootstrap(
        (scores,), np.mean, n_resamples=9_999, rng=np.random.default_rng(seed)
    ).confidence_interval
    found = bootstrap_interval(rows(scores), mean, resamples=9_999, seed=seed)
    assert found.method == "bca"
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-10)


def test_bca_of_a_corpus_ratio_equals_scipy() -> None:
    from scipy.stats import bootstrap

    rng = np.random.default_rng(4)
    hits, size = rng.poisson(3, 50).astype(float), rng.poisson(9, 50) + 1.0

    def ratio(a: Array, b: Array, axis: int) -> Array:
        return np.asarray(a.sum(axis) / b.sum(axis))

    expected = bootstrap(
        (hits, size), ratio, paired=True, vectorized=True, n_resamples=9_999, rng=np.random.default_rng(5)
    ).confidence_interval
    found = bootstrap_interval(np.stack([hits, size], axis=1), mean, resamples=9_999, seed=5)
    assert found.value == hits.sum() / size.sum()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-10)


def test_right_or_wrong_alone_is_wilson_and_in_clusters_is_not() -> None:
    right = rows([1, 1, 1, 0] * 5)
    alone = bootstrap_interval(right, mean, shares=True, clusters=[None] * 20)
    assert alone == Interval(0.75, pytest.approx(0.5313, abs=5e-5), pytest.approx(0.8881, abs=5e-5), "wilson")
    together = bootstrap_interval(right, mean, shares=True, clusters=[f"c{i // 4}" for i in range(20)])
    assert together.method == "bca"
    all_right = bootstrap_interval(
        rows([1] * 20), mean, shares=True, clusters=[f"c{i // 4}" for i in range(20)]
    )
    assert all_right == Interval(1.0, pytest.approx(0.5655, abs=5e-5), 1.0, "wilson")  # Wilson of 5 in 5


def test_nothing_one_and_all_equal() -> None:
    assert bootstrap_interval(np.zeros((0, 2)), mean) == Interval(None, None, None, "none")
    assert bootstrap_interval(rows([0.3]), mean) == Interval(0.3, None, None, "none")
    assert bootstrap_interval(rows([0.3] * 4), mean, clusters=["a"] * 4).low is None
    same = bootstrap_interval(rows([0.25] * 8), mean)
    assert (same.low, same.value, same.high) == (0.25, 0.25, 0.25)
    undefined = bootstrap_interval(np.zeros((3, 2)), lambda totals: np.full(totals.shape[:-1], np.nan))
    assert undefined == Interval(None, None, None, "none")


def test_the_seed_decides_the_draws() -> None:
    scores = rows(np.random.default_rng(0).random(40))
    first, again = (bootstrap_interval(scores, mean, seed=5) for _ in range(2))
    assert first == again
    assert first != bootstrap_interval(scores, mean, seed=6)


def test_resample_counts_draw_every_unit_alike() -> None:
    counts = np.concatenate(list(resample_counts(50, 20_000, 3)))
    assert counts.shape == (20_000, 50)
    assert (counts.sum(1) == 50).all()
    np.testing.assert_allclose(counts.mean(0), 1, atol=0.05)
    np.testing.assert_allclose(counts.var(0), 1 - 1 / 50, atol=0.06)  # binomial(50, 1/50)


def test_clusters_are_drawn_together() -> None:
    units = unit_of_sample(5, ["a", None, "b", "a", None], 0)
    assert units.tolist() == [0, 1, 2, 0, 3]
    np.testing.assert_array_equal(group_rows(np.arange(5.0)[:, None], units)[:, 0], [3, 1, 2, 4])


def test_copies_of_samples_in_clusters_have_the_interval_of_the_originals() -> None:
    scores = np.random.default_rng(8).random(60)
    once = bootstrap_interval(rows(scores), mean)
    clusters = [str(i) for i in range(60) for _ in range(10)]
    ten_times = bootstrap_interval(rows(np.repeat(scores, 10)), mean, clusters=clusters)
    assert (ten_times.low, ten_times.high) == pytest.approx((once.low, once.high))
    blind = bootstrap_interval(rows(np.repeat(scores, 10)), mean)
    assert blind.low is not None
    assert once.low is not None
    assert blind.low > once.low + 0.03


def test_very_many_samples_keep_their_width() -> None:
    scores = np.random.default_rng(2).exponential(size=40_000)
    found = bootstrap_interval(rows(scores), mean)
    assert found.low is not None
    assert found.high is not None
    half = 1.96 * scores.std() / np.sqrt(len(scores))
    assert found.high - found.low == pytest.approx(2 * half, rel=0.06)


def test_ten_thousand_resamples_of_two_thousand_samples_are_quick() -> None:
    scores = rows(np.random.default_rng(2).random(2_000))
    bootstrap_interval(scores[:10], mean)  # scipy's import is not the bootstrap's time
    start = time.perf_counter()
    bootstrap_interval(scores, mean)
    assert time.perf_counter() - start < 3  # 0.3 s on an idle core; the limit is for a busy machine


@pytest.mark.parametrize(("n", "least"), [(20, 0.89), (50, 0.91), (200, 0.93)])
def test_coverage(n: int, least: float) -> None:
    """Share of intervals that hold the truth; skewed scores in [0, 1] (Beta(2, 5), mean 2/7)."""
    rng = np.random.default_rng(n)
    hits = 0
    for seed in range(400):
        found = bootstrap_interval(rows(rng.beta(2, 5, n)), mean, resamples=1_000, seed=seed)
        hits += found.low <= 2 / 7 <= found.high  # type: ignore[operator]
    assert least <= hits / 400 <= 0.98
