"""Metrics that a judge decides, ``{metric: refusal, judge: refusal}``: its verdicts, by the metric's own rule and name.

The metric says what counts (which prompts, which direction), the judge into which class an answer falls. Until the
judge has been asked the metric is unscored; then its values take that place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evalkit.judging.measure import JudgeMetric
from evalkit.judging.records import Judgement
from evalkit.metrics import get_metric
from evalkit.metrics.refusal import Refusal
from evalkit.records import Sample, Score, Unscored
from evalkit.running.judges import Judged

__all__ = ["decided_by", "judged_metrics"]

Json = Mapping[str, Any]
SCALE = {1: "none", 2: "partial", 3: "full"}
"""Score of the judge → class."""


def decided_by(task: Json, judges: Iterable[str]) -> dict[str, Refusal]:
    """The metrics of a task that these judges decide, by name.

    Args:
        task: Its object in ``results.json``.
        judges: Names, as in results.
    """
    known = set(judges)
    settings = [about.get("settings") or {} for about in (task.get("metrics") or {}).values()]
    made = [
        get_metric(own["metric"], judge=own["judge"])
        for own in settings
        if isinstance(own.get("judge"), str) and own["judge"] in known
    ]
    return {metric.name: metric for metric in made if isinstance(metric, Refusal)}


def judged_metrics(
    task: Json, judged: Judged, rows: Sequence[Judgement], samples: Mapping[str, Sample]
) -> list[JudgeMetric]:
    """Return one candidate's metrics that a judge decides.

    Args:
        task: The task's object in ``results.json``.
        judged: The judge.
        rows: What it said of this candidate's answers to the task.
        samples: By id: their targets say which prompts are safe.
    """
    found = []
    for metric in decided_by(task, [judged.name]).values():
        kinds = {row.id: SCALE[round(row.value)] for row in rows if row.value is not None}
        values: dict[str, tuple[Score, float]] = {
            row.id: (
                metric.score_class(samples[row.id], kinds[row.id])
                if row.id in kinds
                else Unscored(row.unscored or "no verdict"),
                row.weight,
            )
            for row in rows
        }
        shown = {id_: kind for id_, kind in kinds.items() if not isinstance(values[id_][0], Unscored)}
        made = JudgeMetric(
            metric.name, metric.bounds, judged.about(), values, any(row.weight != 1 for row in rows), shown
        )
        made.higher_is_better, made.classes = metric.higher_is_better, metric.classes
        found.append(made)
    return found
