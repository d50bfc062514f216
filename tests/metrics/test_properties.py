"""What holds for every metric: bounds, identity is best, order is nothing, a new sample changes no other's score."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.metrics import METRICS, Measured, Metric, get_metric
from evalkit.records import Choice, Output, Sample, Unscored

WORDS = ["the", "cat", "sat", "on", "a", "mat", "été", "東京", "don't", "3.5", "Runs", "42"]
words = st.lists(st.sampled_from(WORDS), min_size=5, max_size=9).map(" ".join)
labels = st.sampled_from(["cat", "dog", "eel"])
flat = st.dictionaries(st.sampled_from("abc"), st.integers(0, 3) | st.sampled_from(["x", "y"]), min_size=1)
numbers = st.integers(-999, 999).map(str)


@dataclass(frozen=True)
class Kind:
    """Which targets a metric is tried on, how an answer is made of one, and what the identity is worth."""

    targets: st.SearchStrategy[Any] = words
    answer: Any = str
    best: float | None = 1.0
    settings: dict[str, Any] = field(default_factory=dict)


TEXT = Kind()
LABEL = Kind(labels)
OWN = Kind(best=None)  # reads the answer alone, or the output's record
KINDS: dict[str, Kind] = {
    **dict.fromkeys(["accuracy", "f1", "precision", "recall"], LABEL),
    "mcc": Kind(labels, best=None),  # 1 only where there are two classes: test_classification
    **dict.fromkeys(
        ["exact_match", "token_f1", "edit_similarity", "rouge1", "rouge2", "rougeL", "rougeLsum"], TEXT
    ),
    **dict.fromkeys(["bleu", "chrf"], Kind(best=100.0)),
    **dict.fromkeys(["wer", "cer", "ter"], Kind(best=0.0)),
    "json_fields": Kind(flat, json.dumps),
    "json_valid": Kind(flat, json.dumps),
    "json_schema": Kind(flat.map(lambda value: {"const": value}), lambda target: json.dumps(target["const"])),
    "math_answer": Kind(numbers, "The answer is {}.".format),
    "format_follow": Kind(
        st.integers(2, 9).map(lambda n: {"max_words": n, "min_words": n}), lambda t: "w " * t["max_words"]
    ),
    **dict.fromkeys(["refusal", "over_refusal", "attack_success", "output_tokens", "latency"], OWN),
    "cost": Kind(best=None, settings={"prompt_price": 1, "output_price": 2}),
    "toxicity": Kind(best=None, settings={"model": "alt-profanity-check"}),
}
RATED = ["choice_accuracy", "choice_accuracy_norm", "calibration_error", "perplexity", "bits_per_byte"]
ELSEWHERE = {
    "bertscore": "test_encoders",
    "cosine_similarity": "test_encoders",
    "pass@K": "test_code",
    "code_score": "test_code",
    "evaluate:NAME": "test_hf_evaluate",
    "lm_eval:NAME": "test_lm_eval",
}


def test_every_metric_has_its_properties_tested() -> None:
    assert set(KINDS) | set(RATED) | set(ELSEWHERE) == set(METRICS)


def measured(metric: Metric, rows: list[tuple[Sample, Output]]) -> Measured:
    return metric.measure([sample for sample, _ in rows], [output for _, output in rows])


def value_of(metric: Metric, rows: list[tuple[Sample, Output]]) -> float:
    return float(metric.value(np.asarray(measured(metric, rows).statistics.sum(0))))


def check(metric: Metric, rows: list[tuple[Sample, Output]]) -> None:
    """Bounds, order, and that a further sample leaves the scores of the others alone."""
    low, high = metric.bounds
    found = measured(metric, rows)
    assert len(found.scores) == len(found.statistics) == len(rows)
    assert all(isinstance(score, Unscored) or low - 1e-9 <= score <= high + 1e-9 for score in found.scores)
    assert not found.statistics[~found.scored].any()
    value = value_of(metric, rows)
    assert not found.scored.any() or low - 1e-9 <= value <= high + 1e-9
    assert measured(metric, rows[::-1]).scores == pytest.approx(found.scores[::-1])
    assert value_of(metric, rows[::-1]) == pytest.approx(value, nan_ok=True)
    assert measured(metric, rows[:-1]).scores == pytest.approx(found.scores[:-1])
    if metric.additive_mean and found.scored.any():
        scores = [score for score in found.scores if not isinstance(score, Unscored)]
        assert value == pytest.approx(sum(scores) / len(scores), abs=1e-9)


@pytest.mark.parametrize("name", sorted(KINDS))
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_texts(name: str, data: st.DataObject) -> None:
    kind = KINDS[name]
    metric = get_metric(name, **kind.settings)
    wanted = data.draw(st.lists(kind.targets, min_size=1, max_size=6))
    rows = []
    for place, target in enumerate(wanted):
        text = data.draw(st.one_of(words, labels, st.text(max_size=12), st.just(kind.answer(target))))
        counts = {"prompt_tokens": place, "output_tokens": data.draw(st.integers(0, 5))}
        given_target = data.draw(st.sampled_from([target, target, None]))
        sample = Sample(str(place), "Why?", given_target)
        rows.append((sample, Output(str(place), text, seconds=counts["output_tokens"] / 2, **counts)))
    check(metric, rows)
    if kind.best is not None:
        same = [(Sample(str(i), "", t), Output(str(i), kind.answer(t))) for i, t in enumerate(wanted)]
        assert value_of(metric, same) == pytest.approx(kind.best, abs=1e-9)


@pytest.mark.parametrize("name", RATED)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_log_likelihoods(name: str, data: st.DataObject) -> None:
    options = 1 if name in ("perplexity", "bits_per_byte") else 3
    logprobs = st.lists(st.floats(-30, -0.01), min_size=options, max_size=options, unique=True)
    rows = []
    for place, drawn in enumerate(data.draw(st.lists(logprobs, min_size=1, max_size=6))):
        rated = tuple(Choice("abc"[: i + 1], logprob, i + 1) for i, logprob in enumerate(drawn))
        target = data.draw(st.integers(0, options - 1))
        choices = tuple(choice.text for choice in rated)
        rows.append(
            (Sample(str(place), "abc", target, choices=choices), Output(str(place), "", choices=rated))
        )
    check(get_metric(name), rows)
    if name == "choice_accuracy":
        right = [
            (
                Sample(
                    sample.id,
                    "",
                    output.choices.index(max(output.choices, key=lambda c: c.logprob)),
                    choices=sample.choices,
                ),
                output,
            )  # type: ignore[union-attr]
            for sample, output in rows
        ]
        assert value_of(get_metric(name), right) == 1
