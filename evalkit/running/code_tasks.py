"""``--sandbox``: the user's word on how code of models is run, in place of what cards say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from evalkit.data.cards import TaskCard
from evalkit.errors import UserError
from evalkit.running.score import MetricLike
from evalkit.specs.task import MetricUse

__all__ = ["metrics_run_in", "tasks_run_in"]

_Card = TypeVar("_Card", bound=TaskCard)
_CODE = re.compile(r"pass@\d+|code_score")


def tasks_run_in(sandbox: str | None, tasks: Sequence[_Card]) -> tuple[_Card, ...]:
    """The tasks with their code metrics run as ``--sandbox`` says; as they are without it.

    Raises:
        UserError: None of them runs code.
    """
    if sandbox is None:
        return tuple(tasks)
    if not any(_CODE.fullmatch(use.metric) for task in tasks for use in task.spec.metrics):
        raise UserError(
            "--sandbox: none of these tasks runs code, so that it would change nothing; leave it out."
        )
    return tuple(
        replace(
            task,
            spec=task.spec.model_copy(update={"metrics": [_use(use, sandbox) for use in task.spec.metrics]}),
        )
        for task in tasks
    )


def metrics_run_in(sandbox: str | None, names: Iterable[MetricLike]) -> list[MetricLike]:
    """The same for metrics given by name.

    >>> metrics_run_in("none", ["pass@1", "bleu"])
    [{'metric': 'pass@1', 'sandbox': 'none'}, 'bleu']
    """
    asked = list(names)
    if sandbox is None:
        return asked
    code = [isinstance(name, str) and _CODE.fullmatch(name) is not None for name in asked]
    if not any(code):
        raise UserError(
            "--sandbox: none of these metrics runs code, so that it would change nothing; leave it out."
        )
    return [
        {"metric": name, "sandbox": sandbox} if runs else name for name, runs in zip(asked, code, strict=True)
    ]


def _use(use: MetricUse, sandbox: str) -> MetricUse:
    if not _CODE.fullmatch(use.metric):
        return use
    return use.model_copy(update={"settings": {**use.settings, "sandbox": sandbox}})
