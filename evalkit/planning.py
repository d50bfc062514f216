"""What a run would do, told before torch is imported: a typo is answered in a second, not in four."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from evalkit.errors import SpecError
from evalkit.gates.rules import unknown_metrics
from evalkit.running.judges import check_judges
from evalkit.running.lineage import check_starts
from evalkit.running.plan import Plan, plan_study, task_metrics
from evalkit.running.searching import check_searches
from evalkit.specs.load import load_gate

__all__ = ["plan"]


def plan(
    study: str | Path,
    *,
    limit: int | None = None,
    only: Iterable[str] | None = None,
    sandbox: str | None = None,
) -> Plan:
    """Return what ``run`` would do. Spends nothing.

    Args:
        study: The study's YAML.
        limit: At most this many samples a task.
        only: Candidates to do; None for all.
        sandbox: ``none`` runs code of models with all your rights, ``optional`` leaves it unscored where there is no
            sandbox; None: as the tasks say.

    Raises:
        UserError: The study or something it names is wrong.
    """
    planned = plan_study(Path(study), limit=limit, only=only, sandbox=sandbox)
    check_judges(planned)
    check_starts(planned)
    check_searches(planned)
    if planned.study.gate is not None:  # a typo in a gate is told now, not after the hours it judges
        measured = {task.name: [metric.name for metric in task_metrics(task)] for task in planned.tasks}
        problems = unknown_metrics(load_gate(planned.study.gate), measured)
        if problems:
            raise SpecError(*(f"{planned.study.gate}: {problem}" for problem in problems))
    return planned
