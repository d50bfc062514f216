"""Choice accuracy, tokens and time."""

from __future__ import annotations

from typing import Any

import pytest

from evalkit.errors import MetricError
from evalkit.metrics import get_metric
from evalkit.records import Choice, Output, Sample, Score, Unscored


def choice_score(name: str, logprobs: list[float], texts: list[str], target: Any) -> Score:
    rated = tuple(Choice(" " + text, logprob, 1) for text, logprob in zip(texts, logprobs, strict=True))
    sample = Sample("1", "?", target, choices=tuple(texts))
    return get_metric(name).measure([sample], [Output("1", "", choices=rated)]).scores[0]


@pytest.mark.parametrize(
    ("logprobs", "texts", "target", "plain", "norm"),
    [
        ([-3.0, -4.0], ["no", "certainly"], "no", 1, 0),  # per character: -1.5 against -0.44
        ([-3.0, -4.0], ["no", "certainly"], 1, 0, 1),
        ([-3.0, -4.0], ["no", "certainly"], "1", 0, 1),
        ([-1.0, -2.0], ["0", "1"], "1", 0, 0),  # an option's text comes before its index
        ([-1.0, -2.0], ["a", "b"], ["b", "a"], 1, 1),
        ([-1.0, -1.0], ["a", "b"], "b", 0, 0),  # ties go to the first
        ([-4.0, -5.0], ["ÄÖÜ", "abcd"], 0, 1, 0),  # 3 characters (6 bytes) against 4: -1.33 against -1.25
    ],
)
def test_choice(logprobs: list[float], texts: list[str], target: Any, plain: float, norm: float) -> None:
    """As lm-evaluation-harness 0.4.13: acc = argmax(lls), acc_norm = argmax(lls / len(choice))."""
    assert choice_score("choice_accuracy", logprobs, texts, target) == plain
    assert choice_score("choice_accuracy_norm", logprobs, texts, target) == norm


def test_choice_equals_lm_eval_formula() -> None:
    import numpy as np

    rng = np.random.default_rng(1)
    for _ in range(200):
        texts = ["x" * n for n in rng.choice(np.arange(1, 30), size=4, replace=False)]
        lls = -rng.random(4) * 20
        gold = int(rng.integers(4))
        norm = float(np.argmax(lls / np.array([float(len(text)) for text in texts])) == gold)
        assert choice_score("choice_accuracy", lls.tolist(), texts, gold) == float(np.argmax(lls) == gold)
        assert choice_score("choice_accuracy_norm", lls.tolist(), texts, gold) == norm


def test_choice_unscored() -> None:
    assert choice_score("choice_accuracy", [-1.0], ["a"], None) == Unscored("the row has no target")
    for target in ("c", 2, -1, True):
        score = choice_score("choice_accuracy", [-1.0, -2.0], ["a", "b"], target)
        assert isinstance(score, Unscored)
        assert score.reason.startswith(f"target {target!r} is none of the 2 options")
    assert choice_score("choice_accuracy", [float("nan"), -1.0], ["a", "b"], 0) == Unscored(
        "an option's log-probability is not a number"
    )
    measured = get_metric("choice_accuracy").measure([Sample("1", "?", 0)], [Output("1", "a")])
    assert measured.scores == [Unscored("the output carries no rated options")]


def test_tokens_and_latency() -> None:
    samples = [Sample(str(i), "?") for i in range(3)]
    outputs = [
        Output("0", "a", output_tokens=10, seconds=0.5),
        Output("1", "b", output_tokens=4, seconds=1.5),
    ]
    outputs.append(Output("2", "c"))
    for name, mean, reason in (
        ("output_tokens", 7.0, "the output carries no token count"),
        ("latency", 1.0, "the output carries no time"),
    ):
        metric = get_metric(name)
        measured = metric.measure(samples, outputs)
        assert metric.value(measured.statistics.sum(0)) == mean
        assert measured.scores[2] == Unscored(reason)
        assert not metric.higher_is_better


def test_cost() -> None:
    """1,000 prompt tokens at 3 and 200 answer tokens at 15 a million: 0.003 + 0.003."""
    samples = [Sample("0", "?"), Sample("1", "?", row={"cost": 0.25})]
    outputs = [Output("0", "a", prompt_tokens=1000, output_tokens=200), Output("1", "b")]
    priced = get_metric("cost", prompt_price=3, output_price=15)
    assert priced.measure(samples, outputs).scores == [
        pytest.approx(0.006),
        Unscored("the output carries no token counts"),
    ]
    charged = get_metric("cost").measure(samples, outputs).scores
    assert charged[0] == Unscored(
        "the row has no cost, and the metric no prices (prompt_price, output_price)"
    )
    assert charged[1] == 0.25
    assert priced.signature() == "cost|prompt:3.0|output:15.0|currency:USD|definition:1"
    for wrong in ({"prompt_price": 3}, {"prompt_price": -1, "output_price": 1}):
        with pytest.raises(MetricError, match="expected both prices of a million tokens"):
            get_metric("cost", **wrong)
