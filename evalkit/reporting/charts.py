"""Charts as data: axes, ticks and points in units of the drawing, without a word of SVG.

A template draws what these functions return; a test reads the same numbers. Coordinates run from the top
left, x to the right and y down, as in SVG.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evalkit.reporting.tables import Board, Cell, Column, Mark

__all__ = [
    "Axis",
    "Bar",
    "Curve",
    "Forest",
    "ForestRow",
    "Panel",
    "axis",
    "bar_axis",
    "bars",
    "curves",
    "forest",
]

_POINTS = 400  # points of one curve; more are averaged, since a screen has no room for them
_LOG_FROM = 8.0  # largest over smallest loss from which a logarithmic axis shows more


@dataclass(frozen=True, slots=True)
class Axis:
    """A scale from values to the unit interval.

    Attributes:
        low: Value at 0.
        high: Value at 1; above ``low``.
        ticks: Values worth a line, within the scale.
        log: True for a logarithmic scale; ``low`` is above 0 then.
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def at(self, value: float) -> float:
        """Position of a value, 0 to 1; what lies outside is put on the edge.

        >>> Axis(1.0, 100.0, (), log=True).at(10.0), Axis(0.0, 4.0, ()).at(5.0)
        (0.5, 1.0)
        """
        if self.log:
            share = (math.log(max(value, self.low)) - math.log(self.low)) / (
                math.log(self.high) - math.log(self.low)
            )
        else:
            share = (value - self.low) / (self.high - self.low)
        return min(1.0, max(0.0, share))


@dataclass(frozen=True, slots=True)
class Bar:
    """A value and its interval on the unit interval; None where there is none."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class ForestRow:
    """One difference to a control: where its estimate and its intervals lie on the axis, 0 to 1."""

    cell: Cell
    mark: Mark | None
    estimate: float | None
    low: float | None
    high: float | None
    low_adjusted: float | None
    high_adjusted: float | None


@dataclass(frozen=True, slots=True)
class Forest:
    """The differences of one column to the controls, on one axis that holds zero."""

    column: Column
    axis: Axis
    zero: float
    rows: tuple[ForestRow, ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """One line: ``points`` are (step, value) pairs, ``each`` the number of steps one point is the mean of."""

    points: tuple[tuple[float, float], ...]
    each: int = 1


@dataclass(frozen=True, slots=True)
class Panel:
    """The training of one candidate, on axes shared by all panels.

    Attributes:
        candidate: The candidate.
        train: Training loss per step.
        validation: Validation loss where it was measured.
        lost: Steps whose loss was no finite number.
        rungs: (step, whether it went on) for each rung of its search.
        x: Steps.
        y: Loss, in nats per supervised token.
    """

    candidate: str
    train: Curve
    validation: Curve
    lost: int
    x: Axis
    y: Axis
    rungs: tuple[tuple[float, bool], ...] = ()


def axis(values: Iterable[float], *, zero: bool = False, ticks: int = 4) -> Axis:
    """Return a linear axis with round ends that holds all values.

    Args:
        values: What has to fit.
        zero: Whether 0 has to be on it too.
        ticks: Roughly how many steps.

    >>> axis([0.07, 0.86], zero=True)
    Axis(low=0.0, high=1.0, ticks=(0.0, 0.25, 0.5, 0.75, 1.0), log=False)
    """
    finite = [value for value in values if math.isfinite(value)] + ([0.0] if zero else [])
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    if high - low < 1e-12 * max(1.0, abs(high)):
        low, high = low - 0.5, high + 0.5
    step = _round_step((high - low) / ticks)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    marks = tuple(round(index * step, 12) for index in range(first, last + 1))
    return Axis(marks[0], marks[-1], marks)


def bar_axis(scores: Sequence[Mapping[str, Any]], higher_is_better: bool) -> Axis:
    """Return the scale of a column's bars: 0–1 for shares, 0–100 for percentages, else from 0 to a round end.

    >>> bar_axis([{"value": 0.2, "low": 0.1, "high": 0.3}], True).high
    1.0
    """
    values = [row[key] for row in scores for key in ("value", "low", "high") if row.get(key) is not None]
    if not values:
        return Axis(0.0, 1.0, (0.0, 1.0))
    if min(values) >= 0 and higher_is_better:
        if max(values) <= 1:
            return Axis(0.0, 1.0, (0.0, 1.0))
        if 10 < max(values) <= 100:
            return Axis(0.0, 100.0, (0.0, 100.0))
    return axis(values, zero=True)


def bars(board: Board, column: Column) -> tuple[Axis, dict[str, Bar]]:
    """Return the scale of a column and one bar a candidate."""
    cells = {name: cell for name in board.candidates if (cell := board.cell(name, column))}
    scale = bar_axis([cell.score for cell in cells.values()], column.higher_is_better)
    placed = {
        name: Bar(*(_at(scale, cell.score.get(key)) for key in ("value", "low", "high")))
        for name, cell in cells.items()
    }
    return scale, placed


def forest(board: Board, column: Column) -> Forest | None:
    """Return the forest plot of a column; None where nothing is compared."""
    cells = board.compared(column)
    if not cells:
        return None
    keys = ("difference", "low", "high", "low_adjusted", "high_adjusted")
    rows = [(cell, [(cell.comparison or {}).get(key) for key in keys]) for cell in cells]
    scale = _close_axis([value for _, values in rows for value in values if value is not None])
    placed = tuple(
        ForestRow(cell, cell.mark, *(_at(scale, value) for value in values)) for cell, values in rows
    )
    return Forest(column, scale, scale.at(0.0), placed)


def curves(logs: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Panel]:
    """Return one panel a trained candidate, all on the same axes.

    The loss axis is logarithmic where the largest loss is over 8 times the smallest, so that the end of a
    training is not a flat line.

    Args:
        logs: Candidate → rows of its training log.
    """
    drawn = {
        name: (_curve(rows, "loss"), _curve(rows, "validation_loss"), rows)
        for name, rows in logs.items()
        if rows
    }
    points = [
        point for train, validation, _ in drawn.values() for point in (*train.points, *validation.points)
    ]
    if not points:
        return []
    y = _loss_axis([value for _, value in points])
    last = max(step for step, _ in points)
    steps = axis([0.0, last], zero=True)
    x = Axis(0.0, last, tuple(tick for tick in steps.ticks if tick <= last)) if last > 0 else steps
    return [
        Panel(name, train, validation, sum(not _finite(row.get("loss")) for row in rows), x, y, _rungs(rows))
        for name, (train, validation, rows) in drawn.items()
    ]


def _close_axis(values: Sequence[float]) -> Axis:
    """An axis that ends just outside the values and zero, with the round ticks in between."""
    round_axis = axis(values, zero=True)
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(0.0, *finite), max(0.0, *finite)
    pad = (high - low or 1.0) * 0.06
    low, high = low - pad, high + pad
    return Axis(low, high, tuple(tick for tick in round_axis.ticks if low <= tick <= high))


def _rungs(rows: Sequence[Mapping[str, Any]]) -> tuple[tuple[float, bool], ...]:
    found = {float(row["step"]): all(s["goes_on"] for s in row["rungs"]) for row in rows if row.get("rungs")}
    return tuple(found.items())


def _curve(rows: Sequence[Mapping[str, Any]], key: str) -> Curve:
    points = [(float(row["step"]), float(row[key])) for row in rows if _finite(row.get(key))]
    each = math.ceil(len(points) / _POINTS) or 1
    groups = [points[start : start + each] for start in range(0, len(points), each)]
    return Curve(
        tuple((group[-1][0], sum(value for _, value in group) / len(group)) for group in groups), each
    )


def _loss_axis(values: Sequence[float]) -> Axis:
    low, high = min(values), max(values)
    if low <= 0 or high / low < _LOG_FROM:
        return axis(values, zero=low >= 0)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    marks = [base * 10.0**power for power in range(first, last + 1) for base in (1, 2, 5)]
    below = max(mark for mark in marks if mark <= low * 1.0001)
    above = min((mark for mark in marks if mark >= high * 0.9999), default=10.0**last)
    ticks = [mark for mark in marks if below <= mark <= above]
    every = math.ceil(len(ticks) / 6)
    return Axis(below, above, tuple(round(mark, 12) for mark in ticks[::every]), log=True)


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(base * power for base in (1, 2, 2.5, 5, 10) if base * power >= step * 0.9999)


def _at(scale: Axis, value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else scale.at(value)


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
