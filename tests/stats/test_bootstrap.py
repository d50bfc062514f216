from __future__ import annotations

import time

import numpy as np
import pytest

from evalkit.stats import Interval, bootstrap_interval, wilson_interval
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


def test_right_or_wrong_is_wilson_with_the_trials_that_clusters_are_worth() -> None:
    right = rows([1, 1, 1, 0] * 5)
    alone = bootstrap_interval(right, mean, shares=True, clusters=[None] * 20)
    assert alone == Interval(0.75, pytest.approx(0.5313, abs=5e-5), pytest.approx(0.8881, abs=5e-5), "wilson")
    all_right = bootstrap_interval(
        rows([1] * 20), mean, shares=True, clusters=[f"c{i // 4}" for i in range(20)]
    )
    assert all_right == Interval(1.0, pytest.approx(0.5655, abs=5e-5), 1.0, "wilson")  # Wilson of 5 in 5
    # Five clusters of four, two of them all wrong. By hand: share 0.6, spread Σ(y − 2.4)² · 5/4 = 24 and 24/4.8 = 5;
    # clusters not unanimous the one way 3, the other 2, so weight 0.25/2.25 for a largest of 4, below 5: 20/5 trials.
    unanimous = bootstrap_interval(
        rows([1] * 12 + [0] * 8), mean, shares=True, clusters=[f"c{i // 4}" for i in range(20)]
    )
    spread = (3 * 1.6**2 + 2 * 2.4**2) * 5 / 4 / (20 * 0.6 * 0.4)
    assert (unanimous.low, unanimous.high) == pytest.approx(wilson_interval(0.6 * 20 / spread, 20 / spread))


def test_a_decision_at_a_bound_has_exact_ends() -> None:
    found = bootstrap_interval(rows([1] * 8 + [0] * 2), mean, shares=True, strict=True)
    assert (found.low, found.high, found.method) == (
        pytest.approx(0.4439, abs=5e-5),  # scipy.stats.binomtest(8, 10).proportion_ci("exact")
        pytest.approx(0.9748, abs=5e-5),
        "clopper-pearson",
    )


def test_few_units_have_longer_arms_and_stay_within_bounds() -> None:
    """Coverage of 95 % at n = 12 from a normal, where BCa alone covers 90 % (500 runs: 92.7 % is 3 sigma below)."""
    rng = np.random.default_rng(4)
    inside = 0
    for seed in range(500):
        found = bootstrap_interval(rows(rng.normal(size=12)), mean, resamples=1000, seed=seed)
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= 0 <= found.high
    assert 0.927 <= inside / 500 <= 0.98
    edge = bootstrap_interval(rows([1.0] * 7 + [0.4]), mean, bounds=(0.0, 1.0), seed=1)
    assert edge.high is not None
    assert edge.high <= 1.0


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
