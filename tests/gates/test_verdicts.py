"""Three-way verdicts, Holm over the rules, and how often they are wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evalkit.gates.evidence import Drawing, Evidence, Pairs, Values
from evalkit.gates.verdicts import judge_rule, judge_whole, samples_needed
from evalkit.stats import holm


def mean(totals: np.ndarray) -> np.ndarray:
    return np.asarray(totals[..., 0] / totals[..., 1])


def pairs_from(gained: int, lost: int, n: int) -> Pairs:
    """Right/wrong pairs with these flips; the others are right on both sides."""
    first = np.ones(n)
    second = np.ones(n)
    first[:lost] = 0
    second[lost : lost + gained] = 0
    return pairs_of_scores(first, second)


def pairs_of_scores(first: np.ndarray, second: np.ndarray, sign: int = 1) -> Pairs:
    n = len(first)
    one = np.ones(n)
    shares = bool(np.isin(np.concatenate([first, second]), (0, 1)).all())
    return Pairs(
        [str(i) for i in range(n)],
        np.stack([first, one], axis=1),
        np.stack([second, one], axis=1),
        (first, second),
        mean,
        True,
        shares,
        [None] * n,
        sign,
    )


def normal(estimate: float, error: float) -> Evidence:
    """Evidence with a normal interval, whose p-values are known in closed form."""
    from scipy.special import ndtri

    def at(confidence: float) -> tuple[float, float]:
        arm = float(ndtri((1 + confidence) / 2)) * error
        return estimate - arm, estimate + arm

    return Evidence(estimate, *at(0.95), 100, at)


@pytest.mark.parametrize(
    ("kind", "low", "high", "bound", "expected"),
    [
        # docs/reference §6, with what happens when an end lies on the bound itself.
        ("no_worse_than", -0.01, 0.05, -0.02, "pass"),
        ("no_worse_than", -0.02, 0.05, -0.02, "inconclusive"),
        ("no_worse_than", -0.09, -0.02, -0.02, "inconclusive"),
        ("no_worse_than", -0.09, -0.03, -0.02, "fail"),
        ("better_than", 0.06, 0.10, 0.05, "pass"),
        ("better_than", 0.05, 0.10, 0.05, "inconclusive"),
        ("better_than", -0.05, 0.05, 0.05, "fail"),
        ("better_than", -0.05, 0.06, 0.05, "inconclusive"),
        ("at_least", 0.80, 0.90, 0.80, "pass"),
        ("at_least", 0.70, 0.80, 0.80, "inconclusive"),
        ("at_least", 0.70, 0.79, 0.80, "fail"),
        ("at_most", 0.10, 0.20, 0.20, "pass"),
        ("at_most", 0.20, 0.30, 0.20, "inconclusive"),
        ("at_most", 0.21, 0.30, 0.20, "fail"),
    ],
)
def test_the_three_ways(kind: str, low: float, high: float, bound: float, expected: str) -> None:
    assert judge_rule(kind, low, high, bound) == expected  # type: ignore[arg-type]


def test_all_pass_needs_no_correction() -> None:
    checks = [
        ("no_worse_than", normal(0.0, 0.01), -0.02)
    ] * 5  # z = 2.0: passes alone at 1.96, not at Holm's 2.58
    whole, verdicts, together = judge_whole(checks, 0.95)
    assert (whole, verdicts, together) == ("pass", ["pass"] * 5, [False] * 5)


def test_a_fail_that_holm_takes_back_leaves_it_open() -> None:
    failing = ("no_worse_than", normal(-0.04, 0.01), -0.02)  # z = -2.0
    passing = ("no_worse_than", normal(0.10, 0.01), -0.02)
    assert judge_whole([failing], 0.95)[0] == "fail"
    whole, verdicts, together = judge_whole([failing, passing], 0.95)
    assert (whole, verdicts, together) == ("inconclusive", ["fail", "pass"], [False, False])


@pytest.mark.parametrize("seed", range(20))
def test_intervals_at_holms_levels_are_holms_p_values(seed: int) -> None:
    from scipy.special import ndtr

    rng = np.random.default_rng(seed)
    z = rng.normal(-2.2, 0.6, size=4)
    checks = [("no_worse_than", normal(float(value), 1.0), 0.0) for value in z]
    adjusted = holm([float(ndtr(value)) for value in z])
    _, _, together = judge_whole(checks, 0.95)
    assert together == [p is not None and p < 0.025 for p in adjusted]


def test_holm_steps_down() -> None:
    # One-sided p: 0.0062, 0.0139, 0.5. With three rules 0.025/3 = 0.0083 takes the first, then 0.025/2 = 0.0125 is
    # too little for the second; p of 0.0107 (z = -2.3) is enough.
    for second, expected in ((-2.2, [True, False, False]), (-2.3, [True, True, False])):
        checks = [("no_worse_than", normal(z, 1.0), 0.0) for z in (-2.5, second, 0.0)]
        assert judge_whole(checks, 0.95)[2] == expected


def test_a_candidate_that_could_not_be_done_fails_whatever_holm_says() -> None:
    whole, verdicts, together = judge_whole(
        [("at_least", None, 0.8), *[("at_least", normal(1.0, 0.01), 0.8)] * 9], 0.95
    )
    assert whole == "fail"
    assert verdicts[0] == "fail"
    assert together[0]


def test_lower_is_better_is_turned_round() -> None:
    rng = np.random.default_rng(0)
    faster = rng.uniform(0.5, 1.0, 60)
    slower = faster + 0.2
    evidence = pairs_of_scores(faster, slower, sign=-1).evidence(Drawing(resamples=200))
    assert evidence.estimate == pytest.approx(0.2)
    assert evidence.low is not None
    assert judge_rule("better_than", evidence.low, evidence.high or 0, 0.1) == "pass"


def test_closed_intervals_are_made_anew_at_a_higher_level() -> None:
    from evalkit.stats import clopper_pearson_interval, paired_proportions_interval

    evidence = pairs_from(3, 20, 200).evidence(Drawing(0.95))
    assert (evidence.low, evidence.high) == pytest.approx(
        paired_proportions_interval(3, 20, 200, 0.95, strict=True)
    )
    assert evidence.at(0.99) == pytest.approx(paired_proportions_interval(3, 20, 200, 0.99, strict=True))
    right = np.array([1.0] * 80 + [0.0] * 20)
    values = Values(np.stack([right, np.ones(100)], axis=1), right, mean, True, [None] * 100)
    assert values.evidence(Drawing(0.9)).at(0.99) == pytest.approx(clopper_pearson_interval(80, 100, 0.99))


def test_samples_needed_decide_with_the_promised_power() -> None:
    """Simulated at the n the formula names, with its own effect and spread: 80 % pass."""
    rng = np.random.default_rng(1)
    n, margin, p_gain, p_loss = 200, 0.05, 0.06, 0.04
    needed = samples_needed(pairs_from(12, 8, n).evidence(Drawing()), -margin, 0.95)
    assert needed is not None
    passes = []
    for _ in range(400):
        gained, lost, _ = rng.multinomial(needed, [p_gain, p_loss, 1 - p_gain - p_loss])
        evidence = pairs_from(gained, lost, needed).evidence(Drawing())
        passes.append(evidence.low is not None and evidence.low > -margin)
    assert 0.72 < np.mean(passes) < 0.88


def test_nothing_decides_on_the_bound() -> None:
    assert samples_needed(normal(-0.02, 0.01), -0.02, 0.95) is None


@pytest.mark.parametrize("rules", [1, 4])
def test_wrong_verdicts_at_the_bound(rules: int) -> None:
    """Wrong verdicts at each rule's boundary stay at (1 − confidence)/2, for the whole too (Holm)."""
    rng = np.random.default_rng(7)
    n, margin, p_gain, p_loss, runs = 300, 0.05, 0.05, 0.10, 1_000
    wrong_fail = wrong_pass = 0
    for _ in range(runs):
        checks = []
        for _ in range(rules):
            gained, lost, _ = rng.multinomial(n, [p_gain, p_loss, 1 - p_gain - p_loss])
            checks.append(("no_worse_than", pairs_from(gained, lost, n).evidence(Drawing()), -margin))
        whole, verdicts, _ = judge_whole(checks, 0.95)
        wrong_fail += whole == "fail"
        wrong_pass += verdicts[0] == "pass"
    noise = 3 * math.sqrt(0.025 * 0.975 / runs)
    assert wrong_fail / runs <= 0.025 + noise
    assert wrong_pass / runs <= 0.025 + noise


def test_without_holm_the_whole_would_fail_too_often() -> None:
    """The simulation above can fail: ten rules at their own level break the promise, and Holm keeps it."""
    rng = np.random.default_rng(3)
    runs, alone, together = 400, 0, 0
    for _ in range(runs):
        checks = [("no_worse_than", normal(float(z), 1.0), 0.0) for z in rng.normal(0, 1, 10)]
        whole, verdicts, _ = judge_whole(checks, 0.95)
        alone += "fail" in verdicts
        together += whole == "fail"
    assert alone / runs > 0.15  # 1 − 0.975^10 = 0.22
    assert together / runs <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / runs)
