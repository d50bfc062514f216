"""For people's own tests: fail where a candidate got worse."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Protocol

from evalkit.errors import DataError, nearest
from evalkit.gates.baseline import find_baseline
from evalkit.gates.evaluate import evaluate
from evalkit.gates.texts import verdict_lines
from evalkit.gates.verdicts import GateVerdict
from evalkit.running.folder import RunFolder
from evalkit.running.scores import Scores, run_scores
from evalkit.specs.gate import GatePolicy, GateRule

__all__ = ["HasPath", "assert_no_regression"]


class HasPath(Protocol):
    """What ``evalkit.run`` returns."""

    @property
    def path(self) -> Path:
        """The run folder."""


def assert_no_regression(
    run: str | Path | HasPath,
    *,
    reference: str = "base",
    baseline: str | Path | None = None,
    candidate: str | None = None,
    tasks: Iterable[str] | None = None,
    metric: str | None = None,
    margin: float = 0.0,
    confidence: float = 0.95,
    inconclusive: Literal["fail", "pass"] = "fail",
) -> GateVerdict:
    """Assert that candidates are no worse than a reference, by more than a margin, on every task.

    Args:
        run: A run folder, or what ``evalkit.run`` returned.
        reference: The candidate to compare with.
        baseline: A run folder, a baseline file or a baseline's name to compare with, in place of ``reference``.
        candidate: Who is held to it; None: every train and adapter candidate.
        tasks: On which tasks; None: all.
        metric: By which metric; None: each task's primary one.
        margin: How much worse still counts as no worse, in the metric's unit. With 0 only a candidate that is shown
            to be better passes.
        confidence: Two-sided level of the intervals.
        inconclusive: Whether samples that leave it open fail or pass.

    Returns:
        The verdict, where it is a pass. Nothing is written.

    Raises:
        AssertionError: It is not a pass; the message says for each rule what was found and what would change it.
        UserError: A name is unknown, or samples or signatures do not match.
    """
    scores = run_scores(RunFolder.open(Path(run if isinstance(run, str | Path) else run.path)))
    against = reference if baseline is None else "baseline"
    rules = [
        GateRule(task=task, metric=metric or _primary(scores, task), no_worse_than=against, margin=margin)
        for task in (scores.task_names if tasks is None else tasks)
    ]
    if not rules:
        raise DataError(f"{scores.where} has no tasks: there is nothing to hold it to.")
    policy = GatePolicy(
        gate="no-regression",
        confidence=confidence,
        candidate=candidate,
        rules=rules,
        inconclusive=inconclusive,
    )
    verdict = evaluate(policy, scores, find_baseline(baseline, policy, scores))
    if verdict.verdict != "pass":
        raise AssertionError("\n".join(verdict_lines(verdict)))
    return verdict


def _primary(scores: Scores, task: str) -> str:
    """The metric that decides a task; its only or first one where the run does not tell."""
    found = next((row for row in scores.tasks if row["name"] == task), None)
    if found is not None and found.get("primary"):
        return str(found["primary"])
    metrics = scores.metric_names(task)
    if not metrics:
        known = scores.task_names
        raise DataError(f"{scores.where} has no task named {task!r}.{nearest(task, known)}")
    return metrics[0]
