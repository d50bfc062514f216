"""From a study file to what will be done: every candidate resolved, every task read, nothing spent yet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from evalkit.data.cards import TaskCard
from evalkit.data.prompts import build_request
from evalkit.data.tasks import Task, load_task
from evalkit.errors import DataError, SpecError, nearest
from evalkit.metrics import Metric
from evalkit.models.devices import choose_placement
from evalkit.models.replay import read_answers, unknown_tasks
from evalkit.running.code_tasks import tasks_run_in
from evalkit.running.score import build_metrics
from evalkit.specs.expand import expand, form_name
from evalkit.specs.load import load_study
from evalkit.specs.study import Candidate, Form, PromptCandidate, Quantization, ReplayCandidate, Study
from evalkit.specs.task import MetricUse

__all__ = ["BaseChoice", "Plan", "Planned", "metric_settings", "plan_study", "primary_metric", "task_metrics"]

NOT_YET = {"rag": "retrieval candidates"}


@dataclass(frozen=True, slots=True)
class BaseChoice:
    """Which base model a candidate stands on: candidates with an equal choice share one loaded base."""

    model: str
    quantization: Quantization
    dtype: str
    device: str
    trust_remote_code: bool = False


@dataclass(frozen=True, slots=True)
class Planned:
    """One candidate, resolved.

    Attributes:
        name: As in results.
        kind: ``base prompt train adapter api replay``.
        base: The base it stands on; None for a replay or a server.
        control: Name of the candidate it is compared with; None for a control itself.
        spec: Its entry in the study; None for a base.
        settings: Trainer settings, resolved.
        origins: Setting → ``default``, ``trainer.yaml``, ``study`` or ``grid``.
        rows: Training rows of a point of a learning curve; None: all.
        entry: Name of its entry in the study, which a grid's members share; None for a base.
        form: How its adapter is merged (``models/merging.py``); None where it is not.
        of: With a form: name of the candidate whose adapter it is.
    """

    name: str
    kind: str
    base: BaseChoice | None
    control: str | None
    spec: Candidate | None = None
    settings: Any = None
    origins: dict[str, str] = field(default_factory=dict)
    rows: int | None = None
    entry: str | None = None
    form: Form | None = None
    of: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do.

    Attributes:
        study: The study as written, defaults filled in.
        path: The study's file.
        roots: Project folders whose catalog entries win.
        tasks: The tasks with their test samples.
        candidates: Controls first, then the study's order.
        limit: ``--limit``, or None.
        only: ``--only``, or None.
    """

    study: Study
    path: Path
    roots: tuple[Path, ...]
    tasks: tuple[Task, ...]
    candidates: tuple[Planned, ...]
    limit: int | None = None
    only: tuple[str, ...] | None = None


def plan_study(
    path: Path, *, limit: int | None = None, only: Iterable[str] | None = None, sandbox: str | None = None
) -> Plan:
    """Read a study and resolve everything in it.

    Args:
        path: The study's YAML.
        limit: At most this many samples a task.
        only: Names of the candidates to do; controls and what they start from are always done. None: all.
        sandbox: How code of models is run, in place of what the cards say.

    Raises:
        SpecError: The study or something it names is wrong; every mistake of a file at once.
        DataError: A task's rows are missing or wrong.
        CatalogError: A task or trainer is unknown.
    """
    study = load_study(path)
    roots = tuple(dict.fromkeys([path.resolve().parent, Path.cwd().resolve()]))
    _refuse_what_is_not_there_yet(study, path)
    tasks = tuple(
        load_task(use.task, roots, limit=_least(use.limit, limit), seed=study.seed, chat=use.chat)
        for use in study.tasks
    )
    tasks = tasks_run_in(sandbox, tasks)
    for task in tasks:
        task_metrics(task)  # an unknown metric is found now, not after an hour of training
    wanted = tuple(only) if only is not None else None
    candidates = _candidates(study, roots)
    if wanted is not None:
        candidates = _chosen(candidates, wanted)
    for planned in candidates:
        _check_prompts(planned, tasks, study.seed)
    return Plan(study, path.resolve(), roots, tasks, tuple(candidates), limit, wanted)


def _check_prompts(planned: Planned, tasks: tuple[Task, ...], seed: int) -> None:
    """Build a prompt of each task, so that too few examples or a bad template are found before anything is spent;
    likewise read recorded answers."""
    if isinstance(planned.spec, ReplayCandidate) and tasks:
        strange = unknown_tasks(planned.spec.path, [task.name for task in tasks])
        if len(strange) == len(read_answers(planned.spec.path)):
            raise DataError(*strange)
    if isinstance(planned.spec, PromptCandidate):
        for task in tasks:
            system, fewshot = planned.spec.system, planned.spec.fewshot
            build_request(task, task.samples[0], chat=True, system=system, fewshot=fewshot, seed=seed)


def task_metrics(task: TaskCard) -> list[Metric]:
    """Make a task's metrics; a setting that names a file beside the card becomes that file's path.

    Raises:
        MetricError: A metric or setting is unknown, or cannot be had.
    """
    return build_metrics(
        {"metric": use.metric, **metric_settings(use, task.entry.path)} for use in task.spec.metrics
    )


def metric_settings(use: MetricUse, folder: Path) -> dict[str, Any]:
    """A metric's settings as its card has them; one that names a file beside the card becomes that file's path."""
    return {
        key: str(folder / value) if isinstance(value, str) and (folder / value).is_file() else value
        for key, value in use.settings.items()
    }


def primary_metric(task: Task) -> str:
    """Name, as in results, of the metric that decides a task."""
    position = [use.metric for use in task.spec.metrics].index(task.primary)
    return task_metrics(task)[position].name


def _candidates(study: Study, roots: tuple[Path, ...]) -> list[Planned]:
    main = _base_choice(study, None)
    controls: dict[BaseChoice, Planned] = {}
    if main is not None:
        controls[main] = Planned("base", "base", main, None)
    members: list[Planned] = []
    for single in expand(study, roots):
        choice = None if single.spec.kind in ("replay", "api") else _base_choice(study, single.spec)
        if choice is not None and choice not in controls:
            controls[choice] = Planned(_base_name(choice, main), "base", choice, None)
        control = controls[choice].name if choice is not None else ("base" if main is not None else None)
        members.append(
            Planned(
                single.name,
                single.spec.kind,
                choice,
                control,
                single.spec,
                single.settings,
                single.origins,
                single.rows,
                single.parent,
            )
        )
        members += [
            Planned(form_name(single.name, form), "adapter", choice, control, form=form, of=single.name)
            for form in getattr(single.spec, "forms", None) or ()
        ]
    return _with_named_control([*controls.values(), *members], study.control)


def _with_named_control(candidates: list[Planned], control: str) -> list[Planned]:
    """Compare with the candidate that ``control:`` names, where it is not the base."""
    names = {candidate.name for candidate in candidates}
    if control == "base":
        return candidates
    if control not in names:
        raise SpecError(f"control: no candidate named {control!r}.{nearest(control, names)}")
    return [
        replace(candidate, control=None if candidate.name == control else control) for candidate in candidates
    ]


def _base_choice(study: Study, spec: Candidate | None) -> BaseChoice | None:
    model = (spec.model if spec is not None else None) or study.model
    if model is None:
        return None
    quantization = (spec.quantization if spec is not None else None) or study.quantization
    if isinstance(quantization, str):
        quantization = Quantization(type=quantization)
    dtype = (spec.dtype if spec is not None else None) or study.dtype
    place = choose_placement(study.device, dtype)
    return BaseChoice(model, quantization, place.dtype, place.device, study.trust_remote_code)


def _base_name(choice: BaseChoice, main: BaseChoice | None) -> str:
    """``base[…]`` with what differs from the study's own base: ``base[fp32]``, ``base[other-model]``."""
    parts = []
    if main is None or choice.model != main.model:
        parts.append(choice.model)
    if main is None or choice.quantization != main.quantization:
        kind = choice.quantization.type
        parts.append(choice.dtype if kind == "none" else kind)
    if main is not None and choice.dtype != main.dtype and choice.dtype not in parts:
        parts.append(choice.dtype)
    return f"base[{','.join(parts)}]"


def _chosen(candidates: list[Planned], wanted: tuple[str, ...]) -> list[Planned]:
    names = {candidate.name for candidate in candidates}
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise SpecError(*(f"--only: no candidate named {name!r}.{nearest(name, names)}" for name in unknown))
    needed = {
        candidate.name: (candidate.control, getattr(candidate.spec, "start", None), candidate.of)
        for candidate in candidates
    }
    kept: set[str | None] = {None}
    queue = [*wanted]
    while queue:
        name = queue.pop()
        kept.add(name)
        queue += [other for other in needed.get(name, ()) if other is not None and other not in kept]
    return [candidate for candidate in candidates if candidate.name in kept]


def _refuse_what_is_not_there_yet(study: Study, path: Path) -> None:
    problems = [
        f"{path}: candidate {candidate.name!r}: {NOT_YET[candidate.kind]} (kind: {candidate.kind}) are not in this "
        "version; take the candidate out."
        for candidate in study.candidates
        if candidate.kind in NOT_YET
    ]
    if problems:
        raise SpecError(*problems)


def _least(*limits: int | None) -> int | None:
    given = [limit for limit in limits if limit is not None]
    return min(given) if given else None
