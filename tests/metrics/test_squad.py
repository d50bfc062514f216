"""Expected values worked by hand from the official evaluation scripts of SQuAD v1.1 and v2.0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import MetricError
from evalkit.metrics import Metric, get_metric
from evalkit.metrics.squad import normalize_answer
from evalkit.records import Output, Sample, Unscored

Value = Callable[[Metric, list[tuple[Any, Any]]], float]


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The Cat", "cat"),
        ("a an the", ""),
        ("theatre another", "theatre another"),  # articles are whole words
        ("U.S.A.", "usa"),
        ("well-known", "wellknown"),  # punctuation goes without leaving a space
        ("  two\twords\n", "two words"),
        ("“quoted”", "“quoted”"),  # only ASCII punctuation is dropped
        ("Straße ÉCOLE", "straße école"),
        ("it's the-end", "its theend"),  # punctuation goes first, so the article is no word of its own
    ],
)
def test_normalisation(text: str, normal: str) -> None:
    assert normalize_answer(text) == normal


@pytest.mark.parametrize(
    ("answer", "target", "em", "f1"),
    [
        ("Denver Broncos", "Denver Broncos", 1, 1.0),
        ("the Denver Broncos.", ["Broncos", "Denver Broncos"], 1, 1.0),
        ("Denver", "Denver Broncos", 0, 2 / 3),  # P 1, R 1/2
        ("in Santa Clara, California", ["Santa Clara", "Levi's Stadium"], 0, 2 / 3),  # P 2/4, R 2/2
        ("cat cat cat", "cat", 0, 0.5),  # counted as bags: P 1/3, R 1
        ("", "", 1, 1.0),  # v2: no answer where none is wanted
        ("the", "", 1, 1.0),
        ("", "something", 0, 0.0),
        ("something", "", 0, 0.0),
        ("42", 42, 1, 1.0),
        ("東京", "東京", 1, 1.0),
    ],
)
def test_cases(answer: str, target: Any, em: float, f1: float, value: Value) -> None:
    assert value(get_metric("exact_match"), [(answer, target)]) == em
    assert value(get_metric("token_f1"), [(answer, target)]) == pytest.approx(f1, abs=1e-12)


def test_other_normalisations(value: Value) -> None:
    pairs = [("Cat ", "Cat"), ("Cat", "Cat"), ("cat", "Cat")]
    assert value(get_metric("exact_match", normalize="strip"), pairs) == pytest.approx(2 / 3)
    assert value(get_metric("exact_match", normalize="none"), pairs) == pytest.approx(1 / 3)
    with pytest.raises(MetricError, match=r"squad, none, strip; got 'stripp'. Did you mean 'strip'\?"):
        get_metric("exact_match", normalize="stripp")


@pytest.mark.parametrize("name", ["exact_match", "token_f1"])
@pytest.mark.parametrize("target", [None, []])
def test_no_target_is_unscored(name: str, target: Any, measure: Any) -> None:
    assert measure(get_metric(name), [("cat", target)]).scores == [Unscored("the row has no target")]


def test_several_answers_count_as_their_mean(measure: Any) -> None:
    assert measure(get_metric("exact_match"), [(["cat", "dog", "cat", "cat"], "cat")]).scores == [0.75]


def test_values_equal_torchmetrics() -> None:
    """torchmetrics 1.9 ``SQuAD``: the official script of v1.1, 0-100; several answers, 300 generated pairs."""
    import random

    from torchmetrics.functional.text import squad

    rng = random.Random(1)
    words = ["The", "a", "cat", "Cat.", "(dog)", "eel", "an-other", "x,y", "ÉCOLE", "l'eau"]
    compared = 0
    while compared < 300:
        answer, *accepted = (
            " ".join(rng.choices(words, k=rng.randint(1, 6))) for _ in range(rng.randint(2, 4))
        )
        if not all(map(normalize_answer, [answer, *accepted])):
            continue  # there v2's rule holds: see the hand-worked cases
        compared += 1
        places = [0] * len(accepted)
        expected = squad(
            [{"prediction_text": answer, "id": "1"}],
            [{"answers": {"answer_start": places, "text": accepted}, "id": "1"}],
        )
        sample = Sample("1", "", accepted)
        for name, key in (("exact_match", "exact_match"), ("token_f1", "f1")):
            found = 100 * get_metric(name).score_text(sample, answer)  # type: ignore[attr-defined]
            assert found == pytest.approx(expected[key].item(), abs=1e-5)  # torchmetrics keeps float32


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), min_size=1, max_size=8))
def test_properties(pairs: list[tuple[str, str]]) -> None:
    for name in ("exact_match", "token_f1"):
        metric = get_metric(name)

        def value_of(rows: list[tuple[str, str]], metric: Metric = metric) -> float:
            samples = [Sample(str(i), "", target) for i, (_, target) in enumerate(rows)]
            outputs = [Output(str(i), answer) for i, (answer, _) in enumerate(rows)]
            return float(metric.value(metric.measure(samples, outputs).statistics.sum(0)))

        assert 0 <= value_of(pairs) <= 1
        assert value_of(pairs[::-1]) == pytest.approx(value_of(pairs))
        assert value_of([(target, target) for _, target in pairs]) == 1
