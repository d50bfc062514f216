"""What a run knows about its samples that says which ones people should look at."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalkit.errors import DataError, nearest
from evalkit.human.sampling import interest, spread
from evalkit.judging.records import read_judgements
from evalkit.running.folder import RunFolder

__all__ = ["interest_of", "strata_of", "target_text"]

Json = dict[str, Any]
Array = NDArray[np.float64]

APART = 0.25
"""Share of a judge's scale by which two verdicts differ that do not agree."""
NEAR = 0.1
"""Share of a metric's range that is near a bound."""


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
    about: Mapping[str, Any] = next((one for one in results.get("tasks", []) if one["name"] == task), {})
    primary = str(about.get("primary"))
    scores = {name: [_score(mine.get(id_), primary) for id_ in ids] for name, mine in rows.items()}
    disputed, near = _disputed(folder, set(rows), task), _near(folder, about, task, rows)
    return interest(
        scores,
        {place for place, id_ in enumerate(ids) if id_ in disputed},
        {place for place, id_ in enumerate(ids) if id_ in near},
    )


def _disputed(folder: RunFolder, names: Collection[str], task: str) -> set[str]:
    """Samples that judges do not agree on.

    That is: two judges' values of an answer (of a pair: against the same opponent) lie further apart than ``APART`` of
    their scales, so do a jury's members, a judge prefers the other answer once the two are exchanged, or what it said
    could not be read.
    """
    found: set[str] = set()
    said: dict[tuple[str, str, str | None], list[float]] = defaultdict(list)
    for path in sorted((folder.path / "judgements").glob("*.jsonl")):
        judgements = read_judgements(path)
        values = [row.value for row in judgements if row.value is not None]
        low, wide = min(values, default=0.0), spread(values)
        for row in judgements:
            if row.task != task or row.candidate not in names:
                continue
            turned = len({order.winner for order in row.orders}) > 1
            if turned or row.unscored is not None or (row.disagreement or 0.0) > APART:
                found.add(row.id)
            if row.value is not None and wide:
                said[row.id, row.candidate, row.opponent].append((row.value - low) / wide)
    return found | {id_ for (id_, _, _), values in said.items() if spread(values) > APART}


def _near(
    folder: RunFolder, about: Mapping[str, Any], task: str, rows: Mapping[str, Mapping[str, Json]]
) -> set[str]:
    """Samples with a graded score near the value that a rule of the run's gate holds its metric against.

    Near is within ``NEAR`` of the metric's range; right-or-wrong scores are never near.
    """
    path = folder.path / "gate.json"
    rules = json.loads(path.read_text("utf-8"))["rules"] if path.is_file() else []
    found = set()
    for rule in rules:
        if rule["task"] != task or rule.get("kind") not in ("at_least", "at_most") or rule["bound"] is None:
            continue
        scores = {
            id_: score
            for id_, row in rows.get(rule["candidate"], {}).items()
            if (score := _score(row, rule["metric"])) is not None
        }
        if set(scores.values()) <= {0.0, 1.0}:
            continue
        low, high = ((about.get("metrics") or {}).get(rule["metric"]) or {}).get("bounds") or (None, None)
        wide = spread(scores.values()) if low is None or high is None else high - low
        # A hair more, so that 0.55 is within 0.05 of 0.5.
        found |= {id_ for id_, score in scores.items() if abs(score - rule["bound"]) <= NEAR * wide + 1e-9}
    return found


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
