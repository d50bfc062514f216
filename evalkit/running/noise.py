"""The noise floor: a slice of each task is answered again in other batches and another order, and nothing else changes.

Local models only: what a server or a recording answers is not ours to batch. Weights, prompts, settings and the seeds
of sampled answers are the same, so that every change is one of rounding. Statistics: ``stats.noise``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from evalkit.data.extract import extract
from evalkit.data.tasks import Task
from evalkit.metrics import Measured, Metric
from evalkit.records import Output, Request, Result
from evalkit.running.answer import answer
from evalkit.running.bases import LazyModel
from evalkit.running.blocks import measure_blocks
from evalkit.running.cache import Cache
from evalkit.running.leaders import corpus_parts, unit_parts
from evalkit.running.progress import Progress
from evalkit.running.score import Scored, part_of
from evalkit.stats import add_noise, change_of, shift_sd, unit_of_sample

__all__ = [
    "Change",
    "Noise",
    "Sds",
    "answered_again",
    "difference_sds",
    "measure_noise",
    "noise_sds",
    "with_noise",
]

LEAST, MOST, SHARE = 16, 256, 0.05
"""Samples of a task that are answered again: this share of them, within these ends."""

EXACT = "in fp32 an answer does not depend on what is computed beside it"
"""Why an fp32 base answers nothing again unless it is asked for."""

UNTOUCHED = frozenset({"latency", "cost"})
"""Metrics that say what a batch took, not what was answered."""

Json = dict[str, Any]
Sds = Mapping[tuple[str, str, str], float]
"""(candidate, task, metric) → standard deviation of the shift between realisations."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a metric's value does between two realisations.

    Attributes:
        flips: Samples whose score differs, or of which only one answer could be scored.
        change: Of the value over the slice.
        variance: That independent changes would give it.
    """

    flips: int
    change: float
    variance: float


@dataclass(frozen=True, slots=True)
class Noise:
    """One candidate's answers to a slice of one task, given twice.

    Attributes:
        n: Samples answered again; 0 where it was not measured.
        answers: How many answers differ.
        changes: Metric → what it does.
        note: Why it was not measured, or None.
    """

    n: int = 0
    answers: int = 0
    changes: dict[str, Change] = field(default_factory=dict)
    note: str | None = None

    def to_json(self, sds: Mapping[str, float]) -> Json:
        """The object of ``noise`` in ``results.json``, without its names; ``sd`` is that of the whole base."""
        metrics = {
            name: {"flips": row.flips, "change": row.change, "sd": sds.get(name)}
            for name, row in self.changes.items()
        }
        return {"n": self.n, "answers": self.answers, "metrics": metrics, "note": self.note}


def answered_again(n: int, dtype: str, asked: int | None = None) -> int:
    """How many of a task's n samples are answered again.

    Args:
        n: Samples of the task.
        dtype: What the base computes in: fp32 answers do not depend on their batch.
        asked: ``statistics: {noise: N}`` of the study; None: a twentieth in bf16, none in fp32.

    >>> answered_again(1000, "bf16"), answered_again(80, "bf16"), answered_again(5, "bf16")
    (50, 16, 5)
    >>> answered_again(1000, "fp32"), answered_again(1000, "fp32", 100), answered_again(1000, "bf16", 0)
    (0, 100, 0)
    """
    if asked is None:
        asked = 0 if dtype == "fp32" else min(MOST, max(LEAST, round(SHARE * n)))
    return min(n, asked)


def measure_noise(
    model: LazyModel,
    task: Task,
    requests: Sequence[Request],
    outputs: Sequence[Output],
    scored: Scored,
    cache: Cache,
    progress: Progress,
    label: str,
    *,
    count: int,
    seed: int,
) -> Noise:
    """Answer a slice again and compare.

    Args:
        model: Who answered.
        task: What.
        requests: n requests, of all its samples.
        outputs: The n outputs that the results rest on.
        scored: Their scores.
        cache: Of finished answers.
        progress: Told of every answer.
        label: Names the candidate and the task to the reader.
        count: Samples of the slice, at least one; see ``answered_again``.
        seed: Of the slice and its order; the same samples for every candidate.
    """
    rng = np.random.default_rng([seed, *task.name.encode("utf-8")])
    rows = [int(row) for row in rng.permutation(len(requests))[:count]]
    again = answer(
        model.in_other_batches(len(requests)),
        [requests[row] for row in rows],
        cache,
        progress,
        f"{label} · again",
    )
    metrics = [metric for metric in scored.metrics.values() if metric.name not in UNTOUCHED]
    samples = [task.samples[row] for row in rows]
    second = measure_blocks([(samples, [extract(task, output) for output in again])], metrics).measured
    clusters = [scored.clusters[row] for row in rows]
    changes = {
        metric.name: _change(
            metric, part_of(scored.measured[metric.name], rows), second[metric.name], clusters
        )
        for metric in metrics
    }
    differing = sum(_given(outputs[row]) != _given(other) for row, other in zip(rows, again, strict=True))
    found = {name: change for name, change in changes.items() if change is not None}
    return Noise(count, differing, found)


def noise_sds(
    noise: Mapping[tuple[str, str], Noise], bases: Mapping[str, object]
) -> dict[tuple[str, str, str], float]:
    """Standard deviation of each value's shift, pooled over the candidates of one base on one task.

    Args:
        noise: (candidate, task) → what was measured.
        bases: Candidate → what it stands on: equal where candidates share one.
    """
    pools: dict[tuple[object, str, str], list[tuple[float, float]]] = {}
    for (candidate, task), told in noise.items():
        for metric, row in told.changes.items():
            pools.setdefault((bases[candidate], task, metric), []).append((row.change, row.variance))
    return {
        (candidate, task, metric): shift_sd(pools[bases[candidate], task, metric])
        for (candidate, task), told in noise.items()
        for metric in told.changes
    }


def difference_sds(first: str, second: str, task: str, sds: Sds) -> dict[str, float | None]:
    """Metric → standard deviation of a difference's shift: each side has its own; None where neither was measured."""
    names = {key[2] for key in sds if key[1] == task and key[0] in (first, second)}
    return {
        name: math.hypot(*(sds.get((side, task, name), 0.0) for side in (first, second))) for name in names
    }


def with_noise(result: Result, sd: float | None, metric: Metric) -> Result:
    """A result whose interval holds the shift too."""
    if sd is None or result.value is None or result.low is None or result.high is None:
        return replace(result, noise_sd=sd)
    low, high = add_noise(result.value, result.low, result.high, sd, result.confidence, metric.bounds)
    return replace(result, low=low, high=high, noise_sd=sd)


def _change(
    metric: Metric, first: Measured, second: Measured, clusters: Sequence[str | None]
) -> Change | None:
    """From the first realisation to the second; None where no sample has a score in both."""
    both = first.scored & second.scored
    kept = [int(row) for row in np.flatnonzero(both)]
    if not kept:
        return None
    names = [clusters[row] for row in kept]
    flips = int((first.scored != second.scored).sum())
    before, after = metric.align(first, second)
    scores = [np.array([one.scores[row] for row in kept], dtype=np.float64) for one in (first, second)]
    flips += int((scores[0] != scores[1]).sum())
    if metric.additive_mean:
        parts, shares = unit_parts((scores[1] - scores[0])[:, None], names, 0)
        change, variance = change_of(parts[:, 0], shares)
    else:
        units = unit_of_sample(len(kept), names, 0)
        moved = corpus_parts(after[kept], before[kept], metric.value, units)
        change, variance = change_of(moved, np.full(len(moved), 1 / len(moved)))
    return Change(flips, change, variance) if math.isfinite(change + variance) else None


def _given(output: Output) -> tuple[Any, str]:
    """What a reader would call the answer; of a rated text, whose log-probability always moves a little, its choice."""
    return output.text, output.finish
