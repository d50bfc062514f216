"""What a run knows about its samples that says which ones people should look at."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalkit.errors import DataError, nearest
from evalkit.human.sampling import interest
from evalkit.running.folder import RunFolder

__all__ = ["interest_of", "strata_of", "target_text"]

Json = dict[str, Any]
Array = NDArray[np.float64]


def strata_of(
    ids: Iterable[str], by: str, plain: Mapping[str, Json], rows: Mapping[str, Mapping[str, Json]]
) -> list[str]:
    """The stratum of each sample.

    Args:
        ids: The samples.
        by: ``target``, ``cluster`` or a metric's name.
        plain: Sample id → one candidate's row.
        rows: Candidate → sample id → row.

    Raises:
        DataError: There is no such metric.
    """
    if by == "cluster":
        return [str(plain[id_].get("cluster")) for id_ in ids]
    if by == "target":
        return [target_text(plain[id_]) for id_ in ids]
    known = sorted({name for row in plain.values() for name in row.get("scores") or {}})
    if by not in known:
        raise DataError(
            f"Expected strata by 'target', 'cluster' or a metric ({', '.join(known)}), got {by!r}.{nearest(by, known)}"
        )
    return [json.dumps([_score(rows[name].get(id_), by) for name in rows]) for id_ in ids]


def interest_of(
    folder: RunFolder,
    results: Mapping[str, Any],
    task: str,
    ids: Sequence[str],
    rows: Mapping[str, Mapping[str, Json]],
) -> Array:
    """How much each sample of a task matters; see ``evalkit.human.sampling.interest``."""
    primary = next((one.get("primary") for one in results.get("tasks", []) if one["name"] == task), None)
    scores = {name: [_score(mine.get(id_), str(primary)) for id_ in ids] for name, mine in rows.items()}
    judged = {name: _judged(folder, name, task, ids) for name in rows}
    return interest(scores, judged, _bound(folder, task, primary))


def _judged(folder: RunFolder, candidate: str, task: str, ids: Sequence[str]) -> list[list[float | None]]:
    """For each judge its scores of the samples, brought to 0–1 by the least and greatest it gave."""
    found = []
    for path in sorted((folder.path / "judgements").glob("*.jsonl")):
        rows = [json.loads(line) for line in path.read_text("utf-8", "surrogatepass").split("\n") if line]
        scored = [row for row in rows if isinstance(row.get("score"), int | float)]
        low = min((row["score"] for row in scored), default=0)
        wide = max((row["score"] for row in scored), default=0) - low
        mine = {
            str(row["id"]): (row["score"] - low) / wide if wide else 0.0
            for row in scored
            if (row["candidate"], row["task"]) == (candidate, task)
        }
        if mine:
            found.append([mine.get(id_) for id_ in ids])
    return found


def _bound(folder: RunFolder, task: str, metric: str | None) -> float | None:
    """The value that a gate's rule holds this task's primary metric against, if the run has such a gate."""
    path = folder.path / "gate.json"
    rules = json.loads(path.read_text("utf-8"))["rules"] if path.is_file() else []
    bounds = [
        rule["bound"]
        for rule in rules
        if (rule["task"], rule["metric"]) == (task, metric) and rule.get("kind") in ("at_least", "at_most")
    ]
    return bounds[0] if bounds else None


def _score(row: Mapping[str, Any] | None, metric: str) -> float | None:
    score = ((row or {}).get("scores") or {}).get(metric)
    return float(score) if isinstance(score, int | float) else None


def target_text(row: Mapping[str, Any]) -> str:
    """A sample's target as one text."""
    target = row.get("target")
    if isinstance(target, list) and all(isinstance(one, str) for one in target):
        return " | ".join(target)
    return (
        ""
        if target is None
        else target
        if isinstance(target, str)
        else json.dumps(target, ensure_ascii=False)
    )
