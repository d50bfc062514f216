"""BLEU's bootstrap interval and paired tests against sacrebleu's own significance module."""

from __future__ import annotations

import numpy as np
import pytest

from evalkit.records import Output, Sample
from evalkit.running.comparisons import compare_scored
from evalkit.running.score import score_task

N = 120


def systems() -> tuple[list[str], list[str], list[str]]:
    """References of nine words, a system that gets a word in eight wrong, and one that gets one in five wrong."""
    rng = np.random.default_rng(5)
    words = [f"w{i}" for i in range(60)]
    references, first, second = [], [], []
    for _ in range(N):
        reference = list(rng.choice(words, 9))
        references.append(" ".join(reference))
        for texts, rate in ((first, 0.125), (second, 0.17)):
            texts.append(
                " ".join(str(rng.choice(words)) if rng.random() < rate else word for word in reference)
            )
    return references, first, second


def test_bleu_agrees_with_sacrebleu_within_monte_carlo_error() -> None:
    from sacrebleu.metrics import BLEU
    from sacrebleu.significance import PairedTest

    references, first, second = systems()
    samples = [Sample(str(i), "?", reference) for i, reference in enumerate(references)]
    a, b = (
        score_task(samples, [Output(str(i), text) for i, text in enumerate(texts)], ["bleu"], seed=1)
        for texts in (first, second)
    )
    (ours,) = compare_scored(a, b, candidate="a", control="b", task="t", seed=1)

    named = [("b", second), ("a", first)]
    _, told = PairedTest(named, {"BLEU": BLEU()}, [references], test_type="ar", n_samples=5000)()
    theirs = told["BLEU"][1]
    assert a.results[0].value == pytest.approx(theirs.score)
    assert ours.difference == pytest.approx(theirs.score - told["BLEU"][0].score)
    # Both are shares of about 10,000 and 5,000 random exchanges: 4 standard errors of the difference.
    p = max(theirs.p_value, 1e-3)
    assert ours.p_value == pytest.approx(
        theirs.p_value, abs=4 * np.sqrt(p * (1 - p) * (1 / 5000 + 1 / 10000)) + 1e-3
    )

    _, told = PairedTest(named, {"BLEU": BLEU()}, [references], test_type="bs", n_samples=3000)()
    theirs = told["BLEU"][1]
    # sacrebleu takes half the distance between plain percentiles, evalkit BCa: the widths agree to a tenth.
    assert a.results[0].high is not None
    assert a.results[0].low is not None
    assert (a.results[0].high - a.results[0].low) / 2 == pytest.approx(theirs.ci, rel=0.1)
    assert (a.results[0].high + a.results[0].low) / 2 == pytest.approx(theirs.mean, abs=theirs.ci / 5)
