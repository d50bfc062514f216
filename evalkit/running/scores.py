"""Scores per sample, from a run folder or from a baseline file: the same object for both."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalkit.errors import DataError, nearest
from evalkit.metrics import Measured, Metric, get_metric
from evalkit.records import Unscored
from evalkit.running.done import dropped_at
from evalkit.running.folder import RunFolder
from evalkit.signature import digest
from evalkit.stats import UNBOUNDED

__all__ = ["Scores", "Series", "TaskScores", "run_scores"]

Array = NDArray[np.float64]
Json = dict[str, Any]

FORMAT = 1
"""Of ``results.json``."""


@dataclass(frozen=True, slots=True)
class TaskScores:
    """One candidate on one task.

    Attributes:
        ids: n ids of samples, in order.
        contents: n hashes of what the samples ask and accept.
        clusters: n clusters, None for samples on their own.
        scores: Metric → (n,) scores, NaN where unscored.
        statistics: Metric → (n, k) of the metrics that are no mean of their scores.
        labels: Metric → what it says about its columns (``Measured.labels``).
        weights: Metric → (n,) how many samples each stands for, where people were shown some more likely than others.
    """

    ids: list[str]
    contents: list[str]
    clusters: list[str | None]
    scores: Mapping[str, Array]
    statistics: Mapping[str, Array] = field(default_factory=dict)
    labels: Mapping[str, Json] = field(default_factory=dict)
    weights: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Series:
    """One candidate's metric on one task, sample by sample.

    Attributes:
        where: What to call it in a message: ``r16 in runs/…``.
        ids: n ids.
        contents: n hashes of the samples.
        clusters: n clusters.
        scores: (n,) scores, NaN where unscored.
        statistics: (n, k); a row of zeros where unscored.
        labels: ``Measured.labels`` of a corpus metric.
        corpus: The metric, where its value is no mean of scores; else None.
        shares: Scores say right or wrong, and nothing in between.
        higher_is_better: Direction.
        signature: What made the numbers.
        bounds: Least and largest value the metric can have.
        weighted: Samples stand for different numbers of samples; ``statistics`` holds that.
        noise_sd: Of the value's shift between numerical realisations (``stats.noise``); None where it was not measured.
    """

    where: str
    ids: list[str]
    contents: list[str]
    clusters: list[str | None]
    scores: Array
    statistics: Array
    labels: Json
    corpus: Metric | None
    shares: bool
    higher_is_better: bool
    signature: str
    bounds: tuple[float, float] = UNBOUNDED
    weighted: bool = False
    noise_sd: float | None = None

    @property
    def scored(self) -> NDArray[np.bool_]:
        """(n,) True where the sample has a score."""
        return np.isfinite(self.scores)

    def value(self, totals: Array) -> Array:
        """Totals (..., k) → values (...)."""
        if self.corpus is not None:
            return self.corpus.value(totals)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(totals[..., 0] / totals[..., 1])

    def aligned(self, other: Series) -> tuple[Array, Array]:
        """Both statistics with the same columns (a macro average has one for every class it saw)."""
        if self.corpus is None:
            return self.statistics, other.statistics
        return self.corpus.align(self._measured(), other._measured())

    def _measured(self) -> Measured:
        unscored = Unscored("")
        scores = [float(score) if np.isfinite(score) else unscored for score in self.scores]
        return Measured(self.statistics, scores, self.labels)


@dataclass(frozen=True, slots=True)
class Scores:
    """What a gate reads of a run, or of a baseline.

    Attributes:
        where: What to call it in a message.
        study: The study's name.
        run: The run's ID.
        candidates: Objects as in ``results.json``: name, kind, error.
        tasks: Objects as in ``results.json``: name, primary, metrics.
        entries: (candidate, task, metric) → its object of ``scores``.
        seed: Of bootstraps.
        load: (candidate, task) → scores per sample.
    """

    where: str
    study: str
    run: str
    candidates: list[Json]
    tasks: list[Json]
    entries: Mapping[tuple[str, str, str], Json]
    seed: int
    load: Callable[[str, str], TaskScores]

    @property
    def names(self) -> list[str]:
        """Names of the candidates."""
        return [str(entry["name"]) for entry in self.candidates]

    @property
    def task_names(self) -> list[str]:
        """Names of the tasks: those described, and those with a score."""
        return list(
            dict.fromkeys([*(str(task["name"]) for task in self.tasks), *(key[1] for key in self.entries)])
        )

    def metric_names(self, task: str) -> list[str]:
        """Names of a task's metrics."""
        described = next((list(row.get("metrics") or {}) for row in self.tasks if row["name"] == task), [])
        return list(dict.fromkeys([*described, *(key[2] for key in self.entries if key[1] == task)]))

    def error(self, candidate: str) -> str | None:
        """Why a candidate could not be done, or None."""
        row = next((row for row in self.candidates if row["name"] == candidate), {})
        lost = dropped_at(row)
        return row.get("error") if lost is None else f"{lost} of its search, so it was not scored"

    def series(self, candidate: str, task: str, metric: str) -> Series | None:
        """Return a metric sample by sample; None where the candidate has no such score.

        Raises:
            DataError: The scores per sample are missing, or do not add up to the value.
        """
        entry = self.entries.get((candidate, task, metric))
        if entry is None:
            return None
        where = f"{candidate} on {task} in {self.where}"
        rows, about = self.load(candidate, task), self._about(task, metric)
        if metric not in rows.scores:
            raise DataError(
                f"{where}: no sample has a score named {metric!r}.{nearest(metric, rows.scores)} "
                "Run the study again; what is finished is not done again."
            )
        scores = rows.scores[metric]
        seen = scores[np.isfinite(scores)]
        corpus = None
        statistics = np.stack([np.nan_to_num(scores), np.isfinite(scores).astype(np.float64)], axis=1)
        if metric in rows.weights:
            statistics *= rows.weights[metric][:, None]
        if metric in rows.statistics:
            settings = dict(about.get("settings") or {"metric": metric})
            corpus = get_metric(settings.pop("metric"), **settings)
            statistics = rows.statistics[metric]
        elif len(seen) and not _equal(mean := float(np.divide(*statistics.sum(0))), entry.get("value")):
            raise DataError(
                f"{where}: the mean of the samples' {metric} is {mean:.6g}, its value {entry.get('value')}: "
                "statistics per sample are missing. Run the study again; what is finished is not done again."
            )
        # A user's function has no bounds and is judged by what it returns; so is a run that does not tell.
        bounded = about.get("bounds", [0.0, 1.0]) in ([0.0, 1.0], [None, None])
        return Series(
            where=where,
            ids=rows.ids,
            contents=rows.contents,
            clusters=rows.clusters,
            scores=scores,
            statistics=statistics,
            labels=dict(rows.labels.get(metric, {})),
            corpus=corpus,
            shares=corpus is None
            and bounded
            and metric not in rows.weights
            and bool(np.isin(seen, (0.0, 1.0)).all()),
            higher_is_better=bool(entry.get("higher_is_better", True)),
            signature=str(entry.get("signature", "")),
            bounds=_ends(about),
            weighted=metric in rows.weights,
            noise_sd=entry.get("noise_sd"),
        )

    def _about(self, task: str, metric: str) -> Json:
        described = next((row.get("metrics") or {} for row in self.tasks if row["name"] == task), {})
        return dict(described.get(metric, {}))


def run_scores(folder: RunFolder) -> Scores:
    """Read what a gate needs of a run; samples are read when they are asked for.

    Raises:
        DataError: The run has no results.
    """
    results, run = folder.results(), folder.run()
    if results.get("format", FORMAT) != FORMAT:
        raise DataError(
            f"{folder.path} is a run of format {results['format']!r}, and this evalkit reads format {FORMAT}: upgrade "
            "evalkit."
        )
    entries = {(row["candidate"], row["task"], row["metric"]): row for row in results.get("scores", [])}
    loaded: dict[tuple[str, str], TaskScores] = {}

    def load(candidate: str, task: str) -> TaskScores:
        if (candidate, task) not in loaded:
            loaded[candidate, task] = _task_scores(folder, candidate, task)
        return loaded[candidate, task]

    return Scores(
        where=str(folder.path),
        study=str(results.get("study", "")),
        run=str(results.get("run", folder.path.name)),
        candidates=list(results.get("candidates", [])),
        tasks=list(results.get("tasks", [])),
        entries=entries,
        seed=int((run.get("seeds") or {}).get("study", 0)),
        load=load,
    )


def _task_scores(folder: RunFolder, candidate: str, task: str) -> TaskScores:
    rows = list(folder.samples(candidate, task))
    names = list(dict.fromkeys(name for row in rows for name in row.get("scores") or {}))
    statistics, labels = folder.statistics(candidate, task)
    for name, values in statistics.items():
        if len(values) != len(rows):
            raise DataError(
                f"{folder.path}: {candidate} has {len(rows)} answers to {task}, and statistics of {len(values)} for "
                f"{name}. Run the study again; what is finished is not done again."
            )
    return TaskScores(
        ids=[str(row["id"]) for row in rows],
        contents=[_content(row) for row in rows],
        clusters=[None if row.get("cluster") is None else str(row["cluster"]) for row in rows],
        scores={name: np.array([_number(row, name) for row in rows]) for name in names},
        statistics=statistics,
        labels=labels,
        weights={name: _weights(rows, name) for name in names if any(name in _weighted(row) for row in rows)},
    )


def _weighted(row: Json) -> Json:
    return dict(row.get("weights") or {})


def _weights(rows: list[Json], name: str) -> Array:
    return np.array([float(_weighted(row).get(name, 1.0)) for row in rows])


def _content(row: Json) -> str:
    """Hash of the sample. A row made elsewhere has none: then the target must do, since prompts may differ."""
    known = row.get("sample_sha256")
    return str(known)[:16] if known else digest({"target": row.get("target")})[:16]


def _ends(about: Json) -> tuple[float, float]:
    low, high = about.get("bounds") or (None, None)
    return (-math.inf if low is None else float(low)), (math.inf if high is None else float(high))


def _equal(mean: float, value: float | None) -> bool:
    return value is not None and abs(mean - value) <= 1e-6 * max(1.0, abs(value))


def _number(row: Json, name: str) -> float:
    score = (row.get("scores") or {}).get(name)
    return float(score) if isinstance(score, int | float) else float("nan")
