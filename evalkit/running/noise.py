"""The noise floor: what other batches and another order change in a candidate's values, and what of it they lack.

How it is measured: ``twice``. Statistics: ``stats.noise``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from evalkit.metrics import Metric
from evalkit.records import Result
from evalkit.stats import add_noise, shift_sd

__all__ = [
    "Change",
    "Noise",
    "Sds",
    "answered_again",
    "difference_sds",
    "noise_sds",
    "with_noise",
]

LEAST, MOST, SHARE = 16, 256, 0.05
"""Samples of a task that are answered again: this share of them, within these ends."""

EXACT = "in fp32 an answer does not depend on what is computed beside it"
"""Why an fp32 base answers nothing again unless it is asked for."""

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


def answered_again(n: int, dtype: str, quantization: str, asked: int | None = None) -> int:
    """How many of a task's n samples are answered again.

    Args:
        n: Samples of the task.
        dtype: What the base computes in: fp32 answers do not depend on their batch.
        quantization: Of the base. In int8 they do all the same: bitsandbytes takes the columns that hold an outlier in
            any row of a batch out of the 8 bits (Dettmers et al. 2022, LLM.int8()).
        asked: ``statistics: {noise: N}`` of the study; None: a twentieth, or none where answers cannot change.

    >>> answered_again(1000, "bf16", "nf4"), answered_again(80, "bf16", "nf4"), answered_again(5, "fp32", "int8")
    (50, 16, 5)
    >>> answered_again(1000, "fp32", "nf4"), answered_again(1000, "fp32", "nf4", 100)
    (0, 100)
    """
    if asked is None:
        exact = dtype == "fp32" and quantization != "int8"
        asked = 0 if exact else min(MOST, max(LEAST, round(SHARE * n)))
    return min(n, asked)


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
