from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from evalkit.stats import benjamini_hochberg, bonferroni_confidence, holm, widen


def test_holm_by_hand() -> None:
    """Holm 1979: the smallest p times m, the next times m − 1, …, never below an earlier one."""
    # sorted: 0.005·5 = 0.025, 0.01·4 = 0.04, 0.03·3 = 0.09, 0.04·2 = 0.08 → 0.09, 0.5·1 = 0.5
    assert holm([0.03, 0.005, 0.5, 0.01, 0.04]) == pytest.approx([0.09, 0.025, 0.5, 0.04, 0.09])


def test_tests_that_were_not_made_do_not_count() -> None:
    assert holm([None, 0.02, None, 0.03]) == [None, 0.04, None, 0.04]
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_properties(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    assert all(q <= min(1, p * len(p_values)) + 1e-12 for p, q in zip(p_values, adjusted, strict=True))
    assert adjusted == pytest.approx(list(multipletests(p_values, method="holm")[1]))
    ordered = sorted(zip(p_values, adjusted, strict=True))
    assert [q for _, q in ordered] == sorted(adjusted)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_benjamini_hochberg_equals_statsmodels(p_values: list[float]) -> None:
    expected = multipletests(p_values, method="fdr_bh")[1]
    found = benjamini_hochberg(p_values)
    assert found == pytest.approx(expected.tolist(), abs=1e-12)
    assert all(q <= h + 1e-12 for q, h in zip(found, holm(p_values), strict=True))


def test_benjamini_hochberg_leaves_out_what_was_not_tested() -> None:
    assert benjamini_hochberg([None, 0.02, None, 0.03]) == [None, 0.03, None, 0.03]
    assert benjamini_hochberg([]) == []


def test_bonferroni_and_widen() -> None:
    assert bonferroni_confidence(0.95, 1) == 0.95
    assert bonferroni_confidence(0.95, 10) == pytest.approx(0.995)
    # a symmetric normal interval of se 0.1: 1.959964·0.1 at 95 %, 2.807034·0.1 at 99.5 %
    low, high = widen(0.5, 0.5 - 0.1959964, 0.5 + 0.1959964, 0.95, 0.995)
    assert (low, high) == pytest.approx((0.5 - 0.2807034, 0.5 + 0.2807034), abs=1e-6)
