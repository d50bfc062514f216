"""A run's results as tables: who was measured on what, with which interval, against which control.

Pure functions from the objects of ``results.json`` and ``run.json`` to rows; no page, no terminal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from evalkit.reporting.formats import decimals
from evalkit.running.done import dropped_at
from evalkit.signature import measured_as

__all__ = [
    "Board",
    "Cell",
    "Column",
    "Mark",
    "board",
    "cost_rows",
    "mark_of",
    "undone",
]

Mark = Literal["better", "worse", "unclear"]
Json = Mapping[str, Any]

COST_METRICS = frozenset({"output_tokens", "latency", "cost"})
"""Metrics that say what an answer took; they never speak for a task where another one is there."""


@dataclass(frozen=True, slots=True)
class Column:
    """One metric of one task.

    Attributes:
        task: The task.
        metric: The metric.
        higher_is_better: Direction.
        primary: True for the metric that speaks for its task.
        digits: Decimals its values are shown with.
        difference_digits: Decimals its differences are shown with.
        signatures: The different signatures among its values, each with the base that was measured.
        measures: The same without the base; more than one: they do not all compare.
    """

    task: str
    metric: str
    higher_is_better: bool
    primary: bool
    digits: int
    difference_digits: int
    signatures: tuple[str, ...]
    measures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """What one candidate scored in one column, and how that compares with its control.

    Attributes:
        candidate: The candidate.
        score: Its object of ``results.json`` ``scores``.
        comparison: Its object of ``comparisons``; None for a control or where none could be made.
        mark: ``better``, ``worse`` or ``unclear`` against the control; None without a comparison.
    """

    candidate: str
    score: Json
    comparison: Json | None
    mark: Mark | None


@dataclass(frozen=True, slots=True)
class Board:
    """Every score of a run, arranged.

    Attributes:
        candidates: Names, in the order of the study, the controls first.
        controls: Those that others are compared with.
        tasks: Names, in the order of the study; the first is what the study is about.
        columns: All (task, metric) pairs, by task, the primary metric first.
        cells: By (candidate, task, metric).
    """

    candidates: tuple[str, ...]
    controls: tuple[str, ...]
    tasks: tuple[str, ...]
    columns: tuple[Column, ...]
    cells: Mapping[tuple[str, str, str], Cell]

    def of(self, task: str) -> list[Column]:
        """The columns of one task, the primary metric first."""
        return [column for column in self.columns if column.task == task]

    def primary(self, task: str) -> Column | None:
        """The column that speaks for a task; None where nothing was measured."""
        return next((column for column in self.columns if column.task == task and column.primary), None)

    def cell(self, candidate: str, column: Column) -> Cell | None:
        """What a candidate scored in a column; None where it was not measured."""
        return self.cells.get((candidate, column.task, column.metric))

    def compared(self, column: Column) -> list[Cell]:
        """The cells of a column that have a comparison with a difference, in the order of the candidates."""
        cells = (self.cell(name, column) for name in self.candidates)
        return [
            cell
            for cell in cells
            if cell and cell.comparison and cell.comparison.get("difference") is not None
        ]


def mark_of(comparison: Json | None, higher_is_better: bool, confidence: float = 0.95) -> Mark | None:
    """Say whether a difference is shown, corrected for the number of comparisons.

    Both the corrected p-value and the corrected interval must agree where both are there; without them the
    plain interval decides. What is not shown is ``unclear``, never "equal".

    Args:
        comparison: An object of ``results.json`` ``comparisons``, or None.
        higher_is_better: Direction of the metric.
        confidence: Two-sided level of the decision.

    >>> mark_of({"difference": 0.2, "low": 0.1, "high": 0.3, "p_adjusted": 0.001}, True)
    'better'
    >>> mark_of({"difference": 0.2, "low": 0.1, "high": 0.3, "p_adjusted": 0.2}, True)
    'unclear'
    >>> mark_of({"difference": 0.2, "low": 0.1, "high": 0.3}, higher_is_better=False)
    'worse'
    """
    if comparison is None or comparison.get("difference") is None:
        return None
    shown = []
    if comparison.get("p_adjusted") is not None:
        shown.append(comparison["p_adjusted"] < 1 - confidence)
    for low, high in (("low_adjusted", "high_adjusted"), ("low", "high")):
        if comparison.get(low) is not None and comparison.get(high) is not None:
            shown.append(comparison[low] > 0 or comparison[high] < 0)
            break
    if not shown or not all(shown):
        return "unclear"
    return "better" if (comparison["difference"] > 0) == higher_is_better else "worse"


def board(results: Json) -> Board:
    """Arrange the scores and comparisons of a run.

    Args:
        results: The object of ``results.json``.

    >>> score = {"candidate": "base", "task": "t", "metric": "f1", "value": 0.5, "n": 4, "signature": "f1"}
    >>> board({"candidates": [{"name": "base"}], "scores": [score]}).primary("t").metric
    'f1'
    """
    scores: Sequence[Json] = results.get("scores", [])
    comparisons: dict[tuple[str, str, str], Json] = {}
    for row in results.get("comparisons", []):
        comparisons.setdefault((row["candidate"], row["task"], row["metric"]), row)
    controls = tuple(dict.fromkeys(row["control"] for row in comparisons.values()))
    named = [entry["name"] for entry in results.get("candidates", [])] + [row["candidate"] for row in scores]
    candidates = tuple(dict.fromkeys([*(name for name in named if name in controls), *named]))
    cells = {}
    for row in scores:
        key = (row["candidate"], row["task"], row["metric"])
        comparison = comparisons.get(key)
        mark = mark_of(comparison, row.get("higher_is_better", True), row.get("confidence") or 0.95)
        cells[key] = Cell(row["candidate"], row, comparison, mark)
    cards = {card["name"]: card for card in results.get("tasks", [])}
    tasks = tuple(dict.fromkeys([*cards, *(row["task"] for row in scores)]))
    primaries = {task: cards.get(task, {}).get("primary") for task in tasks}
    columns = [column for task in tasks for column in _columns(task, scores, comparisons, primaries[task])]
    return Board(candidates, controls, tasks, tuple(columns), cells)


def cost_rows(results: Json) -> list[dict[str, Any]]:
    """Return one row a candidate: what it took to train and to answer.

    Returns:
        Rows with ``candidate``, ``kind``, ``training`` (the keys of ``TrainingSummary``; empty where there
        was none) and ``answer_seconds`` (all tasks; None where nothing was recorded).
    """
    spent = (results.get("costs") or {}).get("seconds") or {}
    rows = []
    for entry in results.get("candidates", []):
        answering = [value for stage, value in (spent.get(entry["name"]) or {}).items() if stage != "train"]
        rows.append(
            {
                "candidate": entry["name"],
                "kind": entry.get("kind", ""),
                "training": entry.get("training") or {},
                "answer_seconds": sum(answering) if answering else None,
            }
        )
    return rows


def undone(results: Json, table: Board) -> list[tuple[str, str]]:
    """Return (candidate, what could not be done and why), in the order of the study; not what a search dropped."""
    found = []
    entries = results.get("candidates", [])
    dropped = {entry["name"] for entry in entries if dropped_at(entry) is not None}
    for entry in entries:
        name = entry["name"]
        if name in dropped or entry.get("of") in dropped:
            continue  # as was asked
        stopped = (entry.get("training") or {}).get("stopped")
        if entry.get("error"):
            found.append((name, str(entry["error"])))
        elif stopped not in (None, "", "finished", "early"):
            found.append((name, f"training stopped: {stopped}"))
        measured = {key[1] for key in table.cells if key[0] == name}
        missing = [task for task in table.tasks if task not in measured]
        if missing:
            found.append((name, f"no scores on {', '.join(missing)}"))
    return found


def _columns(
    task: str, scores: Sequence[Json], comparisons: Mapping[tuple[str, str, str], Json], named: str | None
) -> list[Column]:
    rows = [row for row in scores if row["task"] == task]
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    speaking = [metric for metric in metrics if metric not in COST_METRICS] or metrics
    primary = named if named in metrics else (speaking[0] if speaking else None)
    columns = []
    for metric in sorted(metrics, key=lambda name: name != primary):
        mine = [row for row in rows if row["metric"] == metric]
        differences = [row for key, row in comparisons.items() if key[1:] == (task, metric)]
        columns.append(
            Column(
                task,
                metric,
                bool(mine[0].get("higher_is_better", True)),
                metric == primary,
                decimals(map(_half_width, mine), [row.get("value") for row in mine]),
                decimals(map(_half_width, differences), [row.get("difference") for row in differences]),
                tuple(dict.fromkeys(str(row.get("signature", "")) for row in mine)),
                tuple(dict.fromkeys(measured_as(str(row.get("signature", ""))) for row in mine)),
            )
        )
    return columns


def _half_width(row: Json) -> float | None:
    low, high = row.get("low"), row.get("high")
    return None if low is None or high is None else (high - low) / 2
