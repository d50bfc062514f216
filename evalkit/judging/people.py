"""Labels of people about answers of a run, as numbers on a judge's scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.data.labels import column
from evalkit.data.rows import bad_rows, read_rows
from evalkit.errors import DataError, nearest

__all__ = ["HumanLabel", "label_value", "read_human_labels"]

WORDS = {
    **dict.fromkeys(("win", "a", "yes", "true", "right", "good", "pass"), 1.0),
    **dict.fromkeys(("loss", "b", "no", "false", "wrong", "bad", "fail"), 0.0),
    **dict.fromkeys(("tie", "both_bad", "both bad"), 0.5),
}


@dataclass(frozen=True, slots=True)
class HumanLabel:
    """What one person said of one answer on the judge's scale; of a pair, how it did against ``other``'s."""

    candidate: str
    task: str
    id: str
    rater: str
    value: float
    weight: float = 1.0
    other: str | None = None

    @property
    def answer(self) -> tuple[str, str, str]:
        """What it is about."""
        return self.candidate, self.task, self.id


def label_value(label: object) -> float | None:
    """Return a label as a number: itself, or 1, 0.5 and 0 for words such as ``win``, ``tie`` and ``no``.

    >>> label_value("4"), label_value(True), label_value("Tie"), label_value("maybe")
    (4.0, 1.0, 0.5, None)
    """
    if isinstance(label, bool | int | float):
        return float(label) if np.isfinite(label) else None
    text = str(label).strip().casefold()
    if text in WORDS:
        return WORDS[text]
    try:
        number = float(text)
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def read_human_labels(path: Path, question: str | None = None) -> list[HumanLabel]:
    """Read labels with the columns candidate, task, id, label and, where they are there, rater, weight, question.

    Args:
        path: A CSV, or ``human/labels.jsonl`` of a run.
        question: Which question's labels; needed where the file has several.

    Raises:
        DataError: A column is missing, a label is no number and no known word, somebody said two things of one
            answer, or the question has to be named.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "labels.csv")
    ...     _ = path.write_text("candidate,task,id,label\\nr16,chat,7,4\\n")
    ...     read_human_labels(path)
    [HumanLabel(candidate='r16', task='chat', id='7', rater='people', value=4.0, weight=1.0, other=None)]
    """
    rows = read_rows(path)
    names = {name: column(rows[0].data, name, "", str(path)) for name in _NEEDED}
    kept = [row for row in rows if not row.data.get("repeat")]
    asked = list(dict.fromkeys(str(row.data["question"]) for row in kept if row.data.get("question")))
    if question is not None and question not in asked:
        raise DataError(
            f"{path}: no question {question!r}.{nearest(question, asked)} Known: {', '.join(asked)}."
        )
    if question is None and len(asked) > 1:
        raise DataError(f"{path} answers several questions; type --question with one of {', '.join(asked)}.")
    problems: list[str] = []
    found: dict[tuple[str, ...], tuple[str, HumanLabel]] = {}
    for row in kept:
        if question is not None and row.data.get("question") != question:
            continue
        cells = [row.data.get(names[name]) for name in _NEEDED]
        if cells[3] is None or str(cells[3]).strip() in ("", "nan"):
            continue
        label = _label(cells, row.data, row.place, problems)
        if label is None:
            continue
        place, before = found.setdefault((*label.answer, label.rater, label.other or ""), (row.place, label))
        if before.value != label.value:
            said = f"{label.rater!r} said {label.value:g} of {label.candidate} on {label.task}, {label.id}"
            problems.append(f"{row.place}: {said}, but {before.value:g} at {place}; keep one of them.")
    if problems:
        raise bad_rows(problems)
    if not found:
        raise DataError(f"{path} has no labels; expected a row each with {', '.join(_NEEDED)}.")
    return [label for _, label in found.values()]


_NEEDED = ("candidate", "task", "id", "label")


def _label(cells: list[Any], row: Mapping[str, Any], place: str, problems: list[str]) -> HumanLabel | None:
    value = label_value(cells[3])
    if value is None:
        problems.append(f"{place}: expected a number, yes or no, or win, loss or tie; got {cells[3]!r}.")
        return None
    empty = [name for name, cell in zip(_NEEDED[:3], cells, strict=False) if cell in (None, "")]
    if empty:
        problems.append(f"{place}: the {empty[0]} is empty.")
        return None
    weight = label_value(row.get("weight") or 1.0)
    if weight is None or weight <= 0:
        problems.append(f"{place}: expected a weight above 0, got {row.get('weight')!r}.")
        return None
    rater = str(row.get("rater") or row.get("Rater") or "people").strip()
    candidate, task, id_ = (str(cell).strip() for cell in cells[:3])
    other = str(row.get("other") or "").strip() or None
    return HumanLabel(candidate, task, id_, rater, value, weight, other)
