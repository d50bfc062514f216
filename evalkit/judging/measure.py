"""A judge's rows as a metric, so that its numbers get the same intervals, tests and corrections as any other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from evalkit.judging.card import Judge
from evalkit.judging.records import Judgement
from evalkit.metrics.base import Array, Measured, Metric
from evalkit.records import Output, Sample, Score, Unscored
from evalkit.signature import signature

__all__ = ["VERSION", "JudgeMetric", "judge_metrics"]

VERSION = 1
"""Raised whenever the number that a row gives changes."""
NOT_JUDGED = "not among the samples that this judge was asked about"


class JudgeMetric(Metric):
    """The weighted mean of a judge's values. Statistics: ``(weight × value, weight)`` a sample.

    Args:
        name: As in results: ``judge:NAME`` or ``judge:NAME.criterion``.
        bounds: Least and greatest value.
        about: What made the verdicts, for the signature: judge's hash, model, …
        values: Sample id → (value or why there is none, weight).
        weighted: Whether some weights differ from 1: then the value is no plain mean of the scores.
        kinds: Sample id → class, where the metric has classes.
    """

    def __init__(
        self,
        name: str,
        bounds: tuple[float, float],
        about: Mapping[str, object],
        values: Mapping[str, tuple[Score, float]],
        weighted: bool = False,
        kinds: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.bounds = name, bounds
        self._about, self._values, self._kinds = dict(about), dict(values), kinds
        self.additive_mean = not weighted  # type: ignore[misc]  # differs by what was judged

    def measure(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Measured:
        """See ``Metric.measure``: the rows' values by sample id."""
        scores: list[Score] = []
        statistics = np.zeros((len(samples), 2))
        for place, sample in enumerate(samples):
            score, weight = self._values.get(sample.id, (Unscored(NOT_JUDGED), 0.0))
            scores.append(score)
            if not isinstance(score, Unscored):
                statistics[place] = weight * score, weight
        kinds = None if self._kinds is None else [self._kinds.get(sample.id) for sample in samples]
        return Measured(statistics, scores, kinds=kinds)

    def value(self, totals: Array) -> Array:
        """Weighted mean."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(totals[..., 0] / totals[..., 1])

    def signature(self) -> str:
        """Name, judge, model and version."""
        return signature(self.name, **self._about, definition=VERSION)


def judge_metrics(
    judge: Judge, name: str, about: Mapping[str, object], rows: Iterable[Judgement]
) -> list[JudgeMetric]:
    """Return the metrics of one candidate's rows on one task: the judge's own, and one for each criterion.

    Args:
        judge: Who judged.
        name: As in results, without ``judge:``.
        about: See ``JudgeMetric``.
        rows: Of one candidate and task.
    """
    own = list(rows)
    weighted = any(row.weight != 1 for row in own)
    whole = {row.id: (_value(row), row.weight) for row in own}
    made = [JudgeMetric(f"judge:{name}", judge.bounds, about, whole, weighted)]
    for criterion in judge.spec.criteria:
        values = {row.id: (_criterion(row, criterion.criterion), row.weight) for row in own}
        made.append(JudgeMetric(f"judge:{name}.{criterion.criterion}", judge.bounds, about, values, weighted))
    return made


def _value(row: Judgement) -> Score:
    return Unscored(row.unscored or "no verdict") if row.value is None else float(row.value)


def _criterion(row: Judgement, name: str) -> Score:
    value = (row.criteria or {}).get(name)
    if isinstance(value, int | float):
        return float(value)
    return Unscored(value["unscored"] if isinstance(value, dict) else row.unscored or "no verdict")
