"""What a plan's samples can show, from a guess or from what an earlier run of the same study measured."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

from evalkit.data.tasks import Task
from evalkit.running.folder import safe_name
from evalkit.running.plan import Plan, primary_metric, task_metrics
from evalkit.stats import bonferroni_confidence, detectable, needed, spread

__all__ = ["EFFECTS", "task_power"]

EFFECTS = (0.1, 0.05, 0.02)
"""Differences whose n is told, as shares of the metric's range."""

CORRELATION = 0.5
SHARE = 0.5

Json = dict[str, Any]


def task_power(plan: Plan, task: Task, runs: Path = Path("runs")) -> Json | None:
    """What a difference on a task's primary metric has to be to be seen, and how many samples others would need.

    Args:
        plan: What will be run.
        task: One of its tasks.
        runs: Where earlier runs lie.

    Returns:
        ``metric``, ``n``, ``comparisons`` (those corrected for), ``power`` 0.8, ``paired`` and ``unpaired`` (the least
        difference seen, in the metric's unit), ``needed`` (difference → pairs), ``origin`` (of the spread). None where
        nothing is compared, or where the metric has no range to guess by and no run has measured it.
    """
    metric = next(m for m in task_metrics(task) if m.name == primary_metric(task))
    comparisons = sum(member.control is not None for member in plan.candidates) * len(plan.tasks)
    if not comparisons or not task.samples:
        return None
    width = metric.bounds[1] - metric.bounds[0]
    found = _measured(runs / safe_name(plan.study.study), task.name, metric.name)
    if found is not None:
        paired, unpaired, origin = found
    elif math.isfinite(width):
        paired, unpaired = width * spread(SHARE, CORRELATION), width * spread(SHARE)
        origin = f"guessed: half right, correlation {CORRELATION:g} with the control"
    else:
        return None
    level, n = bonferroni_confidence(0.95, comparisons), len(task.samples)
    unit = width if math.isfinite(width) else 1.0
    return {
        "metric": metric.name,
        "n": n,
        "comparisons": comparisons,
        "power": 0.8,
        "paired": detectable(n, paired, confidence=level),
        "unpaired": detectable(n, unpaired, confidence=level),
        "needed": {
            f"{effect * unit:g}": needed(effect * unit, paired, confidence=level) for effect in EFFECTS
        },
        "origin": origin,
    }


def _measured(study: Path, task: str, metric: str) -> tuple[float, float, str] | None:
    """Spread of a pair's difference, and of two samples', in the newest run that has intervals of both."""
    for file in sorted(study.glob("*/results.json"), reverse=True):
        try:
            results = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError):
            continue  # a run that is being written, or one of another tool: the next one may do
        pairs = _spreads(results.get("comparisons", []), task, metric)
        alone = _spreads(results.get("scores", []), task, metric)
        if pairs and alone:
            return median(pairs), math.sqrt(2) * median(alone), f"measured in {file.parent.name}"
    return None


def _spreads(rows: Iterable[Json], task: str, metric: str) -> list[float]:
    """Spread of one sample behind each interval: half its width · √n / 1.96."""
    return [
        (row["high"] - row["low"]) / 2 * math.sqrt(row["n"]) / 1.959964
        for row in rows
        if (row.get("task"), row.get("metric")) == (task, metric)
        and row.get("n")
        and row.get("low") is not None
        and row.get("high") is not None
        and row["high"] > row["low"]
    ]
