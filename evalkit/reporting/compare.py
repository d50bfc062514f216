"""Several runs as one: their candidates side by side, paired with the first run's control.

One run alone keeps the comparisons it was written with. Across runs the differences are made anew from the
scores per sample, paired by sample id, and corrected for their number, as within a run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.errors import DataError
from evalkit.records import Comparison
from evalkit.reporting.runs import find_run
from evalkit.reporting.tables import board
from evalkit.running.folder import RunFolder
from evalkit.running.leaders import lead, unit_parts
from evalkit.running.score import RESAMPLES, correct, statistics_of, uncorrected
from evalkit.signature import measured_as
from evalkit.stats import paired_difference

__all__ = ["compare", "merge_runs"]

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Member:
    """A candidate of one of the runs."""

    name: str
    original: str
    run: RunFolder
    scores: Mapping[tuple[str, str], Json]


def compare(*runs: str | Path) -> Json:
    """Compare finished runs; the same as ``evalkit compare``.

    Args:
        *runs: Run folders, folders of studies (their newest run), or run IDs.

    Raises:
        DataError: No such run, or one without results.
    """
    return merge_runs([find_run(run) for run in runs])


def merge_runs(runs: Sequence[RunFolder]) -> Json:
    """Return an object like ``results.json`` that holds the candidates of all runs.

    Every score has its ``run`` and ``comparable``: False where its signature is not that of the control's
    score, so that the two numbers do not mean the same. A candidate whose name another run has too is called
    ``RUN/NAME``, with as much of the run's ID as tells it from the others.

    Args:
        runs: One or more; a run that is named twice counts once.

    Raises:
        DataError: No run is given, or one has no results.
    """
    unique = list({run.path.resolve(): run for run in runs}.values())
    if not unique:
        raise DataError("No run to compare: name one or more run folders or IDs.")
    contents = [(run, run.results()) for run in unique]
    members = _members(contents)
    tasks = list(
        {task["name"]: task for _, results in contents for task in results.get("tasks", [])}.values()
    )
    scores = [score for member in members for score in member.scores.values()]
    if len(unique) == 1:
        comparisons = list(contents[0][1].get("comparisons", []))
        best = list(contents[0][1].get("leaders") or [])
        references = _references(scores, {row["control"] for row in comparisons})
    else:
        reference = _first_control(contents, members)
        references = _references(scores, {reference.name})
        seed = (unique[0].run().get("seeds") or {}).get("study", 0)
        primaries = {str(task["name"]): task.get("primary") for task in tasks}
        others = [m for m in members if m is not reference]
        comparisons, best = _with_leaders(
            _compare_all(reference, others, seed), reference, others, primaries, seed
        )
    marked = [
        {**score, "comparable": references.get((score["task"], score["metric"])) == _made(score)}
        for score in scores
    ]
    return {
        "format": 1,
        "runs": [{"run": results.get("run"), "study": results.get("study")} for _, results in contents],
        "status": "complete"
        if all(results.get("status") == "complete" for _, results in contents)
        else "partial",
        "candidates": _entries(contents, members),
        "tasks": tasks,
        "scores": marked,
        "comparisons": comparisons,
        "leaders": best,
        "judges": _judges(contents),
        "recipes": list(contents[0][1].get("recipes") or []) if len(unique) == 1 else [],
    }


def _judges(contents: Sequence[tuple[RunFolder, Json]]) -> list[Json]:
    """The judges of all runs, each with its run: how far one is to be trusted was measured there."""
    return [
        {**entry, "run": label}
        for label, (_, results) in zip(_labels(contents), contents, strict=True)
        for entry in results.get("judges") or []
    ]


def _members(contents: Iterable[tuple[RunFolder, Json]]) -> list[_Member]:
    contents = list(contents)
    count = Counter(entry["name"] for _, results in contents for entry in results.get("candidates", []))
    members = []
    for label, (run, results) in zip(_labels(contents), contents, strict=True):
        hashes = (run.run().get("hashes") or {}).get("tasks") or {}
        for entry in results.get("candidates", []):
            original = entry["name"]
            name = original if count[original] == 1 else f"{label}/{original}"
            scores = {
                (row["task"], row["metric"]): {
                    **row,
                    "candidate": name,
                    "run": results.get("run"),
                    "signature": line,
                }
                for row in results.get("scores", [])
                if row["candidate"] == original
                for line in [_signature(row, hashes, alone=len(contents) == 1)]
            }
            members.append(_Member(name, original, run, scores))
    return members


def _labels(contents: Sequence[tuple[RunFolder, Json]]) -> list[str]:
    """The shortest name that tells each run from the others: the hash in its ID, its ID, or its path."""
    ids = [str(results.get("run")) for _, results in contents]
    for labels in ([name.rpartition("-")[2] for name in ids], ids):
        if len(set(labels)) == len(labels):
            return labels
    return [str(run.path) for run, _ in contents]


def _signature(score: Json, hashes: Mapping[str, str], *, alone: bool) -> str:
    """A score's signature; across runs with the hash of its task, since equal names may hold other samples."""
    line = str(score.get("signature", ""))
    known = hashes.get(score["task"])
    return line if alone or known is None else f"{line}|task:{known[:12]}"


def _made(score: Json) -> str:
    """How a score was made, which has to be equal for two to compare; the base may differ: it is what is measured."""
    return measured_as(str(score.get("signature", "")))


def _entries(contents: Sequence[tuple[RunFolder, Json]], members: Sequence[_Member]) -> list[Json]:
    entries = [
        (results.get("run"), entry) for _, results in contents for entry in results.get("candidates", [])
    ]
    return [
        {**entry, "name": member.name, "candidate": member.original, "run": run}
        for (run, entry), member in zip(entries, members, strict=True)
    ]


def _first_control(contents: Sequence[tuple[RunFolder, Json]], members: Sequence[_Member]) -> _Member:
    run, results = contents[0]
    table = board(results)
    name = next(iter([*table.controls, *table.candidates]), None)
    for member in members:
        if member.run is run and member.original == name:
            return member
    raise DataError(f"{run.path} holds no candidates: there is nothing to compare with.")


def _references(scores: Iterable[Json], controls: set[str]) -> dict[tuple[str, str], str]:
    """(task, metric) → the signature that others have to have: the control's, or the first one."""
    found: dict[tuple[str, str], str] = {}
    for wanted in (True, False):
        for row in scores:
            if (row["candidate"] in controls) == wanted:
                found.setdefault((row["task"], row["metric"]), _made(row))
    return found


def _compare_all(control: _Member, members: Sequence[_Member], seed: int) -> list[Comparison]:
    made: list[Comparison] = []
    asked = statistics_of(control.run.run())
    loaded: dict[str, dict[str, Json]] = {}
    for member in members:
        rows: dict[str, dict[str, Json]] = {}
        for key, score in member.scores.items():
            other = control.scores.get(key)
            if other is None or _made(other) != _made(score):
                continue
            task, metric = key
            if task not in rows:
                rows[task] = _rows(member, task)
            if task not in loaded:
                loaded[task] = _rows(control, task)
            found = _compare(score, other, rows[task], loaded[task], seed, asked.exact)
            if found is not None:
                made.append(
                    replace(found, candidate=member.name, control=control.name, task=task, metric=metric)
                )
    return correct(made, method=asked.correction)


def _with_leaders(
    comparisons: Sequence[Comparison],
    control: _Member,
    members: Sequence[_Member],
    primaries: Mapping[str, Any],
    seed: int,
) -> tuple[list[Json], list[Json]]:
    """The comparisons with simultaneous intervals on primary metrics, and each task's leader."""
    by_name = {member.name: member for member in members}
    new, best = {id(row): row for row in comparisons}, []
    for task, metric in primaries.items():
        rows = [row for row in comparisons if (row.task, row.metric) == (task, metric)]
        if len(rows) < 2:
            continue
        sides = [_rows(member, task) for member in (*(by_name[row.candidate] for row in rows), control)]
        ids = [id_ for id_ in sides[0] if all(id_ in side and _scored(side[id_], metric) for side in sides)]
        if len(ids) < 2:
            continue
        scores = np.array([[side[id_]["scores"][metric] for side in sides] for id_ in ids], dtype=np.float64)
        clusters = [sides[0][id_].get("cluster") for id_ in ids]
        parts, shares = unit_parts(scores[:, :-1] - scores[:, -1:], clusters, seed)
        score = by_name[rows[0].candidate].scores[task, str(metric)]
        higher = bool(score.get("higher_is_better", True))
        widened, leader = lead(rows, parts, shares, len(ids), higher=higher, seed=seed)
        new |= {id(row): wider for row, wider in zip(rows, widened, strict=True)}
        best.append(asdict(leader))
    return [new[id(row)].to_json() for row in comparisons], best


def _rows(member: _Member, task: str) -> dict[str, Json]:
    return {str(row["id"]): row for row in member.run.samples(member.original, task)}


def _compare(
    score: Json, other: Json, mine: Mapping[str, Json], theirs: Mapping[str, Json], seed: int, exact: bool
) -> Comparison | None:
    """Compare two scores whose value is the mean of their samples' scores; None for a corpus metric."""
    metric = score["metric"]
    if not (_is_mean(score, mine) and _is_mean(other, theirs)):
        return None
    ids = [
        i for i, row in mine.items() if _scored(row, metric) and i in theirs and _scored(theirs[i], metric)
    ]
    ours = np.array([mine[i]["scores"][metric] for i in ids], dtype=np.float64)
    control = np.array([theirs[i]["scores"][metric] for i in ids], dtype=np.float64)
    one = np.ones(len(ids))
    found = paired_difference(
        np.stack([ours, one], axis=1),
        np.stack([control, one], axis=1),
        lambda totals: totals[..., 0] / totals[..., 1],
        scores=(ours, control),
        shares=bool(np.isin(np.concatenate([ours, control]), (0.0, 1.0)).all()),
        clusters=[mine[i].get("cluster") for i in ids],
        resamples=RESAMPLES,
        seed=seed,
        exact=exact,
    )
    better = (ours - control) * (1 if score.get("higher_is_better", True) else -1)
    return uncorrected(found, ids, better, candidate="", control="", task="", metric=metric)


def _scored(row: Json, metric: str) -> bool:
    return isinstance((row.get("scores") or {}).get(metric), int | float)


def _is_mean(score: Json, rows: Mapping[str, Json]) -> bool:
    values = [row["scores"][score["metric"]] for row in rows.values() if _scored(row, score["metric"])]
    return (
        bool(values)
        and score.get("value") is not None
        and abs(float(np.mean(values)) - score["value"]) < 1e-9
    )
