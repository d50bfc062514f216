"""Noise that samples have for themselves is in an interval already; a shift that they share is not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from evalkit.stats import add_noise, change_of, noisy_p, paired_difference, shift_sd, widen, wilson_interval

Array = NDArray[np.float64]
N, SLICE, CANDIDATES, RUNS = 400, 50, 4, 3000


def realisations(rng: np.random.Generator, flips: float, sd: float) -> tuple[list[Array], list[Array]]:
    """Right/wrong of some candidates in two realisations: each sample flips for itself, and all lean one way.

    Samples are right with probability one half plus the realisation's shift: a latent uniform stays the same between
    the realisations but for a share of samples, whose latent is drawn anew.
    """
    firsts, seconds = [], []
    for _ in range(CANDIDATES):
        latent = rng.random(N)
        again = np.where(rng.random(N) < 2 * flips, rng.random(N), latent)  # half of the new draws flip
        shifts = rng.normal(0, sd, 2)
        firsts.append((latent < 0.5 + shifts[0]).astype(np.float64))
        seconds.append((again < 0.5 + shifts[1]).astype(np.float64))
    return firsts, seconds


def test_the_variance_of_the_shift_is_found_without_bias() -> None:
    """Before it is cut at zero the estimate is right on average: E[(D² − s²/m)/2] = var(e)."""
    rng = np.random.default_rng(1)
    for flips, sd in ((0.05, 0.0), (0.05, 0.03), (0.0, 0.02)):
        found = []
        for _ in range(RUNS):
            firsts, seconds = realisations(rng, flips, sd)
            for first, second in zip(firsts, seconds, strict=True):
                gaps = (second - first)[:SLICE]
                change, variance = change_of(gaps / SLICE, np.full(SLICE, 1 / SLICE))
                found.append((change**2 - variance) / 2)
        error = 4 * float(np.std(found)) / np.sqrt(len(found))
        assert np.mean(found) == pytest.approx(sd**2, abs=error)
        assert error < 1.2e-4  # of 9e-4


@pytest.mark.parametrize(
    ("flips", "sd", "plain", "joined"),
    [
        # var(ε) is between the samples already: the plain interval covers 95 %, joining it again would be too wide.
        (0.05, 0.0, (0.935, 0.965), (0.94, 0.98)),
        # A shift as large as the standard error (0.025) is not, and the plain interval fails one time in six.
        (0.05, 0.025, (0.81, 0.86), (0.90, 0.97)),
    ],
)
def test_coverage_of_values(
    flips: float, sd: float, plain: tuple[float, float], joined: tuple[float, float]
) -> None:
    rng = np.random.default_rng(2)
    covered, lengths = np.zeros(2), np.zeros(2)
    for _ in range(RUNS):
        firsts, seconds = realisations(rng, flips, sd)
        shares = np.full(SLICE, 1 / SLICE)
        floor = shift_sd(
            change_of((b - a)[:SLICE] / SLICE, shares) for a, b in zip(firsts, seconds, strict=True)
        )
        right = float(firsts[0].sum())
        low, high = wilson_interval(right, N)
        wide = add_noise(right / N, low, high, floor, 0.95, (0.0, 1.0))
        covered += [low <= 0.5 <= high, wide[0] <= 0.5 <= wide[1]]
        lengths += [high - low, wide[1] - wide[0]]
    rates = covered / RUNS
    assert plain[0] < rates[0] < plain[1]
    assert joined[0] < rates[1] < joined[1]
    if sd == 0:
        assert lengths[1] / lengths[0] < 1.15  # what a slice of an eighth costs where there is no shift


def test_coverage_of_differences_with_a_shift_on_both_sides() -> None:
    rng = np.random.default_rng(3)
    plain = joined = 0
    for run in range(1500):
        firsts, seconds = realisations(rng, 0.05, 0.03)
        shares = np.full(SLICE, 1 / SLICE)
        floor = shift_sd(
            change_of((b - a)[:SLICE] / SLICE, shares) for a, b in zip(firsts, seconds, strict=True)
        )
        rows = [np.stack([scores, np.ones(N)], axis=1) for scores in firsts[:2]]
        found = paired_difference(
            *rows,
            lambda totals: totals[..., 0] / totals[..., 1],
            scores=(firsts[0], firsts[1]),
            shares=True,
            seed=run,
        )
        assert found.difference is not None
        assert found.low is not None
        assert found.high is not None
        low, high = add_noise(found.difference, found.low, found.high, float(np.hypot(floor, floor)), 0.95)
        plain += found.low <= 0 <= found.high
        joined += low <= 0 <= high
    assert plain / 1500 < 0.88
    assert joined / 1500 > 0.90


def test_changes_of_clusters_count_as_one() -> None:
    """Four samples in two clusters, by hand: D = 0.5, parts 0.5 and 0, variance 2/1 · (0.25² + 0.25²)."""
    assert change_of(np.array([0.5, 0.0]), np.array([0.5, 0.5])) == (0.5, pytest.approx(0.25))
    assert change_of(np.array([0.3]), np.array([1.0])) == (
        0.3,
        pytest.approx(0.09),
    )  # nothing to tell it from
    assert shift_sd([(0.3, 0.09)]) == 0.0


@pytest.mark.parametrize("n", [2, 16, 17, 50, 256])
def test_a_single_flip_shows_no_shift(n: int) -> None:
    """D = 1/n and s²/m = (1 − 1/n)/(n − 1)/n = 1/n²: exactly as much as one independent flip gives."""
    parts = np.zeros(n)
    parts[n // 2] = 1 / n
    assert shift_sd([change_of(parts, np.full(n, 1 / n))] * 3) == 0.0
    both = np.zeros(n)
    both[:2] = 1 / n
    assert shift_sd([change_of(both, np.full(n, 1 / n))]) > 0


def test_an_interval_grows_by_squares_and_stays_inside_its_bounds() -> None:
    z = 1.959964
    low, high = add_noise(0.9, 0.8, 0.95, 0.05, 0.95, (0.0, 1.0))
    assert low == pytest.approx(0.9 - np.hypot(0.1, z * 0.05), abs=1e-6)
    assert high == 1.0
    assert add_noise(0.9, 0.8, 0.95, 0.0, 0.95) == (0.8, 0.95)
    # A higher level after the noise is the noise at the higher level.
    wider = add_noise(0.9, *widen(0.9, 0.8, 0.95, 0.95, 0.99), 0.05, 0.99)
    assert widen(0.9, *add_noise(0.9, 0.8, 0.95, 0.05, 0.95), 0.95, 0.99) == pytest.approx(wider)


def test_p_and_interval_tell_the_same() -> None:
    """For a normal estimate p is below 0.05 just where the interval leaves out 0; and the noise keeps that."""
    from scipy.special import ndtr

    z = 1.959964
    for difference in (0.02, -0.05, 0.08, -0.1):
        error, sd = 0.03, 0.02
        p = 2 * float(ndtr(-abs(difference) / error))
        ends = (difference - z * error, difference + z * error)
        noisy = noisy_p(p, difference, *ends, sd, 0.95)
        low, high = add_noise(difference, *ends, sd, 0.95)
        assert noisy == pytest.approx(2 * float(ndtr(-abs(difference) / np.hypot(error, sd))), abs=1e-6)
        assert (noisy < 0.05) == (low > 0 or high < 0)
    assert noisy_p(1.0, 0.0, -0.1, 0.1, 0.05, 0.95) == 1.0
    assert noisy_p(0.0, 0.5, 0.4, 0.6, 0.05, 0.95) == 0.0
