from __future__ import annotations

import warnings

import numpy as np
import pytest

from evalkit.judging.bias import (
    markdown_marks,
    measure_bias,
    position_bias,
    repeat_consistency,
)
from evalkit.judging.kinship import family_of, self_preference
from evalkit.judging.records import Judgement, Order
from evalkit.stats.slopes import controlled_wins, squashed, within_slopes


def logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def biased_judge(
    seed: int, n: int = 1_500, strength: float = 0.4, position: float = 0.0, length: float = 0.0
) -> tuple[list[Judgement], float]:
    """A judge that sees quality, and leans to the answer shown first and to the longer one, mostly the candidate's.

    Returns:
        Its verdicts, and the share of wins it would give without both leanings.
    """
    rng = np.random.default_rng(seed)
    quality = strength + rng.normal(0, 0.8, n)
    mine, other = rng.integers(300, 1500, n), rng.integers(100, 900, n)
    gap = mine - other
    pull = length * np.tanh(gap / gap.std(ddof=1))
    rows = []
    for i in range(n):
        orders = []
        for first, sign in (("A", 1.0), ("B", -1.0)):
            won = rng.random() < logistic(np.array(quality[i] + pull[i] + sign * position))
            orders.append(Order(first, "A" if won else "B"))  # type: ignore[arg-type]
        value = float(np.mean([order.winner == "A" for order in orders]))
        winner = {0.0: "B", 0.5: "tie", 1.0: "A"}[value]
        rows.append(
            Judgement(
                "r16",
                "chat",
                str(i),
                winner=winner,  # type: ignore[arg-type]
                value=value,
                orders=tuple(orders),
                opponent="base",
                characters=int(mine[i]),
                opponent_characters=int(other[i]),
            )
        )
    return rows, float(logistic(quality).mean())


def test_planted_position_and_length_bias_are_found_and_taken_out() -> None:
    rows, truth = biased_judge(1, position=0.8, length=1.2)
    found = measure_bias(rows)
    assert found.position is not None
    assert found.position.pairs == 1_500
    assert found.position.flips.low > 0.3  # type: ignore[operator]
    assert found.position.first.low > 0.6  # type: ignore[operator]
    (wins,) = found.wins
    assert wins.raw.value - truth > 0.08  # type: ignore[operator]
    assert abs(wins.controlled.win_rate.value - truth) < 0.02  # type: ignore[operator]
    assert wins.controlled.slopes[0].low > 0.7  # type: ignore[operator]
    said = found.to_json()
    assert said["wins"][0]["length_controlled"]["value"] == wins.controlled.win_rate.value
    assert set(said) == {"position_flips", "inconsistent", "first_shown", "pairs", "wins"}


def test_a_fair_judge_is_found_fair() -> None:
    rows, truth = biased_judge(2)
    found = measure_bias(rows)
    assert found.position is not None
    assert found.position.first.low < 0.5 < found.position.first.high  # type: ignore[operator]
    (wins,) = found.wins
    slope = wins.controlled.slopes[0]
    assert slope.low < 0 < slope.high  # type: ignore[operator]
    assert abs(wins.controlled.win_rate.value - truth) < 0.03  # type: ignore[operator]


def test_controlled_win_rates_cover() -> None:
    hits, gaps = [], []
    for seed in range(100):
        rows, _ = biased_judge(seed, n=300, position=0.5, length=0.8)
        truth = float(np.mean(logistic(0.4 + np.random.default_rng(0).normal(0, 0.8, 100_000))))
        found = measure_bias(rows).wins[0].controlled.win_rate
        hits.append(found.low <= truth <= found.high)  # type: ignore[operator]
        gaps.append(found.value - truth)  # type: ignore[operator]
    assert 0.90 <= np.mean(hits) <= 0.99  # 95 % with its sampling error at 100 runs
    assert abs(np.mean(gaps)) < 0.015


def test_controlled_wins_equal_a_logistic_regression_of_statsmodels() -> None:
    import statsmodels.api as sm

    rng = np.random.default_rng(5)
    x = rng.normal(size=(400, 2))
    points = (rng.random(400) < logistic(0.3 + x @ [0.8, -0.5])).astype(float)
    clusters = np.arange(400) // 2
    fit = sm.GLM(points, sm.add_constant(x), family=sm.families.Binomial()).fit(
        cov_type="cluster", cov_kwds={"groups": clusters, "use_correction": False}
    )
    found = controlled_wins(points, x, clusters.tolist())
    assert [slope.value for slope in found.slopes] == pytest.approx(fit.params[1:], abs=1e-4)
    correction = np.sqrt(200 / 197)
    assert [slope.error for slope in found.slopes] == pytest.approx(fit.bse[1:] * correction, rel=1e-3)
    assert found.win_rate.value == pytest.approx(logistic(fit.params[0]), abs=1e-4)


def test_wins_that_are_separated_stay_finite() -> None:
    found = controlled_wins(np.ones(20), squashed(np.arange(20.0) - 5)[:, None], range(20))
    assert 0.98 < found.win_rate.value <= 1  # type: ignore[operator]
    assert all(np.isfinite([slope.value, slope.low, slope.high]).all() for slope in found.slopes)


def test_the_slope_of_a_pointwise_judge_on_length_and_form() -> None:
    """0.5 points per doubling and 0.3 per doubling of marks; long answers stand on the hard questions, where scores are
    low, so that a plain regression finds nothing."""
    rng = np.random.default_rng(3)
    rows, texts = [], {}
    for i in range(300):
        hard = rng.normal()
        for candidate, level in (("a", 3.0), ("b", 3.3), ("c", 2.8)):
            words = int(np.clip(40 * 2 ** (0.8 * rng.normal() + 0.9 * hard), 4, 2_000))
            marks = int(rng.integers(0, 6))
            text = "- x\n" * marks + "y" * words
            value = (
                level + 0.5 * np.log2(len(text)) - 1.0 * hard + 0.3 * np.log2(1 + marks) + rng.normal(0, 0.3)
            )
            rows.append(Judgement(candidate, "chat", str(i), score=value, value=value, characters=len(text)))
            texts[candidate, "chat", str(i)] = text
    found = measure_bias(rows, texts=texts)
    assert found.length is not None
    assert found.format is not None
    assert 0.5 < found.length.value < 0.7  # type: ignore[operator]  # marks make answers longer too
    assert found.format.low < 0.3 < found.format.high  # type: ignore[operator]
    assert found.format.low > 0.2  # type: ignore[operator]
    assert set(found.to_json()) == {"length_slope", "format_slope"}


def test_slopes_equal_least_squares_with_dummies() -> None:
    rng = np.random.default_rng(9)
    items, who = np.repeat(np.arange(30), 2), np.tile([0, 1], 30)
    x = rng.normal(size=60)
    y = 0.7 * x + rng.normal(size=30)[items] + 0.4 * who + rng.normal(0, 0.2, 60)
    design = np.concatenate([x[:, None], np.eye(30)[items], who[:, None]], axis=1)
    expected = np.linalg.lstsq(design, y, rcond=None)[0][0]
    (found,) = within_slopes(y, x[:, None], who.tolist(), items.tolist())
    assert found.value == pytest.approx(expected, abs=1e-9)


def test_one_answer_an_item_gives_the_slope_across_items() -> None:
    x = np.array([1.0, 2, 3, 4, 5])
    (found,) = within_slopes(2 * x + 1, x[:, None], ["a"] * 5, range(5))
    assert found.value == pytest.approx(2.0)
    (none,) = within_slopes(x, np.ones((5, 1)), ["a"] * 5, range(5))
    assert none.value is None


def test_candidates_that_answer_alike_have_no_variance_and_no_warning() -> None:
    """Two of three give the same answers, as an untouched base and its prompt do: their difference is 0 ± rounding."""
    rng = np.random.default_rng(6)
    lengths, marks = rng.uniform(5, 8, (2, 32)), rng.integers(0, 2, (2, 32)).astype(float)
    scores = 1.4 + 0.1 * lengths + rng.normal(0, 0.1, (2, 32))
    order = [0, 0, 1]
    x = np.stack([lengths[order].ravel(), marks[order].ravel()], axis=1)
    who = [name for name in "abc" for _ in range(32)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = within_slopes(scores[order].ravel(), x, who, list(range(32)) * 3)
    assert all(one.low is not None and one.low < one.high for one in found)  # type: ignore[operator]


def test_self_preference_is_a_difference_in_differences() -> None:
    """The judge's kin is truly 1 point better, and the judge adds 0.6 to it and 0.2 to all."""
    rng = np.random.default_rng(6)
    rows, people = [], {}
    for i in range(200):
        for candidate, quality in (("kin", 4.0), ("other", 3.0), ("third", 2.5)):
            truth = quality + rng.normal(0, 0.5)
            value = truth + 0.2 + 0.6 * (candidate == "kin") + rng.normal(0, 0.4)
            rows.append(Judgement(candidate, "chat", str(i), score=value, value=value))
            people[candidate, "chat", str(i)] = truth + rng.normal(0, 0.4)
    found = self_preference(rows, {"kin"}, people)
    assert found is not None
    assert found.low < 0.6 < found.high  # type: ignore[operator]
    assert found.low > 0.4  # type: ignore[operator]
    assert self_preference(rows, {"nobody"}, people) is None
    assert self_preference(rows, {"kin"}, {}) is None
    families = {"kin": "llama", "other": "qwen", "third": None}
    whole = measure_bias(rows, families=families, own="llama", reference=people)
    assert whole.own_family is not None
    assert whole.own_family.value == pytest.approx(found.value)


def test_repeats() -> None:
    assert repeat_consistency([["A", "A", "B"], ["A", "A", "A"]]).value == pytest.approx((1 / 3 + 1) / 2)
    same = repeat_consistency([[3, 3]] * 20 + [[2, None]])
    assert (same.value, same.method) == (1.0, "wilson")
    assert repeat_consistency([]).value is None


def test_ties_are_no_flips() -> None:
    def row(first: str, second: str) -> Judgement:
        orders = (Order("A", first), Order("B", second))  # type: ignore[arg-type]
        return Judgement("a", "t", "1", winner="tie", value=0.5, orders=orders, opponent="b")

    found = position_bias([row("A", "B"), row("A", "tie"), row("A", "A"), row("tie", "tie")])
    assert found is not None
    assert (found.flips.value, found.inconsistent.value) == (0.25, 0.5)
    assert found.first.value == pytest.approx(
        4 / 5
    )  # A first wins; shown second, B first wins; A; A, then not B
    assert position_bias([]) is None
    always = position_bias([row("A", "B")] * 20)
    assert always is not None
    assert (always.first.value, always.first.high) == (1.0, 1.0)
    assert always.first.low == pytest.approx(0.8389, abs=1e-4)  # Wilson's for 20 of 20


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("gpt-4o-mini", "gpt"),
        ("o3-mini", "gpt"),
        ("Qwen/Qwen2.5-7B-Instruct", "qwen"),
        ("smollm2-135m-instruct-q4_1", "smollm"),
        ("microsoft/phi-4", "phi"),
        ("delphi", None),
        (None, None),
    ],
)
def test_families(name: str | None, family: str | None) -> None:
    assert family_of(name) == family


def test_marks() -> None:
    assert markdown_marks("a * b, 3. is no list at the end of 2.") == 0
    assert markdown_marks("1. one\n2. two\n> said\n| a | b |\n```py\nx\n```\n**b** and **c**") == 8
