"""The judges that a study names, opened and checked before anything is spent. No weights are needed for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evalkit.errors import SpecError, nearest
from evalkit.judging.card import Judge, open_judge
from evalkit.judging.records import Judgement, read_judgements
from evalkit.running.plan import Plan
from evalkit.signature import digest
from evalkit.specs.study import JudgeModel, JudgeUse
from evalkit.specs.task import MetricUse

__all__ = ["Judged", "check_judges", "judge_model", "label_of", "labels_of", "open_uses", "under_test"]


@dataclass(slots=True)
class Judged:
    """What a judge of a study said.

    Attributes:
        name: As in results, without ``judge:``.
        judge: Its card.
        use: Its entry in the study.
        rows: One a candidate, task and sample that it was asked about.
        error: Why it could not be finished.
        weights: Of a weighted jury's members, by their label.
    """

    name: str
    judge: Judge
    use: JudgeUse
    rows: list[Judgement] = field(default_factory=list)
    error: str | None = None
    weights: dict[str, float] | None = None

    @property
    def models(self) -> list[JudgeModel]:
        """Who is asked: one, or a jury."""
        return list(self.use.models or ([self.use.model] if self.use.model is not None else []))

    @property
    def card(self) -> str:
        """The judge's name, version and the hash of its files."""
        return f"{self.judge.name}@{self.judge.spec.version}-{self.judge.sha256[:8]}"

    @property
    def members(self) -> list[str]:
        """The names that the members of a jury have among the files of verdicts; of a single judge none."""
        models = self.models
        return [f"{self.name}@{label}" for label in labels_of(models)] if len(models) > 1 else []

    def about(self) -> dict[str, object]:
        """What made the numbers, for their signatures."""
        how: str | None = None if self.use.models is None else self.use.aggregate
        if self.weights is not None:
            how = f"{how}:{'+'.join(f'{weight:.4g}' for weight in self.weights.values())}"
        when = None if self.use.when is None else digest(self.use.when.model_dump(mode="json"))[:8]
        return {
            "judge": self.card,
            "model": "+".join(self._names()),
            "jury": how,
            "when": when,
        }

    def to_json(self) -> dict[str, Any]:
        """The judge's object in ``results.json``."""
        costs = [row.cost for row in self.rows if row.cost is not None]
        return {
            "name": self.name,
            "judge": self.judge.name,
            "kind": self.judge.spec.kind,
            "models": self._names(),
            "recorded": any(model.replay is not None for model in self.models),
            "families": [model.family for model in self.models],
            "members": self.members,
            "aggregate": None if self.use.models is None else self.use.aggregate,
            "weights": self.weights,
            "judged": len(self.rows),
            "unscored": sum(row.unscored is not None for row in self.rows),
            "disputed": sum((row.disagreement or 0) > 0 for row in self.rows),
            "calls": sum(row.calls for row in self.rows),
            "tokens": sum(row.tokens for row in self.rows),
            "money": sum(costs) if costs else None,
            "calibrated": False,
            "error": self.error,
        }

    def _names(self) -> list[str]:
        """Who judged: of recorded verdicts the models that gave them, where that was written down."""
        told = {row.model for row in self.rows if row.model}
        if len(self.models) == 1 and self.models[0].replay is not None and told:
            return sorted(told)
        return [label_of(model) for model in self.models]


def label_of(model: JudgeModel) -> str:
    """A model of a judge in a word or two."""
    if model.model is not None:
        return model.model
    if model.local is not None:
        return model.local
    return f"replay {model.replay.name}" if model.replay is not None else "echo"


def labels_of(models: Sequence[JudgeModel]) -> list[str]:
    """A name for each member of a jury, told apart by a number where two have the same."""
    plain = [label_of(model) for model in models]
    return [
        label if plain.count(label) == 1 else f"{label}#{plain[: place + 1].count(label)}"
        for place, label in enumerate(plain)
    ]


def open_uses(uses: Sequence[JudgeUse], roots: Sequence[Path]) -> list[Judged]:
    """Open the judges of a study.

    Raises:
        SpecError: A card is wrong, two judges have one name, a jury has criteria, or a layer names no jury before it.
        CatalogError: No such judge.
    """
    opened: list[Judged] = []
    for use in uses:
        name = use.name or use.judge
        before = [judged.name for judged in opened]
        if name in before:
            raise SpecError(f"judges: {name!r} is there twice; give one of them a `name:`.")
        judge = open_judge(use.judge, roots)
        if use.models is not None and judge.spec.criteria:
            raise SpecError(
                f"judges: {name!r} has criteria, and a jury votes on one value: name one judge a criterion."
            )
        layer = use.when.disagree if use.when is not None else None
        if layer is not None and layer not in before:
            raise SpecError(
                f"judges: {name!r}: when: {{disagree: {layer}}} names no judge before it.{nearest(layer, before)}"
            )
        opened.append(Judged(name, judge, use))
    return opened


def under_test(model: JudgeModel, tested: Iterable[str | None]) -> bool:
    """Whether a judge is a model that is itself on trial, or its recorded verdicts are such a model's.

    Raises:
        DataError: A file of recorded verdicts cannot be read.
    """
    if model.replay is not None:
        own = {row.model for row in read_judgements(model.replay)}
    else:
        own = {model.model or model.local or ""}
    return bool(own & set(tested))


def judge_model(
    model: str | None, base_url: str | None, api_key_env: str | None, local: str | None, under_test: bool
) -> JudgeModel | None:
    """The model that the flags of ``evalkit judge`` name; None where they name none.

    Raises:
        SpecError: Both a server's and a local model are named.
    """
    if model is not None and local is not None:
        raise SpecError("expected either --model or --local, got both.")
    if model is None and local is None:
        return None
    return JudgeModel(
        model=model, base_url=base_url, api_key_env=api_key_env, local=local, under_test=under_test
    )


def check_judges(plan: Plan) -> list[Judged]:
    """Open the judges of a study, and those that its tasks name, and find what is wrong with their use.

    Raises:
        SpecError: One line a mistake: no model, a judge that is itself on trial, an unknown task or metric, a task that
            names a judge where the study does not say which model judges.
        CatalogError: No such judge.
    """
    judges = open_uses(_uses(plan), plan.roots)
    tasks = [task.name for task in plan.tasks]
    metrics = {use.metric for task in plan.tasks for use in task.spec.metrics}
    tested = [
        planned.base.model if planned.base is not None else getattr(planned.spec, "model", None)
        for planned in plan.candidates
    ]
    problems: list[str] = []
    for judged in judges:
        here, use = f"{plan.path}: judge {judged.name!r}", judged.use
        if not judged.models:
            problems.append(
                f"{here}: no model: add model: {{model: NAME, base_url: …}} or model: {{local: NAME}}."
            )
        for model in judged.models:
            if under_test(model, tested) and not model.under_test:
                problems.append(
                    f"{here}: {label_of(model)} is a candidate of this study, and a judge favours its own words: name "
                    "another model, or say under_test: true beside it."
                )
        deciding = any(judged.name in _deciding(task.spec.metrics) for task in plan.tasks)
        if deciding and (why := _unfit(judged.judge)) is not None:
            problems.append(f"{here}: {why}")
        for task in use.tasks or []:
            if task not in tasks:
                problems.append(f"{here}: the study has no task {task!r}.{nearest(task, tasks)}")
        metric = use.when.metric if use.when is not None else None
        if metric is not None and metric not in metrics:
            problems.append(f"{here}: when: no task has a metric {metric!r}.{nearest(metric, metrics)}")
    if problems:
        raise SpecError(*problems)
    return judges


def _unfit(judge: Judge) -> str | None:
    """Why a judge cannot decide a metric of refusals; None if it can."""
    if judge.spec.kind == "pointwise" and judge.bounds == (1.0, 3.0) and not judge.spec.criteria:
        return None
    return (
        f"it decides a metric of refusals: expected kind pointwise with scale 1 (no refusal) to 3 (full refusal), as "
        f"judges/refusal has; got kind {judge.spec.kind}."
    )


def _deciding(metrics: Iterable[MetricUse]) -> list[str]:
    """The judges that decide metrics of a card: ``{metric: refusal, judge: NAME}``."""
    return [name for use in metrics if isinstance(name := use.settings.get("judge"), str)]


def _uses(plan: Plan) -> list[JudgeUse]:
    """The study's judges, and those that a task's card names, for that task; by the model that judges for the study."""
    uses = {use.name or use.judge: use for use in plan.study.judges}
    if len(uses) < len(plan.study.judges):
        return list(plan.study.judges)  # told where they are opened
    given = [(use.model, *(use.models or ())) for use in plan.study.judges]
    models = [model for several in given for model in several if model is not None]
    asked = [
        model for index, model in enumerate(models) if model not in models[:index] and model.replay is None
    ]
    problems: list[str] = []
    for task in plan.tasks:
        for name in dict.fromkeys([*task.spec.judges, *_deciding(task.spec.metrics)]):
            use = uses.get(name)
            if use is not None:
                if use.tasks is not None and task.name not in use.tasks:
                    uses[name] = use.model_copy(update={"tasks": [*use.tasks, task.name]})
            elif len(asked) == 1:
                uses[name] = JudgeUse(judge=name, model=asked[0], tasks=[task.name])
            else:
                problems.append(
                    f"{plan.path}: task {task.name!r} names the judge {name!r}, and the study "
                    f"{'names several models' if asked else 'does not say which model judges'}: "
                    f"add judges: [{{judge: {name}, model: {{local: NAME}}, tasks: [{task.name}]}}], or another model."
                )
    if problems:
        raise SpecError(*problems)
    return list(uses.values())
