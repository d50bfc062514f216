"""Values pinned to sacrebleu 2.6: corpus and sentence scores, every tokenizer that needs nothing else."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.errors import MetricError
from evalkit.metrics import get_metric
from evalkit.records import Output, Sample, Unscored

WORDS = [
    "The",
    "the",
    "cat",
    "dog.",
    "sat,",
    "on",
    "mat",
    "«ici»",
    "été",
    "3.5%",
    "(well)",
    "東京",
    "ist",
    "!",
    "a-b",
]
EDGES = [
    ("", "the cat"),
    ("the cat", ""),
    ("", ""),
    ("the", "the"),
    ("the cat", "a dog"),
    (" . ", "."),
    ("東京 は", "東京 は"),
]


def corpus(seed: int, n: int, most: int = 3) -> list[tuple[str, list[str]]]:
    rng = random.Random(seed)

    def text() -> str:
        return " ".join(rng.choices(WORDS, k=rng.randint(0, 12)))

    rows = [(text(), [text() for _ in range(rng.randint(1, most))]) for _ in range(n)]
    near = [
        (" ".join(w for w in refs[0].split() if rng.random() < 0.8), refs)
        for _, refs in corpus_refs(rng, n // 2)
    ]
    return rows + near


def corpus_refs(rng: random.Random, n: int) -> list[tuple[str, list[str]]]:
    return [("", [" ".join(rng.choices(WORDS, k=rng.randint(4, 15)))]) for _ in range(n)]


def streams(rows: list[tuple[str, list[str]]]) -> list[list[str | None]]:
    most = max(len(refs) for _, refs in rows)
    return [[refs[i] if i < len(refs) else None for _, refs in rows] for i in range(most)]


def reference(name: str, settings: dict[str, Any], **more: Any) -> Any:
    from sacrebleu import metrics

    return {"bleu": metrics.BLEU, "chrf": metrics.CHRF, "ter": metrics.TER}[name](**settings, **more)


def check(name: str, options: dict[str, Any], rows: list[tuple[str, list[str]]]) -> None:
    metric = get_metric(name, **options)
    samples = [Sample(str(i), "", refs) for i, (_, refs) in enumerate(rows)]
    outputs = [Output(str(i), text) for i, (text, _) in enumerate(rows)]
    measured = metric.measure(samples, outputs)
    more = {"force": True} if name == "bleu" else {}
    whole = reference(name, options, **more).corpus_score([text for text, _ in rows], streams(rows)).score
    assert float(metric.value(measured.statistics.sum(0))) == pytest.approx(whole, abs=1e-9)
    if name == "bleu":
        more["effective_order"] = True
    alone = reference(name, {**options, **more})
    expected = [alone.sentence_score(text, refs).score for text, refs in rows]
    np.testing.assert_allclose(np.array(measured.scores, dtype=float), expected, atol=1e-9)


@pytest.mark.parametrize(
    "options",
    [
        {},
        *({"tokenize": name} for name in ("intl", "char", "none", "zh")),
        *({"smooth_method": name} for name in ("floor", "add-k", "none")),
        {"smooth_method": "floor", "smooth_value": 0.5},
        {"smooth_method": "add-k", "smooth_value": 2.0, "lowercase": True},
        {"max_ngram_order": 2},
        {"effective_order": True},
    ],
)
def test_bleu_equals_sacrebleu(options: dict[str, Any]) -> None:
    check("bleu", options, corpus(1, 20))
    for answer, target in EDGES:
        check("bleu", options, [(answer, [target])])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"word_order": 2},
        {"lowercase": True, "whitespace": True},
        {"beta": 1, "char_order": 3},
        {"eps_smoothing": True, "word_order": 1},
    ],
)
def test_chrf_equals_sacrebleu(options: dict[str, Any]) -> None:
    check("chrf", options, corpus(2, 25))
    for answer, target in EDGES:
        check("chrf", options, [(answer, [target])])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"normalized": True, "asian_support": True},
        {"no_punct": True},
        {"case_sensitive": True},
    ],
)
def test_ter_equals_sacrebleu(options: dict[str, Any]) -> None:
    check("ter", options, corpus(3, 25))
    for answer, target in EDGES:
        check("ter", options, [(answer, [target])])


@pytest.mark.parametrize("name", ["bleu", "chrf", "ter"])
def test_resampled_totals_equal_sacrebleu_on_the_resample(name: str) -> None:
    rows = corpus(4, 20, most=1)
    metric = get_metric(name)
    samples = [Sample(str(i), "", refs) for i, (_, refs) in enumerate(rows)]
    statistics = metric.measure(
        samples, [Output(str(i), text) for i, (text, _) in enumerate(rows)]
    ).statistics
    draws = np.random.default_rng(1).integers(0, len(rows), (30, len(rows)))
    counts = np.stack([np.bincount(draw, minlength=len(rows)) for draw in draws]).astype(float)
    expected = [
        reference(name, {}).corpus_score([rows[i][0] for i in draw], [[rows[i][1][0] for i in draw]]).score
        for draw in draws
    ]
    np.testing.assert_allclose(metric.value(counts @ statistics), expected, atol=1e-9)


def test_signatures_are_sacrebleus() -> None:
    assert get_metric("bleu").signature() == "bleu|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0"
    floor = get_metric("bleu", smooth_method="floor", tokenize="intl", lowercase=True)
    assert floor.signature() == "bleu|case:lc|eff:no|tok:intl|smooth:floor[0.10]|version:2.6.0"
    assert (
        get_metric("chrf", word_order=2).signature()
        == "chrf|case:mixed|eff:yes|nc:6|nw:2|space:no|version:2.6.0"
    )
    assert get_metric("ter").signature() == "ter|case:lc|tok:tercom|norm:no|punct:yes|asian:no|version:2.6.0"


def test_unscored_and_several_answers(measure: Any) -> None:
    for name in ("bleu", "chrf", "ter"):
        measured = measure(get_metric(name), [("a", None), ("a", []), (["the cat", "cat"], "the cat")])
        assert measured.scores[:2] == [Unscored("the row has no target")] * 2
        one, other = (measure(get_metric(name), [(text, "the cat")]) for text in ("the cat", "cat"))
        assert measured.scores[2] == pytest.approx((one.scores[0] + other.scores[0]) / 2)
        np.testing.assert_allclose(measured.statistics[2], (one.statistics[0] + other.statistics[0]) / 2)


def test_bad_settings() -> None:
    with pytest.raises(MetricError, match=r"bleu: setting 'tokenize' must be one of .*got '13b'"):
        get_metric("bleu", tokenize="13b")
    with pytest.raises(MetricError, match="Did you mean 'floor'"):
        get_metric("bleu", smooth_method="flor")
    with pytest.raises(MetricError, match="'max_ngram_order' must be at least 1; got 0"):
        get_metric("bleu", max_ngram_order=0)


_texts = st.lists(st.sampled_from(["the", "cat", "sat", "on", "mat", "."]), min_size=1, max_size=12).map(
    " ".join
)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(_texts, _texts), min_size=1, max_size=6), st.sampled_from(["bleu", "chrf", "ter"]))
def test_properties(pairs: list[tuple[str, str]], name: str) -> None:
    metric = get_metric(name)

    def value_of(rows: list[tuple[str, str]]) -> float:
        samples = [Sample(str(i), "", target) for i, (_, target) in enumerate(rows)]
        outputs = [Output(str(i), answer) for i, (answer, _) in enumerate(rows)]
        return float(metric.value(metric.measure(samples, outputs).statistics.sum(0)))

    low, high = metric.bounds
    assert low <= value_of(pairs) <= high + 1e-9
    assert value_of(pairs[::-1]) == pytest.approx(value_of(pairs), abs=1e-9)
    same = [(target, target) for _, target in pairs]
    if name != "bleu" or any(len(target.split()) >= 4 for _, target in pairs):  # else BLEU has no 4-gram
        assert value_of(same) == pytest.approx(0 if name == "ter" else 100)
