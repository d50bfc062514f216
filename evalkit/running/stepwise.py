"""Candidates answered and scored a few samples at a time, for a gate that stops as soon as it knows.

Adapters are trained when their candidate is first asked. Answers go through the stage cache, so that what a run (or
an interrupted gate) already has is not asked again, and a later ``evalkit run`` finds what was answered here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evalkit.data.extract import extract
from evalkit.data.tasks import Task
from evalkit.errors import CandidateError
from evalkit.metrics import Metric
from evalkit.models.base import Model
from evalkit.models.prices import Budget
from evalkit.records import Request, Unscored
from evalkit.running.adapters import make_adapter
from evalkit.running.answer import answer
from evalkit.running.bases import Adapter, LazyBase
from evalkit.running.cache import Cache
from evalkit.running.done import Done
from evalkit.running.folder import RunFolder
from evalkit.running.plan import BaseChoice, Plan, task_metrics
from evalkit.running.progress import Progress
from evalkit.running.remote import make_remote, takes_chats
from evalkit.running.study import model_of, requests_of
from evalkit.specs.study import ApiCandidate

__all__ = ["Stepwise"]

Array = NDArray[np.float64]


class Stepwise:
    """Answers and scores chosen samples of a plan's candidates.

    Args:
        plan: From ``plan_study``.
        cache: Of finished stages.
        folder: Where adapters and training logs go.
        progress: Told where the work is.

    Attributes:
        answered: (candidate, task) → places of the samples that were looked at.
    """

    def __init__(self, plan: Plan, cache: Cache, folder: RunFolder, progress: Progress) -> None:
        self._plan, self._cache, self._folder, self._progress = plan, cache, folder, progress
        self._members = {planned.name: Done(planned) for planned in plan.candidates}
        self._bases: dict[BaseChoice, LazyBase] = {}
        self._adapters: dict[str, Adapter | None] = {}
        self._budget = Budget(plan.study.budget)
        self._metrics: dict[str, dict[str, Metric]] = {}
        self._requests: dict[tuple[str, str], list[Request]] = {}
        self.answered: dict[tuple[str, str], set[int]] = {}

    def error(self, candidate: str) -> str | None:
        """Why a candidate could not be done, or None as far as is known."""
        return self._members[candidate].error

    def scores(self, candidate: str, task: Task, metric: str, rows: Sequence[int]) -> Array:
        """Return the scores of chosen samples; NaN where a sample could not be scored, or the candidate not done.

        Args:
            candidate: Who answers.
            task: The task.
            metric: One of its metrics, by its name in results.
            rows: Places of the samples in the task.
        """
        member = self._members[candidate]
        nothing = np.full(len(rows), np.nan)
        if member.error is not None or not len(rows):
            return nothing
        try:
            return self._score(member, task, metric, rows)
        except CandidateError as error:
            member.error = str(error)
            self._progress.say(f"{candidate} could not be done: {error}")
            return nothing

    def _score(self, member: Done, task: Task, metric: str, rows: Sequence[int]) -> Array:
        name, planned = member.planned.name, member.planned
        base = None
        if planned.base is not None:
            base = self._bases.setdefault(planned.base, LazyBase(planned.base, self._cache, self._progress))
        if name not in self._adapters:
            self._adapters[name] = make_adapter(
                member, self._plan, base, self._cache, self._folder, self._progress
            )
        if isinstance(planned.spec, ApiCandidate):
            model: Model = make_remote(planned.spec, self._plan.study, self._budget, name)
            chat = takes_chats(planned.spec, task.spec.kind)
        else:
            model = model_of(planned, base, self._adapters[name], task)
            chat = base is None or base.has_chat_template
        if (name, task.name) not in self._requests:
            self._requests[name, task.name] = list(requests_of(planned, self._plan, task, chat))
        asked = [self._requests[name, task.name][row] for row in rows]
        outputs = answer(model, asked, self._cache, self._progress, f"{name} · {task.name}")
        self.answered.setdefault((name, task.name), set()).update(rows)
        if task.name not in self._metrics:
            self._metrics[task.name] = {built.name: built for built in task_metrics(task)}
        samples = [task.samples[row] for row in rows]
        measured = self._metrics[task.name][metric].measure(samples, [extract(task, o) for o in outputs])
        return np.array([np.nan if isinstance(s, Unscored) else s for s in measured.scores], dtype=np.float64)
