"""What answering a slice again in other batches changed, in a sentence a task and a row a candidate and metric."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from evalkit.reporting import formats

__all__ = ["NoiseRow", "noise_remarks", "noise_rows"]

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NoiseRow:
    """One candidate's slice of one task.

    Attributes:
        candidate: The candidate.
        task: The task.
        metric: The metric; empty where nothing was measured.
        n: Samples answered again.
        answers: How many answers differ.
        flips: How many scores differ.
        change: Of the value over the slice.
        sd: Standard deviation of the shift that all samples share; None where it was not measured.
        note: Why it was not measured, or None.
    """

    candidate: str
    task: str
    metric: str
    n: int
    answers: int
    flips: int
    change: float
    sd: float | None
    note: str | None


def noise_rows(results: Json) -> list[NoiseRow]:
    """Return a row for each metric of each slice, and one without numbers where none was measured."""
    return [row for told in results.get("noise") or [] for row in _rows(told)]


def noise_remarks(results: Json) -> list[str]:
    """Return one sentence a task whose primary metric shifts, one on all others, and one on who was not measured."""
    rows = noise_rows(results)
    primaries = {task["name"]: task.get("primary") for task in results.get("tasks", [])}
    by_task = [[row for row in rows if (row.task, row.metric) == pair] for pair in primaries.items()]
    still = [mine for mine in by_task if mine and not any(row.sd for row in mine)]
    told = [_shift(mine) for mine in by_task if any(row.sd for row in mine)]
    told += [_stillness(still)] if still else []
    reasons: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.note is not None:
            reasons.setdefault(row.note, {})[row.candidate] = None
    lacking = "; ".join(f"{', '.join(names)} ({note})" for note, names in reasons.items())
    return [*told, f"Noise floor not measured: {lacking}."] if lacking and told else told


def _rows(told: Json) -> Iterator[NoiseRow]:
    names = (str(told["candidate"]), str(told["task"]))
    if told.get("note") is not None:
        yield NoiseRow(*names, "", 0, 0, 0, 0.0, None, str(told["note"]))
    for metric, row in (told.get("metrics") or {}).items():
        counts = (int(told["n"]), int(told["answers"]), int(row["flips"]))
        yield NoiseRow(*names, metric, *counts, float(row["change"]), row.get("sd"), None)


def _shift(rows: list[NoiseRow]) -> str:
    """A task whose values move together."""
    sd = max(row.sd or 0.0 for row in rows)
    return (
        f"{_changed([rows])} ({rows[0].metric}); the intervals hold the shift that all samples share (standard "
        f"deviation {sd:.2g})."
    )


def _stillness(tasks: list[list[NoiseRow]]) -> str:
    """Tasks on which no more changes than what each sample does for itself."""
    rows = [row for mine in tasks for row in mine]
    if any(row.answers or row.flips for row in rows):
        return (
            f"{_changed(tasks)}; no shift that all samples share shows, and what each does for itself is in every "
            "interval."
        )
    n = sum(row.n for row in rows)
    return (
        f"{_head(tasks)}, none of {formats.plural(n, 'answer')} changed (changes in fewer than {min(1.0, 3 / n):.2g} "
        "of all could have been missed)."  # rule of three
    )


def _head(tasks: list[list[NoiseRow]]) -> str:
    names = ", ".join(rows[0].task for rows in tasks)
    return f"Noise floor of {names}: answered again in other batches and order"


def _changed(tasks: list[list[NoiseRow]]) -> str:
    n, answers, flips = (
        sum(getattr(row, name) for rows in tasks for row in rows) for name in ("n", "answers", "flips")
    )
    return f"{_head(tasks)}, {answers} of {formats.plural(n, 'answer')} and {formats.plural(flips, 'score')} changed"
