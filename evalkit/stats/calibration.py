"""What a judge's numbers are worth once people have labelled some of what it judged.

Three estimates of one truth, side by side: what the judge says of everything (precise, maybe biased), what people
say of the labelled part (unbiased, imprecise), and the judge corrected by people.

- Right or wrong: the judge as a test with sensitivity and specificity (Rogan and Gladen 1978), their error in the
  interval (Lang and Reiczigel 2014: the adjusted counts and the delta method).
- Any score: prediction-powered inference (Angelopoulos et al. 2023, Science 382) with the tuned weight of PPI++
  (Angelopoulos, Duchi and Zrnic 2023): judge on everything + the judge's mean error on the labelled part, with the
  weight that gives the least variance. A judge that knows nothing gets weight 0, so it is never worse than people
  alone, to first order.

Labelled samples must be a random part of what is judged (of each label's weight, where weights are given).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from evalkit.stats.proportions import wilson_interval
from evalkit.stats.resampling import Array

__all__ = [
    "Corrected",
    "Estimate",
    "Operating",
    "mean_estimate",
    "operating_point",
    "prediction_powered",
    "rogan_gladen",
]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value, its standard error and its interval.

    Attributes:
        value: None where there is nothing to estimate from.
        error: Standard error; None with fewer than two samples.
        low: Lower end.
        high: Upper end.
        n: Samples it rests on.
    """

    value: float | None
    error: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Operating:
    """How a judge that says right or wrong errs, measured against people.

    Attributes:
        sensitivity: Share of what people call right that the judge calls right.
        specificity: Share of what people call wrong that the judge calls wrong.
        right: Labelled samples that people call right.
        wrong: Labelled samples that people call wrong.
        accepted: Of the right ones, those the judge calls right too.
        rejected: Of the wrong ones, those the judge calls wrong too.
    """

    sensitivity: Estimate
    specificity: Estimate
    right: int
    wrong: int
    accepted: int
    rejected: int


@dataclass(frozen=True, slots=True)
class Corrected:
    """A corrected estimate.

    Attributes:
        estimate: The value with its interval; no value where the judge is no better than chance.
        weight: Of the judge's numbers: 1 plain prediction-powered inference, 0 people alone; for Rogan–Gladen its
            sensitivity + specificity − 1.
        note: Why there is no value or no interval; empty where there is.
    """

    estimate: Estimate
    weight: float
    note: str = ""


def mean_estimate(values: Array, weights: Array | None = None, *, confidence: float = 0.95) -> Estimate:
    """Mean with Student's interval; Wilson's for unweighted values that are all 0 or 1.

    Args:
        values: (n,) scores.
        weights: (n,) how many samples each stands for; None: one.
        confidence: Two-sided level.

    >>> found = mean_estimate(np.array([1.0, 2.0, 3.0]))
    >>> found.value, round(found.low, 3), round(found.high, 3)  # 2 ± 4.303 · 1/√3
    (2.0, -0.484, 4.484)
    """
    n = len(values)
    if n == 0:
        return Estimate(None, None, None, None, 0)
    mean, variance = _mean_variance(values, weights)
    if n < 2:
        return Estimate(mean, None, None, None, n)
    error = math.sqrt(variance)
    if weights is None and bool(np.isin(values, (0.0, 1.0)).all()):
        low, high = wilson_interval(float(values.sum()), n, confidence)
        return Estimate(mean, error, low, high, n)
    reach = _t(n - 1, confidence) * error
    return Estimate(mean, error, mean - reach, mean + reach, n)


def operating_point(judge: Array, people: Array, *, confidence: float = 0.95) -> Operating:
    """Sensitivity and specificity of a judge, with Wilson's intervals.

    Args:
        judge: (n,) 0 or 1, what the judge says of the labelled samples.
        people: (n,) 0 or 1, what people say.
        confidence: Two-sided level.

    >>> found = operating_point(np.array([1.0, 1, 0, 0]), np.array([1.0, 1, 1, 0]))
    >>> round(found.sensitivity.value, 3), found.specificity.value
    (0.667, 1.0)
    """
    right, wrong = judge[people == 1], judge[people == 0]
    return Operating(
        mean_estimate(right, confidence=confidence),
        mean_estimate(1 - wrong, confidence=confidence),
        len(right),
        len(wrong),
        int(right.sum()),
        int((1 - wrong).sum()),
    )


def rogan_gladen(accepted: int, judged: int, operating: Operating, *, confidence: float = 0.95) -> Corrected:
    """Share that people would call right, from the judge's share and how it errs.

    prevalence = (share + specificity − 1) / (sensitivity + specificity − 1). The variance has both parts: of the
    judge's share and of the two error rates, each with adjusted counts (Lang and Reiczigel 2014).

    Args:
        accepted: Samples that the judge calls right.
        judged: Samples it judged that nobody labelled, so that the two parts are independent.
        operating: How it errs, from labelled samples.
        confidence: Two-sided level.

    Returns:
        The share in [0, 1].

    >>> labelled = Operating(*[Estimate(None, None, None, None, 0)] * 2, right=100, wrong=100, accepted=90, rejected=80)
    >>> found = rogan_gladen(480, 1000, labelled).estimate
    >>> round(found.value, 3), round(found.low, 3), round(found.high, 3)
    (0.4, 0.306, 0.484)
    """
    m, p, se, sp = judged, operating.right, operating.accepted, operating.rejected
    w = operating.wrong
    nothing = Estimate(None, None, None, None, judged)
    if min(m, p, w) == 0:
        missing = "samples that the judge alone saw" if m == 0 else f"labels {'right' if p == 0 else 'wrong'}"
        return Corrected(nothing, 0.0, f"there are no {missing}")
    youden = se / p + sp / w - 1
    if youden <= 0:
        return Corrected(nothing, youden, "the judge agrees with people no more often than chance")
    value = (accepted / m + sp / w - 1) / youden
    z = _z(confidence)
    share, sensitivity = (accepted + z**2 / 2) / (m + z**2), (se + 1) / (p + 2)
    specificity = (sp + 1) / (w + 2)
    adjusted = sensitivity + specificity - 1
    if adjusted <= 0:
        return Corrected(
            Estimate(min(max(value, 0.0), 1.0), None, None, None, judged), youden, "too few labels"
        )
    centre = (share + specificity - 1) / adjusted
    variance = (
        share * (1 - share) / (m + z**2)
        + centre**2 * sensitivity * (1 - sensitivity) / (p + 2)
        + (1 - centre) ** 2 * specificity * (1 - specificity) / (w + 2)
    ) / adjusted**2
    centre += (
        2
        * z**2
        * (
            centre * sensitivity * (1 - sensitivity) / (p + 2)
            - (1 - centre) * specificity * (1 - specificity) / (w + 2)
        )
    )
    error = math.sqrt(variance)
    low, high = (min(max(centre + sign * z * error, 0.0), 1.0) for sign in (-1, 1))
    value = min(max(value, 0.0), 1.0)
    return Corrected(Estimate(value, error, min(low, value), max(high, value), judged), youden)


def prediction_powered(
    judge: Array,
    people: Array,
    judge_alone: Array,
    *,
    weights: Array | None = None,
    weights_alone: Array | None = None,
    weight: float | None = None,
    nested: bool = False,
    confidence: float = 0.95,
) -> Corrected:
    """Mean of what people would say, from the judge's scores of everything and people's of a part.

    Args:
        judge: (n,) the judge's scores of the labelled samples.
        people: (n,) people's, on the same scale.
        judge_alone: (m,) the judge's of those that nobody labelled.
        weights: (n,) how many samples each labelled one stands for; None: one.
        weights_alone: (m,) the same of the others.
        weight: Of the judge: None: the one with the least variance, in [0, 1] (PPI++); 1: plain PPI.
        nested: ``judge_alone`` holds the labelled samples too. Needed where these were chosen unevenly, since what
            is left over then is no random part either (the difference estimator of survey sampling, Särndal 1992).
        confidence: Two-sided level.

    Returns:
        The mean; with fewer than two labelled samples there is no interval.

    >>> rng = np.random.default_rng(0)
    >>> truth = rng.normal(size=2_000)
    >>> judge = truth + 0.5 + 0.3 * rng.normal(size=2_000)
    >>> found = prediction_powered(judge[:100], truth[:100], judge[100:])
    >>> bool(found.estimate.low < 0 < found.estimate.high), found.weight > 0.8
    (True, True)
    """
    n, m = len(people), len(judge_alone)
    if n < 2 or m < 2:
        note = "fewer than two labels" if n < 2 else "the judge saw no more than the labelled samples"
        plain = mean_estimate(people, weights, confidence=confidence)
        return Corrected(plain, 0.0, note)
    _, judge_variance = _mean_variance(judge, weights)
    covariance = _covariance(people, judge, weights)
    alone, alone_variance = _mean_variance(judge_alone, weights_alone)
    if weight is None:
        total = judge_variance + (0.0 if nested else alone_variance)
        weight = min(max(covariance / total, 0.0), 1.0) if total > 0 else 0.0
    mended, variance = _mean_variance(people - weight * judge, weights)
    variance += weight**2 * alone_variance
    if nested and judge_variance > 0:  # the labelled part is in both means
        variance += 2 * weight * (covariance - weight * judge_variance) * alone_variance / judge_variance
        variance = max(variance, 0.0)
    value = weight * alone + mended
    error = math.sqrt(variance)
    reach = _t(n - 1, confidence) * error  # the labelled part is the small one: z would be too short
    return Corrected(Estimate(value, error, value - reach, value + reach, m if nested else n + m), weight)


def _mean_variance(values: Array, weights: Array | None) -> tuple[float, float]:
    """Mean and the variance of the mean; weighted: of the ratio estimate, by linearisation (Hájek)."""
    n = len(values)
    shares = np.full(n, 1 / n) if weights is None else weights / weights.sum()
    mean = float(values.mean() if weights is None else shares @ values)
    if n < 2:
        return mean, math.nan
    return mean, float(((shares * (values - mean)) ** 2).sum() * n / (n - 1))


def _covariance(first: Array, second: Array, weights: Array | None) -> float:
    """Covariance of the two means."""
    n = len(first)
    shares = np.full(n, 1 / n) if weights is None else weights / weights.sum()
    gaps = (first - shares @ first) * (second - shares @ second)
    return float((shares**2 * gaps).sum() * n / (n - 1))


def _z(confidence: float) -> float:
    from scipy.special import ndtri

    return float(ndtri((1 + confidence) / 2))


def _t(freedom: int, confidence: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + confidence) / 2))
