from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from evalkit.stats import paired_difference
from evalkit.stats.resampling import Array


def mean(totals: Array) -> Array:
    return np.asarray(totals[..., 0] / totals[..., 1])


def ratio_of_sums(totals: Array) -> Array:
    return np.asarray(totals[..., 0] / totals[..., 1])


def rows(scores: object) -> Array:
    column = np.asarray(scores, dtype=float)
    return np.stack([column, np.ones(len(column))], axis=1)


def test_right_or_wrong_is_mcnemar() -> None:
    a, b = rows([1, 1, 1, 1, 1, 1, 0, 1, 0, 1]), rows([0, 0, 0, 0, 0, 1, 1, 1, 0, 0])
    found = paired_difference(a, b, mean, scores=(a[:, 0], b[:, 0]), shares=True)
    assert found.difference == pytest.approx(0.5)
    assert found.test == "mcnemar-mid-p, tango"
    assert found.p_value == pytest.approx(0.0703125)  # 6 gained, 1 lost: (2·(1 + 7) − 7) / 2^7
    assert found.n == 10


def test_few_samples_go_through_every_pattern() -> None:
    """The exact permutation p, by hand: all 2^6 sign patterns."""
    a, b = np.array([0.9, 0.7, 0.4, 0.8, 0.6, 0.5]), np.array([0.5, 0.6, 0.5, 0.2, 0.55, 0.5])
    gaps = a - b
    sums = [abs(sum(s * g for s, g in zip(signs, gaps, strict=True))) for signs in product((1, -1), repeat=6)]
    expected = np.mean([value >= abs(gaps.sum()) - 1e-12 for value in sums])
    found = paired_difference(rows(a), rows(b), mean, scores=(a, b))
    assert found.p_value == pytest.approx(expected, abs=1e-15)
    assert found.p_value == paired_difference(rows(a), rows(b), mean, scores=(a, b), seed=9).p_value


def test_many_samples_agree_with_scipy_permutation_test() -> None:
    from scipy.stats import permutation_test

    rng = np.random.default_rng(1)
    a = rng.random(80)
    b = np.clip(a + rng.normal(-0.03, 0.15, 80), 0, 1)
    expected = permutation_test(
        (a, b), lambda x, y, axis: x.mean(axis) - y.mean(axis), permutation_type="samples", vectorized=True,
        n_resamples=20_000, rng=np.random.default_rng(3), batch=2_000,
    ).pvalue  # fmt: skip
    found = paired_difference(rows(a), rows(b), mean, scores=(a, b))
    assert found.p_value == pytest.approx(expected, abs=0.015)
    corpus = paired_difference(rows(a), rows(b), ratio_of_sums)
    assert corpus.p_value == pytest.approx(expected, abs=0.015)  # exchanging rows of a mean is flipping signs


def test_the_interval_of_a_mean_is_that_of_the_differences() -> None:
    from scipy.stats import bootstrap

    rng = np.random.default_rng(2)
    a, b = rng.beta(4, 2, 70), rng.beta(2, 3, 70)
    expected = bootstrap(
        (a - b,), np.mean, n_resamples=9_999, rng=np.random.default_rng(1)
    ).confidence_interval
    found = paired_difference(rows(a), rows(b), mean, scores=(a, b), resamples=9_999, seed=1)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-10)


def test_columns_may_differ_only_for_the_interval_not_for_the_exchange() -> None:
    with pytest.raises(ValueError, match="broadcast"):
        paired_difference(np.ones((4, 2)), np.ones((4, 3)), ratio_of_sums)


def test_clusters_move_together() -> None:
    """Ten copies of a sample are no more evidence than one."""
    rng = np.random.default_rng(5)
    a = (rng.random(12) < 0.7).astype(float)
    b = (rng.random(12) < 0.3).astype(float)
    clusters = [str(i) for i in range(12) for _ in range(10)]
    many = np.repeat(a, 10), np.repeat(b, 10)
    found = paired_difference(rows(many[0]), rows(many[1]), mean, scores=many, shares=True, clusters=clusters)
    once = paired_difference(rows(a), rows(b), mean, scores=(a, b), resamples=10_000)
    assert found.p_value == pytest.approx(once.p_value)
    assert (found.low, found.high) == pytest.approx((once.low, once.high))
    assert found.test == "permutation, paired bootstrap"


def test_clusters_without_any_flip_are_the_trials() -> None:
    same = np.ones(20)
    clusters = [str(i // 4) for i in range(20)]
    found = paired_difference(
        rows(same), rows(same), mean, scores=(same, same), shares=True, clusters=clusters
    )
    assert (found.low, found.high) == pytest.approx((-0.4345, 0.4345), abs=5e-5)  # ±z²/(5 + z²)
    assert found.p_value == 1.0


def test_nothing_one_and_all_equal() -> None:
    nothing = paired_difference(np.zeros((0, 2)), np.zeros((0, 2)), mean)
    assert (nothing.difference, nothing.low, nothing.p_value, nothing.n) == (None, None, None, 0)
    one = paired_difference(rows([0.5]), rows([0.25]), mean, scores=(np.array([0.5]), np.array([0.25])))
    assert (one.difference, one.low, one.p_value, one.n) == (0.25, None, None, 1)
    same = np.full(6, 0.5)
    for scores in ((same, same), None):
        equal = paired_difference(rows(same), rows(same), mean, scores=scores)
        assert (equal.difference, equal.low, equal.high, equal.p_value) == (0, 0, 0, 1)


def test_no_change_in_a_few_samples_is_not_proof_of_no_change() -> None:
    """Identical answers to 20 samples: ±z²/(n + z²) of what two values can be apart."""
    same = np.random.default_rng(3).random(20)
    found = paired_difference(rows(same), rows(same), mean, scores=(same, same), bounds=(0.0, 1.0))
    assert (found.low, found.high, found.test) == (
        pytest.approx(-0.1611, abs=5e-5),
        pytest.approx(0.1611, abs=5e-5),
        "permutation, tango",
    )
    corpus = paired_difference(rows(same), rows(same), ratio_of_sums, bounds=(0.0, 100.0))
    assert (corpus.low, corpus.high) == pytest.approx((-16.11, 16.11), abs=5e-3)
    seen = paired_difference(rows(same), rows(same), mean, scores=(same, same))
    assert seen.high == pytest.approx(0.16113 * np.ptp(same), rel=1e-3)


def test_p_is_never_zero_and_the_seed_decides() -> None:
    a, b = np.ones(200) * 0.9, np.random.default_rng(0).random(200) * 0.1
    found = paired_difference(rows(a), rows(b), mean, scores=(a, b), resamples=999)
    assert found.p_value == pytest.approx(1 / 1000)
    assert found == paired_difference(rows(a), rows(b), mean, scores=(a, b), resamples=999)


@pytest.mark.parametrize("kind", ["mean", "corpus"])
def test_false_alarms_without_a_difference(kind: str) -> None:
    """p ≤ 0.05 in no more than 5 % of pairs of equal candidates (400 tries: up to 8 % within 3 sigma)."""
    rng = np.random.default_rng(11)
    alarms = 0
    for seed in range(400):
        a, b = rng.beta(2, 3, 30), rng.beta(2, 3, 30)
        scores = (a, b) if kind == "mean" else None
        found = paired_difference(rows(a), rows(b), mean, scores=scores, resamples=400, seed=seed)
        alarms += found.p_value <= 0.05  # type: ignore[operator]
    assert 0.02 <= alarms / 400 <= 0.085
