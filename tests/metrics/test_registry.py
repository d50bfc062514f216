from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from evalkit.errors import MetricError
from evalkit.metrics import METRICS, Metric, get_metric, known_metrics, metric
from evalkit.metrics.functions import FunctionMetric
from evalkit.records import Output, Sample, Unscored


@pytest.mark.parametrize(
    "name", sorted(set(METRICS) - {"lm_eval:NAME"})
)  # a function of the task: test_lm_eval
def test_every_metric_of_the_registry_loads_and_describes_itself(name: str) -> None:
    module, _, attribute = METRICS[name].partition(":")
    made = getattr(import_module(f"evalkit.metrics.{module}"), attribute)
    assert issubclass(made, Metric)
    assert (made.__doc__ or "").count("0–1") + (made.__doc__ or "").count("better") >= 1
    assert "_" not in attribute


def test_known_metrics_are_sorted_and_unique() -> None:
    assert known_metrics() == sorted(set(known_metrics()))
    assert "exact_match" in known_metrics()


def test_an_unknown_name_shows_the_nearest() -> None:
    with pytest.raises(
        MetricError, match=r"No metric named 'exact_mach'; known: .*Did you mean 'exact_match'\?"
    ):
        get_metric("exact_mach")


def test_an_unknown_setting_is_named_with_the_known_ones() -> None:
    with pytest.raises(MetricError) as error:
        get_metric("f1", averag="micro", zzz=1)
    assert error.value.messages == [
        "Metric 'f1' has no setting 'averag'; its settings: average, labels, positive. Did you mean 'average'?",
        "Metric 'f1' has no setting 'zzz'; its settings: average, labels, positive.",
    ]
    with pytest.raises(MetricError, match="Metric 'token_f1' has no setting 'case'; it has none"):
        get_metric("token_f1", case="lower")
    with pytest.raises(MetricError, match=r"'accuracy\[minilm\]' has no setting 'model'"):
        get_metric("accuracy[minilm]")


def test_a_function_becomes_a_metric() -> None:
    @metric(name="test_starts_with_vowel", higher_is_better=False)
    def starts_with_vowel(sample: Sample, output: Any) -> bool | None:
        return None if not output else output[0] in "aeiou"

    made = get_metric("test_starts_with_vowel")
    assert (made.name, made.higher_is_better) == ("test_starts_with_vowel", False)
    assert starts_with_vowel(Sample("1", "?"), "apple") is True
    samples = [Sample(str(i), "?") for i in range(3)]
    measured = made.measure(samples, [Output("0", "apple"), Output("1", "pear"), Output("2", "")])
    assert measured.scores == [1.0, 0.0, Unscored("the metric returned no score")]
    assert made.value(measured.statistics.sum(0)) == 0.5
    assert "test_starts_with_vowel" in known_metrics()
    with pytest.raises(MetricError, match="has no setting 'x'"):
        get_metric("test_starts_with_vowel", x=1)


def test_a_function_sees_the_row_and_all_answers() -> None:
    seen = []
    made = FunctionMetric(
        lambda sample, output: seen.append((sample["level"], sample.target, output)) or 0.25
    )
    made.measure([Sample("1", "?", "t", {"level": 3})], [Output("1", ["a", "b"])])
    assert seen == [(3, "t", ["a", "b"])]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda sample, output: 1 / 0,
            "Metric 'mine' on sample 's7' raised ZeroDivisionError: division by zero",
        ),
        (lambda sample, output: "good", "must return a number, True, False, None or Unscored; got str"),
        (lambda sample, output: [1], "got list"),
    ],
)
def test_a_function_that_fails_names_itself_and_the_sample(function: Any, message: str) -> None:
    with pytest.raises(MetricError) as error:
        FunctionMetric(function, name="mine").score(Sample("s7", "?"), Output("s7", "a"))
    assert message in str(error.value)


def test_a_function_that_returns_nan_leaves_the_sample_unscored() -> None:
    made = FunctionMetric(lambda sample, output: float("nan"))
    assert made.score(Sample("1", "?"), Output("1", "a")) == Unscored("the metric returned nan")


def test_the_signature_changes_with_the_source() -> None:
    first = FunctionMetric(lambda sample, output: 0.0, name="m")
    second = FunctionMetric(lambda sample, output: 1.0, name="m")
    assert first.signature().startswith("m|source:")
    assert first.signature() != second.signature()


def test_a_built_in_name_cannot_be_taken() -> None:
    with pytest.raises(MetricError, match="'f1' is a built-in metric"):
        metric(name="f1")(lambda sample, output: 1.0)


def test_a_signature_says_which_definition_made_the_number() -> None:
    """A version: of our own reading, of the outside implementation, or of the weights."""
    made = {"pass@K": "pass@1", "toxicity": "toxicity[alt-profanity-check]"}
    says = (
        "definition:",
        "reading:",
        "rules:",
        "detector:",
        "version:",
        "jiwer:",
        "jsonschema:",
        "rouge_score:",
    )
    for name in METRICS:
        if name not in ("evaluate:NAME", "lm_eval:NAME"):  # test_hf_evaluate, test_lm_eval
            signature = get_metric(made.get(name, name)).signature()
            assert any(f"|{part}" in signature for part in (*says, "weights:", "runner:")), signature
