from __future__ import annotations

import numpy as np
import pytest

from evalkit.stats import detectable, mcnemar_mid_p, needed, recipe_difference, spread, variance_parts


def test_figures_of_the_literature() -> None:
    """3 points at p = 0.7, 80 %, α 0.05: about 3,660 unpaired, 1,830 at correlation 0.5, 1,100 at 0.7."""
    assert [needed(0.03, spread(0.7, rho)) for rho in (0.0, 0.5, 0.7)] == [3663, 1832, 1099]


def test_unpaired_n_is_statsmodels() -> None:
    from statsmodels.stats.power import NormalIndPower

    expected = NormalIndPower().solve_power(effect_size=0.1 / (spread(0.6) / 2**0.5), alpha=0.05, power=0.9)
    assert needed(0.1, spread(0.6), power=0.9) == pytest.approx(expected, abs=1)


def test_the_detectable_difference_is_seen_in_four_runs_of_five() -> None:
    """Simulated: 300 pairs, a fifth of them flips, the true difference the detectable one."""
    rng = np.random.default_rng(1)
    effect = detectable(300, 0.2**0.5)
    assert effect is not None
    seen = 0
    for _ in range(600):
        gained, lost, _ = rng.multinomial(300, [0.1 + effect / 2, 0.1 - effect / 2, 0.8])
        seen += mcnemar_mid_p(int(gained), int(lost)) < 0.05
    assert 0.75 <= seen / 600 <= 0.87


def test_nothing_to_detect_with() -> None:
    assert detectable(0, 0.5) is None
    assert needed(0.0, 0.5) is None


def test_variance_parts_are_those_that_were_put_in() -> None:
    rng = np.random.default_rng(2)
    found = []
    for _ in range(200):
        seeds, samples = rng.normal(0, 0.3, (4, 1)), rng.normal(0, 1.0, (1, 100))
        found.append(variance_parts(seeds + samples + rng.normal(0, 0.5, (4, 100))))
    assert np.mean([parts.seed for parts in found]) == pytest.approx(0.09, rel=0.15)
    assert np.mean([parts.sample for parts in found]) == pytest.approx(1.0, rel=0.05)
    assert np.mean([parts.rest for parts in found]) == pytest.approx(0.25, rel=0.05)


def test_two_seedings_of_one_recipe_are_not_told_apart() -> None:
    """Two groups of three adapters from one recipe whose seeds differ by 10 points: the samples alone would see a
    difference in most runs; over seeds it is false in 5 % (300 runs: 9 % is 3 sigma above)."""
    rng = np.random.default_rng(3)
    alarms = naive = 0
    for _ in range(300):
        chance = np.clip(0.6 + rng.normal(0, 0.1, (6, 1)), 0, 1)
        right = (rng.random((6, 400)) < chance).astype(float)
        found = recipe_difference(right[:3], right[3:])
        assert found is not None
        alarms += found.p_value < 0.05
        gaps = right[:3].mean(axis=0) - right[3:].mean(axis=0)
        naive += abs(gaps.mean()) > 1.96 * gaps.std(ddof=1) / 20
    assert alarms / 300 <= 0.09
    assert naive / 300 > 0.3


def test_fewer_than_three_seeds_say_nothing_about_a_recipe() -> None:
    rows = np.ones((2, 10))
    assert recipe_difference(rows, np.zeros((1, 10))) is None
    assert recipe_difference(np.ones((3, 10)), rows) is None
    assert recipe_difference(np.ones((3, 10)), np.zeros((1, 10))) is not None
