"""How likely is it that one of k programs passes, when c of n did? (Chen et al. 2021, section 2.1)"""

from __future__ import annotations

from evalkit.errors import MetricError

__all__ = ["pass_at_k"]


def pass_at_k(n: int, passed: int, k: int) -> float:
    """Unbiased estimate of pass@k: 0–1, higher is better.

    ``1 - C(n - passed, k) / C(n, k)``, as a product, so that no large number arises.

    Args:
        n: Programs that were run, ≥ k.
        passed: Those that passed, 0 to n.
        k: Programs that one may choose from, ≥ 1.

    Raises:
        MetricError: Fewer programs than k, or a count out of range.

    >>> round(pass_at_k(10, 3, 5), 6)
    0.916667
    """
    if not 0 <= passed <= n or k < 1:
        raise MetricError(f"pass@{k}: {passed} of {n} programs passed: out of range.")
    if n < k:
        raise MetricError(
            f"pass@{k} needs at least {k} programs a sample; got {n}. Set generation.samples: {k}."
        )
    none_passes = 1.0
    for size in range(n - passed + 1, n + 1):
        none_passes *= max(0.0, 1 - k / size)
    return 1 - none_passes
