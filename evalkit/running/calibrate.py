"""Holding a judge of a run against people's labels, and keeping what came of it in the run.

judgements/JUDGE.calibration.json    the calibration, and the hash of the verdicts it is about
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any
from urllib.parse import unquote

from evalkit.errors import DataError, nearest
from evalkit.judging.calibrate import calibrate_judge, verdict_values
from evalkit.judging.card import open_judge
from evalkit.judging.kinship import self_preference
from evalkit.judging.people import HumanLabel, read_human_labels
from evalkit.judging.records import Judgement, read_judgements
from evalkit.running.find import find_run
from evalkit.running.folder import RunFolder, safe_name, write_json
from evalkit.running.instruments import apply_instruments, judge_kin

__all__ = ["apply_calibrations", "calibrate", "member_weight"]

Json = dict[str, Any]


def calibrate(
    run: str | Path,
    judge: str,
    labels: str | Path | None = None,
    *,
    question: str | None = None,
    threshold: float | None = None,
    confidence: float = 0.95,
) -> Json:
    """Measure a judge of a run against people and keep the result in the run; the same as ``evalkit calibrate``.

    Args:
        run: A run folder, a study's folder (its newest run), or a run's ID.
        judge: As in results, without ``judge:``; with ``.criterion`` for one of its criteria.
        labels: A file with candidate, task, id, label and maybe rater; None: the run's own ``human/labels.jsonl``.
        question: Which question's labels, where the file has several.
        threshold: Values above it are "right"; None: the middle of the judge's scale.
        confidence: Two-sided level of the intervals.

    Returns:
        The calibration; see ``evalkit.judging.calibrate.calibrate_judge``.

    Raises:
        DataError: No such run, judge or question, or labels that are not about its verdicts.
    """
    folder = find_run(run)
    path, name, criterion = _judgements(folder, judge)
    rows = read_judgements(path)
    source = folder.path / "human" / "labels.jsonl" if labels is None else Path(labels)
    if labels is None and not source.is_file():
        raise DataError(f"{folder.path} has no labels of people: type --labels FILE, or bring some in first.")
    said = read_human_labels(source, question)
    _known(said, folder, source)
    said = _about_its_pairs(said, rows, source)
    bounds = _bounds(folder, judge, name, rows)
    outside = [label for label in said if not bounds[0] <= label.value <= bounds[1]]
    if outside:
        scale = f"{bounds[0]:g} to {bounds[1]:g}"
        raise DataError(f"{source}: expected labels on the judge's scale, {scale}; got {outside[0].value:g}.")
    results = folder.results()
    found = calibrate_judge(
        verdict_values(rows, criterion),
        said,
        bounds=bounds,
        controls={row["candidate"]: row["control"] for row in results.get("comparisons", [])},
        threshold=threshold,
        confidence=confidence,
        seed=int((folder.run().get("seeds") or {}).get("study", 0)),
    )
    kin = next((judge_kin(results, row) for row in results.get("judges") or [] if row["name"] == name), [])
    people: dict[tuple[str, str, str], list[float]] = {}
    for label in said:
        people.setdefault(label.answer, []).append(label.value)
    reference = {answer: fmean(values) for answer, values in people.items()}
    values = verdict_values(rows, criterion)
    rated = [
        replace(row, value=values[key][0])
        for row in rows
        if (key := (row.candidate, row.task, row.id)) in values
    ]
    family = self_preference(rated, set(kin), reference, confidence=confidence) if kin else None
    lifted = None if family is None else {"value": family.value, "low": family.low, "high": family.high}
    found = {"judge": judge, "source": str(source), "question": question, **found, "own_family": lifted}
    write_json(_file(folder, judge), {**found, "verdicts_sha256": _sha256(path)})
    apply_calibrations(folder)
    apply_instruments(folder)
    return found


def apply_calibrations(folder: RunFolder) -> list[str]:
    """Put the calibrations of a run into its ``results.json``: ``calibrations``, and ``calibrated`` of its judges.

    Returns:
        Remarks: calibrations that no longer count, since the verdicts have changed.
    """
    files = sorted((folder.path / "judgements").glob("*.calibration.json"))
    results = folder.results()
    if not files and "calibrations" not in results:
        return []
    kept, remarks = [], []
    for file in files:
        found = json.loads(file.read_text("utf-8"))
        path, _, _ = _judgements(folder, found["judge"])
        if found.pop("verdicts_sha256", None) == _sha256(path):
            kept.append(found)
        else:
            remarks.append(
                f"The calibration of judge {found['judge']} is about other verdicts than the run has now: "
                "type `evalkit calibrate` again."
            )
    results["calibrations"] = kept
    done = {found["judge"] for found in kept}
    for entry in results.get("judges") or []:
        entry["calibrated"] = entry["name"] in done
        start = f"{entry['name']}."
        entry["calibrated_criteria"] = sorted(
            name.removeprefix(start) for name in done if name.startswith(start)
        )
    folder.write_results(results)
    return remarks


def member_weight(folder: RunFolder, judge: str) -> float | None:
    """What a member's vote weighs: Krippendorff's alpha between it and people, 0 where that is below 0.

    Returns:
        None where nobody has held its present verdicts against people.
    """
    file = _file(folder, judge)
    if not file.is_file():
        return None
    found = json.loads(file.read_text("utf-8"))
    if found["verdicts_sha256"] != _sha256(_judgements(folder, judge)[0]):
        return None
    alpha = found["agreement"]["judge_people"]["alpha"]["value"]
    return None if alpha is None else max(0.0, float(alpha))


def _judgements(folder: RunFolder, judge: str) -> tuple[Path, str, str | None]:
    """The file of a judge, its name, and the criterion that is meant."""
    known = {unquote(path.stem): path for path in sorted((folder.path / "judgements").glob("*.jsonl"))}
    if judge in known:
        return known[judge], judge, None
    name, _, criterion = judge.rpartition(".")
    if name in known:
        return known[name], name, criterion
    there = f" Judges of this run: {', '.join(known)}." if known else " This run has no verdicts of judges."
    raise DataError(f"No judge {judge!r} in {folder.path}.{nearest(judge, known)}{there}")


def _file(folder: RunFolder, judge: str) -> Path:
    return folder.path / "judgements" / f"{safe_name(judge)}.calibration.json"


def _known(labels: list[HumanLabel], folder: RunFolder, source: Path) -> None:
    """Labels of a candidate or task that the run does not have are a mistake, not a gap."""
    for what, there in (("candidate", folder.candidates), ("task", folder.tasks)):
        strange = [name for label in labels if (name := getattr(label, what)) not in there]
        if strange:
            raise DataError(
                f"{source}: the run has no {what} {strange[0]!r}.{nearest(strange[0], there)} "
                f"It has {', '.join(there)}."
            )


def _about_its_pairs(labels: list[HumanLabel], rows: list[Judgement], source: Path) -> list[HumanLabel]:
    """Labels of pairs that this judge compared, told from its side; labels of single answers as they are."""
    pairs = {(row.candidate, row.task, row.id): row.opponent for row in rows if row.opponent is not None}
    if not pairs:
        if any(label.other is not None for label in labels):
            raise DataError(
                f"{source} compares pairs, and this judge rates one answer at a time; type --question."
            )
        return labels
    turned = [
        replace(label, candidate=label.other, other=label.candidate, value=1 - label.value)
        if label.other is not None and pairs.get((label.other, label.task, label.id)) == label.candidate
        else label
        for label in labels
    ]
    return [label for label in turned if label.other in (None, pairs.get(label.answer))]


def _bounds(folder: RunFolder, judge: str, name: str, rows: list[Judgement]) -> tuple[float, float]:
    """Ends of the judge's scale, a jury's for a member: as the run recorded them, else as its card says."""
    entries = {
        named: entry
        for entry in folder.results().get("judges") or []
        for named in (*(entry.get("members") or ()), entry["name"])
    }
    known = judge if name not in entries else judge.replace(name, entries[name]["name"], 1)
    for task in folder.results().get("tasks") or []:
        described: Mapping[str, Any] = (task.get("metrics") or {}).get(f"judge:{known}") or {}
        low, high = described.get("bounds") or (None, None)
        if low is not None and high is not None:
            return float(low), float(high)
    if all(row.score is None for row in rows):
        return 0.0, 1.0
    return open_judge(str((entries.get(name) or {}).get("judge", name)), [Path.cwd()]).bounds


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
