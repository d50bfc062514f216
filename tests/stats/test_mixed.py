from __future__ import annotations

import warnings

import numpy as np
import pytest

from evalkit.stats.mixed import Rated, fit_scores

STRENGTH = np.array([3.0, 3.4, 2.5])


def simulate(
    rng: np.random.Generator, items: int = 24, raters: int = 6, each: int = 2, answer: float = 0.4
) -> tuple[list[Rated], np.ndarray]:
    """Every answer rated by ``each`` raters; candidate "c0" mostly by the first ones, who may be strict."""
    bias = rng.normal(0, 0.5, raters)
    item = rng.normal(0, 0.7, items)
    rows = []
    for c, strength in enumerate(STRENGTH):
        for i in range(items):
            quality = rng.normal(0, answer)
            chances = np.arange(raters, 0, -1.0) if c == 0 else np.ones(raters)
            for r in rng.choice(raters, each, replace=False, p=chances / chances.sum()):
                score = strength + item[i] + quality + bias[r] + rng.normal(0, 0.5)
                rows.append(Rated(f"c{c}", str(i), f"r{r}", score))
    return rows, bias


def test_equals_statsmodels() -> None:
    """``MixedLM`` with crossed variance components in one group, REML."""
    import pandas as pd
    import statsmodels.formula.api as smf

    rows, _ = simulate(np.random.default_rng(3), items=15, raters=5)
    frame = pd.DataFrame(
        [(r.candidate, r.item, r.rater, r.score) for r in rows], columns=["c", "i", "r", "y"]
    )
    frame["a"], frame["one"] = frame.c + frame.i, 1
    parts = {"rater": "0 + C(r)", "item": "0 + C(i)", "answer": "0 + C(a)"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its optimiser, near the maximum
        fit = smf.mixedlm("y ~ 0 + C(c)", frame, groups="one", vc_formula=parts, re_formula="0").fit(
            reml=True, method="powell", maxiter=2_000
        )
    found = fit_scores(rows)
    expected = dict(zip(fit.model.exog_vc.names, np.sqrt(fit.vcomp), strict=True))
    for name, deviation in expected.items():
        assert found.deviations[name] == pytest.approx(deviation, abs=2e-3)
    assert found.deviations["error"] == pytest.approx(np.sqrt(fit.scale), abs=2e-3)
    assert [mean.value for mean in found.candidates] == pytest.approx(fit.fe_params.to_numpy(), abs=1e-3)


def test_a_complete_table_is_the_analysis_of_variance() -> None:
    """Every rater scores every item once: REML of a balanced table is the ANOVA estimate (Searle 1992, ch. 4)."""
    rng = np.random.default_rng(1)
    a, b = 12, 7  # items, raters
    y = 5 + rng.normal(0, 1.0, (a, 1)) + rng.normal(0, 0.8, (1, b)) + rng.normal(0, 0.6, (a, b))
    rows = [Rated("only", f"i{i}", f"r{j}", float(y[i, j])) for i in range(a) for j in range(b)]
    found = fit_scores(rows)
    residual = y - y.mean(1, keepdims=True) - y.mean(0, keepdims=True) + y.mean()
    error = (residual**2).sum() / ((a - 1) * (b - 1))
    rater = y.mean(0).var(ddof=1) - error / a
    item = y.mean(1).var(ddof=1) - error / b
    # with one candidate an item and its answer are one: the design cannot tell them apart, and "item" names both
    assert found.deviations == pytest.approx(
        {"rater": rater**0.5, "item": item**0.5, "error": error**0.5}, rel=1e-4
    )
    assert found.candidates[0].value == pytest.approx(y.mean())
    # Satterthwaite by hand: variance of the mean = (MS_item + MS_rater − MS_error) / ab
    squares = np.array([b * y.mean(1).var(ddof=1), a * y.mean(0).var(ddof=1), error])
    freedom = np.array([a - 1, b - 1, (a - 1) * (b - 1)])
    total = squares[0] + squares[1] - squares[2]
    from scipy.stats import t

    expected = t.ppf(0.975, total**2 / (squares**2 / freedom).sum()) * np.sqrt(total / (a * b))
    assert found.candidates[0].high == pytest.approx(y.mean() + expected, abs=0.02 * expected)


def test_planted_means_differences_and_biases_are_covered() -> None:
    """Raters and items are drawn anew each time; candidate c0 is rated mostly by certain raters."""
    rng = np.random.default_rng(8)
    hits = {"mean": [], "difference": [], "bias": []}  # type: ignore[var-annotated]
    planted, said = [], []
    for _ in range(100):
        rows, bias = simulate(rng)
        found = fit_scores(rows)
        hits["mean"] += [m.low <= s <= m.high for m, s in zip(found.candidates, STRENGTH, strict=True)]
        gaps = STRENGTH[1:] - STRENGTH[0]
        hits["difference"] += [d.low <= g <= d.high for d, g in zip(found.differences, gaps, strict=True)]
        present = np.array([int(rater.rater[1:]) for rater in found.raters])
        truth = bias[present] - bias[present].mean()
        hits["bias"] += [r.low <= b <= r.high for r, b in zip(found.raters, truth, strict=True)]
        planted += truth.tolist()
        said += [rater.bias for rater in found.raters]
    for name, covered in hits.items():
        assert 0.92 <= np.mean(covered) <= 0.98, (name, np.mean(covered))  # 95 % as far as 100 runs can tell
    assert np.corrcoef(planted, said)[0, 1] > 0.95


def test_a_rater_of_one_candidate_does_not_decide() -> None:
    """Only the strict rater saw "b"; the shared items and the other candidate show how strict."""
    rng = np.random.default_rng(4)
    rows = []
    for i in range(60):
        quality = {"a": 3.0, "b": 3.0}
        for rater, bias, seen in (("mild", 0.5, "a"), ("strict", -1.0, "ab"), ("third", 0.5, "a")):
            rows += [Rated(c, str(i), rater, quality[c] + bias + rng.normal(0, 0.3)) for c in seen]
    found = fit_scores(rows)
    raw = np.mean([r.score for r in rows if r.candidate == "b"]) - np.mean(
        [r.score for r in rows if r.candidate == "a"]
    )
    assert raw < -0.9
    assert abs(found.differences[0].difference) < 0.1
    assert {rater.rater: round(rater.bias, 1) for rater in found.raters} == {
        "mild": 0.5,
        "strict": -1.0,
        "third": 0.5,
    }


def test_few_scores() -> None:
    one = fit_scores([Rated("a", "1", "r", 3.0)])
    assert (one.candidates[0].value, one.candidates[0].low, one.raters) == (3.0, None, ())
    same = fit_scores([Rated(c, str(i), r, 4.0) for c in "ab" for i in range(3) for r in "xy"])
    assert [mean.value for mean in same.candidates] == [4.0, 4.0]
    assert same.differences[0].difference == 0.0
    lone = fit_scores([Rated("a", str(i), "r", float(i)) for i in range(5)])
    assert lone.candidates[0].value == 2.0
    assert lone.candidates[0].low == pytest.approx(2 - 2.776445 * np.sqrt(2.5 / 5), abs=1e-3)  # Student


@pytest.mark.parametrize("rows", [[], [Rated("a", "1", "r", float("nan"))]])
def test_no_scores(rows: list[Rated]) -> None:
    with pytest.raises(ValueError, match="finite score"):
        fit_scores(rows)


def test_a_control_is_named() -> None:
    rows = [Rated(c, str(i), "r", float(i + (c == "b"))) for c in "ab" for i in range(5)]
    found = fit_scores(rows, control="b")
    assert (found.differences[0].candidate, found.differences[0].difference) == ("a", pytest.approx(-1))
    with pytest.raises(ValueError, match="no scores of the control 'c'"):
        fit_scores(rows, control="c")


def test_thousands_of_scores_recover_what_was_planted() -> None:
    """Eight raters, 400 items, two candidates: 6,400 scores; the time grows with them, not with their cube."""
    rng = np.random.default_rng(5)
    rater, item = rng.normal(0, 0.5, 8), rng.normal(0, 0.7, 400)
    answer = rng.normal(0, 0.4, (2, 400))
    rows = [
        Rated(
            "ab"[c], str(i), str(r), 0.3 * c + rater[r] + item[i] + answer[c, i] + float(rng.normal(0, 0.5))
        )
        for c in range(2)
        for i in range(400)
        for r in range(8)
    ]
    found = fit_scores(rows)
    (difference,) = found.differences
    paired = np.array([row.score for row in rows]).reshape(2, 400, 8).mean(2)
    assert difference.difference == pytest.approx(float((paired[1] - paired[0]).mean()), abs=1e-6)  # balanced
    spread = float((paired[1] - paired[0]).std(ddof=1)) / 20  # the paired t-test's standard error
    assert difference.high - difference.low == pytest.approx(2 * 1.9659 * spread, rel=1e-3)
    assert [found.deviations[name] for name in ("item", "answer", "error")] == pytest.approx(
        [0.7, 0.4, 0.5], rel=0.1
    )
