"""From labels to a score per sample, and to the value of a candidate."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalkit.human.questions import Question
from evalkit.human.records import Label
from evalkit.human.weights import Tie
from evalkit.signature import digest, signature
from evalkit.stats import bootstrap_interval, paired_difference

__all__ = ["RESAMPLES", "Series", "compare_series", "human_metric", "sample_scores", "series_result"]

Array = NDArray[np.float64]
RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Series:
    """What people say of one candidate on one task, sample by sample.

    Attributes:
        candidate: The candidate.
        task: The task.
        question: The question.
        scores: Sample id → mean of its labels as numbers.
        weights: Sample id → how many samples of the task it stands for.
    """

    candidate: str
    task: str
    question: Question
    scores: Mapping[str, float]
    weights: Mapping[str, float]

    @property
    def weighted(self) -> bool:
        """Whether samples stand for different numbers of samples."""
        return len(set(self.weights.values())) > 1

    def rows(self, ids: Sequence[str]) -> Array:
        """(n, 2) weighted score and weight of these samples: their totals give the weighted mean."""
        weights = np.array([self.weights[id_] if self.weighted else 1.0 for id_ in ids])
        return np.stack([np.array([self.scores[id_] for id_ in ids]) * weights, weights], axis=1)


def human_metric(question: str) -> str:
    """The name that a question has in results.

    >>> human_metric("coherence")
    'human:coherence'
    """
    return f"human:{question}"


def sample_scores(
    labels: Iterable[Label], questions: Iterable[Question], ties: Iterable[Tie] = ()
) -> list[Series]:
    """Average what raters said of each sample.

    Of pairs, a candidate's score is the share of its comparisons that it won, a tie and "both bad" being half.

    Args:
        labels: Of one run; what a rater said when an item came again is left out.
        questions: All that were asked.
        ties: Pairs that nobody had to be asked about.

    Returns:
        One series a question, task and candidate that has a score.
    """
    by_name = {question.name: question for question in questions}
    points: dict[tuple[str, str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    weights: dict[tuple[str, str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def add(question: str, task: str, candidate: str, id_: str, score: float, weight: float) -> None:
        points[question, task, candidate][id_].append(score)
        weights[question, task, candidate][id_].append(weight)

    for label in labels:
        question = by_name.get(label.question)
        score = None if question is None or label.repeat else question.score(label.label)
        if score is None:
            continue
        add(label.question, label.task, label.candidate, label.id, score, label.weight)
        if label.other is not None:
            add(label.question, label.task, label.other, label.id, 1 - score, label.weight)
    for tie in ties:
        for candidate in (tie.first, tie.second):
            add(tie.question, tie.task, candidate, tie.id, 0.5, tie.weight)
    return [
        Series(
            candidate=key[2],
            task=key[1],
            question=by_name[key[0]],
            scores={id_: float(np.mean(said)) for id_, said in scores.items()},
            weights={id_: float(np.mean(said)) for id_, said in weights[key].items()},
        )
        for key, scores in points.items()
    ]


def series_result(
    series: Series,
    clusters: Mapping[str, str | None],
    *,
    confidence: float = 0.95,
    seed: int = 0,
    exact: bool = False,
) -> dict[str, Any]:
    """The object of ``results.json`` ``scores`` for a series: the same statistics as any metric's.

    Args:
        series: The scores.
        clusters: Sample id → its cluster.
        confidence: Two-sided level of the interval.
        seed: Of the bootstrap.
        exact: Clopper–Pearson for yes or no, in place of Wilson's.
    """
    ids = list(series.scores)
    interval = bootstrap_interval(
        series.rows(ids),
        _mean,
        shares=_shares([series], ids),
        clusters=[clusters.get(id_) for id_ in ids],
        confidence=confidence,
        resamples=RESAMPLES,
        seed=seed,
        bounds=series.question.bounds or (-np.inf, np.inf),
        strict=exact,
    )
    question = series.question
    made_of = signature(
        human_metric(question.name),
        kind=question.kind,
        asked=digest(question.model_dump(mode="json"))[:8],
        weighted=True if series.weighted else None,
        bs=RESAMPLES,
        rs=seed,
    )
    return {
        "candidate": series.candidate,
        "task": series.task,
        "metric": human_metric(question.name),
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
        "confidence": confidence,
        "n": len(ids),
        "unscored": 0,
        "higher_is_better": question.higher_is_better,
        "signature": made_of,
    }


def compare_series(
    first: Series,
    second: Series,
    clusters: Mapping[str, str | None],
    *,
    confidence: float = 0.95,
    seed: int = 0,
    exact: bool = False,
) -> dict[str, Any]:
    """The object of ``comparisons`` for a candidate and its control, on the samples that both were rated on."""
    ids = [id_ for id_ in first.scores if id_ in second.scores]
    weighted = len({first.weights[id_] for id_ in ids}) > 1
    ours, theirs = (np.array([series.scores[id_] for id_ in ids]) for series in (first, second))
    weights = np.array([first.weights[id_] for id_ in ids]) if weighted else np.ones(len(ids))
    found = paired_difference(
        np.stack([ours * weights, weights], axis=1),
        np.stack([theirs * weights, weights], axis=1),
        _mean,
        scores=None if weighted else (ours, theirs),
        shares=_shares([first, second], ids),
        clusters=[clusters.get(id_) for id_ in ids],
        confidence=confidence,
        resamples=RESAMPLES,
        seed=seed,
        bounds=first.question.bounds or (-np.inf, np.inf),
        exact=exact,
    )
    gains = (ours - theirs) * (1 if first.question.higher_is_better else -1)
    return {
        "candidate": first.candidate,
        "control": second.candidate,
        "task": first.task,
        "metric": human_metric(first.question.name),
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "low_adjusted": None,
        "high_adjusted": None,
        "p_value": found.p_value,
        "p_adjusted": None,
        "test": found.test,
        "n": found.n,
        "gained": [id_ for id_, gain in zip(ids, gains, strict=True) if gain > 0],
        "lost": [id_ for id_, gain in zip(ids, gains, strict=True) if gain < 0],
    }


def _shares(series: Sequence[Series], ids: Sequence[str]) -> bool:
    """Whether all scores are yes or no, each standing for one sample: then there are exact methods."""
    return all(
        one.question.bounds == (0.0, 1.0)
        and not one.weighted
        and all(one.scores[id_] in (0.0, 1.0) for id_ in ids)
        for one in series
    )


def _mean(totals: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(totals[..., 0] / totals[..., 1])
