from __future__ import annotations

import math

import numpy as np
import pytest

from evalkit.stats import confidence_sequence, e_process

ALPHA = 0.025


def flips(rng: np.random.Generator, gain: float, loss: float, n: int) -> np.ndarray:
    return rng.choice([1.0, -1.0, 0.0], p=[gain, loss, 1 - gain - loss], size=n)


def test_one_stake_is_a_product_by_hand() -> None:
    """The mean over the stakes of Π (1 + λ(x − m)): for one win against ½ that is 1 + mean(share)."""
    shares = np.geomspace(0.01, 0.95, 24)
    found = e_process(np.array([1.0, 0.0]), 0.5, low=0.0, high=1.0)
    assert found == pytest.approx([np.mean(1 + shares), np.mean((1 + shares) * (1 - shares))])


@pytest.mark.parametrize(("gain", "loss"), [(0.035, 0.065), (0.085, 0.115), (0.0, 0.03)])
def test_error_is_kept_at_every_stopping_time(gain: float, loss: float) -> None:
    """True difference −0.03 is the bound itself: both claims are refuted too rarely (3 sigma above 2.5 %: 4.6 %)."""
    rng = np.random.default_rng(5)
    wrong = np.zeros(2)
    for _ in range(500):
        seen = flips(rng, gain, loss, 1500)
        wrong += [
            e_process(seen, -0.03, low=-1, high=1).max() >= 1 / ALPHA,
            e_process(-seen, 0.03, low=-1, high=1).max() >= 1 / ALPHA,
        ]
    assert (wrong / 500 <= 0.046).all()


def test_clusters_keep_the_error_that_samples_on_their_own_would_break() -> None:
    """Five copies of each sample: as samples on their own they alarm falsely far too often, as clusters they do not."""
    rng = np.random.default_rng(6)
    wrong = np.zeros(2)
    for _ in range(300):
        seen = flips(rng, 0.1, 0.1, 200)
        together = e_process(5 * seen, 0.0, low=-1, high=1, sizes=np.full(200, 5.0), largest=5)
        alone = e_process(np.repeat(seen, 5), 0.0, low=-1, high=1)
        wrong += [together.max() >= 1 / ALPHA, alone.max() >= 1 / ALPHA]
    assert wrong[0] / 300 <= 0.05
    assert wrong[1] / 300 >= 0.1


def test_a_regression_of_ten_points_needs_a_third_of_the_fixed_n() -> None:
    """Against the n at which an equal candidate passes a 3-point margin with 80 % power: (1.96 + 0.84)² f / 0.03²."""
    rng = np.random.default_rng(7)
    fixed = round((1.959964 + 0.841621) ** 2 * 0.2 / 0.03**2)
    needed = []
    for _ in range(60):
        found = e_process(-flips(rng, 0.05, 0.15, fixed), 0.03, low=-1, high=1)
        reached = np.flatnonzero(found >= 1 / ALPHA)
        needed.append(reached[0] + 1 if len(reached) else fixed)
    assert float(np.median(needed)) / fixed <= 0.35


def test_the_confidence_sequence_covers_and_narrows() -> None:
    rng = np.random.default_rng(8)
    inside = 0
    for _ in range(60):
        low, high = confidence_sequence((rng.random(300) < 0.7).astype(float), low=0, high=1)
        inside += low <= 0.7 <= high
        assert high - low < 0.3
    assert inside >= 55
    assert confidence_sequence(np.zeros(0), low=-1, high=1) == (-1, 1)


def test_a_claim_at_the_edge_is_refuted_by_any_gain() -> None:
    found = e_process(np.array([0.0, 1.0]), 0.0, low=0.0, high=1.0)
    assert list(found) == [1.0, math.inf]
