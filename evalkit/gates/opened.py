"""What a sequential gate looks at: each rule's samples in their order, from a study yet to be answered or a run."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalkit.data.tasks import Task
from evalkit.errors import DataError
from evalkit.gates.looks import Look, order_of
from evalkit.gates.rules import BASELINE, Check, checks_of, reference_in
from evalkit.metrics import Metric
from evalkit.running.plan import Plan, primary_metric, task_metrics
from evalkit.running.scores import Scores, Series
from evalkit.running.stepwise import Stepwise
from evalkit.specs.gate import GatePolicy, GateRule

__all__ = ["Opened", "opened_of_run", "opened_of_study", "scores_to_come"]

Array = NDArray[np.float64]
Values = Callable[[Sequence[int]], tuple[Array, Array | None]]
"""Places of samples → the candidate's scores and the reference's (None without one); NaN where unscored."""


@dataclass(slots=True)
class Opened:
    """One rule for one candidate, with where its values come from.

    Attributes:
        check: The rule and its candidate.
        look: What was seen so far.
        values: Reads, or answers and scores, chosen samples.
        ids: Of the task's samples.
        order: Units of samples in the order they are looked at.
        sign: 1 where a difference is better the larger it is (and for a bound on a value), else -1.
        seen: Units seen.
        flips: Samples seen on which candidate and reference differ.
    """

    check: Check
    look: Look
    values: Values
    ids: list[str]
    order: list[list[int]]
    sign: int
    seen: int = 0
    flips: list[tuple[str, float, float]] = field(default_factory=list)

    @property
    def asked(self) -> int:
        """Samples looked at."""
        return sum(map(len, self.order[: self.seen]))

    def take(self, batch: int) -> None:
        """Look at the next units, ``batch`` samples or a little more."""
        units: list[list[int]] = []
        while self.seen < len(self.order) and sum(map(len, units)) < batch:
            units.append(self.order[self.seen])
            self.seen += 1
        rows = [row for unit in units for row in unit]
        mine, other = self.values(rows)
        values = mine if other is None else self.sign * (mine - other)
        place = 0
        for unit in units:
            self.look.add(values[place : place + len(unit)])
            place += len(unit)
        if other is not None:
            self.flips += [
                (self.ids[row], float(a), float(b))
                for row, a, b in zip(rows, mine, other, strict=True)
                if np.isfinite(a - b) and a != b
            ]


def opened_of_study(
    held: Sequence[tuple[int, GateRule, str]],
    policy: GatePolicy,
    plan: Plan,
    steps: Stepwise,
    baseline: Scores | None,
) -> list[Opened]:
    """Rules over a study: values are answered and scored when they are asked for.

    Args:
        held: From ``held_candidates``.
        policy: The rules.
        plan: Of the study.
        steps: Answers and scores.
        baseline: What ``baseline`` stands for, or None.

    Raises:
        DataError: A metric is no bounded mean over the samples, or the baseline has other samples.
    """
    tasks = {task.name: task for task in plan.tasks}
    problems, opened = [], []
    for number, rule, candidate in held:
        task = tasks[rule.task]
        metric = next(metric for metric in task_metrics(task) if metric.name == rule.metric)
        problem = _unfit(rule, metric.additive_mean, metric.bounds)
        if problem:
            problems.append(f"gate {policy.gate}, rule {number}: {problem}")
            continue
        check = Check(rule, candidate, None, None)
        stored = None
        if check.against == BASELINE and baseline is not None:
            stored = _by_id(reference_in(rule, candidate, baseline), task)
        values = _asked(steps, task, check, stored)
        clusters = [sample.cluster for sample in task.samples]
        ids = [sample.id for sample in task.samples]
        opened.append(
            _opened(check, metric.bounds, values, ids, clusters, plan.study.seed, _sign(check, metric))
        )
    if problems:
        raise DataError(*dict.fromkeys(problems))
    return opened


def opened_of_run(policy: GatePolicy, run: Scores, baseline: Scores | None) -> list[Opened]:
    """Rules over a finished run: values are there.

    Raises:
        UserError: As ``checks_of``, and for a metric that is no bounded mean over the samples.
    """
    problems, opened = [], []
    for check in checks_of(policy, run, baseline):
        series = check.series
        if series is None:  # the candidate could not be done
            item = _opened(check, (0.0, 1.0), _nothing, [], [], run.seed, 1)
            item.look.error = check.error
            opened.append(item)
            continue
        problem = _unfit(check.rule, series.corpus is None, series.bounds)
        if problem:
            problems.append(f"gate {policy.gate}: {problem}")
            continue
        sign = 1 if series.higher_is_better or check.against is None else -1
        item = _opened(check, series.bounds, _stored(check), series.ids, series.clusters, run.seed, sign)
        item.look.undecided = check.reference_error
        opened.append(item)
    if problems:
        raise DataError(*dict.fromkeys(problems))
    return opened


def scores_to_come(plan: Plan) -> Scores:
    """What a policy's names are looked up in before anything is scored."""
    tasks = [
        {
            "name": task.name,
            "primary": primary_metric(task),
            "metrics": {m.name: {} for m in task_metrics(task)},
        }
        for task in plan.tasks
    ]

    def load(candidate: str, task: str) -> Any:
        raise DataError(f"{candidate} has not answered {task} yet.")

    return Scores(
        where=str(plan.path),
        study=plan.study.study,
        run="",
        candidates=[{"name": member.name, "kind": member.kind, "error": None} for member in plan.candidates],
        tasks=tasks,
        entries={},
        seed=plan.study.seed,
        load=load,
    )


def _sign(check: Check, metric: Metric) -> int:
    return 1 if metric.higher_is_better or check.against is None else -1


def _asked(steps: Stepwise, task: Task, check: Check, stored: Array | None) -> Values:
    def values(rows: Sequence[int]) -> tuple[Array, Array | None]:
        mine = steps.scores(check.candidate, task, check.rule.metric, rows)
        if check.against is None:
            return mine, None
        if stored is not None:
            return mine, stored[list(rows)]
        return mine, steps.scores(check.against, task, check.rule.metric, rows)

    return values


def _stored(check: Check) -> Values:
    series, reference = check.series, check.reference
    mine = np.zeros(0) if series is None else series.scores
    other = None
    if series is not None and reference is not None:
        known = dict(zip(reference.ids, reference.scores, strict=True))
        other = np.array([known[id_] for id_ in series.ids])

    def values(rows: Sequence[int]) -> tuple[Array, Array | None]:
        return mine[list(rows)], None if other is None else other[list(rows)]

    return values


def _by_id(series: Series, task: Task) -> Array:
    """A baseline's scores in the order of a task's samples."""
    known = dict(zip(series.ids, series.scores, strict=True))
    alone = sorted(known.keys() ^ {sample.id for sample in task.samples})
    if alone:
        raise DataError(
            f"not the same samples: {len(alone)} are in only one of {task.name} and {series.where}, such as "
            f"{alone[0]!r}. Make the baseline again with today's task and --limit."
        )
    return np.array([known[sample.id] for sample in task.samples])


def _nothing(rows: Sequence[int]) -> tuple[Array, Array | None]:
    return np.zeros(0), None


def _opened(
    check: Check,
    bounds: tuple[float, float],
    values: Values,
    ids: list[str],
    clusters: Sequence[str | None],
    seed: int,
    sign: int,
) -> Opened:
    low, high = bounds
    if check.against is not None:
        low, high = low - high, high - low
    order = order_of(clusters, [seed, zlib.crc32(check.rule.task.encode())])
    look = Look(check.rule.kind, check.bound, low, high, largest=max(map(len, order), default=1))
    return Opened(check, look, values, ids, order, sign)


def _unfit(rule: GateRule, mean: bool, bounds: tuple[float, float]) -> str:
    """Why a rule cannot be looked at sample by sample, or an empty text."""
    if mean and all(map(math.isfinite, bounds)):
        return ""
    why = "its values have no upper bound" if mean else "its value is no mean of the samples' scores"
    return (
        f"{rule.metric} cannot stop early: {why}. Take the rule out, or hold a finished run to it with "
        "`evalkit gate RUN --policy FILE`."
    )
