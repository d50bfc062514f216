from __future__ import annotations

import numpy as np
import pytest

from evalkit.human.sampling import choose
from evalkit.stats.validity import pairwise_accuracy, rank_correlation


@pytest.mark.parametrize("seed", range(5))
def test_rank_correlation_equals_scipy(seed: int) -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(seed)
    people = rng.integers(1, 6, 80).astype(float)  # ties
    scores = np.round(people + rng.normal(0, 2, 80), 1)
    found = rank_correlation(scores, people, range(80))
    assert found.value == pytest.approx(spearmanr(scores, people).statistic, abs=1e-12)
    assert found.low < found.value < found.high  # type: ignore[operator]


def test_a_weight_is_so_many_copies() -> None:
    rng = np.random.default_rng(3)
    samples = np.repeat(np.arange(30), 2)
    people = rng.integers(1, 6, 60).astype(float)
    scores = np.round(people + rng.normal(0, 2, 60), 1)
    times = np.repeat(rng.integers(1, 5, 30), 2)
    copies = np.repeat(np.arange(60), times)
    found = rank_correlation(scores, people, samples.tolist(), weights=2.5 * times)
    many = rank_correlation(scores[copies], people[copies], range(len(copies)))
    assert found.value == pytest.approx(many.value, abs=1e-12)
    counted = [(times[i] * (1 + t * p) / 2, times[i]) for i in range(0, 60, 2)
               for t, p in [np.sign([scores[i] - scores[i + 1], people[i] - people[i + 1]])] if p]  # fmt: skip
    right, of = np.sum(counted, axis=0)
    accuracy, pairs = pairwise_accuracy(scores, people, samples.tolist(), weights=times.astype(float))
    assert (accuracy.value, pairs) == (pytest.approx(right / of, abs=1e-12), len(counted))


def test_samples_that_were_picked_since_metric_and_people_differ_do_not_bend_it() -> None:
    """400 samples, of which the half where a metric fails is four times as likely to be shown to people."""
    rng = np.random.default_rng(4)
    people = rng.normal(size=(400, 2))
    fails = rng.random(400) < 0.5
    scores = np.where(fails[:, None], rng.normal(size=(400, 2)), people)
    everything = scores.ravel(), people.ravel(), np.repeat(np.arange(400), 2).tolist()
    truths = [
        rank_correlation(*everything, resamples=2).value,
        pairwise_accuracy(*everything, resamples=2)[0].value,
    ]
    found = []
    for _ in range(200):
        chosen = choose(400, 80, rng, matters=np.where(fails, 4.0, 1.0))
        at = [one.index for one in chosen]
        samples = np.repeat(at, 2).tolist()
        weights = np.repeat([one.weight for one in chosen], 2)
        told, said = scores[at].ravel(), people[at].ravel()
        for given in (weights, None):
            found += [
                rank_correlation(told, said, samples, weights=given, resamples=2).value,
                pairwise_accuracy(told, said, samples, weights=given, resamples=2)[0].value,
            ]
    means = np.array(found, dtype=float).reshape(200, 2, 2).mean(0)
    assert means[0] == pytest.approx(truths, abs=0.03)  # a rank correlation of few is a little too small
    assert (means[1] < np.array(truths) - 0.1).all()  # what comes of leaving the weights out


def test_pairs_by_hand() -> None:
    # sample 1: people a > b > c; the metric has a > c > b: two of three. Sample 2: a metric's tie: half.
    scores, people = np.array([3.0, 1, 2, 5, 5, 1]), np.array([3.0, 2, 1, 2, 1, 1])
    found, pairs = pairwise_accuracy(scores, people, [1, 1, 1, 2, 2, 3])
    assert (found.value, pairs) == (pytest.approx(2.5 / 4), 4)


def test_nothing_to_compare() -> None:
    same = np.ones(5)
    assert rank_correlation(same, np.arange(5.0), range(5)).value is None
    assert pairwise_accuracy(same, same, [1] * 5)[0].value is None
    assert pairwise_accuracy(same, np.arange(5.0), range(5))[1] == 0


def test_intervals_cover() -> None:
    """Samples differ in how hard they are, so answers to one hang together. The metric and people share a normal
    quality: pairwise accuracy 1/2 + asin(ρ)/π with ρ of the differences, here 1/√(1.5 · 1.5) = 2/3."""
    rng = np.random.default_rng(1)
    truth = 0.5 + np.arcsin(2 / 3) / np.pi
    hits = 0
    for seed in range(200):
        quality = rng.normal(size=(60, 3))
        hard = rng.normal(size=(60, 1))
        people = (quality + hard + rng.normal(0, 0.5**0.5, (60, 3))).ravel()
        scores = (quality + hard + rng.normal(0, 0.5**0.5, (60, 3))).ravel()
        found, _ = pairwise_accuracy(
            scores, people, np.repeat(np.arange(60), 3).tolist(), resamples=500, seed=seed
        )
        hits += found.low <= truth <= found.high  # type: ignore[operator]
    assert 0.92 <= hits / 200 <= 0.985


def test_intervals_of_the_correlation_cover() -> None:
    """Two answers to each of 40 samples; Spearman's of a normal pair is 6/π asin(ρ/2). Without ranking anew in each
    resample 86 % of the intervals would hold a strong correlation."""
    rng = np.random.default_rng(9)
    error = 0.15
    truth = 6 / np.pi * np.arcsin(2 / (2 + error**2) / 2)
    hits = 0
    for seed in range(300):
        quality = rng.normal(size=(40, 1)) + rng.normal(size=(40, 2))
        people, scores = (quality + error * rng.normal(size=(40, 2)) for _ in range(2))
        found = rank_correlation(
            scores.ravel(), people.ravel(), np.repeat(np.arange(40), 2).tolist(), resamples=500, seed=seed
        )
        hits += found.low <= truth <= found.high  # type: ignore[operator]
    assert 0.92 <= hits / 300 <= 0.985
