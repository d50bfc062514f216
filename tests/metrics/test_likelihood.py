from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import MetricError
from evalkit.metrics import Measured, Metric, get_metric
from evalkit.records import Choice, Output, Sample, Unscored


def texts(*rated: tuple[str, float, int]) -> tuple[list[Sample], list[Output]]:
    samples = [Sample(str(i), text) for i, (text, _, _) in enumerate(rated)]
    outputs = [Output(str(i), "", choices=(Choice(*row),)) for i, row in enumerate(rated)]
    return samples, outputs


def value(metric: Metric, measured: Measured) -> float:
    return float(metric.value(measured.statistics.sum(0)))


def test_perplexity_and_bits_per_byte_by_hand() -> None:
    rated = texts(("été", -6.0, 3), ("ab", -1.0, 2))  # 5 and 2 bytes
    metric = get_metric("perplexity")
    measured = metric.measure(*rated)
    assert value(metric, measured) == pytest.approx(
        math.exp(7 / 5), abs=1e-12
    )  # over tokens, not over samples
    assert measured.scores == pytest.approx([math.exp(2), math.exp(0.5)], abs=1e-12)
    metric = get_metric("bits_per_byte")
    assert value(metric, metric.measure(*rated)) == pytest.approx(7 / math.log(2) / 7, abs=1e-12)


def test_likelihood_unscored() -> None:
    samples = [Sample(str(i), "?") for i in range(5)]
    two = (Choice("a", -1.0, 1), Choice("b", -1.0, 1))
    outputs = [
        Output("0", "a"),
        Output("1", "", choices=two),
        Output("2", "", choices=(Choice("a", -math.inf, 1),)),
        Output("3", "", choices=(Choice("", 0.0, 0),)),
        Output("4", "", finish="error", error="too long"),
    ]
    scores = get_metric("perplexity").measure(samples, outputs).scores
    no_text = Unscored("the output carries no log-probability of one whole text")
    assert scores == [
        no_text,
        no_text,
        Unscored("the text's log-probability is -inf"),
        Unscored("the text is empty"),
        Unscored("no answer: too long"),
    ]


def rated_choices(logprobs: np.ndarray[Any, Any], golds: list[int]) -> tuple[list[Sample], list[Output]]:
    names = [str(i) for i in range(logprobs.shape[1])]
    samples = [Sample(str(i), "?", names[gold], choices=tuple(names)) for i, gold in enumerate(golds)]
    outputs = [
        Output(str(i), "", choices=tuple(Choice(n, float(x), 1) for n, x in zip(names, row, strict=True)))
        for i, row in enumerate(logprobs)
    ]
    return samples, outputs


def test_calibration_error_by_its_definition() -> None:
    """The loop of Guo et al. 2017 (bins (low, high], weights by share), written out."""
    rng = np.random.default_rng(1)
    logprobs = rng.normal(size=(300, 4)) * 2 - 5
    golds = rng.integers(0, 4, 300).tolist()
    odds = np.exp(logprobs) / np.exp(logprobs).sum(1, keepdims=True)
    confidence, right = odds.max(1), odds.argmax(1) == golds
    for bins in (1, 10, 15):
        expected = 0.0
        for low, high in zip(np.arange(bins) / bins, np.arange(1, bins + 1) / bins, strict=True):
            inside = (confidence > low) & (confidence <= high)
            if inside.any():
                expected += abs(right[inside].mean() - confidence[inside].mean()) * inside.mean()
        metric = get_metric("calibration_error", bins=bins)
        measured = metric.measure(*rated_choices(logprobs, golds))
        assert value(metric, measured) == pytest.approx(expected, abs=1e-12)


def test_calibration_error_edges() -> None:
    metric = get_metric("calibration_error")
    sure = np.array([[0.0, -1000.0], [0.0, -1000.0]])
    assert value(metric, metric.measure(*rated_choices(sure, [0, 0]))) == 0  # sure and right
    assert value(metric, metric.measure(*rated_choices(sure, [1, 1]))) == 1  # sure and wrong
    samples, outputs = rated_choices(np.array([[0.0, math.nan]]), [0])
    assert isinstance(metric.measure(samples, outputs).scores[0], Unscored)
    with pytest.raises(MetricError, match="'bins' must be at least 1; got 0"):
        get_metric("calibration_error", bins=0)


@given(st.lists(st.tuples(st.floats(-50, 0), st.integers(1, 20)), min_size=1, max_size=8))
def test_properties(rows: list[tuple[float, int]]) -> None:
    rated = [("x" * tokens, logprob, tokens) for logprob, tokens in rows]
    for name in ("perplexity", "bits_per_byte"):
        metric = get_metric(name)
        forward = value(metric, metric.measure(*texts(*rated)))
        assert metric.bounds[0] <= forward
        assert value(metric, metric.measure(*texts(*rated[::-1]))) == pytest.approx(forward)
        certain = [(text, 0.0, tokens) for text, _, tokens in rated]
        assert value(metric, metric.measure(*texts(*certain))) == metric.bounds[0]
