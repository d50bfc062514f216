"""Scoring samples block by block, so that memory holds statistics and not texts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from evalkit.metrics import Measured, Metric
from evalkit.records import Output, Sample
from evalkit.running.workers import Workers, portable

__all__ = ["ALONE", "BLOCK", "Gathered", "measure_blocks"]

BLOCK = 2000
"""Samples of a block."""

ALONE = 5
"""Blocks that cost less to measure here than to start workers for."""

Block = tuple[list[Sample], list[Output]]


class Gathered:
    """What is kept of all blocks.

    Attributes:
        ids: n ids, in order.
        clusters: n clusters.
        slices: Field → n values.
        measured: Metric's name → what was measured.
    """

    def __init__(self, slices: Sequence[str]) -> None:
        self.ids: list[str] = []
        self.clusters: list[str | None] = []
        self.slices: dict[str, list[str]] = {field: [] for field in slices}
        self.measured: dict[str, Measured] = {}


def measure_blocks(
    blocks: Iterable[Block],
    metrics: Sequence[Metric],
    slices: dict[str, Any] | None = None,
    *,
    alone: int = ALONE,
) -> Gathered:
    """Measure every metric on all blocks.

    A metric whose statistics of one sample depend on the others (``streams`` is False: the classes of an F1) is
    measured once at the end, and what it reads is kept.

    Args:
        blocks: Samples with their outputs.
        metrics: What to measure.
        slices: Field → function that gives a sample's value.
        alone: Blocks that are measured here before workers are started for the slow metrics.
    """
    readers = slices or {}
    found = Gathered(list(readers))
    streaming = [metric for metric in metrics if metric.streams]
    waiting = [metric for metric in metrics if not metric.streams]
    kept: Block = ([], [])
    with _Measuring(streaming, alone) as measuring:
        for samples, outputs in blocks:
            found.ids += [sample.id for sample in samples]
            found.clusters += [sample.cluster for sample in samples]
            for field, read in readers.items():
                found.slices[field] += [read(sample, field) for sample in samples]
            if waiting:
                kept[0].extend(samples)
                kept[1].extend(outputs)
            measuring.add(samples, outputs)
        parts = measuring.finish()
    measured = {name: _joined(listed) for name, listed in parts.items()}
    measured |= {metric.name: metric.measure(*kept) for metric in waiting}
    found.measured = {metric.name: measured[metric.name] for metric in metrics}
    return found


class _Measuring:
    """Measures blocks in order: the first ones here, then slow metrics in workers."""

    def __init__(self, metrics: list[Metric], alone: int) -> None:
        self.metrics, self.alone = metrics, alone
        self.parts: dict[str, list[Measured]] = {metric.name: [] for metric in metrics}
        self.there: list[Metric] = []
        self.workers: Workers | None = None
        self.pending: list[Future[list[Measured]]] = []
        self.blocks = 0

    def __enter__(self) -> _Measuring:
        return self

    def __exit__(self, *error: Any) -> None:
        if self.workers is not None:
            self.workers.__exit__(*error)

    def add(self, samples: list[Sample], outputs: list[Output]) -> None:
        """Measure one block, or hand it on."""
        if self.blocks == self.alone:
            self._start()
        self.blocks += 1
        if self.workers is not None:
            self.pending.append(self.workers.measure(samples, outputs))
            while len(self.pending) > 2 * (
                os.cpu_count() or 1
            ):  # or all texts of a file would wait in a queue
                self._take(self.pending.pop(0))
        for metric in self.metrics:
            if metric not in self.there:
                self.parts[metric.name].append(metric.measure(samples, outputs))

    def finish(self) -> dict[str, list[Measured]]:
        """Wait for the workers; returns what was measured, by metric and block."""
        for future in self.pending:
            self._take(future)
        return self.parts

    def _start(self) -> None:
        ported = [(metric, data) for metric in self.metrics if (data := portable(metric)) is not None]
        if ported and (os.cpu_count() or 1) > 1:
            self.there = [metric for metric, _ in ported]
            self.workers = Workers([data for _, data in ported])

    def _take(self, future: Future[list[Measured]]) -> None:
        for metric, measured in zip(self.there, future.result(), strict=True):
            self.parts[metric.name].append(measured)


def _joined(parts: list[Measured]) -> Measured:
    if len(parts) == 1:
        return parts[0]
    labels = {key: [item for part in parts for item in part.labels[key]] for key in parts[0].labels}
    kinds = [part.kinds for part in parts if part.kinds is not None]
    return Measured(
        np.concatenate([part.statistics for part in parts]),
        [score for part in parts for score in part.scores],
        labels,
        [kind for own in kinds for kind in own] if kinds else None,
    )
