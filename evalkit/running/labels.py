"""Labels of people in a run: taken in whole, kept in ``human/``, and made part of its results.

human/labels.jsonl        one label a line (``evalkit.human.records``)
      checks.jsonl        how raters did on attention checks
      adjudication.jsonl  what raters do not agree on, the widest apart first
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from evalkit.errors import DataError, nearest
from evalkit.human.key import Export, read_exports
from evalkit.human.layer import adjudication, mixed_rows, question_rows, ranking_rows, rater_rows
from evalkit.human.preferences import preference_rows
from evalkit.human.questions import Question
from evalkit.human.read import read_file
from evalkit.human.records import Label, labels_text, read_labels
from evalkit.human.scores import Series, compare_series, human_metric, sample_scores, series_result
from evalkit.human.sheet import answer_columns, cell_digest
from evalkit.human.understand import Check, Understood, understand
from evalkit.human.weights import weigh
from evalkit.records import Comparison
from evalkit.running.answers import final_answer, whole_answer
from evalkit.running.comparisons import correct
from evalkit.running.find import find_run
from evalkit.running.folder import RunFolder, write_atomically
from evalkit.running.score import statistics_of

__all__ = ["Imported", "apply_labels", "import_labels", "to_preferences"]

Json = dict[str, Any]
FOLDER = "human"


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did.

    Attributes:
        new: Labels that were not there.
        changed: Labels that say something else than before.
        same: Labels that were there already.
        total: Labels in the run now.
        empty: Lines that nobody has filled in.
        notes: What was concluded on the way.
        problems: What was left out; empty unless ``accept_partial``.
    """

    new: int
    changed: int
    same: int
    total: int
    empty: int
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def import_labels(
    run: str | Path, files: Sequence[str | Path], *, accept_partial: bool = False
) -> tuple[RunFolder, Imported]:
    """Take in labels; the same as ``evalkit human import``. Nothing is imported until all is understood.

    Args:
        run: A run folder, a study's folder (its newest run), or a run's ID.
        files: Sheets that came back, of any format.
        accept_partial: Import what is understood and leave out the rest.

    Raises:
        DataError: The run has no exports; or something is not understood: one message each, with file, sheet and
            row, and nothing was imported.
    """
    folder = find_run(run)
    exports = read_exports(folder.path / FOLDER)
    if not exports:
        raise DataError(f"{folder.path} has no sheets out: {_where_sheets_are(folder)}.")
    read = [read_file(Path(file), exports) for file in files]
    found = understand((line for one in read for line in one.lines), exports)
    problems = [*(problem for one in read for problem in one.problems), *found.problems]
    if problems and not accept_partial:
        count = f"{len(problems)} thing{'s' if len(problems) > 1 else ''}"
        raise DataError(
            *problems, f"Nothing was imported. Mend {count}, or import the rest with --accept-partial."
        )
    with FileLock(folder.path / FOLDER / ".lock"):
        new, changed, same, total = _merge(folder, found)
        notes = [note for one in read for note in one.notes]
        notes += apply_labels(folder)
    return folder, Imported(new, changed, same, total, found.empty, notes, problems)


def _where_sheets_are(folder: RunFolder) -> str:
    """Which other run of the study has some: a study that was changed since has a newer run."""
    keys = folder.path.parent.glob(f"*/{FOLDER}/*/export.json")
    runs = sorted({key.parent.parent.parent for key in keys if not key.parent.parent.parent.is_symlink()})
    return f"they were made of {runs[-1]}; name that run" if runs else "make some with `evalkit human export`"


def apply_labels(folder: RunFolder) -> list[str]:
    """Bring the labels of a run into its samples and ``results.json``; does nothing where there are none.

    A label of an answer that has changed since it was shown is left out.

    Returns:
        Remarks: labels that were left out, and why.
    """
    kept = read_labels(folder.path / FOLDER / "labels.jsonl", repeats=True)
    if not kept:
        return []
    exports = read_exports(folder.path / FOLDER)
    questions = {one.name: one for export in exports.values() for one in export.asked.questions}
    results, seed = folder.results(), int((folder.run().get("seeds") or {}).get("study", 0))
    pairs = [pair for export in exports.values() for pair in export.identical]
    known = {task["name"] for task in results.get("tasks", [])}
    about = {label.task for label in kept} | {pair["task"] for pair in pairs}
    rows = _samples(folder, results, about & known)
    labels, stale = _current(kept, exports, rows)
    labels, ties = weigh(labels, exports, [pair for pair in pairs if _same_answers(rows, pair)])
    series = [_in_order(one, rows) for one in sample_scores(labels, questions.values(), ties)]
    _write_samples(folder, rows, series)
    checks = [Check(**row) for row in _jsonl(folder.path / FOLDER / "checks.jsonl")]
    apart = adjudication(labels, questions.values())
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in apart)
    write_atomically(folder.path / FOLDER / "adjudication.jsonl", text)
    control = (folder.run().get("study") or {}).get("control")
    pairwise = [question for question in questions.values() if question.kind == "pairwise"]
    human = {
        "labels": len({(label.key) for label in labels}),
        "stale": stale,
        "questions": question_rows(labels, questions.values(), seed=seed),
        "raters": rater_rows(labels, questions.values(), checks),
        "rankings": {
            question.name: ranking
            for question in pairwise
            if (ranking := ranking_rows(labels, question, ties, seed=seed))
        },
        "mixed": [row for one in questions.values() for row in mixed_rows(labels, one, control)],
        "adjudication": apart,
    }
    _write_results(folder, results, series, rows, human, seed)
    if not stale:
        return []
    many = f"{stale} labels are left out: the answers they are about have changed since."
    return ["1 label is left out: the answer it is about has changed since." if stale == 1 else many]


def to_preferences(run: str | Path, question: str | None = None) -> list[Json]:
    """Return preference rows for a trainer; the same as ``evalkit human to-preferences``.

    Args:
        run: A run folder, a study's folder (its newest run), or a run's ID.
        question: The question whose labels count; None for all pairwise ones, or where none of them has labels,
            all ratings, yes/no and good choices.

    Raises:
        DataError: The run has no labels, no such question, or no preference in them.
    """
    folder = find_run(run)
    kept = read_labels(folder.path / FOLDER / "labels.jsonl")
    exports = read_exports(folder.path / FOLDER)
    known = {one.name: one for export in exports.values() for one in export.asked.questions}
    if not kept:
        raise DataError(f"{folder.path} has no labels: bring some in with `evalkit human import`.")
    if question is not None and question not in known:
        raise DataError(
            f"No question {question!r} was asked.{nearest(question, known)} Known: {', '.join(known)}."
        )
    results = folder.results()
    rows = _samples(folder, results, {label.task for label in kept})
    labels, _ = _current(kept, exports, rows)
    said = [name for name in known if any(label.question == name for label in labels)]
    pairwise = [name for name in said if known[name].kind == "pairwise"]
    wanted = [question] if question else pairwise or said
    kinds = {entry["name"]: entry["kind"] for entry in results["candidates"]}

    def sample(task: str, id_: str, candidate: str) -> tuple[Any, str]:
        plain = sorted(kinds, key=lambda name: (kinds[name] in ("prompt", "rag"), kinds[name] != "base"))
        asked = next(row["input"] for name in plain if (row := rows[name, task].get(id_)) is not None)
        return asked, final_answer(rows[candidate, task][id_])

    # Two conversations differ before their last answer: they are no two answers to one prompt.
    apart = {task["name"] for task in results.get("tasks", []) if task.get("kind") == "conversation"}
    chosen = [label for label in labels if label.question in wanted and label.task not in apart]
    found = preference_rows(chosen, known, sample)
    if not found:
        raise DataError(
            f"{folder.path}: the labels of {', '.join(wanted)} hold no preference of one answer over another."
        )
    return found


def _merge(folder: RunFolder, found: Understood) -> tuple[int, int, int, int]:
    path = folder.path / FOLDER / "labels.jsonl"
    kept = {_identity(label): label for label in read_labels(path, repeats=True)}
    # What a rater said of a line is one label to them, however many candidates gave that answer.
    counts: dict[str, set[tuple[str, ...]]] = {"new": set(), "changed": set(), "same": set()}
    for label in found.labels:
        before = kept.get(_identity(label))
        what = "new" if before is None else "same" if before.label == label.label else "changed"
        counts[what].add(label.key)
        kept[_identity(label)] = label
    write_atomically(path, labels_text(kept.values()))
    checks_path = folder.path / FOLDER / "checks.jsonl"
    checks = {(row["rater"], row["item"], row["question"]): row for row in _jsonl(checks_path)}
    checks |= {(check.rater, check.item, check.question): asdict(check) for check in found.checks}
    write_atomically(
        checks_path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in checks.values())
    )
    new, changed, same = (len(keys) for keys in counts.values())
    return new, changed, same, len({label.key for label in kept.values()})


def _identity(label: Label) -> tuple[str, ...]:
    return (*label.key, label.candidate, label.other or "")


Rows = dict[tuple[str, str], dict[str, Json]]
"""(candidate, task) → sample id → row."""


def _samples(folder: RunFolder, results: Mapping[str, Any], tasks: Iterable[str]) -> Rows:
    names = [entry["name"] for entry in results["candidates"]]
    return {
        (name, task): {str(row["id"]): row for row in folder.samples(name, task)}
        for task in sorted(tasks)
        for name in names
    }


def _current(kept: Sequence[Label], exports: Mapping[str, Export], rows: Rows) -> tuple[list[Label], int]:
    """The labels whose answers are still those of the run, and how many are not."""
    labels = []
    for label in kept:
        export = exports.get(label.item[:8])
        line = export.rows.get(label.item) if export else None
        if line is None:
            continue
        columns = answer_columns(len(line.sides))
        shown = {
            name: line.texts[column]
            for side, column in zip(line.sides, columns, strict=True)
            for name in side
        }
        about = [name for name in (label.candidate, label.other) if name is not None]
        if all(_digest(rows, name, label) == shown.get(name) for name in about):
            labels.append(label)
    return labels, len({label.key for label in kept}) - len({label.key for label in labels})


def _digest(rows: Rows, candidate: str, label: Label) -> str | None:
    row = rows.get((candidate, label.task), {}).get(label.id)
    if row is None:
        return None
    return cell_digest(whole_answer(row))


def _same_answers(rows: Rows, pair: Mapping[str, Any]) -> bool:
    first, second = (rows.get((name, pair["task"]), {}).get(pair["id"]) for name in pair["candidates"])
    return first is not None and second is not None and whole_answer(first) == whole_answer(second)


def _in_order(series: Series, rows: Rows) -> Series:
    """With the samples in the order of the run, so that a gate's bootstrap draws the same ones."""
    order = [id_ for id_ in rows[series.candidate, series.task] if id_ in series.scores]
    return replace(series, scores={id_: series.scores[id_] for id_ in order})


def _write_samples(folder: RunFolder, rows: Rows, series: Sequence[Series]) -> None:
    """Put people's scores beside the metrics' in ``samples/``, with weights where samples were not chosen alike."""
    said: dict[tuple[str, str], list[Series]] = {key: [] for key in rows}
    for one in series:
        said[one.candidate, one.task].append(one)
    for (candidate, task), samples in rows.items():
        if not samples:
            continue
        for id_, row in samples.items():
            scores = {name: score for name, score in row["scores"].items() if not name.startswith("human:")}
            weights = {
                name: weight
                for name, weight in (row.get("weights") or {}).items()
                if not name.startswith("human:")
            }
            for one in said[candidate, task]:
                if id_ in one.scores:
                    scores[human_metric(one.question.name)] = one.scores[id_]
                    if one.weighted:
                        weights[human_metric(one.question.name)] = one.weights[id_]
            row["scores"] = scores
            row.pop("weights", None)
            if weights:
                row["weights"] = weights
        folder.write_samples(candidate, task, samples.values())


def _write_results(
    folder: RunFolder, results: Json, series: Sequence[Series], rows: Rows, human: Json, seed: int
) -> None:
    clusters = {
        (task, id_): row.get("cluster") for (_, task), samples in rows.items() for id_, row in samples.items()
    }

    def of_task(task: str) -> dict[str, str | None]:
        return {id_: cluster for (name, id_), cluster in clusters.items() if name == task}

    order = [entry["name"] for entry in results["candidates"]]
    ordered = sorted(series, key=lambda one: order.index(one.candidate))
    asked = statistics_of(folder.run())
    scores = [series_result(one, of_task(one.task), seed=seed, exact=asked.exact) for one in ordered]
    controls = {row["candidate"]: row["control"] for row in results["comparisons"]}
    control = (folder.run().get("study") or {}).get("control")
    by_key = {(one.candidate, one.task, one.question.name): one for one in series}
    compared = []
    for one in ordered:
        against = str(controls.get(one.candidate, control))
        other = by_key.get((against, one.task, one.question.name))
        if other is not None and other is not one:
            compared.append(compare_series(one, other, of_task(one.task), seed=seed, exact=asked.exact))
    # people's questions are a family of their own
    family = correct([Comparison(**row) for row in compared], method=asked.correction)
    results["scores"] = [row for row in results["scores"] if not _ours(row)] + scores
    results["comparisons"] = [row for row in results["comparisons"] if not _ours(row)] + [
        row.to_json() for row in family
    ]
    for task in results.get("tasks", []):
        described = {
            name: about for name, about in (task.get("metrics") or {}).items() if "human:" not in name[:6]
        }
        for question in {
            one.question.name: one.question for one in series if one.task == task["name"]
        }.values():
            described[human_metric(question.name)] = _described(question)
        task["metrics"] = described
    results["human"] = human
    folder.write_results(results)


def _described(question: Question) -> Json:
    return {
        "settings": {"metric": human_metric(question.name)},
        "mean": True,
        "bounds": list(question.bounds or (None, None)),
    }


def _ours(row: Mapping[str, Any]) -> bool:
    return str(row["metric"]).startswith("human:")


def _jsonl(path: Path) -> list[Json]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text("utf-8", "surrogatepass").split("\n") if line]
