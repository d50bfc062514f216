"""The samples that a report carries inside itself: every candidate's answer to the same question.

A report stays one file a browser opens at once, so what it carries is bounded. What is left out is counted
and said; all of it is in ``samples/CANDIDATE/TASK.jsonl`` of the run folder. Texts are stored once: a long
system prompt that every sample repeats costs its length one time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from evalkit.reporting.tables import Board
from evalkit.running.folder import RunFolder

__all__ = ["embedded", "flips"]

Json = dict[str, Any]


class _Texts:
    """Texts by number, each kept once, long ones cut with a word on how much is missing."""

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self.known: dict[str, int] = {}
        self.kept: list[Any] = []

    def number(self, text: str) -> int:
        """Return the text's number, keeping it if it is new."""
        if text not in self.known:
            self.known[text] = len(self.kept)
            cut = len(text) - self.longest
            self.kept.append(text if cut <= 0 else {"text": text[: self.longest], "cut": cut})
        return self.known[text]


def embedded(folder: RunFolder, board: Board, max_bytes: int, max_text: int) -> Json:
    """Return the samples of a run in the form the page reads.

    Tasks take turns, and within a task the samples that changed against the control come first, so that a
    bound leaves out the least telling ones.

    Args:
        folder: The run.
        board: Its results.
        max_bytes: Upper limit of the samples' JSON, in UTF-8 bytes; at least one sample a task is kept.
        max_text: Characters of one text that are kept.

    Returns:
        ``{"texts", "tasks": [{"task", "metrics", "total", "samples": [{"id", "target", "answers"}]}]}``; a
        text is named by its number in ``texts``; ``answers`` is by candidate, None where there is no answer.
    """
    texts = _Texts(max_text)
    queues = [(task, _rows_by_id(folder, board, task)) for task in board.tasks]
    kept: dict[str, list[tuple[int, Json]]] = {task: [] for task, _ in queues}
    waiting = [(task, _by_interest(board, task, list(rows)), rows) for task, rows in queues]
    used = 0
    position = 0
    while any(position < len(order) for _, order, _ in waiting):
        for task, order, rows in waiting:
            if position >= len(order):
                continue
            index, sample_id = order[position]
            if kept[task] and used >= max_bytes:
                continue
            before = len(texts.kept)
            sample = _sample(sample_id, rows[sample_id], board, texts)
            used += _bytes(sample) + sum(_bytes(text) for text in texts.kept[before:])
            kept[task].append((index, sample))
        position += 1
    tasks = [
        {
            "task": task,
            "metrics": [_metric(column) for column in board.of(task)],
            "total": len(rows),
            "samples": [sample for _, sample in sorted(kept[task], key=lambda pair: pair[0])],
        }
        for task, rows in queues
    ]
    return {"texts": texts.kept, "tasks": tasks}


def _rows_by_id(folder: RunFolder, board: Board, task: str) -> dict[str, dict[str, Json]]:
    """Sample id → candidate → row, in the order of the first candidate that has the sample."""
    rows: dict[str, dict[str, Json]] = {}
    for candidate in board.candidates:
        for row in folder.samples(candidate, task):
            rows.setdefault(str(row["id"]), {})[candidate] = row
    return rows


def _by_interest(board: Board, task: str, ids: list[str]) -> list[tuple[int, str]]:
    """(place in the task, id), what changed against a control first."""
    column = board.primary(task)
    changed: set[str] = set()
    for cell in board.compared(column) if column else []:
        comparison = cell.comparison or {}
        changed.update(map(str, [*(comparison.get("gained") or []), *(comparison.get("lost") or [])]))
    return sorted(enumerate(ids), key=lambda pair: (pair[1] not in changed, pair[0]))


def _sample(sample_id: str, by_candidate: Mapping[str, Json], board: Board, texts: _Texts) -> Json:
    some = next(iter(by_candidate.values()))
    return {
        "id": sample_id,
        "target": _texts_of(some.get("target"), texts),
        "answers": [_answer(by_candidate.get(name), texts) for name in board.candidates],
    }


def _answer(row: Json | None, texts: _Texts) -> Json | None:
    if row is None:
        return None
    answer: Json = {
        "input": _input(row.get("input"), texts),
        "output": _texts_of(row.get("output"), texts),
        "scores": {name: _score(value, texts) for name, value in (row.get("scores") or {}).items()},
    }
    if row.get("classes"):
        answer["classes"] = dict(row["classes"])
    for key in ("finish", "prompt_tokens", "output_tokens", "seconds"):
        if row.get(key) is not None:
            answer[key] = row[key]
    for key in ("error", "extracted"):
        if row.get(key) is not None:
            answer[key] = _texts_of(row[key], texts)
    if row.get("choices"):
        answer["choices"] = [
            [texts.number(str(choice.get("text", ""))), choice.get("logprob"), choice.get("tokens")]
            for choice in row["choices"]
        ]
    return answer


def _input(value: Any, texts: _Texts) -> list[list[Any]]:
    """Turns as [role, number of text]; a plain prompt has an empty role."""
    if isinstance(value, list):
        return [[str(turn.get("role", "")), texts.number(_text(turn.get("content")))] for turn in value]
    return [] if value is None else [["", texts.number(_text(value))]]


def _texts_of(value: Any, texts: _Texts) -> list[int]:
    if value is None:
        return []
    return [texts.number(_text(item)) for item in (value if isinstance(value, list) else [value])]


def _score(value: Any, texts: _Texts) -> Any:
    if isinstance(value, Mapping):
        return {"unscored": texts.number(str(value.get("unscored", "")))}
    return value


def _metric(column: Any) -> Json:
    return {"name": column.metric, "higher": column.higher_is_better}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)


def _bytes(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def flips(board: Board, samples: Json) -> Iterator[Json]:
    """Yield, for every comparison, which of the carried samples were gained and lost, by their place."""
    for task in samples["tasks"]:
        places = {sample["id"]: index for index, sample in enumerate(task["samples"])}
        for column in board.of(task["task"]):
            for cell in board.compared(column):
                comparison = cell.comparison or {}
                yield {
                    "task": task["task"],
                    "metric": column.metric,
                    "candidate": cell.candidate,
                    "control": comparison.get("control"),
                    "gained": [places[str(i)] for i in comparison.get("gained") or [] if str(i) in places],
                    "lost": [places[str(i)] for i in comparison.get("lost") or [] if str(i) in places],
                }
