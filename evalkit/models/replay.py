"""Answers made elsewhere, read from a file and handed out as if a model gave them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from evalkit.errors import DataError, nearest
from evalkit.records import Output, Request
from evalkit.signature import digest

__all__ = ["Answers", "ReplayModel", "read_answers", "unknown_tasks"]

Answers: TypeAlias = dict[str, dict[str, str | list[str]]]
"""Task → sample id → the answer, or several."""

EXPECTED = 'expected {"task": "…", "id": "…", "output": "…"}'


class ReplayModel:
    """Hands out the recorded answers of one task.

    Args:
        path: A JSONL file with rows ``{"task", "id", "output"}``.
        task: Which task's rows.

    Raises:
        DataError: The file is missing or empty, or a row is malformed or there twice.
    """

    def __init__(self, path: Path, task: str) -> None:
        answers = read_answers(path)
        self._path, self._task = path, task
        self._answers = answers.get(task, {})
        known = ", ".join(sorted(answers))
        self._absent = (
            f"{path.name} has no answer with this id for task {task!r}"
            if task in answers
            else f"{path.name} has no row for task {task!r}; it has rows for {known}.{nearest(task, answers)}"
        )

    def fingerprint(self) -> dict[str, Any]:
        """See ``models.base.Model``: a hash of this task's rows, wherever the file lies."""
        return {"kind": "replay", "by": "id", "rows_sha256": digest(self._answers)}

    def answer(self, requests: Sequence[Request]) -> Iterator[Output]:
        """See ``models.base.Model``. An id that was not recorded is an output with ``finish="error"``."""
        for request in requests:
            text = self._answers.get(request.id)
            if text is None:
                yield Output(request.id, "", "error", error=self._absent)
            else:
                yield Output(request.id, text)


def read_answers(path: Path) -> Answers:
    """Read a file of recorded answers.

    Raises:
        DataError: One line for every bad row: not JSON, a field missing or of the wrong type, an id twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # JSON may hold U+2028 bare
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error.reason} at byte {error.start}.") from error
    answers: Answers = {}
    first_seen: dict[tuple[str, str], int] = {}
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row = _row(line)
        if isinstance(row, str):
            problems.append(f"{path}:{number}: {row}")
            continue
        task, sample, output = row
        if (task, sample) in first_seen:
            before = first_seen[task, sample]
            problems.append(
                f"{path}:{number}: task {task!r}, id {sample!r} is there already, in line {before}."
            )
            continue
        first_seen[task, sample] = number
        answers.setdefault(task, {})[sample] = output
    if problems:
        raise DataError(*problems)
    if not answers:
        raise DataError(f"{path} holds no rows; {EXPECTED} in each line.")
    return answers


def unknown_tasks(path: Path, tasks: Iterable[str]) -> list[str]:
    """Say which tasks of a file are not among those of the study: one line each, with the nearest name."""
    known = list(tasks)
    return [
        f"{path} has answers for task {task!r}, which is not in the study.{nearest(task, known)}"
        for task in sorted(read_answers(path))
        if task not in known
    ]


def _row(line: str) -> tuple[str, str, str | list[str]] | str:
    """The row's task, id and answer, or what is wrong with it."""
    try:
        row = json.loads(line)
    except ValueError as error:
        return f"not JSON ({error}); {EXPECTED}."
    if not isinstance(row, dict):
        return f"{EXPECTED}, got {type(row).__name__}."
    for key in ("task", "id", "output"):
        if key not in row:
            return f"no {key!r}; {EXPECTED}, got the keys {', '.join(map(repr, row)) or 'none'}."
    task, sample, output = row["task"], row["id"], row["output"]
    if not isinstance(task, str) or isinstance(sample, bool) or not isinstance(sample, str | int):
        return f"'task' must be a text and 'id' a text or a whole number; got {task!r} and {sample!r}."
    several = isinstance(output, list) and output and all(isinstance(text, str) for text in output)
    if not isinstance(output, str) and not several:
        return f"'output' must be a text or a list of texts; got {json.dumps(output)[:60]}."
    return task, str(sample), output
