"""What a table of differences does not say by itself: luck, recipes behind seeds, shipped forms, the unseen, noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evalkit.reporting import formats
from evalkit.reporting.noise import noise_remarks
from evalkit.reporting.searches import dropped_remarks
from evalkit.reporting.tables import Board, Column

__all__ = ["caveats", "least_seen"]

Json = Mapping[str, Any]

_POWER = (1.959964 + 0.841621) / 1.959964
"""From half an interval's width to the difference that is seen with 80 % power."""


def caveats(results: Json, table: Board) -> list[str]:
    """Return the sentences, those on leaders first.

    Args:
        results: The object of ``results.json``.
        table: The same, arranged.
    """
    digits = {(column.task, column.metric): column.difference_digits for column in table.columns}
    upward = {(column.task, column.metric): column.higher_is_better for column in table.columns}
    told = [*_leaders(results, digits, upward), *_recipes(results, digits), *_forms(results, table)]
    return [*told, *_unseen(table), *noise_remarks(results), *dropped_remarks(results)]


def least_seen(comparison: Json) -> float | None:
    """The least true difference that a comparison's samples show with 80 % power; None without an interval.

    >>> round(least_seen({"low": -0.1, "high": 0.1}), 3)
    0.143
    """
    low = comparison.get("low_adjusted", comparison.get("low"))
    high = comparison.get("high_adjusted", comparison.get("high"))
    if low is None or high is None:
        low, high = comparison.get("low"), comparison.get("high")
    return None if low is None or high is None else (high - low) / 2 * _POWER


def _leaders(
    results: Json, digits: Mapping[tuple[str, str], int], upward: Mapping[tuple[str, str], bool]
) -> Iterator[str]:
    for row in results.get("leaders") or []:
        places = digits.get((row["task"], row["metric"]), 3)
        sign = 1 if upward.get((row["task"], row["metric"]), True) else -1
        if sign * row["difference"] <= 0:
            continue  # the best of them is not ahead of the control: nobody leads
        yield (
            f"Of {row['of']} candidates {row['candidate']} leads on {row['task']} {row['metric']}, by "
            f"{formats.signed(row['difference'], places)} to {row['control']}. The best of several is flattered by "
            f"having been picked; without that its lead is {formats.signed(row['corrected'], places)} "
            f"{formats.span(row['low'], row['high'], places)}."
        )


def _recipes(results: Json, digits: Mapping[tuple[str, str], int]) -> Iterator[str]:
    for row in results.get("recipes") or []:
        places = digits.get((row["task"], row["metric"]), 3)
        head = f"Recipe {row['recipe']} against {row['against']} on {row['task']} {row['metric']}"
        if row.get("note"):
            yield f"{head}: {row['note']}."
            continue
        parts = row.get("variance") or {}
        spread = ", ".join(f"{name} {value:.3g}" for name, value in parts.items())
        yield (
            f"{head}: {formats.signed(row['difference'], places)} "
            f"{formats.span(row['low'], row['high'], places)}, p {formats.p_value(row['p_value'])}, for new seeds and "
            f"new samples ({row['seeds']} seeds; variance of one score: {spread})."
        )


def _forms(results: Json, table: Board) -> Iterator[str]:
    """What the adapter that was measured loses or gains as it is shipped."""
    for row in results.get("forms") or []:
        column = table.primary(row["task"])
        if column is None or column.metric != row["metric"] or row.get("difference") is None:
            continue
        places = column.digits
        p = row.get("p_adjusted")
        yield (
            f"As shipped, {row['candidate']} beside {row['control']} on {row['task']}: {row['changed']} of {row['n']} "
            f"answers are others, {row['metric']} differs by {formats.signed(row['difference'], places)} "
            f"{formats.span(row['low'], row['high'], places)} ({len(row['gained'])} better, {len(row['lost'])} worse"
            f"{'' if p is None else f'; corrected p {formats.p_value(p)}'})."
        )


def _unseen(table: Board) -> Iterator[str]:
    found = []
    for task in table.tasks:
        column = table.primary(task)
        rows = [] if column is None else _open_rows(table, column)
        sizes = [size for row in rows if (size := least_seen(row)) is not None]
        if column is not None and sizes:
            least = formats.number(max(sizes), column.difference_digits)
            found.append(f"{least} on {task} {column.metric}")
    if found:
        yield (
            "What could not have been seen: true differences below about these would more likely than one time in "
            f"five have stayed unclear: {', '.join(found)}."
        )


def _open_rows(table: Board, column: Column) -> list[Json]:
    return [cell.comparison for cell in table.compared(column) if cell.mark == "unclear" and cell.comparison]
