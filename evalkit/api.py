"""What Python users call and the commands are made of: ``run``, ``score``, ``metric``.

>>> import evalkit
>>> evalkit.score([{"output": "Paris", "target": "paris"}], metrics=["exact_match"])[0].value
1.0
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.catalog import find
from evalkit.metrics import metric
from evalkit.records import Result
from evalkit.reporting.html import write_report
from evalkit.running.describe import describe
from evalkit.running.folder import RunFolder
from evalkit.running.plan import Plan, plan_study
from evalkit.running.progress import Progress, Silent
from evalkit.running.run import run_plan
from evalkit.running.score_file import score_rows

__all__ = ["Run", "describe", "metric", "plan", "run", "run_planned", "score"]


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run.

    Attributes:
        folder: Reads the run folder.
        failed: Candidates that could not be done → why.
    """

    folder: RunFolder
    failed: dict[str, str]

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def results(self) -> dict[str, Any]:
        """The content of ``results.json``."""
        return self.folder.results()

    @property
    def report(self) -> Path:
        """Path of ``report.html``."""
        return self.path / "report.html"

    @property
    def exit_code(self) -> int:
        """What the command ends with: 0, or 4 where some candidates could not be done."""
        return 4 if self.failed else 0

    def samples(self, candidate: str, task: str) -> Iterator[dict[str, Any]]:
        """Yield a candidate's answers to a task, with their scores."""
        return self.folder.samples(candidate, task)


def plan(study: str | Path, *, limit: int | None = None, only: Iterable[str] | None = None) -> Plan:
    """Return what ``run`` would do. Spends nothing.

    Args:
        study: The study's YAML.
        limit: At most this many samples a task.
        only: Candidates to do; None for all.

    Raises:
        UserError: The study or something it names is wrong.
    """
    return plan_study(Path(study), limit=limit, only=only)


def run(
    study: str | Path,
    *,
    out: str | Path | None = None,
    limit: int | None = None,
    only: Iterable[str] | None = None,
    progress: Progress | None = None,
    train_only: bool = False,
) -> Run:
    """Train, answer, score, compare and report; the same as ``evalkit run``.

    What is finished already is not done again; a run that was killed goes on where it stopped.

    Args:
        study: The study's YAML.
        out: Folder that takes the place of ``runs/`` in the working directory.
        limit: At most this many samples a task.
        only: Candidates to do (controls are always done); None for all.
        progress: Told where the run is; None: silent.
        train_only: Stop after the adapters are made.

    Raises:
        UserError: The study or something it names is wrong, or a folder cannot be written to.
    """
    return run_planned(plan(study, limit=limit, only=only), out=out, progress=progress, train_only=train_only)


def run_planned(
    planned: Plan,
    *,
    out: str | Path | None = None,
    progress: Progress | None = None,
    train_only: bool = False,
) -> Run:
    """Run what ``plan`` returned. See ``run``."""
    folder, done = run_plan(
        planned, progress or Silent(), out=None if out is None else Path(out), train_only=train_only
    )
    if not train_only:
        write_report(folder, find("reports", planned.study.report, planned.roots))
    return Run(folder, {member.planned.name: member.error for member in done if member.error is not None})


def score(rows: Iterable[dict[str, Any]], metrics: Iterable[str], **settings: Any) -> list[Result]:
    """Score outputs made elsewhere; the same as ``evalkit score``.

    Args:
        rows: Objects with ``output`` and, as the metric needs them, ``target``, ``input``, ``id``.
        metrics: Names such as ``exact_match`` or ``rougeL``.
        **settings: Passed to ``score_rows``: ``confidence``, ``seed``.

    Returns:
        One result a metric, in order.

    Raises:
        UserError: An unknown metric or a malformed row.
    """
    return score_rows(rows, list(metrics), **settings).results
