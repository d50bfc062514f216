from __future__ import annotations

import numpy as np
import pytest

from evalkit.stats.calibration import mean_estimate, operating_point, prediction_powered, rogan_gladen


def labelled(right: int, wrong: int, accepted: int, rejected: int):  # type: ignore[no-untyped-def]
    people = np.repeat([1.0, 0.0], [right, wrong])
    judge = np.repeat([1.0, 0.0, 0.0, 1.0], [accepted, right - accepted, rejected, wrong - rejected])
    return operating_point(judge, people)


def test_mean_equals_scipy() -> None:
    from scipy.stats import ttest_1samp

    values = np.random.default_rng(0).normal(size=17)
    expected = ttest_1samp(values, 0).confidence_interval(0.9)
    found = mean_estimate(values, confidence=0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert mean_estimate(np.array([1.0, 0, 1, 1])).high == pytest.approx(0.9544, abs=5e-5)  # Wilson of 3 in 4
    assert mean_estimate(np.array([])).value is None
    assert mean_estimate(np.array([2.0])).low is None


def test_weights_of_one_sample_each_are_none() -> None:
    values = np.random.default_rng(1).normal(size=30)
    plain, weighted = mean_estimate(values), mean_estimate(values, np.full(30, 2.5))
    assert (weighted.low, weighted.high) == pytest.approx((plain.low, plain.high))


def test_weighted_mean_is_of_all_samples() -> None:
    """Hard samples are labelled four times as often; the weighted interval covers the mean of all."""
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(400):
        hard = rng.random(800) < 0.3
        scores = rng.normal(np.where(hard, 0.0, 1.0), 1.0)
        chance = np.where(hard, 0.4, 0.1)
        taken = rng.random(800) < chance
        found = mean_estimate(scores[taken], 1 / chance[taken])
        hits += found.low <= 0.7 <= found.high  # type: ignore[operator]
    assert 0.925 <= hits / 400 <= 0.975


def test_rogan_gladen_by_hand() -> None:
    operating = labelled(100, 100, 90, 80)
    assert (operating.sensitivity.value, operating.specificity.value) == (0.9, 0.8)
    assert operating.sensitivity.low == pytest.approx(0.8256, abs=5e-5)  # Wilson of 90 in 100
    found = rogan_gladen(480, 1000, operating)
    assert found.estimate.value == pytest.approx((0.48 + 0.8 - 1) / 0.7)
    # Lang and Reiczigel 2014 in steps: z² = 3.841459, Se' = 91/102, Sp' = 81/102
    z2 = 3.8414588
    share, se, sp = (480 + z2 / 2) / (1000 + z2), 91 / 102, 81 / 102
    p = (share + sp - 1) / (se + sp - 1)
    parts = (
        share * (1 - share) / (1000 + z2) + p**2 * se * (1 - se) / 102 + (1 - p) ** 2 * sp * (1 - sp) / 102
    )
    middle = p + 2 * z2 * (p * se * (1 - se) / 102 - (1 - p) * sp * (1 - sp) / 102)
    half = np.sqrt(z2 * parts) / (se + sp - 1)
    assert (found.estimate.low, found.estimate.high) == pytest.approx(
        (middle - half, middle + half), abs=1e-6
    )


@pytest.mark.parametrize(
    ("counts", "note"),
    [
        ((50, 50, 25, 20), "no more often than chance"),
        ((0, 50, 0, 40), "no labels right"),
        ((50, 0, 40, 0), "no labels wrong"),
    ],
)
def test_a_judge_that_cannot_be_corrected(counts: tuple[int, int, int, int], note: str) -> None:
    found = rogan_gladen(30, 100, labelled(*counts))
    assert found.estimate.value is None
    assert note in found.note


@pytest.mark.parametrize(
    ("prevalence", "se", "sp", "n", "m"),
    [(0.7, 0.9, 0.6, 200, 1000), (0.4, 0.8, 0.7, 150, 400), (0.9, 0.95, 0.7, 300, 500)],
)
def test_intervals_cover_a_planted_prevalence(
    prevalence: float, se: float, sp: float, n: int, m: int
) -> None:
    rng = np.random.default_rng(n)
    runs, hits = 1_000, np.zeros(3)
    for _ in range(runs):
        truth = rng.random(n + m) < prevalence
        judge = np.where(rng.random(n + m) < np.where(truth, se, 1 - sp), 1.0, 0.0)
        people = truth.astype(float)
        operating = operating_point(judge[:n], people[:n])
        found = (
            rogan_gladen(int(judge[n:].sum()), m, operating).estimate,
            prediction_powered(judge[:n], people[:n], judge[n:]).estimate,
            mean_estimate(judge),
        )
        hits += [each.low <= prevalence <= each.high for each in found]  # type: ignore[operator]
    corrected, powered, alone = hits / runs
    assert 0.93 <= corrected <= 0.975
    assert 0.93 <= powered <= 0.97
    assert alone < 0.75  # what everybody prints today


def test_plain_prediction_power_equals_ppi_python() -> None:
    """``ppi_mean_pointestimate`` and ``ppi_mean_ci`` of ppi-python 0.2.3 with ``lam=1`` on these draws gave 0.38942699
    and [0.35304192, 0.42581207]. Its interval has z for our t and variances without Bessel's correction."""
    rng = np.random.default_rng(42)
    truth = rng.beta(2, 3, 400)
    judge = np.clip(0.6 * truth + 0.3 + 0.1 * rng.normal(size=400), 0, 1)
    found = prediction_powered(judge[:60], truth[:60], judge[60:], weight=1.0)
    assert found.estimate.value == pytest.approx(0.38942699, abs=1e-8)
    z = found.estimate.error * 1.9599640  # type: ignore[operator]
    assert z == pytest.approx((0.42581207 - 0.35304192) / 2, rel=60 / 59 - 1 + 1e-3)
    tuned = prediction_powered(judge[:60], truth[:60], judge[60:])
    assert tuned.estimate.value == pytest.approx(0.39712034, abs=2e-3)  # its λ pools the judge's variance


def test_a_tuned_weight_beats_people_alone_and_a_useless_judge_does_no_harm() -> None:
    rng = np.random.default_rng(7)
    widths = np.zeros(4)
    hits = np.zeros(2)
    for _ in range(300):
        truth = rng.normal(size=1_000)
        good, useless = truth + 0.4 + 0.5 * rng.normal(size=1_000), 5 * rng.normal(size=1_000)
        found = [
            mean_estimate(truth[:80]),
            prediction_powered(good[:80], truth[:80], good[80:]).estimate,
            prediction_powered(useless[:80], truth[:80], useless[80:]).estimate,
            prediction_powered(useless[:80], truth[:80], useless[80:], weight=1.0).estimate,
        ]
        widths += [each.high - each.low for each in found]  # type: ignore[operator]
        hits += [each.low <= 0 <= each.high for each in found[1:3]]  # type: ignore[operator]
    people, corrected, harmless, plain = widths / 300
    assert corrected < 0.65 * people
    assert harmless < 1.02 * people
    assert plain > 3 * people
    assert ((hits / 300 > 0.925) & (hits / 300 < 0.98)).all()


def test_few_labels() -> None:
    one = prediction_powered(np.ones(1), np.zeros(1), np.ones(50))
    assert (one.estimate.value, one.estimate.low, one.note) == (0.0, None, "fewer than two labels")
    everything = prediction_powered(np.ones(9), np.arange(9.0), np.ones(0))
    assert everything.estimate.value == 4.0
    assert "no more than the labelled" in everything.note
