"""Several candidates against one control: simultaneous intervals, and the leader's advantage without its luck.

See ``stats.winner``. A family is one task's primary metric and one control: candidates that a reader picks from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evalkit.records import Comparison
from evalkit.running.comparisons import ends_at
from evalkit.running.score import Scored
from evalkit.stats import ValueOf, corrected_lead, max_t_confidence, unit_of_sample

__all__ = ["Leader", "corpus_parts", "lead", "leaders", "unit_parts"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Leader:
    """The best of several candidates, in the metric's unit (not re-oriented).

    Attributes:
        task: The task.
        metric: Its primary metric.
        control: What all are compared with.
        candidate: Who leads on the samples that all were scored on.
        of: How many were compared.
        difference: The leader's difference to the control on those samples, which being picked flatters.
        corrected: The same without that.
        low: Lower end of the interval of the leader's true difference.
        high: Upper end.
        confidence: Of the interval, and of all intervals of the family together.
        n: Samples that all were scored on.
    """

    task: str
    metric: str
    control: str
    candidate: str
    of: int
    difference: float
    corrected: float
    low: float | None
    high: float | None
    confidence: float
    n: int


def leaders(
    comparisons: Sequence[Comparison],
    scored: Mapping[tuple[str, str], Scored],
    primaries: Mapping[str, str],
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[list[Comparison], list[Leader]]:
    """Add simultaneous intervals to the comparisons of every family of two candidates or more, and find its leader.

    Args:
        comparisons: Of a run.
        scored: (candidate, task) → its scores.
        primaries: Task → its primary metric.
        confidence: Of all intervals of a family together.
        seed: Of the draws.

    Returns:
        The comparisons, in the same order, and one leader a family.
    """
    families: dict[tuple[str, str], list[Comparison]] = {}
    for row in comparisons:
        if row.metric == primaries.get(row.task) and row.difference is not None:
            families.setdefault((row.task, row.control), []).append(row)
    found: list[Leader] = []
    new = {id(row): row for row in comparisons}
    for (task, control), rows in families.items():
        if len(rows) < 2:
            continue
        members = [scored[row.candidate, task] for row in rows]
        parts, shares, n = _parts(members, scored[control, task], rows[0].metric, seed)
        if len(parts) < 2:
            continue
        higher = members[0].metrics[rows[0].metric].higher_is_better
        widened, leader = lead(rows, parts, shares, n, higher=higher, confidence=confidence, seed=seed)
        new |= {id(row): wider for row, wider in zip(rows, widened, strict=True)}
        found.append(leader)
    return [new[id(row)] for row in comparisons], found


def lead(
    rows: Sequence[Comparison],
    parts: Array,
    shares: Array,
    n: int,
    *,
    higher: bool,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[list[Comparison], Leader]:
    """One family: its comparisons with simultaneous intervals, and its leader.

    Args:
        rows: k comparisons with one control.
        parts: (units, k) what each unit of samples adds to each difference.
        shares: (units,) share of the samples in each unit.
        n: Samples that all were scored on.
        higher: Whether higher is better.
        confidence: Of all intervals together.
        seed: Of the draws.
    """
    level = max_t_confidence(parts, confidence, seed, shares)
    wider = [ends_at(row, confidence, level) for row in rows]
    widened = [
        replace(row, low_max_t=low, high_max_t=high) for row, (low, high) in zip(rows, wider, strict=True)
    ]
    sign = 1 if higher else -1
    best, corrected = corrected_lead(sign * parts, seed, shares)
    row, (low, high) = rows[best], wider[best]
    low, high = (low, row.high) if higher else (row.low, high)
    corrected = sign * corrected + 0.0
    if low is not None and high is not None:
        corrected = min(max(corrected, low), high)
    return widened, Leader(
        task=row.task,
        metric=row.metric,
        control=row.control,
        candidate=row.candidate,
        of=len(rows),
        difference=float(parts[:, best].sum()),
        corrected=corrected,
        low=low,
        high=high,
        confidence=confidence,
        n=n,
    )


def unit_parts(gaps: Array, clusters: Sequence[str | None], seed: int) -> tuple[Array, Array]:
    """(n, k) differences of scores → (units, k) what each unit adds to the mean, and each unit's share of n."""
    units = unit_of_sample(len(gaps), clusters, seed)
    count = int(units.max(initial=-1)) + 1
    sums, sizes = np.zeros((count, gaps.shape[1])), np.bincount(units, minlength=count).astype(np.float64)
    np.add.at(sums, units, gaps)
    return sums / max(len(gaps), 1), sizes / max(len(gaps), 1)


def _parts(members: Sequence[Scored], control: Scored, metric: str, seed: int) -> tuple[Array, Array, int]:
    """What each unit adds to each candidate's difference, on the samples that all sides were scored on."""
    places = [{id_: i for i, id_ in enumerate(one.ids)} for one in (*members, control)]
    kept = [
        id_
        for id_ in members[0].ids
        if all(
            id_ in place and one.measured[metric].scored[place[id_]]
            for place, one in zip(places, (*members, control), strict=True)
        )
    ]
    clusters = [members[0].clusters[places[0][id_]] for id_ in kept]
    built = members[0].metrics[metric]
    rows = [[place[id_] for id_ in kept] for place in places]
    if built.additive_mean:
        scores = [
            np.array([one.measured[metric].scores[i] for i in mine], dtype=np.float64)
            for one, mine in zip((*members, control), rows, strict=True)
        ]
        return (*unit_parts(np.stack(scores[:-1], axis=1) - scores[-1][:, None], clusters, seed), len(kept))
    units = unit_of_sample(len(kept), clusters, seed)
    columns = []
    for one, mine in zip(members, rows[:-1], strict=True):
        first, second = built.align(one.measured[metric], control.measured[metric])
        columns.append(corpus_parts(first[mine], second[rows[-1]], built.value, units))
    parts = np.stack(columns, axis=1)
    return parts, np.full(len(parts), 1 / max(len(parts), 1)), len(kept)


def corpus_parts(first: Array, second: Array, value: ValueOf, units: NDArray[np.int64]) -> Array:
    """(units,) parts of the difference of two corpus values: what the jackknife says each unit moves it by."""
    count = int(units.max(initial=-1)) + 1
    sums = np.zeros((2, count, first.shape[1]))
    np.add.at(sums[0], units, first)
    np.add.at(sums[1], units, second)
    totals = sums.sum(axis=1, keepdims=True)
    whole = value(totals[0, 0]) - value(totals[1, 0])
    without = value(totals[0] - sums[0]) - value(totals[1] - sums[1])
    return np.asarray(whole / count + (count - 1) / count * (without.mean() - without))
