"""How often intervals cover and gates err: seeded simulations of evalkit's own methods, as a Markdown table.

    python benchmarks/intervals.py [--runs 5000] [--parts shares clusters …]

Where there is a closed form, it is summed exactly instead of simulated (coverage of an interval of a share: every
count of right answers, weighted by its binomial probability).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

# Run as a script, its own folder comes first: there this file would hide the standard library's ``statistics``.
sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np  # noqa: E402
from scipy.stats import binom  # noqa: E402

from evalkit.gates.evidence import Evidence  # noqa: E402
from evalkit.gates.verdicts import judge_rule, judge_whole  # noqa: E402
from evalkit.stats import (  # noqa: E402
    add_noise,
    bootstrap_interval,
    change_of,
    clopper_pearson_interval,
    corrected_lead,
    e_process,
    max_t_confidence,
    paired_proportions_interval,
    shift_sd,
    wilson_interval,
)

SHARES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
SIZES = (20, 50, 200, 1000)
LEAST = {20: 0.89, 50: 0.91, 200: 0.93, 1000: 0.93}
CONFIDENCE = 0.95
ALPHA = (1 - CONFIDENCE) / 2

Row = tuple[str, str, str, bool]


@cache
def difference(gained: int, lost: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """As a gate decides by."""
    return paired_proportions_interval(gained, lost, n, confidence, strict=True)


@cache
def described(gained: int, lost: int, n: int) -> tuple[float, float]:
    """As a report shows it."""
    return paired_proportions_interval(gained, lost, n, CONFIDENCE)


def evidence(gained: int, lost: int, n: int) -> Evidence:
    return Evidence(
        (gained - lost) / n, *difference(gained, lost, n), n, lambda c: difference(gained, lost, n, c)
    )


def coverage_of_shares(_runs: int) -> Iterator[Row]:
    for n in SIZES:
        counts = np.arange(n + 1)
        ends = np.array([wilson_interval(float(k), n, CONFIDENCE) for k in counts])
        covered = [
            float(binom.pmf(counts, n, p)[(ends[:, 0] <= p) & (p <= ends[:, 1])].sum()) for p in SHARES
        ]
        yield from coverage_rows(f"share, n = {n} (exact)", covered, LEAST[n])


def coverage_of_differences(runs: int) -> Iterator[Row]:
    rng = np.random.default_rng(1)
    for n in SIZES:
        covered = []
        for gain, loss in ((0.01, 0.01), (0.05, 0.02), (0.1, 0.1), (0.2, 0.05), (0.3, 0.2)):
            draws = rng.multinomial(n, [gain, loss, 1 - gain - loss], size=runs)
            ends = np.array([described(int(g), int(k), n) for g, k, _ in draws])
            covered.append(float(((ends[:, 0] <= gain - loss) & (gain - loss <= ends[:, 1])).mean()))
        yield from coverage_rows(f"paired difference, n = {n}", covered, LEAST[n])


def coverage_of_clusters(runs: int) -> Iterator[Row]:
    """Right/wrong in clusters of five that share their chance of being right (intra-cluster correlation 0.2)."""
    rng = np.random.default_rng(2)
    for n in SIZES:
        covered = []
        for p in SHARES:
            a = p * 4.0
            inside = 0
            for run in range(runs):
                chance = np.repeat(rng.beta(a, 4.0 - a, n // 5), 5)
                right = (rng.random(n) < chance).astype(np.float64)
                found = bootstrap_interval(
                    np.stack([right, np.ones(n)], axis=1),
                    lambda totals: totals[..., 0] / totals[..., 1],
                    shares=True,
                    clusters=[str(i // 5) for i in range(n)],
                    seed=run,
                )
                inside += found.low is not None and found.high is not None and found.low <= p <= found.high
            covered.append(inside / runs)
        yield from coverage_rows(f"share in clusters of 5, n = {n}", covered, LEAST[n])


def coverage_rows(what: str, covered: list[float], least: float) -> Iterator[Row]:
    mean = float(np.mean(covered))
    yield f"coverage, {what}: mean over p", "94–96 %", f"{mean:.1%}", 0.94 <= mean <= 0.96
    yield f"coverage, {what}: least", f"≥ {least:.0%}", f"{min(covered):.1%}", min(covered) >= least


def wrong_at_the_bound(runs: int) -> Iterator[Row]:
    allowed = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / runs)
    rng = np.random.default_rng(3)
    for n in (100, 300, 1000):
        for kind, gain, loss, bound in (
            ("no_worse_than", 0.05, 0.10, -0.05),
            ("better_than", 0.12, 0.07, 0.05),
        ):
            draws = rng.multinomial(n, [gain, loss, 1 - gain - loss], size=runs)
            words = [judge_rule(kind, *difference(int(g), int(k), n), bound) for g, k, _ in draws]  # type: ignore[arg-type]
            yield from wrong_rows(f"{kind} at its bound, n = {n}", words, allowed)
        counts = rng.binomial(n, 0.8, size=runs)
        for kind in ("at_least", "at_most"):
            words = [
                judge_rule(kind, *clopper_pearson_interval(float(k), n, CONFIDENCE), 0.8) for k in counts
            ]  # type: ignore[arg-type]
            yield from wrong_rows(f"{kind} at its bound, n = {n}", words, allowed)


def wrong_rows(what: str, words: list[str], allowed: float) -> Iterator[Row]:
    for word in ("pass", "fail"):
        rate = words.count(word) / len(words)
        yield f"{what}: wrongly {word}", f"≤ {allowed:.2%}", f"{rate:.2%}", rate <= allowed


def whole_policies(runs: int) -> Iterator[Row]:
    allowed = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / runs)
    rng = np.random.default_rng(4)
    for rules in (3, 10):
        fails = 0
        for _ in range(runs):
            draws = rng.multinomial(300, [0.05, 0.10, 0.85], size=rules)
            checks = [("no_worse_than", evidence(int(g), int(k), 300), -0.05) for g, k, _ in draws]
            fails += judge_whole(checks, CONFIDENCE)[0] == "fail"  # type: ignore[arg-type]
        rate = fails / runs
        yield (
            f"{rules} rules, all at their bound: the whole wrongly fails",
            f"≤ {allowed:.2%}",
            f"{rate:.2%}",
            rate <= allowed,
        )
    for n in (50, 200, 1000):
        draws = rng.multinomial(n, [0.05, 0.05, 0.9], size=runs)
        rate = float(np.mean([difference(int(g), int(k), n)[1] < -0.02 for g, k, _ in draws]))
        yield f"no_worse_than A/A, margin 0.02, n = {n}: fails", "≤ 0.5 %", f"{rate:.2%}", rate <= 0.005


def power(_runs: int) -> Iterator[Row]:
    """at_least against the uniformly most powerful (randomised) exact test of the same level."""
    for n, bound, truth in ((50, 0.7, 0.9), (200, 0.7, 0.8), (1000, 0.8, 0.84)):
        counts = np.arange(n + 1)
        passes = np.array([clopper_pearson_interval(float(k), n, CONFIDENCE)[0] >= bound for k in counts])
        size = float(binom.pmf(counts, n, bound)[passes].sum())
        ours = float(binom.pmf(counts, n, truth)[passes].sum())
        best = most_powerful(n, bound, truth, ALPHA)
        what = f"power of at_least {bound} at {truth}, n = {n} (exact; its own size {size:.2%})"
        yield what, "≥ 0.9× of the optimum", f"{ours / best:.2f}×", ours / best >= 0.9


def power_of_pairs(_runs: int) -> Iterator[Row]:
    """better_than by 0 against the randomised exact conditional test of the same level (uniformly most powerful
    unbiased); every outcome is weighed with its probability."""
    for n, gain, loss in ((20, 0.5, 0.05), (50, 0.3, 0.1), (100, 0.2, 0.08), (200, 0.12, 0.05)):
        ours = best = 0.0
        for flips in range(n + 1):
            weight = float(binom.pmf(flips, n, gain + loss))
            if weight < 1e-12:
                continue
            counts = np.arange(flips + 1)
            law = binom.pmf(counts, flips, gain / (gain + loss))
            passes = np.array([difference(int(g), int(flips - g), n)[0] > 0 for g in counts])
            ours += weight * float(law[passes].sum())
            best += (
                weight * most_powerful(flips, 0.5, gain / (gain + loss), ALPHA) if flips else weight * ALPHA
            )
        what = f"power of better_than at {gain - loss:+.2g} with {gain + loss:.0%} flips, n = {n} (exact)"
        yield what, "≥ 0.9× of the optimum", f"{ours / best:.2f}×", ours / best >= 0.9


def sequential(runs: int) -> Iterator[Row]:
    """Ten points worse against a margin of three; errors at the margin itself, looking after every sample."""
    rng = np.random.default_rng(6)
    for flips in (0.12, 0.2, 0.3):
        fixed = round((1.959964 + 0.841621) ** 2 * flips / 0.03**2)
        law = [(flips - 0.1) / 2, (flips + 0.1) / 2, 1 - flips]
        needed = []
        for _ in range(runs):
            seen = rng.choice([1.0, -1.0, 0.0], p=law, size=fixed)
            reached = np.flatnonzero(e_process(-seen, 0.03, low=-1, high=1) >= 1 / ALPHA)
            needed.append(reached[0] + 1 if len(reached) else fixed)
        share = float(np.median(needed)) / fixed
        what = (
            f"sequential: samples to fail a 10-point regression, {flips:.0%} flips, of the fixed n = {fixed}"
        )
        yield what, "≤ 0.35× (median)", f"{share:.2f}×", share <= 0.35
    allowed = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / runs)
    for flips in (0.06, 0.2):
        law = [(flips - 0.03) / 2, (flips + 0.03) / 2, 1 - flips]
        wrong = np.zeros(2)
        for _ in range(runs):
            seen = rng.choice([1.0, -1.0, 0.0], p=law, size=2000)
            wrong += [
                e_process(seen, -0.03, low=-1, high=1).max() >= 1 / ALPHA,
                e_process(-seen, 0.03, low=-1, high=1).max() >= 1 / ALPHA,
            ]
        for word, rate in zip(("pass", "fail"), wrong / runs, strict=True):
            what = f"sequential at its bound, {flips:.0%} flips, 2,000 looks: wrongly {word}"
            yield what, f"≤ {allowed:.2%}", f"{rate:.2%}", bool(rate <= allowed)


def best_of_eight(runs: int) -> Iterator[Row]:
    from scipy.special import ndtri

    rng = np.random.default_rng(7)
    for lead, most in ((0.0, 0.2), (3.0, 0.4)):
        off, plain, held = [], [], 0
        for run in range(runs):
            scores = rng.normal(size=(200, 8))
            scores[:, 0] += lead / math.sqrt(200)
            leader, estimate = corrected_lead(scores / 200, run)
            truth = lead if leader == 0 else 0.0
            mean = float(scores.mean(axis=0)[leader]) * math.sqrt(200)
            z = float(ndtri((1 + max_t_confidence(scores / 200, seed=run)) / 2))
            spread = float(scores.std(axis=0, ddof=1)[leader])
            off.append(estimate * math.sqrt(200) - truth)
            plain.append(mean - truth)
            held += mean - z * spread <= truth <= mean + 1.96 * spread
        name = "equal candidates" if lead == 0 else "one 3 SE better"
        bias = float(np.mean(off))
        what = f"best of 8, {name}: bias of the corrected lead (plain {np.mean(plain):+.2f})"
        yield what, f"≤ {most:g} SE", f"{bias:+.2f} SE", abs(bias) <= most
        yield (
            f"best of 8, {name}: coverage of its interval",
            "≥ 93 %",
            f"{held / runs:.1%}",
            held / runs >= 0.93,
        )


def means(runs: int) -> Iterator[Row]:
    """Means of scores that are no right/wrong: normal, skewed, and a third of them 0."""
    rng = np.random.default_rng(8)
    laws: list[tuple[Callable[[int], np.ndarray], float]] = [
        (lambda n: rng.normal(size=n), 0.0),
        (lambda n: rng.beta(5, 1, n), 5 / 6),
        (lambda n: rng.random(n) * (rng.random(n) < 0.67), 0.335),
        (lambda n: rng.exponential(size=n), 1.0),
    ]
    for n in (10, 20, 50, 200):
        covered = []
        for draw, truth in laws:
            inside = 0
            for run in range(runs):
                rows = np.stack([draw(n), np.ones(n)], axis=1)
                found = bootstrap_interval(
                    rows, lambda totals: totals[..., 0] / totals[..., 1], resamples=1000, seed=run
                )
                inside += (
                    found.low is not None and found.high is not None and found.low <= truth <= found.high
                )
            covered.append(inside / runs)
        yield from coverage_rows(f"mean of four kinds of scores, n = {n}", covered, LEAST.get(n, 0.89))


def noise_floor(runs: int) -> Iterator[Row]:
    """Right/wrong of four candidates in two realisations: 5 % of scores flip, and all of a realisation lean one way."""
    rng = np.random.default_rng(9)
    n, slice_, flips, error = 400, 50, 0.05, 0.025
    for shift, least in ((0, 0.94), (1, 0.9), (2, 0.85)):
        covered, longer = np.zeros(2), 0.0
        for _ in range(runs):
            leans = rng.normal(0, shift * error, (4, 2))
            latent = rng.random((4, n))
            again = np.where(rng.random((4, n)) < 2 * flips, rng.random((4, n)), latent)
            first, second = latent < 0.5 + leans[:, :1], again < 0.5 + leans[:, 1:]
            moved = (second.astype(float) - first)[:, :slice_] / slice_
            sd = shift_sd(change_of(row, np.full(slice_, 1 / slice_)) for row in moved)
            right = float(first[0].sum())
            plain = wilson_interval(right, n, CONFIDENCE)
            wide = add_noise(right / n, *plain, sd, CONFIDENCE, (0.0, 1.0))
            covered += [plain[0] <= 0.5 <= plain[1], wide[0] <= 0.5 <= wide[1]]
            longer += (wide[1] - wide[0]) / (plain[1] - plain[0]) / runs
        plain_rate, rate = covered / runs
        what = (
            f"noise floor, a common shift of {shift} standard errors: coverage (without it {plain_rate:.1%})"
        )
        yield what, f"≥ {least:.0%}", f"{rate:.1%}, {longer:.2f}× as long", bool(rate >= least)


def most_powerful(n: int, bound: float, truth: float, alpha: float) -> float:
    least = int(binom.isf(alpha, n, bound)) + 1  # P(K ≥ least) ≤ alpha, and one count less is too many
    rest = (alpha - binom.sf(least - 1, n, bound)) / binom.pmf(least - 1, n, bound)
    return float(binom.sf(least - 1, n, truth) + rest * binom.pmf(least - 1, n, truth))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5000, help="simulations a cell")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="only these")
    asked = parser.parse_args()
    print("| what | target | measured | |\n|---|---|---|---|")
    for name in asked.parts:
        part, share = PARTS[name]
        for what, target, measured, held in part(max(100, asked.runs // share)):
            print(f"| {what} | {target} | {measured} | {'✓' if held else '✗ missed'} |", flush=True)


PARTS: dict[str, tuple[Callable[[int], Iterator[Row]], int]] = {
    "shares": (coverage_of_shares, 1),
    "differences": (coverage_of_differences, 1),
    "clusters": (coverage_of_clusters, 2),
    "bounds": (wrong_at_the_bound, 1),
    "policies": (whole_policies, 1),
    "power": (power, 1),
    "pairs": (power_of_pairs, 1),
    "means": (means, 8),
    "sequential": (sequential, 10),
    "best": (best_of_eight, 5),
    "noise": (noise_floor, 1),
}
"""Name → what it simulates, and by how much fewer simulations it takes where each one is slow."""


if __name__ == "__main__":
    main()
