"""From outputs to numbers: scores per sample, values with intervals, and comparisons on the same samples."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evalkit.data.cards import slice_of
from evalkit.errors import MetricError
from evalkit.metrics import Measured, Metric, get_metric
from evalkit.metrics.code import CodeMetric
from evalkit.metrics.encoders import EncoderMetric
from evalkit.metrics.functions import FunctionMetric
from evalkit.metrics.toxicity import Toxicity
from evalkit.models.registry import resolve
from evalkit.records import Output, Result, Sample
from evalkit.running.blocks import measure_blocks
from evalkit.specs.study import StatisticsSpec
from evalkit.specs.task import MetricUse
from evalkit.stats import bootstrap_interval

__all__ = [
    "RESAMPLES",
    "MetricLike",
    "Scored",
    "build_metrics",
    "kinds_at",
    "part_of",
    "right_or_wrong",
    "score_blocks",
    "score_task",
    "statistics_of",
]

RESAMPLES = 10_000
"""Of every bootstrap and of every random permutation test."""

MetricLike = str | Metric | MetricUse | Mapping[str, Any] | Callable[..., Any]
"""A metric, or what one is made from: a name, ``{"metric": NAME, **settings}``, or a function."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One candidate's outputs to one task, scored.

    Attributes:
        ids: n ids of the samples, in order.
        clusters: n clusters, None for samples on their own.
        metrics: By name, in the order asked for.
        measured: Statistics and scores of each metric, by name.
        results: Value and interval of each metric, in the same order.
        slices: The same over the samples of each slice: ``{"field", "slice", **Result}``.
    """

    ids: list[str]
    clusters: list[str | None]
    metrics: dict[str, Metric]
    measured: dict[str, Measured]
    results: list[Result]
    slices: list[dict[str, Any]] = field(default_factory=list)


def build_metrics(wanted: Iterable[MetricLike]) -> list[Metric]:
    """Make metrics from names, settings or functions.

    Raises:
        MetricError: An unknown name or setting, or two metrics with one name.
        ModelError: The encoder that a metric needs is not on this machine; says how to bring it.
        SandboxError: A metric runs code, and it cannot be confined here; says why and what mends it.

    >>> [metric.name for metric in build_metrics(["exact_match", {"metric": "f1", "average": "micro"}])]
    ['exact_match', 'f1']
    """
    metrics = [_build(item) for item in wanted]
    for metric in metrics:
        if isinstance(metric, EncoderMetric) and metric.folder is None:
            found = resolve(metric.model)
            metric.place(found.path, found.sha256)
        if isinstance(metric, CodeMetric):
            metric.require_sandbox()
        if isinstance(metric, Toxicity):
            metric.require()
    twice = [name for name, count in Counter(metric.name for metric in metrics).items() if count > 1]
    if twice:
        raise MetricError(
            *(f"Metric {name!r} is asked for twice; results are told apart by name." for name in twice)
        )
    return metrics


def score_task(
    samples: Sequence[Sample],
    outputs: Sequence[Output],
    metrics: Iterable[MetricLike],
    *,
    confidence: float = 0.95,
    seed: int = 0,
    slices: Sequence[str] = (),
    exact: bool = False,
) -> Scored:
    """Score outputs with every metric.

    Args:
        samples: n samples.
        outputs: Their outputs, in the same order.
        metrics: See ``build_metrics``.
        confidence: Two-sided level of the intervals.
        seed: Of the bootstrap; part of the signatures.
        slices: Fields of the samples; each of their values gets results of its own.
        exact: Intervals of right/wrong scores by Clopper–Pearson in place of Wilson's.

    Raises:
        MetricError: A metric is unknown or cannot be had.
    """
    block = (list(samples), list(outputs))
    return score_blocks([block], metrics, confidence=confidence, seed=seed, slices=slices, exact=exact)


def score_blocks(
    blocks: Iterable[tuple[list[Sample], list[Output]]],
    metrics: Iterable[MetricLike],
    *,
    confidence: float = 0.95,
    seed: int = 0,
    slices: Sequence[str] = (),
    exact: bool = False,
) -> Scored:
    """Score outputs block by block, so that texts need not stay in memory; see ``score_task``."""
    built = build_metrics(metrics)
    found = measure_blocks(blocks, built, dict.fromkeys(slices, slice_of))
    clusters, measured = found.clusters, found.measured
    results = [_result(metric, measured[metric.name], clusters, confidence, seed, exact) for metric in built]
    by_name = {metric.name: metric for metric in built}
    parts = [
        {"field": field_, "slice": value, **_result(metric, part, kept, confidence, seed, exact).to_json()}
        for field_ in slices
        for value, rows in _rows_of(found.slices[field_]).items()
        for kept in [[clusters[row] for row in rows]]
        for metric in built
        for part in [part_of(measured[metric.name], rows)]
    ]
    return Scored(found.ids, clusters, by_name, measured, results, parts)


def kinds_at(scored: Scored, place: int) -> dict[str, str]:
    """Metric → class that the sample at this place fell into, for metrics with classes."""
    listed = {
        name: measured.kinds for name, measured in scored.measured.items() if measured.kinds is not None
    }
    return {name: kind for name, kinds in listed.items() if (kind := kinds[place]) is not None}


def statistics_of(run: Mapping[str, Any]) -> StatisticsSpec:
    """The ``statistics`` of a run's study, from ``run.json``."""
    return StatisticsSpec.model_validate((run.get("study") or {}).get("statistics") or {})


def _rows_of(values: Sequence[str]) -> dict[str, list[int]]:
    """Value of a field → the samples that have it, in the order of their first."""
    found: dict[str, list[int]] = {}
    for row, value in enumerate(values):
        found.setdefault(value, []).append(row)
    return found


def part_of(measured: Measured, rows: list[int]) -> Measured:
    """What was measured of some of the samples."""
    kinds = None if measured.kinds is None else [measured.kinds[row] for row in rows]
    return Measured(measured.statistics[rows], [measured.scores[row] for row in rows], measured.labels, kinds)


def _build(item: MetricLike) -> Metric:
    if isinstance(item, Metric):
        return item
    if isinstance(item, str):
        return get_metric(item)
    if isinstance(item, MetricUse):
        return get_metric(item.metric, **item.settings)
    if isinstance(item, Mapping):
        settings = {key: value for key, value in item.items() if key != "metric"}
        if "metric" not in item:
            raise MetricError(f"A metric with settings is {{metric: NAME, …}}; got {dict(item)!r}.")
        return get_metric(str(item["metric"]), **settings)
    if callable(item):
        return FunctionMetric(item)
    raise MetricError(f"Expected a metric's name, settings or a function; got {item!r}.")


def _result(
    metric: Metric,
    measured: Measured,
    clusters: list[str | None],
    confidence: float,
    seed: int,
    exact: bool,
) -> Result:
    scored = measured.scored
    kept = [cluster for cluster, keep in zip(clusters, scored, strict=True) if keep]
    interval = bootstrap_interval(
        measured.statistics[scored],
        metric.value,
        shares=right_or_wrong(metric, measured, scored),
        clusters=kept,
        confidence=confidence,
        resamples=RESAMPLES,
        seed=seed,
        bounds=metric.bounds,
        strict=exact,
    )
    told = None if measured.kinds is None else Counter(measured.kinds)
    method = "|ci:clopper-pearson" if interval.method == "clopper-pearson" else ""
    return Result(
        metric=metric.name,
        value=interval.value,
        low=interval.low,
        high=interval.high,
        confidence=confidence,
        n=int(scored.sum()),
        unscored=int((~scored).sum()),
        higher_is_better=metric.higher_is_better,
        signature=f"{metric.signature()}|bs:{RESAMPLES}|rs:{seed}{method}",
        classes=None if told is None else {kind: told[kind] for kind in metric.classes},
    )


def right_or_wrong(metric: Metric, measured: Measured, rows: Any) -> bool:
    """Whether the value is the share of samples that are right: then there are exact methods for it."""
    unknown = (-math.inf, math.inf)  # a user's function: judged by what it returns
    if not metric.additive_mean or metric.bounds not in ((0.0, 1.0), unknown):
        return False
    return bool(np.isin(measured.statistics[rows, 0], (0.0, 1.0)).all())
