"""Results for a terminal: one short table a task, and plain lines where the reader is a log.

tickets  exact_match ↑
  base      0.000 [0.000, 0.045]  n 80
  r16       0.775 [0.672, 0.853]  n 80  ▲ better   +0.775 [0.671, 0.853]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evalkit.judging.trust import trust_in
from evalkit.reporting import formats
from evalkit.reporting.caveats import caveats
from evalkit.reporting.findings import MARKS
from evalkit.reporting.judges import judge_notes, leaning_in
from evalkit.reporting.tables import Board, Cell, Column, board

__all__ = ["results_table"]

_STYLES = {"better": "bold blue", "worse": "bold yellow", "unclear": "dim"}
NOT_COMPARABLE = "not comparable: signatures differ"


def results_table(results: Mapping[str, Any], console: Console | None = None) -> str:
    """Return candidates × primary metrics and judges' scores with intervals and differences to the control.

    Args:
        results: The object of ``results.json``, or of ``merge_runs``.
        console: Where it will be shown: a table for a terminal, plain lines for anything else. None: stderr.

    Returns:
        Text without a line end, with colour only for a terminal that has it.
    """
    console = console or Console(stderr=True)
    table = board(results)
    columns = [
        column
        for task in table.tasks
        for column in table.of(task)
        if column.primary or column.metric.startswith("judge:")
    ]
    if not columns:
        return "Nothing was measured: the study has no tasks, or no candidate finished one."
    remarks = [*caveats(results, table), *judge_notes(results)]
    trust = {column: _trust(column, results) for column in columns}
    if not console.is_terminal:
        lines = [line for column in columns for line in _lines(table, column, trust[column])]
        return "\n".join([*lines, *remarks])
    with console.capture() as captured:
        for index, column in enumerate(columns):
            if index:
                console.print()
            console.print(_table(table, column, trust[column]))
        for remark in remarks:
            console.print(Text(remark))
    return captured.get().rstrip("\n")


def _table(table: Board, column: Column, trust: str) -> Table:
    drawn = Table(
        title=Text("  ".join(filter(None, [_title(column), trust]))),
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    drawn.add_column("candidate", overflow="fold")
    for name in ("value", "interval", "n"):
        drawn.add_column(name, justify="right", no_wrap=True)
    drawn.add_column("against the control", overflow="fold")
    for name in table.candidates:
        cell = table.cell(name, column)
        control = name in table.controls
        drawn.add_row(
            Text(name, style="dim" if control else "bold"),
            *map(Text, _figures(cell, column)),
            _against(cell, column, control),
        )
    return drawn


def _lines(table: Board, column: Column, trust: str) -> list[str]:
    """One line a candidate, complete in itself: a log is read with grep."""
    lines = []
    for name in table.candidates:
        cell = table.cell(name, column)
        value, interval, n = _figures(cell, column)
        against = _against(cell, column, name in table.controls).plain
        parts = [_title(column), name, f"{value} {interval}".rstrip(), f"n {n}", against, trust]
        lines.append(" | ".join(part for part in parts if part))
    return lines


def _trust(column: Column, results: Mapping[str, Any]) -> str:
    """How far a judge's number is to be trusted: calibrated or not, and what sways it."""
    told = (trust_in(column.metric, results), leaning_in(column.metric, results))
    return " (".join(filter(None, told)) + (")" if all(told) else "")


def _title(column: Column) -> str:
    return f"{column.task} {column.metric} {'↑' if column.higher_is_better else '↓'}"


def _figures(cell: Cell | None, column: Column) -> tuple[str, str, str]:
    if cell is None:
        return formats.DASH, "", "0"
    score = cell.score
    unscored = score.get("unscored") or 0
    n = formats.count(score.get("n")) + (f" (+{formats.count(unscored)} unscored)" if unscored else "")
    return (
        formats.number(score.get("value"), column.digits),
        formats.span(score.get("low"), score.get("high"), column.digits),
        n,
    )


def _against(cell: Cell | None, column: Column, control: bool) -> Text:
    if cell is None:
        return Text("not measured", style="dim")
    if cell.score.get("comparable") is False:
        return Text(NOT_COMPARABLE, style="yellow")
    if cell.mark is None or cell.comparison is None:
        return Text("control" if control else "", style="dim")
    row, digits = cell.comparison, column.difference_digits
    interval = formats.span(row.get("low"), row.get("high"), digits)
    figures = f"{formats.signed(row['difference'], digits)} {interval}".rstrip()
    return Text.assemble(
        (f"{MARKS[cell.mark]} {cell.mark}", _STYLES[cell.mark]), f"  {figures} vs {row['control']}"
    )
