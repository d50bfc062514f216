"""Several runs as one: their candidates side by side, paired with the first run's control.

One run alone keeps the comparisons it was written with. Across runs, and against a control that is named, the
differences are made anew from what is kept of each sample, paired by sample id, and corrected for their number, as
within a run.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalkit.errors import DataError, nearest
from evalkit.records import Comparison
from evalkit.reporting.runs import find_run
from evalkit.reporting.tables import board
from evalkit.running.comparisons import correct, uncorrected
from evalkit.running.folder import RunFolder
from evalkit.running.leaders import corpus_parts, lead, unit_parts
from evalkit.running.score import RESAMPLES, statistics_of
from evalkit.running.scores import Scores, Series, run_scores
from evalkit.signature import measured_as
from evalkit.stats import paired_difference, unit_of_sample

__all__ = ["compare", "merge_runs"]

Array = NDArray[np.float64]
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Member:
    """A candidate of one of the runs."""

    name: str
    original: str
    run: RunFolder
    reads: Scores
    scores: Mapping[tuple[str, str], Json]


def compare(*runs: str | Path, control: str | None = None) -> Json:
    """Compare finished runs; the same as ``evalkit compare``.

    Args:
        *runs: Run folders, folders of studies (their newest run), or run IDs.
        control: Any candidate, whom the others are compared with; None: the first run's control.

    Raises:
        DataError: No such run, or one without results; no such candidate.
    """
    return merge_runs([find_run(run) for run in runs], control)


def merge_runs(runs: Sequence[RunFolder], control: str | None = None) -> Json:
    """Return an object like ``results.json`` that holds the candidates of all runs.

    Every score has its ``run`` and ``comparable``: False where its signature is not that of the control's
    score, so that the two numbers do not mean the same. A candidate whose name another run has too is called
    ``RUN/NAME``, with as much of the run's ID as tells it from the others.

    Args:
        runs: One or more; a run that is named twice counts once.
        control: Whom the others are compared with; None: the first run's control.

    Raises:
        DataError: No run is given, or one has no results; no candidate has that name.
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
    kept = len(unique) == 1 and control is None
    if kept:
        comparisons = list(contents[0][1].get("comparisons", []))
        best = list(contents[0][1].get("leaders") or [])
        references = _references(scores, {row["control"] for row in comparisons})
    else:
        reference = _first_control(contents, members) if control is None else _named(control, members)
        references = _references(scores, {reference.name})
        seed = (unique[0].run().get("seeds") or {}).get("study", 0)
        primaries = {str(task["name"]): task.get("primary") for task in tasks}
        others = [m for m in members if m is not reference]
        made = _compare_all(reference, others, primaries, seed)
        comparisons, best = _with_leaders(made, reference, others, primaries, seed)
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
        "noise": [
            {**row, "candidate": member.name}
            for member in members
            for row in member.run.results().get("noise") or []
            if row["candidate"] == member.original
        ],
        "recipes": list(contents[0][1].get("recipes") or []) if kept else [],
        "forms": list(contents[0][1].get("forms") or []) if kept else [],
        "judges": _judges(contents),
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
        reads = run_scores(run)
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
            members.append(_Member(name, original, run, reads, scores))
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


def _named(control: str, members: Sequence[_Member]) -> _Member:
    known = {member.name: member for member in members}
    if control not in known:
        raise DataError(
            f"No candidate named {control!r}; there are {', '.join(known)}.{nearest(control, known)}"
        )
    return known[control]


def _compare_all(
    control: _Member, members: Sequence[_Member], primaries: Mapping[str, Any], seed: int
) -> list[Comparison]:
    """Every metric that both have and that was made the same way; corrected over primary metrics, as in a run."""
    asked = statistics_of(control.run.run())
    made = [
        found
        for member in members
        for (task, metric), score in member.scores.items()
        if (other := control.scores.get((task, metric))) is not None and _made(other) == _made(score)
        if (found := _compare(member, control, task, metric, seed, asked.exact)) is not None
    ]
    family = [row for row in made if row.metric == primaries.get(row.task)]
    new = {
        id(row): fixed for row, fixed in zip(family, correct(family, method=asked.correction), strict=True)
    }
    return [new.get(id(row), row) for row in made]


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
        sides = [
            series
            for member in (*(by_name[row.candidate] for row in rows), control)
            if (series := _series(member, task, str(metric))) is not None
        ]
        if len(rows) < 2 or len(sides) <= len(rows):
            continue
        places = [{id_: i for i, id_ in enumerate(side.ids) if side.scored[i]} for side in sides]
        ids = [id_ for id_ in places[0] if all(id_ in place for place in places)]
        if len(ids) < 2:
            continue
        kept = [[place[id_] for id_ in ids] for place in places]
        parts, shares = _parts(sides, kept, seed)
        higher = sides[0].higher_is_better
        widened, leader = lead(rows, parts, shares, len(ids), higher=higher, seed=seed)
        new |= {id(row): wider for row, wider in zip(rows, widened, strict=True)}
        best.append(asdict(leader))
    return [new[id(row)].to_json() for row in comparisons], best


def _parts(sides: Sequence[Series], kept: Sequence[Sequence[int]], seed: int) -> tuple[Array, Array]:
    """(units, candidates) what each unit adds to each difference to the last side, and each unit's share."""
    clusters = [sides[0].clusters[row] for row in kept[0]]
    if sides[0].corpus is None and not any(side.weighted for side in sides):
        scores = np.stack([side.scores[rows] for side, rows in zip(sides, kept, strict=True)], axis=1)
        return unit_parts(scores[:, :-1] - scores[:, -1:], clusters, seed)
    units = unit_of_sample(len(kept[0]), clusters, seed)
    columns = []
    for side, rows in zip(sides[:-1], kept[:-1], strict=True):
        first, second = side.aligned(sides[-1])
        columns.append(corpus_parts(first[rows], second[kept[-1]], side.value, units))
    return np.stack(columns, axis=1), np.full(len(columns[0]), 1 / len(columns[0]))


def _series(member: _Member, task: str, metric: str) -> Series | None:
    """A metric sample by sample; None where a run of an earlier version kept too little of it."""
    try:
        return member.reads.series(member.original, task, metric)
    except DataError:
        return None


def _compare(
    member: _Member, control: _Member, task: str, metric: str, seed: int, exact: bool
) -> Comparison | None:
    ours, theirs = _series(member, task, metric), _series(control, task, metric)
    if ours is None or theirs is None:
        return None
    place = {id_: j for j, id_ in enumerate(theirs.ids) if theirs.scored[j]}
    mine = [i for i, id_ in enumerate(ours.ids) if ours.scored[i] and id_ in place]
    other = [place[ours.ids[i]] for i in mine]
    first, second = ours.aligned(theirs)
    scores = ours.scores[mine], theirs.scores[other]
    mean = ours.corpus is None and not (ours.weighted or theirs.weighted)
    found = paired_difference(
        first[mine],
        second[other],
        ours.value,
        scores=scores if mean else None,
        shares=mean and ours.shares and theirs.shares,
        clusters=[ours.clusters[i] for i in mine],
        resamples=RESAMPLES,
        seed=seed,
        bounds=ours.bounds,
        exact=exact,
    )
    sds = [side.noise_sd for side in (ours, theirs) if side.noise_sd is not None]
    return uncorrected(
        found,
        [ours.ids[i] for i in mine],
        (scores[0] - scores[1]) * (1 if ours.higher_is_better else -1),
        noise_sd=math.hypot(*sds) if sds else None,
        most=ours.bounds[1] - ours.bounds[0],
        candidate=member.name,
        control=control.name,
        task=task,
        metric=metric,
    )
