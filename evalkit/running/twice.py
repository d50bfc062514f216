"""Answering a slice of a task again, in other batches and another order, and nothing else changed.

Local models only: what a server or a recording answers is not ours to batch. Weights, prompts, settings and the seeds
of sampled answers are the same, so that every change is one of rounding. What follows from it: ``noise``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from evalkit.data.extract import extract
from evalkit.data.tasks import Task
from evalkit.metrics import Measured, Metric
from evalkit.records import Output, Request
from evalkit.running.answer import answer
from evalkit.running.bases import LazyModel
from evalkit.running.blocks import measure_blocks
from evalkit.running.cache import Cache
from evalkit.running.leaders import corpus_parts, unit_parts
from evalkit.running.noise import Change, Noise
from evalkit.running.progress import Progress
from evalkit.running.score import Scored, part_of
from evalkit.stats import change_of, unit_of_sample

__all__ = ["measure_noise"]

UNTOUCHED = frozenset({"latency", "cost"})
"""Metrics that say what a batch took, not what was answered."""


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
