from __future__ import annotations

from math import comb

import numpy as np
import pytest

from evalkit.errors import MetricError
from evalkit.metrics.pass_at_k import pass_at_k


def test_equals_the_definition_exactly() -> None:
    """Chen et al. 2021, equation 1, in whole numbers."""
    for n in (1, 5, 20, 200):
        for passed in {0, 1, n // 3, n - 1, n}:
            for k in {1, min(5, n), n}:
                expected = 1 - comb(n - passed, k) / comb(n, k)
                assert pass_at_k(n, passed, k) == pytest.approx(expected, abs=1e-12)


def test_equals_the_estimator_printed_in_the_paper() -> None:
    """Figure 3 of Chen et al. 2021: 1 - prod(1 - k / arange(n - c + 1, n + 1)) unless n - c < k."""
    for n, passed, k in [(10, 3, 5), (100, 7, 10), (8, 8, 3), (8, 6, 3)]:
        printed = 1.0 if n - passed < k else 1.0 - np.prod(1.0 - k / np.arange(n - passed + 1, n + 1))
        assert pass_at_k(n, passed, k) == pytest.approx(printed, abs=1e-12)


@pytest.mark.parametrize(
    ("n", "passed", "k", "message"),
    [
        (3, 1, 5, "needs at least 5 programs a sample; got 3"),
        (3, 4, 1, "out of range"),
        (3, 1, 0, "out of range"),
    ],
)
def test_bad_counts(n: int, passed: int, k: int, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        pass_at_k(n, passed, k)
