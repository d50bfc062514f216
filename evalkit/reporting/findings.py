"""What a run found, one short paragraph a task, in plain words.

    ▲ r16 is better than base on tickets exact_match by +0.775 [0.681, 0.863], corrected p < 0.001, n = 80.
    ○ For few-shot no difference to base could be shown (+0.013 [−0.041, 0.066], corrected p = 0.62, n = 80).

Only what the corrected test shows is called better or worse; the rest is "no difference could be shown",
which is not "equal".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evalkit.reporting import formats
from evalkit.reporting.tables import Board, Cell, Column, Mark

__all__ = ["MARKS", "Finding", "Line", "findings"]

MARKS: dict[Mark, str] = {"better": "▲", "worse": "▼", "unclear": "○"}
"""The sign of each mark; it always stands with its word, so that neither colour nor shape speaks alone."""

_NB = "\u00a0"  # keeps a figure and its name on one line
_NAMED = 3  # names written out in a sentence before "and N more"


@dataclass(frozen=True, slots=True)
class Line:
    """One sentence; ``mark`` is None where it states rather than compares."""

    mark: Mark | None
    text: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What a run found on one task.

    Attributes:
        task: The task.
        metric: The metric that speaks for it; empty where nothing was measured.
        lines: One to four sentences, the good news first, nothing left out.
    """

    task: str
    metric: str
    lines: tuple[Line, ...]


def findings(board: Board) -> list[Finding]:
    """Return one finding a task, in the order of the study."""
    return [_finding(board, task) for task in board.tasks]


def _finding(board: Board, task: str) -> Finding:
    column = board.primary(task)
    if column is None:
        return Finding(task, "", (Line(None, f"Nothing was measured on {task}."),))
    cells = [cell for name in board.candidates if (cell := board.cell(name, column))]
    if all(cell.score.get("value") is None for cell in cells):
        unscored = sum(cell.score.get("unscored") or 0 for cell in cells)
        why = f"{formats.plural(unscored, 'answer')} unscored" if unscored else "it has no samples"
        text = f"Nothing could be scored on {task} {column.metric}: {why}."
        return Finding(task, column.metric, (Line(None, text),))
    lines = _compared(board, column) or [_uncompared(cells, column)]
    missing = [name for name in board.candidates if _lacks_value(board.cell(name, column))]
    if missing:
        lines.append(Line(None, f"Without a value: {_names(missing)}."))
    return Finding(task, column.metric, tuple(lines))


def _compared(board: Board, column: Column) -> list[Line]:
    cells = board.compared(column)
    sign = 1 if column.higher_is_better else -1
    ranked = sorted(cells, key=lambda cell: -sign * _comparison(cell)["difference"])
    lines = []
    for mark in ("better", "worse"):
        group = [cell for cell in ranked if cell.mark == mark]
        if group:
            lines.append(_shown(group if mark == "better" else group[::-1], column))
    unclear = [cell for cell in ranked if cell.mark == "unclear"]
    if unclear:
        lines.append(_unclear(unclear, column))
    return lines


def _shown(group: Sequence[Cell], column: Column) -> Line:
    first, mark = group[0], group[0].mark
    row = _comparison(first)
    text = (
        f"{first.candidate} is {mark} than {row['control']} on {column.task} {column.metric} "
        f"by {_estimate(row, column)}{_p(row)}, n{_NB}={_NB}{formats.count(row.get('n'))}{_unscored(first)}"
    )
    others = [cell.candidate for cell in group[1:]]
    if others:
        verb = "so is" if len(others) == 1 else "so are"
        text += f"; {verb} {_names(others)}"
    return Line(mark, text + ".")


def _unclear(group: Sequence[Cell], column: Column) -> Line:
    controls = {_comparison(cell)["control"] for cell in group}
    control = controls.pop() if len(controls) == 1 else "their controls"
    text = f"For {_names([cell.candidate for cell in group])} no difference to {control} could be shown"
    row = _comparison(group[0])
    # One candidate's figures belong in the sentence; several candidates' are a table, which stands below.
    where = f" on {column.task} {column.metric}"
    figures = f" ({_estimate(row, column)}{_p(row)}, n{_NB}={_NB}{formats.count(row.get('n'))}{_unscored(group[0])})"
    return Line("unclear", text + where + (figures if len(group) == 1 else "") + ".")


def _uncompared(cells: Sequence[Cell], column: Column) -> Line:
    measured = [cell for cell in cells if cell.score.get("value") is not None]
    values = [f"{cell.candidate} {_value(cell, column)}" for cell in measured]
    more = f"; and {len(values) - _NAMED} more" if len(values) > _NAMED + 1 else ""
    listed = "; ".join(values[:_NAMED] if more else values)
    return Line(None, f"Nothing is compared on {column.task} {column.metric}: {listed}{more}.")


def _value(cell: Cell, column: Column) -> str:
    score, digits = cell.score, column.digits
    interval = formats.span(score.get("low"), score.get("high"), digits)
    figures = f"{formats.number(score.get('value'), digits)} {interval}".rstrip()
    return f"{figures}, n{_NB}={_NB}{formats.count(score.get('n'))}{_unscored(cell)}"


def _comparison(cell: Cell) -> Any:
    """The comparison of a cell that ``Board.compared`` returned, which always has one."""
    return cell.comparison or {}


def _estimate(row: Any, column: Column) -> str:
    digits = column.difference_digits
    interval = formats.span(row.get("low"), row.get("high"), digits)
    return f"{formats.signed(row['difference'], digits)} {interval}".rstrip()


def _p(row: Any) -> str:
    if row.get("p_adjusted") is not None:
        return f", corrected p{_NB}{_together(formats.p_value(row['p_adjusted']))}"
    return f", p{_NB}{_together(formats.p_value(row['p_value']))}" if row.get("p_value") is not None else ""


def _together(text: str) -> str:
    return text.replace(" ", _NB)


def _unscored(cell: Cell) -> str:
    unscored = cell.score.get("unscored") or 0
    return f", {formats.count(unscored)} unscored" if unscored else ""


def _lacks_value(cell: Cell | None) -> bool:
    return cell is None or cell.score.get("value") is None


def _names(names: Sequence[str]) -> str:
    """Join names as a sentence does, the first few written out.

    >>> _names(["a"]), _names(["a", "b", "c"]), _names(["a", "b", "c", "d", "e"])
    ('a', 'a, b and c', 'a, b, c and 2 more')
    """
    if len(names) > _NAMED + 1:
        return f"{', '.join(names[:_NAMED])} and {len(names) - _NAMED} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
