from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.stats import (
    clopper_pearson_interval,
    mcnemar_exact_p,
    mcnemar_mid_p,
    paired_proportions_interval,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("right", "n"), [(0, 1), (1, 1), (0, 20), (20, 20), (7, 20), (81, 263), (15, 148), (1, 29)]
)
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_wilson_equals_scipy(right: int, n: int, confidence: float) -> None:
    from scipy.stats import binomtest

    expected = binomtest(right, n).proportion_ci(confidence, method="wilson")
    assert wilson_interval(right, n, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_equals_newcombe_1998() -> None:
    """Newcombe 1998, Two-sided confidence intervals for the single proportion, table I, method 3."""
    published = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (right, n), ends in published.items():
        assert wilson_interval(right, n) == pytest.approx(ends, abs=5e-5)


def test_mcnemar_mid_p_equals_fagerland_2013() -> None:
    """Fagerland, Lydersen and Laake 2013, section 3: airway hyper-responsiveness, discordant pairs 1 and 7."""
    assert mcnemar_mid_p(1, 7) == pytest.approx(0.039, abs=5e-4)


def test_mcnemar_mid_p_by_the_binomial_test() -> None:
    """mid-p = exact p − P(observed): the exact p is scipy's binomial test of the discordant pairs."""
    from scipy.stats import binom, binomtest

    for gained, lost in [(9, 1), (0, 6), (12, 5), (3, 4), (40, 22)]:
        exact = binomtest(gained, gained + lost).pvalue
        expected = exact - binom.pmf(gained, gained + lost, 0.5)
        assert mcnemar_mid_p(gained, lost) == pytest.approx(expected, abs=1e-12)
    assert mcnemar_mid_p(0, 0) == mcnemar_mid_p(5, 5) == 1.0


def restricted_score(gained: int, lost: int, n: int, delta: float) -> float:
    """Tango's score by its definition: the likelihood maximised over the nuisance parameter numerically."""
    from scipy.optimize import minimize_scalar

    def loss(only_control: float) -> float:  # P(only the control right); P(only the candidate) = that + delta
        cells = (
            (gained, only_control + delta),
            (lost, only_control),
            (n - gained - lost, 1 - 2 * only_control - delta),
        )
        return -sum(count * math.log(max(p, 1e-300)) for count, p in cells if count)

    best = minimize_scalar(
        loss, bounds=(max(0.0, -delta), (1 - delta) / 2), method="bounded", options={"xatol": 1e-12}
    ).x
    return (gained - lost - n * delta) / math.sqrt(n * (2 * best + delta - delta**2))


@pytest.mark.parametrize(
    ("gained", "lost", "n"), [(9, 2, 40), (1, 0, 44), (12, 12, 60), (3, 8, 25), (25, 4, 30)]
)
def test_the_paired_interval_ends_where_the_score_is_z(gained: int, lost: int, n: int) -> None:
    low, high = paired_proportions_interval(gained, lost, n)
    z = 1.959963984540054
    assert restricted_score(gained, lost, n, low) == pytest.approx(z, abs=1e-3)
    assert restricted_score(gained, lost, n, high) == pytest.approx(-z, abs=1e-3)


def test_the_paired_interval_without_flips_is_z2_over_n_plus_z2() -> None:
    z2 = 1.959963984540054**2
    for n in (1, 5, 100):
        low, high = paired_proportions_interval(0, 0, n)
        assert (low, high) == pytest.approx((-z2 / (n + z2), z2 / (n + z2)), abs=1e-9)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_paired_interval_properties(gained: int, lost: int, same: int, confidence: float) -> None:
    n = gained + lost + same
    if n == 0:
        return
    low, high = paired_proportions_interval(gained, lost, n, confidence)
    assert -1 <= low <= (gained - lost) / n <= high <= 1
    mirrored = paired_proportions_interval(lost, gained, n, confidence)
    assert mirrored == pytest.approx((-high, -low), abs=1e-9)


@pytest.mark.parametrize(("right", "n"), [(0, 10), (8, 10), (199, 200), (37, 37)])
def test_clopper_pearson_is_scipys_exact(right: int, n: int) -> None:
    from scipy.stats import binomtest

    for confidence in (0.9, 0.95, 0.999):
        expected = binomtest(right, n).proportion_ci(confidence, method="exact")
        found = clopper_pearson_interval(right, n, confidence)
        assert found == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (9, 1), (3, 7), (5, 5), (40, 22)])
def test_mcnemar_exact_is_statsmodels(gained: int, lost: int) -> None:
    from statsmodels.stats.contingency_tables import mcnemar

    expected = mcnemar([[0, gained], [lost, 0]], exact=True).pvalue
    assert mcnemar_exact_p(gained, lost) == pytest.approx(min(1.0, expected))


@pytest.mark.parametrize(
    ("gain", "loss", "bound"), [(0.015, 0.035, -0.02), (0.0, 0.02, -0.02), (0.1, 0.15, -0.05)]
)
def test_strict_ends_hold_their_tails_where_few_flip(gain: float, loss: float, bound: float) -> None:
    """At n = 100 every outcome is weighed with its probability; Tango's own upper tail is 3.5 % at the first."""
    from scipy.stats import multinomial

    passes = fails = 0.0
    law = multinomial(100, [gain, loss, 1 - gain - loss])
    for gained in range(26):
        for lost in range(36):
            weight = float(law.pmf([gained, lost, 100 - gained - lost]))
            if weight > 1e-9:
                low, high = paired_proportions_interval(gained, lost, 100, strict=True)
                passes, fails = passes + weight * (low > bound), fails + weight * (high < bound)
    assert passes <= 0.03
    assert fails <= 0.03
