"""Where a task is cut into parts (attack transforms, subjects, kinds of prompt): one table a field and metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evalkit.reporting.formats import decimals
from evalkit.reporting.tables import COST_METRICS, Board

__all__ = ["ClassTable", "SliceTable", "class_tables", "slice_tables"]


@dataclass(frozen=True, slots=True)
class SliceTable:
    """One metric of a task, by the values of a field.

    Attributes:
        task: The task.
        field: The field.
        metric: The metric.
        higher_is_better: Direction.
        digits: Decimals its values are shown with.
        slices: Values of the field, in the order of the task's samples.
        cells: Object of ``results.json`` ``slices`` by (slice, candidate).
    """

    task: str
    field: str
    metric: str
    higher_is_better: bool
    digits: int
    slices: tuple[str, ...]
    cells: Mapping[tuple[str, str], Mapping[str, Any]]


def slice_tables(results: Mapping[str, Any], table: Board) -> list[SliceTable]:
    """Return the tables of all tasks, those of a task together, its primary metric first.

    Args:
        results: The object of ``results.json``.
        table: Its board.

    >>> where = {"candidate": "base", "task": "t", "field": "level", "slice": "easy"}
    >>> row = {**where, "metric": "f1", "value": 0.5, "n": 4}
    >>> from evalkit.reporting.tables import board
    >>> [found.slices for found in slice_tables({"scores": [row], "slices": [row]}, board({"scores": [row]}))]
    [('easy',)]
    """
    rows: Sequence[Mapping[str, Any]] = results.get("slices") or []
    found = []
    for column in table.columns:
        own = [row for row in rows if (row["task"], row["metric"]) == (column.task, column.metric)]
        if column.metric in COST_METRICS or not any(row.get("n") for row in own):
            continue
        for field in dict.fromkeys(row["field"] for row in own):
            cells = {(row["slice"], row["candidate"]): row for row in own if row["field"] == field}
            measured = tuple(dict.fromkeys(row["slice"] for row in cells.values() if row.get("n")))
            widths = [
                (row["high"] - row["low"]) / 2 if row.get("high") is not None else None
                for row in cells.values()
            ]
            digits = decimals(widths, [row.get("value") for row in cells.values()])
            found.append(
                SliceTable(
                    column.task, field, column.metric, column.higher_is_better, digits, measured, cells
                )
            )
    return found


@dataclass(frozen=True, slots=True)
class ClassTable:
    """How many answers of each candidate fell into each class of a metric.

    Attributes:
        task: The task.
        metric: The metric.
        classes: Its classes, in its order.
        counts: Samples by (candidate, class).
    """

    task: str
    metric: str
    classes: tuple[str, ...]
    counts: Mapping[tuple[str, str], int]


def class_tables(results: Mapping[str, Any], table: Board) -> list[ClassTable]:
    """Return a table for each metric that sorts answers into classes.

    >>> row = {"candidate": "base", "task": "t", "metric": "refusal", "classes": {"full": 3, "none": 1}}
    >>> from evalkit.reporting.tables import board
    >>> class_tables({"scores": [row]}, board({"scores": [row]}))[0].counts["base", "full"]
    3
    """
    rows: Sequence[Mapping[str, Any]] = results.get("scores") or []
    found = []
    for column in table.columns:
        own = [row for row in rows if (row["task"], row["metric"]) == (column.task, column.metric)]
        counts = {
            (row["candidate"], kind): n for row in own for kind, n in (row.get("classes") or {}).items()
        }
        classes = tuple(dict.fromkeys(kind for _, kind in counts))
        if any(counts.values()):
            found.append(ClassTable(column.task, column.metric, classes, counts))
    return found
