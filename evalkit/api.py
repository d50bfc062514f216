"""What Python users call and the commands are made of: ``run``, ``score``, ``metric``.

>>> import evalkit
>>> evalkit.score([{"output": "Paris", "target": "paris"}], metrics=["exact_match"])[0].value
1.0
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evalkit.catalog import find
from evalkit.errors import UserError
from evalkit.gates.assertions import assert_no_regression
from evalkit.gates.evaluate import evaluate_run, gate
from evalkit.gates.rules import left_out
from evalkit.gates.verdicts import GateVerdict
from evalkit.metrics import metric
from evalkit.planning import plan
from evalkit.records import Result
from evalkit.reporting.html import write_report
from evalkit.reporting.runs import rewrite_report
from evalkit.running.calibrate import apply_calibrations
from evalkit.running.describe import describe
from evalkit.running.folder import RunFolder
from evalkit.running.instruments import apply_instruments
from evalkit.running.labels import Imported, apply_labels
from evalkit.running.labels import import_labels as take_labels
from evalkit.running.plan import Plan
from evalkit.running.progress import Progress, Silent
from evalkit.running.run import explained, run_plan
from evalkit.running.score import MetricLike
from evalkit.running.score_file import score_rows
from evalkit.specs.load import load_gate

__all__ = [
    "Run",
    "assert_no_regression",
    "describe",
    "gate",
    "import_labels",
    "metric",
    "plan",
    "run",
    "run_planned",
    "score",
]


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run.

    Attributes:
        folder: Reads the run folder.
        failed: Candidates that could not be done → why.
        gate: The verdict of the study's gate; None without a gate, or where it could not be asked.
        gate_error: Why the gate could not be asked: one message a mistake.
    """

    folder: RunFolder
    failed: dict[str, str]
    gate: GateVerdict | None = None
    gate_error: tuple[str, ...] = ()

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
        """What the command ends with: 2 the gate is wrong, 1 it fails, 4 some candidates could not be done, 3 the gate
        is inconclusive, else 0; the first of these that holds."""
        gate = 0 if self.gate is None else self.gate.exit_code
        holding = {2 if self.gate_error else 0, gate, 4 if self.failed else 0}
        return next((code for code in (2, 1, 4, 3) if code in holding), 0)

    def samples(self, candidate: str, task: str) -> Iterator[dict[str, Any]]:
        """Yield a candidate's answers to a task, with their scores."""
        return self.folder.samples(candidate, task)


def run(
    study: str | Path,
    *,
    out: str | Path | None = None,
    limit: int | None = None,
    only: Iterable[str] | None = None,
    progress: Progress | None = None,
    train_only: bool = False,
) -> Run:
    """Train, answer, score, compare, report and gate; the same as ``evalkit run``.

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
    failed = {member.planned.name: member.error for member in done if member.error is not None}
    if train_only:
        return Run(folder, failed)
    judges = folder.results().get("judges") or []
    failed |= {f"judge {entry['name']}": entry["error"] for entry in judges if entry["error"] is not None}
    with explained():
        # The stages have written their own numbers anew.
        for remark in [*apply_labels(folder), *apply_calibrations(folder)]:
            (progress or Silent()).say(remark)
        apply_instruments(folder)
        (folder.path / "gate.json").unlink(missing_ok=True)  # of an earlier policy
        finished = _gated(Run(folder, failed), planned, progress or Silent())
        write_report(folder, find("reports", planned.study.report, planned.roots))  # shows the gate's verdict
        return finished


def _gated(finished: Run, planned: Plan, progress: Progress) -> Run:
    """Ask the study's gate. A gate that cannot be asked does not take the run away."""
    if planned.study.gate is None:
        return finished
    try:
        policy = load_gate(planned.study.gate)
        absent = left_out(policy, {member.name: member.kind for member in planned.candidates})
        if planned.only is not None and absent:
            progress.say(f"Gate {policy.gate} was not asked: --only leaves out {absent}.")
            return finished
        return replace(finished, gate=evaluate_run(finished.folder, policy, roots=planned.roots))
    except UserError as error:
        return replace(finished, gate_error=tuple(error.messages))


def score(rows: Iterable[dict[str, Any]], metrics: Iterable[MetricLike], **settings: Any) -> list[Result]:
    """Score outputs made elsewhere; the same as ``evalkit score``.

    Args:
        rows: Objects with ``output`` and, as the metric needs them, ``target``, ``input``, ``id``.
        metrics: Names such as ``rougeL``, ``{"metric": NAME, **settings}``, or functions of your own.
        **settings: Passed to ``score_rows``: ``confidence``, ``seed``.

    Returns:
        One result a metric, in order.

    Raises:
        UserError: An unknown metric or a malformed row.
    """
    return score_rows(rows, list(metrics), **settings).results


def import_labels(
    run: str | Path, files: Iterable[str | Path], *, accept_partial: bool = False
) -> tuple[RunFolder, Imported]:
    """Take in labels of people and write the run's report again; see ``evalkit.running.labels``.

    Args:
        run: A run folder, a study's folder (its newest run), or a run's ID.
        files: Sheets that came back, of any format.
        accept_partial: Import what is understood and leave out the rest.

    Raises:
        UserError: Something is not understood; nothing was imported.
    """
    folder, found = take_labels(run, list(files), accept_partial=accept_partial)
    apply_instruments(folder)
    rewrite_report(folder.path)
    return folder, found
