"""The judges of a run: who is asked about which samples, and their numbers among the run's results.

It reads the run folder and writes into it, so that ``evalkit run`` and ``evalkit judge`` are one thing: a judge
may come to a run long after its candidates have answered.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evalkit.data.dialogue import as_spoken
from evalkit.data.tasks import Task
from evalkit.judging.cases import Case
from evalkit.judging.layers import selected
from evalkit.judging.measure import JudgeMetric, judge_metrics
from evalkit.judging.prompts import spoken
from evalkit.judging.records import Judgement, read_judgements
from evalkit.metrics.base import targets
from evalkit.models.prices import Budget
from evalkit.records import Comparison, Output, Prompt, Sample, Score, Unscored
from evalkit.running.answers import final_answer, whole_answer
from evalkit.running.cache import Cache
from evalkit.running.comparisons import compare_scored, correct
from evalkit.running.folder import RunFolder
from evalkit.running.judge import judge_cases, judgements_file, replayed
from evalkit.running.judge_added import added_judges
from evalkit.running.judged_metrics import decided_by, judged_metrics
from evalkit.running.judges import Judged
from evalkit.running.progress import Progress
from evalkit.running.score import Scored, score_task, statistics_of
from evalkit.specs.study import Study

__all__ = ["judge_run", "restore_added"]

Json = dict[str, Any]
PREFIX = "judge:"


def judge_run(
    folder: RunFolder,
    judges: Sequence[Judged],
    study: Study,
    cache: Cache,
    progress: Progress,
    *,
    budget: Budget,
    tasks: Sequence[Task] = (),
) -> None:
    """Ask judges about the answers in a run folder and make their scores part of its results.

    Args:
        folder: A run whose candidates have answered.
        judges: From ``open_uses``; their rows are filled in.
        study: Its prices, budget and seed.
        cache: Of settled questions.
        progress: Told where the stage is.
        budget: What may be spent; what candidates have spent of it already is gone.
        tasks: For the fields of the samples' rows and the question as the task puts it; without, what the run
            folder has.
    """
    results = folder.results()
    known = {task.name: {sample.id: sample for sample in task.samples} for task in tasks}
    controls = _controls(results, str((folder.run().get("study") or {}).get("control") or "base"))
    rows = _rows(folder, results)
    for judged in judges:
        cases: list[Case] = []
        for task in [task["name"] for task in results["tasks"]]:
            if judged.use.tasks is None or task in judged.use.tasks:
                weights = _chosen(judged, judges, task, rows, results, study.seed)
                cases += _cases(judged, task, rows, weights, known.get(task, {}), controls)
        judge_cases(judged, cases, study, cache, folder, progress, budget)
        if judged.error is not None:
            progress.say(f"judge {judged.name} could not be finished: {judged.error}")
    _write(folder, results, judges, rows, controls, study.seed)


def restore_added(folder: RunFolder, own: Collection[str], roots: Sequence[Path], *, seed: int) -> list[str]:
    """Put the scores of judges that ``evalkit judge`` added back into results that were written anew.

    Their verdicts hold for the answers they were given on; nobody is asked.

    Args:
        folder: A run whose candidates have answered.
        own: Names of the study's own judges.
        roots: Where catalog folders may be.
        seed: Of the study.

    Returns:
        Remarks: judges whose verdicts no longer count, and why.
    """
    judges, remarks = added_judges(folder, own, roots)
    if not judges:
        return remarks
    results = folder.results()
    controls = _controls(results, str((folder.run().get("study") or {}).get("control") or "base"))
    rows = _rows(folder, results)
    for judged in judges:
        path = judgements_file(folder, judged.name)
        weights: dict[str, dict[str, float]] = {}
        for row in read_judgements(path):
            weights.setdefault(row.task, {})[row.id] = row.weight
        cases = [
            case
            for task, own_weights in weights.items()
            for case in _cases(judged, task, rows, own_weights, {}, controls)
        ]
        judged.rows = replayed(path, cases, judged)
    _write(folder, results, judges, rows, controls, seed)
    return remarks


def _controls(results: Json, control: str) -> dict[str, str]:
    """Candidate → whom it is compared with."""
    told = {row["candidate"]: row["control"] for row in results["comparisons"]}
    names = [entry["name"] for entry in results["candidates"]]
    for name in names:
        if name not in told and name != control and control in names and name not in told.values():
            told[name] = control
    return told


Rows = dict[tuple[str, str], dict[str, Json]]
"""(candidate, task) → sample id → row."""


def _rows(folder: RunFolder, results: Json) -> Rows:
    return {
        (entry["name"], task["name"]): {
            str(row["id"]): row for row in folder.samples(entry["name"], task["name"])
        }
        for entry in results["candidates"]
        for task in results["tasks"]
    }


def _chosen(
    judged: Judged, judges: Sequence[Judged], task: str, rows: Rows, results: Json, seed: int
) -> dict[str, float]:
    """Sample id → weight of the samples of a task that this judge is asked about."""
    ids = list(dict.fromkeys(id_ for (_, of), own in rows.items() if of == task for id_ in own))
    when = judged.use.when
    if when is None:
        return dict.fromkeys(ids, 1.0)
    if when.disagree is not None:
        jury = next(other for other in judges if other.name == when.disagree)
        apart: list[dict[str, Score]] = [
            {row.id: Unscored("disputed")}
            for row in jury.rows
            if row.task == task and (row.unscored is not None or (row.disagreement or 0.0) > 0)
        ]
        others = {row.id: 0.0 for row in jury.rows if row.task == task}
        plain = when.model_copy(update={"above": None, "below": None, "near": None, "unscored": True})
        return selected(ids, [*apart, others], plain, seed=seed)
    primary = next(entry["primary"] for entry in results["tasks"] if entry["name"] == task)
    metric = when.metric or primary
    scores = [
        {id_: _score(row, metric) for id_, row in own.items()}
        for (_, of), own in rows.items()
        if of == task and own
    ]
    return selected(ids, scores, when, seed=seed)


def _score(row: Json, metric: str) -> Score:
    value = (row.get("scores") or {}).get(metric)
    if isinstance(value, int | float):
        return float(value)
    return Unscored(value["unscored"] if isinstance(value, dict) else f"no {metric}")


def _cases(
    judged: Judged,
    task: str,
    rows: Rows,
    weights: Mapping[str, float],
    samples: Mapping[str, Sample],
    controls: Mapping[str, str],
) -> Iterable[Case]:
    pairwise = judged.judge.spec.kind == "pairwise"
    for (candidate, of), own in rows.items():
        opponent = controls.get(candidate)
        if of != task or (pairwise and opponent is None):
            continue
        other = rows.get((str(opponent), task), {}) if pairwise else {}
        for id_, row in own.items():
            if id_ not in weights:
                continue
            sample = samples.get(id_)
            yield Case(
                candidate=candidate,
                task=task,
                id=id_,
                input=_asked(row, row["input"] if sample is None else sample.input, pairwise),
                output=_answer(row, pairwise),
                reference=_reference(row, id_),
                fields={} if sample is None else dict(sample.row),
                opponent=opponent if pairwise else None,
                opponent_output=_answer(other[id_], pairwise) if id_ in other else None,
                error=row.get("error"),
                weight=weights[id_],
            )


def _asked(row: Json, prompt: Prompt, pairwise: bool) -> Prompt:
    """What was asked; of one conversation, all before its last answer: two are compared by all their answers."""
    if "conversation" not in row or isinstance(prompt, str) or pairwise or row.get("finish") == "error":
        return spoken(prompt)
    return as_spoken(prompt, row["output"])[:-1]


def _answer(row: Json, pairwise: bool) -> str | None:
    """The answer, or None where there is none."""
    if row.get("finish") == "error":
        return None
    return whole_answer(row) if pairwise else final_answer(row)


def _reference(row: Json, id_: str) -> str | None:
    return " / ".join(targets(Sample(id_, "", row.get("target")))) or None


def _write(
    folder: RunFolder,
    results: Json,
    judges: Sequence[Judged],
    rows: Rows,
    controls: Mapping[str, str],
    seed: int,
) -> None:
    """Put the judges' scores into the samples and the results; those of other judges stay."""
    names, exact = [judged.name for judged in judges], statistics_of(folder.run()).exact
    about = {entry["name"]: entry for entry in results["tasks"]}
    mine = _Mine(names, {name: set(decided_by(entry, names)) for name, entry in about.items()})
    scored: dict[tuple[str, str], Scored] = {}
    for (candidate, task), own in rows.items():
        samples = {id_: _sample(id_, row) for id_, row in own.items()}
        metrics = [
            metric
            for judged in judges
            for metric in _metrics(judged, candidate, about[task], rows, samples, controls)
        ]
        if not own or not metrics:
            continue
        outputs = [Output(id_, "") for id_ in samples]
        slices = list(next(iter(own.values())).get("slices") or {})
        scored[candidate, task] = found = score_task(
            list(samples.values()), outputs, metrics, seed=seed, slices=slices, exact=exact
        )
        _mark(own, found, mine, task)
        folder.write_samples(candidate, task, own.values())
    compared = [
        comparison
        for (candidate, task), found in scored.items()
        if (controls.get(candidate), task) in scored
        for comparison in _comparisons(found, scored, candidate, controls[candidate], task, seed, exact)
    ]
    for part in ("scores", "comparisons", "slices"):
        results[part] = [row for row in results.get(part) or [] if not mine.holds(row["task"], row["metric"])]
    results["scores"] += [
        replace(result, task=task, candidate=candidate).to_json()
        for (candidate, task), found in scored.items()
        for result in found.results
    ]
    results["comparisons"] += [row.to_json() for row in _corrected(compared, names, folder)]
    results["slices"] += [
        {"candidate": candidate, "task": task, **part}
        for (candidate, task), found in scored.items()
        for part in found.slices
    ]
    for task in results["tasks"]:
        kept = {name: of for name, of in (task.get("metrics") or {}).items() if not _of(name, names)}
        made = _described(found for (_, of), found in scored.items() if of == task["name"])
        task["metrics"] = {**made, **kept}  # a card's own metric keeps the settings it has there
    others = [entry for entry in results.get("judges") or [] if entry["name"] not in names]
    results["judges"] = others + [judged.to_json() for judged in judges]
    money = results.setdefault("costs", {}).setdefault("money", {})
    for judged in judges:
        spent = judged.to_json()["money"]
        if spent is not None:
            money[f"judge {judged.name}"] = spent
    if any(entry["error"] for entry in results["judges"]):
        results["status"] = "partial"
    folder.write_results(results)


def _corrected(compared: list[Comparison], names: Iterable[str], folder: RunFolder) -> list[Comparison]:
    """Correct each judge's own values for their number: its criteria are what they are made of."""
    method = statistics_of(folder.run()).correction
    for name in names:
        family = [row for row in compared if row.metric == PREFIX + name]
        compared = [row for row in compared if row.metric != PREFIX + name] + correct(family, method=method)
    return compared


@dataclass(frozen=True)
class _Mine:
    """Which metrics come from these judges: their own, and those of a task's card that they decide."""

    judges: list[str]
    decided: Mapping[str, set[str]]

    def holds(self, task: str, metric: str) -> bool:
        return _of(metric, self.judges) or metric in self.decided.get(task, ())


def _sample(id_: str, row: Json) -> Sample:
    return Sample(id_, "", row.get("target"), row=row.get("slices") or {}, cluster=row.get("cluster"))


def _metrics(
    judged: Judged,
    candidate: str,
    about: Json,
    rows: Rows,
    samples: Mapping[str, Sample],
    controls: Mapping[str, str],
) -> list[JudgeMetric]:
    task = about["name"]
    own = [row for row in judged.rows if row.candidate == candidate and row.task == task]
    against = [
        row for row in judged.rows if row.task == task and row.opponent == candidate and row.unscored is None
    ]
    if not own and judged.judge.spec.kind == "pairwise" and against:
        own = _against_itself(candidate, against)
    if not own:
        return []
    decided = judged_metrics(about, judged, own, samples)
    return [*judge_metrics(judged.judge, judged.name, judged.about(), own), *decided]


def _against_itself(control: str, against: Sequence[Judgement]) -> list[Judgement]:
    """A control's rows in a pairwise comparison: against itself every sample is a tie."""
    weights = {row.id: row.weight for row in against}
    return [
        Judgement(control, against[0].task, id_, winner="tie", value=0.5, weight=weight)
        for id_, weight in weights.items()
    ]


def _mark(own: dict[str, Json], found: Scored, mine: _Mine, task: str) -> None:
    """Put scores, and weights other than 1, beside those of the metrics."""
    for place, (_, row) in enumerate(own.items()):
        row["scores"] = {name: s for name, s in row["scores"].items() if not mine.holds(task, name)}
        weights = {name: w for name, w in (row.get("weights") or {}).items() if not mine.holds(task, name)}
        classes = {name: c for name, c in (row.get("classes") or {}).items() if not mine.holds(task, name)}
        for name, measured in found.measured.items():
            score = measured.scores[place]
            row["scores"][name] = score.to_json() if isinstance(score, Unscored) else score
            if not found.metrics[name].additive_mean and not isinstance(score, Unscored):
                weights[name] = float(measured.statistics[place, 1])
            if measured.kinds is not None and (kind := measured.kinds[place]) is not None:
                classes[name] = kind
        for part, values in (("weights", weights), ("classes", classes)):
            row.pop(part, None)
            if values:
                row[part] = values


def _comparisons(
    found: Scored,
    scored: Mapping[tuple[str, str], Scored],
    candidate: str,
    control: str,
    task: str,
    seed: int,
    exact: bool,
) -> list[Comparison]:
    return compare_scored(
        found, scored[control, task], candidate=candidate, control=control, task=task, seed=seed, exact=exact
    )


def _described(scored: Iterable[Scored]) -> dict[str, Json]:
    return {
        name: {"settings": {"metric": name}, "mean": True, "bounds": list(metric.bounds)}
        for found in scored
        for name, metric in found.metrics.items()
    }


def _of(metric: str, judges: Iterable[str]) -> bool:
    """Whether a metric is the whole value or a criterion of one of these judges."""
    return any(metric == PREFIX + name or metric.startswith(f"{PREFIX}{name}.") for name in judges)
