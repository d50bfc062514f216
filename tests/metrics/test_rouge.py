"""Values pinned to Google's rouge-score 0.1.2."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from evalkit.metrics import get_metric
from evalkit.records import Sample, Unscored

NAMES = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
WORDS = [
    "The",
    "the",
    "cats",
    "cat",
    "running",
    "runs",
    "on",
    "mat",
    "mat.",
    "3.5",
    "été",
    "東京",
    "don't",
    "generously",
]


def text(rng: random.Random, most: int) -> str:
    words = rng.choices(WORDS, k=rng.randint(0, most))
    return "".join(word + rng.choice([" ", " ", " ", "\n", "\n\n", ", "]) for word in words)


@pytest.mark.parametrize("stemmer", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_equals_rouge_score(name: str, stemmer: bool) -> None:
    rng = random.Random(5)
    scorer = RougeScorer([name], use_stemmer=stemmer)
    metrics = {m: get_metric(name, measure=m, use_stemmer=stemmer) for m in ("f1", "precision", "recall")}
    for _ in range(250):
        answer, targets = text(rng, 25), [text(rng, 25) for _ in range(rng.randint(1, 3))]
        expected = scorer.score_multi(targets, answer)[name]
        for measure, value in zip(("precision", "recall", "f1"), expected, strict=True):
            found = metrics[measure].score_text(Sample("1", "", targets), answer)  # type: ignore[attr-defined]
            assert found == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("answer", "target"), [("", "a b"), ("a b", ""), ("", ""), ("!", "?"), ("\n", "a\nb"), ("a", "a")]
)
def test_edge_cases_equal_rouge_score(name: str, answer: str, target: str) -> None:
    expected = RougeScorer([name]).score(target, answer)[name].fmeasure
    assert get_metric(name).score_text(Sample("1", "", target), answer) == expected  # type: ignore[attr-defined]


def test_long_texts_are_quick() -> None:
    import time

    rng = random.Random(1)
    words = [f"w{i}" for i in range(50)]
    answer, target = (" ".join(rng.choices(words, k=4000)) for _ in range(2))
    start = time.perf_counter()
    get_metric("rougeL").score_text(Sample("1", "", target), answer)  # type: ignore[attr-defined]
    assert time.perf_counter() - start < 2


def test_unscored_and_signature(measure: Any) -> None:
    assert measure(get_metric("rougeL"), [("a", None)]).scores == [Unscored("the row has no target")]
    assert (
        get_metric("rougeL", use_stemmer=True).signature()
        == "rougeL|measure:f1|stemmer:yes|rouge_score:0.1.2"
    )


_text = st.lists(st.sampled_from(["a", "b", "c", "d", "\n"]), min_size=1, max_size=14).map(" ".join)


@given(_text, _text, st.sampled_from(NAMES))
def test_properties(first: str, second: str, name: str) -> None:
    def score(answer: str, target: str) -> Any:
        return get_metric(name).score_text(Sample("1", "", target), answer)  # type: ignore[attr-defined]

    assert 0 <= score(first, second) <= 1
    if len(first.split()) > 1:
        assert score(first, first) == 1
    if name != "rougeLsum":  # which reads the target's lines, not the answer's
        assert score(first, second) == pytest.approx(score(second, first))
