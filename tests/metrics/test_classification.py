"""Values pinned to scikit-learn 1.9 (precision_recall_fscore_support, matthews_corrcoef, accuracy_score)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import MetricError
from evalkit.metrics import Metric, get_metric
from evalkit.metrics.classification import OWN_COLUMNS
from evalkit.records import Output, Sample, Unscored

Value = Callable[[Metric, list[tuple[Any, Any]]], float]
LABELS = ["cat", "dog", "eel", "fox"]


def sklearn_value(name: str, pairs: list[tuple[str, str]], **options: Any) -> float:
    from sklearn import metrics

    functions = {
        "f1": metrics.f1_score,
        "precision": metrics.precision_score,
        "recall": metrics.recall_score,
        "mcc": metrics.matthews_corrcoef,
        "accuracy": metrics.accuracy_score,
    }
    answered, wanted = [a for a, _ in pairs], [t for _, t in pairs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # undefined values: the point of the comparison
        return float(functions[name](wanted, answered, **options))


def random_pairs(rng: np.random.Generator, n: int, extra: list[str]) -> list[tuple[str, str]]:
    used = list(rng.choice(LABELS, size=rng.integers(1, 5), replace=False))
    wanted = rng.choice(used, n)
    answered = np.where(rng.random(n) < 0.6, wanted, rng.choice([*LABELS, *extra], n))
    return list(zip(answered.tolist(), wanted.tolist(), strict=True))


@pytest.mark.parametrize("name", ["f1", "precision", "recall"])
@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
def test_averages_equal_scikit_learn(name: str, average: str, value: Value) -> None:
    rng = np.random.default_rng(3)
    for _ in range(25):
        pairs = random_pairs(rng, int(rng.integers(1, 40)), ["gnu", "no idea", ""])
        assert value(get_metric(name, average=average), pairs) == pytest.approx(
            sklearn_value(name, pairs, average=average), abs=1e-12
        )
        wanted = sorted({target for _, target in pairs})
        assert value(get_metric(name, average=average, labels="targets"), pairs) == pytest.approx(
            sklearn_value(name, pairs, average=average, labels=wanted), abs=1e-12
        )
        given_labels = ["cat", "fox", "never seen"]
        assert value(get_metric(name, average=average, labels=given_labels), pairs) == pytest.approx(
            sklearn_value(name, pairs, average=average, labels=given_labels), abs=1e-12
        )


@pytest.mark.parametrize("name", ["f1", "precision", "recall"])
def test_binary_equals_scikit_learn(name: str, value: Value) -> None:
    rng = np.random.default_rng(4)
    for _ in range(60):
        answered, wanted = rng.choice(["no", "yes"], (2, int(rng.integers(2, 30)))).tolist()
        if {*answered, *wanted} != {"no", "yes"}:
            continue
        pairs = list(zip(answered, wanted, strict=True))
        expected = sklearn_value(name, pairs, pos_label="yes")
        assert value(get_metric(name, average="binary", positive="yes"), pairs) == pytest.approx(
            expected, abs=1e-12
        )


@pytest.mark.parametrize("name", ["mcc", "accuracy"])
def test_mcc_and_accuracy_equal_scikit_learn(name: str, value: Value) -> None:
    rng = np.random.default_rng(5)
    for _ in range(200):
        pairs = random_pairs(rng, int(rng.integers(1, 40)), ["gnu"])
        assert value(get_metric(name), pairs) == pytest.approx(sklearn_value(name, pairs), abs=1e-12)


def test_resampled_totals_equal_scikit_learn_on_the_resample(measure: Any) -> None:
    """A class that a resample does not hold is not averaged over, as scikit-learn on those rows."""
    rng = np.random.default_rng(6)
    pairs = random_pairs(rng, 25, ["gnu"])
    metric = get_metric("f1")
    statistics = measure(metric, pairs).statistics
    draws = rng.integers(0, 25, (50, 25))
    counts = np.stack([np.bincount(draw, minlength=25) for draw in draws]).astype(float)
    expected = [sklearn_value("f1", [pairs[i] for i in draw], average="macro") for draw in draws]
    np.testing.assert_allclose(metric.value(counts @ statistics), expected, atol=1e-12)


def test_many_answers_outside_the_labels_stay_exact(value: Value, measure: Any) -> None:
    pairs = [(f"garbage {i // 2}", LABELS[i % 4]) for i in range(4 * OWN_COLUMNS)]
    pairs += [(label, label) for label in LABELS] * 5
    for name, options in (("f1", {"average": "macro"}), ("f1", {"average": "micro"}), ("mcc", {})):
        assert value(get_metric(name, **options), pairs) == pytest.approx(
            sklearn_value(name, pairs, **options), abs=1e-12
        )
    assert measure(get_metric("f1"), pairs).statistics.shape[1] == 3 * (OWN_COLUMNS + 4) + 3


def test_align_gives_both_the_same_classes(measure: Any) -> None:
    metric = get_metric("f1")
    first = measure(metric, [("cat", "cat"), ("gnu", "dog")])
    second = measure(metric, [("eel", "cat"), ("dog", "dog")])
    a, b = metric.align(first, second)
    assert a.shape == b.shape == (2, 3 * 4 + 3)
    for aligned, measured in ((a, first), (b, second)):
        assert metric.value(aligned.sum(0)) == metric.value(measured.statistics.sum(0))


def test_scores_are_right_or_wrong_and_white_space_at_the_ends_does_not_count(measure: Any) -> None:
    measured = measure(
        get_metric("f1"), [(" cat\n", "cat"), ("Cat", "cat"), ("x", None), (["cat", "dog"], "cat")]
    )
    assert measured.scores == [1.0, 0.0, Unscored("the row has no target"), 0.5]
    assert not measured.statistics[2].any()


def test_targets_that_are_numbers_or_truth_values(value: Value) -> None:
    assert value(get_metric("accuracy"), [("3", 3), ("true", True), ("False", False)]) == pytest.approx(2 / 3)


def test_one_of_several_accepted_labels_is_right(value: Value) -> None:
    assert value(get_metric("f1", average="micro"), [("dog", ["cat", "dog"])]) == 1.0


def test_no_scored_sample_has_no_value(value: Value) -> None:
    for name in ("f1", "mcc", "accuracy"):
        assert np.isnan(value(get_metric(name), [("cat", None)]))


def test_an_output_that_is_an_error_is_unscored() -> None:
    output = Output("1", "", finish="error", error="server said no")
    measured = get_metric("f1").measure([Sample("1", "?", "cat")], [output])
    assert measured.scores == [Unscored("no answer: server said no")]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"average": "marco"}, "macro, micro, weighted, binary; got 'marco'. Did you mean 'macro'?"),
        ({"average": "binary"}, 'average="binary" and positive="LABEL" go together'),
        ({"positive": "yes"}, 'average="binary" and positive="LABEL" go together'),
        ({"labels": "target"}, "Did you mean 'targets'?"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(MetricError) as error:
        get_metric("f1", **settings)
    assert message in str(error.value)


_pairs = st.lists(
    st.tuples(st.sampled_from([*LABELS, "gnu"]), st.sampled_from(LABELS)), min_size=1, max_size=25
)


@given(_pairs, st.sampled_from(["f1", "precision", "recall", "mcc", "accuracy"]), st.randoms())
def test_properties(pairs: list[tuple[str, str]], name: str, random: Any) -> None:
    metric = get_metric(name)

    def value_of(rows: list[tuple[str, str]]) -> float:
        samples = [Sample(str(i), "", target) for i, (_, target) in enumerate(rows)]
        outputs = [Output(str(i), answer) for i, (answer, _) in enumerate(rows)]
        return float(metric.value(metric.measure(samples, outputs).statistics.sum(0)))

    shuffled = list(pairs)
    random.shuffle(shuffled)
    low, high = metric.bounds
    assert low - 1e-12 <= value_of(pairs) <= high + 1e-12
    assert value_of(shuffled) == pytest.approx(value_of(pairs), abs=1e-12)
    if name != "mcc" or len({target for _, target in pairs}) > 1:  # a correlation needs two classes
        assert value_of([(target, target) for _, target in pairs]) == pytest.approx(1.0)
