"""How much of a control's low score is form: it may know the answer and not say it in the way asked for.

An untrained model scored by exact match is often near 0 only because it answers in sentences. Two signs are
read from the run: wrong answers that hold the accepted text among other words, and a multiple-choice task on
the same rows, where no form is asked for, with a clearly higher value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from evalkit.reporting import formats
from evalkit.reporting.tables import Board, Cell, Column
from evalkit.running.answers import final_answer
from evalkit.running.folder import RunFolder

__all__ = ["form_notes"]

Json = Mapping[str, Any]
FORM_METRICS = frozenset({"exact_match", "accuracy"})
"""Metrics that a right answer in the wrong words fails."""
_SHARE = 0.05  # of the wrong answers; fewer that hold the target are chance


def form_notes(folder: RunFolder, table: Board) -> list[str]:
    """Return one remark for each control and task where form explains part of the score.

    Args:
        folder: The run, for its samples.
        table: Its results.
    """
    return [
        note
        for task in table.tasks
        for column in [table.primary(task)]
        if column is not None and column.metric in FORM_METRICS
        for control in table.controls
        for note in [_note(folder, table, column, control)]
        if note
    ]


def _note(folder: RunFolder, table: Board, column: Column, control: str) -> str:
    rows = list(folder.samples(control, column.task))
    wrong = [row for row in rows if (row.get("scores") or {}).get(column.metric) == 0]
    held = sum(_holds_target(row) for row in wrong)
    signs = []
    if wrong and held / len(wrong) >= _SHARE:
        of = f"{formats.count(held)} of its {formats.plural(len(wrong), 'wrong answer')}"
        signs.append(f"{of} hold the accepted text among other words")
    rated = _rated_higher(folder, table, column, control, {str(row["id"]) for row in rows})
    if rated:
        signs.append(f"it reaches {rated}, where on the same rows it only rates the options")
    return (
        f"A part of what {control} lacks on {column.task} {column.metric} is form: {'; '.join(signs)}."
        if signs
        else ""
    )


def _holds_target(row: Json) -> bool:
    """Whether a word-bounded copy of an accepted text is in the answer, in any case."""
    target, answer = row.get("target"), final_answer(row)
    accepted = target if isinstance(target, list) else [target]
    return any(
        re.search(rf"(?<!\w){re.escape(text.strip())}(?!\w)", answer, re.IGNORECASE)
        for text in accepted
        if isinstance(text, str) and text.strip()
    )


def _rated_higher(folder: RunFolder, table: Board, column: Column, control: str, ids: set[str]) -> str:
    """The value of a multiple-choice task on the same rows, if its interval lies above the column's."""
    here = table.cell(control, column)
    for task in table.tasks:
        other = table.primary(task)
        if task == column.task or other is None or not other.metric.startswith("choice_accuracy"):
            continue
        there = table.cell(control, other)
        if (
            here
            and there
            and _above(there, here)
            and ids == {str(row["id"]) for row in folder.samples(control, task)}
        ):
            interval = formats.span(there.score["low"], there.score["high"], other.digits)
            return f"{formats.number(there.score['value'], other.digits)} {interval} on {task}"
    return ""


def _above(there: Cell, here: Cell) -> bool:
    low, high = there.score.get("low"), here.score.get("high")
    return low is not None and high is not None and low > high
