"""Values pinned to jiwer 4.0: ``wer`` and ``cer`` over lists of texts."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.metrics import Metric, get_metric
from evalkit.records import Sample, Unscored

Value = Callable[[Metric, list[tuple[Any, Any]]], float]
WORDS = ["the", "The", "cat", "sat.", "on", "été", "東京", "a  b", "new\nline", "tab\there"]
REFERENCE = {"wer": jiwer.wer, "cer": jiwer.cer}


def texts(rng: random.Random) -> str:
    return rng.choice(["", " "]) + " ".join(rng.choices(WORDS, k=rng.randint(0, 8)))


@pytest.mark.parametrize("name", ["wer", "cer"])
def test_rates_equal_jiwer(name: str, value: Value, measure: Any) -> None:
    rng = random.Random(1)
    for _ in range(90):
        pairs = [(texts(rng), texts(rng)) for _ in range(rng.randint(1, 5))]
        answers, targets = [a for a, _ in pairs], [t for _, t in pairs]
        assert value(get_metric(name), pairs) == pytest.approx(REFERENCE[name](targets, answers), abs=1e-12)
        scores = [REFERENCE[name](target, answer) for answer, target in pairs]
        assert measure(get_metric(name), pairs).scores == pytest.approx(scores, abs=1e-12)


@pytest.mark.parametrize(
    ("answer", "target", "similarity"),
    [
        ("kitten", "sitting", 4 / 7),  # 3 edits (Levenshtein's own example), 7 characters
        ("", "", 1),
        ("", "ab", 0),
        (" ab\n", "ab", 1),
        ("東京", "東亰", 1 / 2),
        ("cat", ["dog", "car"], 2 / 3),
    ],
)
def test_edit_similarity(answer: str, target: Any, similarity: float, value: Value) -> None:
    assert value(get_metric("edit_similarity"), [(answer, target)]) == pytest.approx(similarity, abs=1e-12)


def test_edits_are_those_of_jiwer() -> None:
    rng = random.Random(2)
    metric = get_metric("edit_similarity")
    for _ in range(200):
        answer, target = "".join(rng.choices("abc é", k=rng.randint(1, 12))), "".join(rng.choices("abc", k=6))
        counted = jiwer.process_characters(target, answer)
        edits = counted.substitutions + counted.deletions + counted.insertions
        expected = 1 - edits / max(len(answer.strip()), 6)
        assert metric.score_text(Sample("1", "", target), answer) == pytest.approx(expected)  # type: ignore[attr-defined]


def test_the_nearest_target_counts_and_none_is_unscored(measure: Any) -> None:
    measured = measure(get_metric("wer"), [("a b", ["a b c d", "a c"]), ("a", None), (["a", "b"], "a")])
    assert measured.scores == [0.5, Unscored("the row has no target"), 0.5]
    assert measured.statistics.tolist() == [[2, 4], [0, 0], [0.5, 1]]  # of equal rates the first


@given(st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12)), min_size=1, max_size=6))
def test_properties(pairs: list[tuple[str, str]]) -> None:
    from evalkit.records import Output

    for name, best in (("wer", 0), ("cer", 0), ("edit_similarity", 1)):
        metric = get_metric(name)

        def value_of(rows: list[tuple[str, str]], metric: Metric = metric) -> float:
            samples = [Sample(str(i), "", target) for i, (_, target) in enumerate(rows)]
            outputs = [Output(str(i), answer) for i, (answer, _) in enumerate(rows)]
            return float(metric.value(metric.measure(samples, outputs).statistics.sum(0)))

        assert metric.bounds[0] <= value_of(pairs) <= metric.bounds[1]
        assert value_of(pairs[::-1]) == pytest.approx(value_of(pairs))
        assert value_of([(target, target) for _, target in pairs]) == best
