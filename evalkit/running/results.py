"""What is known of every candidate, as ``results.json``: values, comparisons, leaders, recipes, noise, costs."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from evalkit.data.tasks import Task
from evalkit.records import Result
from evalkit.running.done import Done
from evalkit.running.folder import RunFolder
from evalkit.running.forms import compare_forms
from evalkit.running.leaders import leaders
from evalkit.running.noise import Sds, noise_sds, with_noise
from evalkit.running.pairs import compare_pairs
from evalkit.running.plan import Plan, primary_metric, task_metrics
from evalkit.running.recipes import recipes
from evalkit.running.score import Scored

__all__ = ["status_of", "write_results"]


def write_results(plan: Plan, everything: list[Done], folder: RunFolder, status: str) -> None:
    """Write ``results.json``.

    Args:
        plan: What was asked.
        everything: What has become of each candidate.
        folder: The run.
        status: ``complete`` or ``partial``.
    """
    sds = noise_sds(
        {(m.planned.name, task): noise for m in everything for task, noise in m.noise.items()},
        {m.planned.name: m.planned.base for m in everything},
    )
    results: list[Result] = [
        with_noise(result, sds.get((member.planned.name, task, result.metric)), scored.metrics[result.metric])
        for member in everything
        for task, scored in member.scored.items()
        for result in scored.results
    ]
    primaries = {task.name: primary_metric(task) for task in plan.tasks}
    study = plan.study
    tried = _all_tried(everything)
    asked = (primaries, study.seed, study.statistics, sds)
    comparisons = compare_pairs(_with_controls(everything), *asked) if tried else []
    by_name = {(m.planned.name, task): scored for m in everything for task, scored in m.scored.items()}
    comparisons, best = leaders(comparisons, by_name, primaries, seed=plan.study.seed)
    folder.write_results(
        {
            "format": 1,
            "study": plan.study.study,
            "run": folder.path.name,
            "status": status,
            "candidates": [member.to_json() for member in everything],
            "tasks": [
                {
                    "name": task.name,
                    "kind": task.spec.kind,
                    "primary": primary_metric(task),
                    "n": len(task.samples),
                    "metrics": _described(task),
                }
                for task in plan.tasks
            ],
            "scores": [result.to_json() for result in results],
            "comparisons": [comparison.to_json() for comparison in comparisons],
            "leaders": [asdict(leader) for leader in best],
            "recipes": recipes(
                by_name,
                primaries,
                {m.planned.name: m.planned.control for m in everything},
                dropped=[m.planned.name for m in everything if m.dropped],
                sds=sds,
            ),
            "forms": compare_forms(everything, folder, *asked) if tried else [],
            "noise": _noise_rows(everything, sds),
            "slices": [
                {"candidate": member.planned.name, "task": task, **_slice(part, scored, sd)}
                for member in everything
                for task, scored in member.scored.items()
                for part in scored.slices
                for sd in [sds.get((member.planned.name, task, part["metric"]))]
            ],
            "costs": {
                "seconds": {member.planned.name: member.seconds for member in everything},
                "money": {m.planned.name: m.money for m in everything if m.money is not None},
            },
        }
    )


def status_of(everything: list[Done], train_only: bool) -> str:
    """``complete`` where every candidate could be done, else ``partial``."""
    return "partial" if train_only or any(member.error is not None for member in everything) else "complete"


def _with_controls(everything: list[Done]) -> list[tuple[Done, Done]]:
    by_name = {member.planned.name: member for member in everything}
    controls = ((member, by_name.get(member.planned.control or "")) for member in everything)
    return [(member, control) for member, control in controls if control is not None]


def _noise_rows(everything: list[Done], sds: Sds) -> list[dict[str, Any]]:
    return [
        {
            "candidate": (name := member.planned.name),
            "task": task,
            **noise.to_json({key[2]: sd for key, sd in sds.items() if key[:2] == (name, task)}),
        }
        for member in everything
        for task, noise in member.noise.items()
    ]


def _slice(part: dict[str, Any], scored: Scored, sd: float | None) -> dict[str, Any]:
    """A metric over a part of the samples: what moves all of them moves these."""
    names = {name: part[name] for name in ("field", "slice")}
    result = Result(**{name: value for name, value in part.items() if name not in names})
    return names | with_noise(result, sd, scored.metrics[result.metric]).to_json()


def _described(task: Task) -> dict[str, dict[str, Any]]:
    """Metric, as in results → its settings and whether its value is the mean of the samples' scores."""
    return {
        metric.name: {
            "settings": {"metric": use.metric, **use.settings},
            "mean": metric.additive_mean,
            "bounds": [end if math.isfinite(end) else None for end in metric.bounds],
        }
        for use, metric in zip(task.spec.metrics, task_metrics(task), strict=True)
    }


def _all_tried(everything: list[Done]) -> bool:
    return all(member.error is not None or member.dropped or member.scored for member in everything)
