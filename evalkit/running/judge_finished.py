"""Judge a finished run: what ``evalkit judge RUN --judge NAME`` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from evalkit.data.tasks import Task, load_task
from evalkit.errors import SpecError, UserError, nearest
from evalkit.models.prices import Budget
from evalkit.running.cache import Cache
from evalkit.running.calibrate import apply_calibrations
from evalkit.running.find import find_run
from evalkit.running.folder import RunFolder
from evalkit.running.instruments import apply_instruments
from evalkit.running.judge_added import note_added
from evalkit.running.judge_run import judge_run
from evalkit.running.judges import label_of, open_uses, under_test
from evalkit.running.progress import Progress
from evalkit.running.remote import server_problems
from evalkit.specs.study import JudgeModel, JudgeUse, Study

__all__ = ["judge_finished"]


def judge_finished(
    run: str | Path,
    names: Sequence[str],
    progress: Progress,
    *,
    model: JudgeModel | None = None,
    budget: float | None = None,
) -> tuple[RunFolder, dict[str, str]]:
    """Ask judges about the answers of a finished run and make their scores part of its results.

    Args:
        run: A run folder, a study's folder (its newest run), or a run's ID.
        names: Judges of the run's study by their name there, or judges of the catalog.
        progress: Told where the stage is.
        model: Who judges; None: as the study says.
        budget: Money it may spend; None: as the study says.

    Returns:
        The run, and the judges that could not be finished with the reason.

    Raises:
        SpecError: No model is named, it is a candidate of this run, its key is missing, or a budget lacks its price.
        CatalogError: No such judge.
        UserError: Another process is at work in the run folder.
    """
    folder = find_run(run)
    study = Study.model_validate(folder.run()["study"])
    if budget is not None:
        study = study.model_copy(update={"budget": budget})
    roots = [Path.cwd().resolve()]
    known = {use.name or use.judge: use for use in study.judges}
    uses = []
    for name in names:
        use = known.get(name, JudgeUse(judge=name))
        if model is not None:
            use = use.model_copy(update={"model": model, "models": None})
        uses.append(use)
    judges = open_uses(uses, roots)
    tested = [entry.get("model") for entry in folder.results()["candidates"]]
    for judged in judges:
        if not judged.models:
            raise SpecError(
                f"judge {judged.name!r}: the run's study names no model for it: add --model NAME --base-url URL, or "
                f"--local NAME.{nearest(judged.name, known)}"
            )
        for one in judged.models:
            if under_test(one, tested) and not one.under_test:
                raise SpecError(
                    f"judge {judged.name!r}: {label_of(one)} is a candidate of this run, and a judge favours its own "
                    "words: name another model, or add --under-test."
                )
    servers = [
        (f"judge {judged.name!r}", one) for judged in judges for one in judged.models if one.model is not None
    ]
    if problems := server_problems(servers, study):
        raise SpecError(*dict.fromkeys(problems))
    try:
        with Cache() as cache, FileLock(folder.path / ".lock").acquire(timeout=0):
            tasks = [task for name in folder.tasks if (task := _task(name, roots, study.seed)) is not None]
            judge_run(folder, judges, study, cache, progress, budget=Budget(study.budget), tasks=tasks)
            note_added(folder, (judged for judged in judges if judged.name not in known))
            for remark in apply_calibrations(folder):
                progress.say(remark)
            apply_instruments(folder)
    except Timeout:
        raise UserError(f"Another evalkit is at work in {folder.path}: wait for it to end.") from None
    return folder, {judged.name: judged.error for judged in judges if judged.error is not None}


def _task(name: str, roots: Sequence[Path], seed: int) -> Task | None:
    """The task as it is in the catalog now, for the fields of its rows; None where it is elsewhere."""
    try:
        return load_task(name, roots, seed=seed)
    except UserError:
        return None
