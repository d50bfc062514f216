"""Named baselines: a run's scores per sample as a small JSON to commit, without models' texts unless asked for.

baselines/NAME.json   {"format": 1, "kind": "baseline", "study", "run", "seed", "tasks": […],
                       "samples": {TASK: {"ids", "contents", "clusters"?}},
                       "candidates": [{"name", "kind", "adapter_sha256", "scores": {TASK: {METRIC: {
                           "value", "low", "high", …, "samples": [score or null]}}},
                           "statistics": {TASK: {METRIC: {"rows", "labels"}}}, "outputs"?: {TASK: [answer]}}]}
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.errors import DataError, OutputFolderError, nearest
from evalkit.running.find import find_run
from evalkit.running.folder import RunFolder, safe_name, write_atomically
from evalkit.running.scores import Scores, TaskScores, run_scores
from evalkit.specs.gate import GatePolicy

__all__ = ["FOLDER", "baseline_json", "find_baseline", "keep_baseline", "read_baseline", "write_baseline"]

FORMAT = 1
FOLDER = "baselines"
Json = dict[str, Any]


def keep_baseline(run: str | Path, name: str | None = None, *, outputs: bool = False) -> Path:
    """Keep a run as ``baselines/NAME.json`` and return that file; the same as ``evalkit baseline set``.

    Args:
        run: A run folder, a study's folder (its newest run), or a run's ID.
        name: Of the baseline; None: the study's name.
        outputs: Keep what the candidates answered, too.

    Raises:
        UserError: No such run, one without scores, or a folder that cannot be written to.
    """
    return write_baseline(find_run(run), name, outputs=outputs)


def write_baseline(
    folder: RunFolder, name: str | None = None, root: Path = Path(), *, outputs: bool = False
) -> Path:
    """Keep a run as a named baseline and return its file, ``baselines/NAME.json``.

    Args:
        folder: The run.
        name: Of the baseline; None: the study's name, which a gate looks for by itself.
        root: Where ``baselines/`` is.
        outputs: Keep what the candidates answered, too.

    Raises:
        DataError: The run has no results or no scores per sample.
        OutputFolderError: The file cannot be written.
    """
    content = baseline_json(run_scores(folder))
    if outputs:
        for row in content["candidates"]:
            row["outputs"] = {
                task: [sample["output"] for sample in folder.samples(row["name"], task)]
                for task in row["scores"]
            }
    path = root / FOLDER / f"{safe_name(name or content['study'])}.json"
    try:
        write_atomically(path, _text(content))
    except OSError as error:
        raise OutputFolderError(f"Cannot write {path}: {error.strerror or error}.") from error
    return path


def baseline_json(run: Scores) -> Json:
    """Return what a baseline file holds of a run.

    Raises:
        DataError: The run holds no scores.
    """
    if not run.entries:
        raise DataError(f"{run.where} holds no scores: run the study first.")
    samples: Json = {}
    candidates = []
    for entry in run.candidates:
        name = str(entry["name"])
        keys = [key for key in run.entries if key[0] == name]
        kept: Json = {"name": name, "kind": entry.get("kind"), "adapter_sha256": entry.get("adapter_sha256")}
        kept |= {"error": entry.get("error"), "scores": {}, "statistics": {}}
        for _, task, metric in keys:
            rows = run.load(name, task)
            samples.setdefault(task, _samples(rows))
            if samples[task]["ids"] != rows.ids or samples[task]["contents"] != rows.contents:
                raise DataError(
                    f"{run.where}: {name} answered other samples of {task} than the first candidate."
                )
            if run.series(name, task, metric) is not None:  # also refuses scores that do not add up
                kept["scores"].setdefault(task, {})[metric] = _score(run.entries[name, task, metric], rows)
            if metric in rows.statistics:
                told = {"rows": rows.statistics[metric].tolist(), "labels": dict(rows.labels.get(metric, {}))}
                kept["statistics"].setdefault(task, {})[metric] = told
        candidates.append(kept)
    return {
        "format": FORMAT,
        "kind": "baseline",
        "study": run.study,
        "run": run.run,
        "seed": run.seed,
        "tasks": run.tasks,
        "samples": samples,
        "candidates": candidates,
    }


def read_baseline(path: Path) -> Scores:
    """Read a baseline file.

    Raises:
        DataError: It is missing, no baseline, or of a newer format.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise DataError(f"Cannot read the baseline {path}: {error.strerror or error}.") from None
    except ValueError as error:
        raise DataError(f"{path} is no baseline: it is not JSON ({error}).") from None
    if not isinstance(content, dict) or content.get("kind") != "baseline":
        raise DataError(f"{path} is no baseline: expected a file that `evalkit baseline set RUN` wrote.")
    if content.get("format") != FORMAT:
        raise DataError(
            f"{path} is a baseline of format {content.get('format')!r}, and this evalkit reads format {FORMAT}: "
            "upgrade evalkit, or make it again with `evalkit baseline set RUN`."
        )
    try:
        return _scores(content, path)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path} is a damaged baseline ({error}): make it again with `evalkit baseline set RUN`."
        ) from error


def find_baseline(
    named: str | Path | None, policy: GatePolicy, run: Scores, roots: Sequence[Path] = ()
) -> Scores | None:
    """Return the baseline that a policy compares with; None where no rule does.

    Args:
        named: A run folder, a study's folder, a baseline file or a baseline's name; None: the study's own.
        policy: The rules.
        run: The run that is held to them; its study's name is the default.
        roots: Folders whose ``baselines/`` are looked through, the first one that has it wins.

    Raises:
        DataError: It is named and not there, or cannot be read.
    """
    if (
        all("baseline" not in (rule.no_worse_than, rule.better_than) for rule in policy.rules)
        and named is None
    ):
        return None
    places = list(dict.fromkeys([*roots, Path()]))
    if named is None:
        files = [root / FOLDER / f"{safe_name(run.study)}.json" for root in places]
        return next((read_baseline(file) for file in files if file.is_file()), None)
    path = Path(named)
    if path.is_dir() or path.name in ("results.json", "run.json"):
        return run_scores(RunFolder.open(path))
    if path.is_file():
        return read_baseline(path)
    known: dict[str, Path] = {}
    for root in reversed(places):
        known |= {file.stem: file for file in sorted((root / FOLDER).glob("*.json"))}
    if safe_name(str(named)) in known:
        return read_baseline(known[safe_name(str(named))])
    raise DataError(
        f"No baseline {str(named)!r}: it is no run folder, no file, and no name in {FOLDER}/ "
        f"({', '.join(known) or 'which is empty'}).{nearest(str(named), known)}"
    )


def _samples(rows: TaskScores) -> Json:
    kept: Json = {"ids": rows.ids, "contents": rows.contents}
    return kept if all(cluster is None for cluster in rows.clusters) else {**kept, "clusters": rows.clusters}


def _score(entry: Mapping[str, Any], rows: TaskScores) -> Json:
    kept = {key: value for key, value in entry.items() if key not in ("candidate", "task", "metric")}
    scores = rows.scores[entry["metric"]]
    return {**kept, "samples": [_short(score) for score in scores]}


def _short(score: float) -> float | int | None:
    """The same number as JSON writes it shortest: most scores are 0 or 1."""
    if not np.isfinite(score):
        return None
    return int(score) if score == int(score) else float(score)


def _text(content: Json) -> str:
    """One line a value down to the scores, so that a diff shows which candidate changed."""
    parts = [
        f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False, allow_nan=False)}"
        for key, value in content.items()
        if key != "candidates"
    ]
    rows = ",\n".join(
        f"    {json.dumps(row, ensure_ascii=False, allow_nan=False)}" for row in content["candidates"]
    )
    return "{\n" + ",\n".join([*parts, f'  "candidates": [\n{rows}\n  ]']) + "\n}\n"


def _scores(content: Json, path: Path) -> Scores:
    by_name = {str(row["name"]): row for row in content["candidates"]}
    entries = {
        (name, task, metric): {"candidate": name, "task": task, "metric": metric, **entry}
        for name, row in by_name.items()
        for task, metrics in row["scores"].items()
        for metric, entry in metrics.items()
    }

    def load(candidate: str, task: str) -> TaskScores:
        rows, samples = by_name[candidate], content["samples"][task]
        stored = rows.get("statistics", {}).get(task, {})
        scores = {
            metric: np.array([np.nan if s is None else s for s in entry["samples"]], dtype=np.float64)
            for metric, entry in rows["scores"].get(task, {}).items()
        }
        n = len(samples["ids"])
        wrong = [metric for metric, values in scores.items() if len(values) != n]
        if wrong or len(samples["contents"]) != n:
            raise DataError(f"{path} is a damaged baseline: {candidate} has not {n} scores on {task}.")
        return TaskScores(
            ids=list(samples["ids"]),
            contents=list(samples["contents"]),
            clusters=list(samples.get("clusters") or [None] * n),
            scores=scores,
            statistics={metric: np.array(told["rows"], dtype=np.float64) for metric, told in stored.items()},
            labels={metric: told["labels"] for metric, told in stored.items()},
        )

    return Scores(
        where=str(path),
        study=str(content["study"]),
        run=str(content["run"]),
        candidates=list(content["candidates"]),
        tasks=list(content["tasks"]),
        entries=entries,
        seed=int(content["seed"]),
        load=load,
    )
