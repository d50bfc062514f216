"""Sheets for people, out of a finished run: which samples, whose answers, in which format."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from evalkit.catalog import find
from evalkit.errors import DataError, OutputFolderError, UserError, nearest
from evalkit.human.csv_file import csv_text
from evalkit.human.design import Design, Unit
from evalkit.human.export import make_sheets
from evalkit.human.html_file import html_page
from evalkit.human.key import key_text, read_exports
from evalkit.human.label_studio import label_studio_config, label_studio_tasks
from evalkit.human.questions import QuestionsSpec, default_questions, judge_questions
from evalkit.human.sampling import Pick, choose
from evalkit.human.sheet import Sheet, Turn
from evalkit.human.xlsx_file import xlsx_bytes
from evalkit.running.answers import whole_answer
from evalkit.running.find import find_run
from evalkit.running.folder import RunFolder, safe_name, write_atomically, write_json
from evalkit.running.picking import interest_of, strata_of, target_text
from evalkit.specs.load import load_judge
from evalkit.specs.yaml import load

__all__ = ["Exported", "Format", "export_sheets", "read_questions"]

Format = Literal["csv", "xlsx", "html", "label-studio"]
Json = dict[str, Any]
Prompts = dict[tuple[str, str], tuple[tuple[Turn, ...], str | None]]
"""Task and sample id → what was asked, and the reference where it is shown."""

MANY = 4
"""Above so many candidates each sample shows a block of them, where nothing else is asked for."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        export: Its id; the key is in the run, under ``human/EXPORT``.
        files: One for each rater, and the labelling configuration of Label Studio.
        lines: Lines of each rater's sheet.
        samples: Samples that are shown.
        block: Candidates that each sample shows at most; None for all.
    """

    export: str
    files: list[Path]
    lines: list[int]
    samples: int
    block: int | None


def read_questions(questions: Path | None, judge: str | None) -> QuestionsSpec:
    """Return the questions of a file, of a judge, or those that are asked without either.

    Raises:
        SpecError: The file or the judge's card is wrong.
        CatalogError: There is no such judge.
        UserError: Both are given.
    """
    if questions is not None and judge is not None:
        raise UserError(
            "Expected questions from a file or from a judge, got both: leave --questions or --judge out."
        )
    if questions is not None:
        return load(questions, QuestionsSpec)
    return (
        default_questions()
        if judge is None
        else judge_questions(load_judge(find("judges", judge, [Path.cwd()]).path))
    )


def export_sheets(
    run: str | Path,
    out: str | Path,
    format: Format,
    *,
    asked: QuestionsSpec,
    tasks: Sequence[str] = (),
    candidates: Sequence[str] = (),
    samples: int | None = None,
    pick: Pick = "random",
    strata: str = "target",
    design: Design | None = None,
) -> Exported:
    """Write sheets for people; the same as ``evalkit human export``. The key stays in the run.

    Args:
        run: A run folder, a study's folder (its newest run), or a run's ID.
        out: Folder the sheets are written to.
        format: ``csv``, ``xlsx``, ``html`` or ``label-studio``.
        asked: The questions.
        tasks: Tasks to take samples from; empty for all that have answers to read.
        candidates: Candidates to show; empty for all.
        samples: Samples of each task; None for all.
        pick: How they are chosen: ``random``, ``stratified``, or ``matters``: those on which candidates or judges
            differ, or which are near a gate's bound, are more likely, and their weights say so.
        strata: What ``stratified`` goes by: ``target``, ``cluster``, or a metric's name (its scores).
        design: Raters, overlap, blocks, repeats, checks, seed.

    Raises:
        DataError: No such run, task or candidate, or nothing to show.
        OutputFolderError: A file cannot be written.
    """
    folder = find_run(run)
    results = folder.results()
    how = design or Design()
    if how.checks and not any(question.options for question in asked.questions):
        raise DataError(
            "An attention check asks for a choice, and no question here has any: leave --checks out."
        )
    names = _known(candidates, [entry["name"] for entry in results["candidates"]], "candidate", folder)
    shown = _known(tasks, _readable(results), "task", folder)
    if how.block is None and len(names) > MANY:
        how = _with(how, block=2 if asked.pairwise else MANY)
    how = _with(how, pairwise=asked.pairwise)
    units: list[Unit] = []
    prompts: Prompts = {}
    for task in shown:
        some, theirs = _of_task(folder, results, task, names, samples, pick, strata, how, asked)
        units += some
        prompts |= theirs
    identity = {
        "run": folder.run().get("id", folder.path.name),
        "pick": pick,
        "samples": samples,
        "tasks": shown,
    }
    export, sheets = make_sheets(units, prompts, asked, how, study=str(results["study"]), identity=identity)
    if not export.rows:
        raise DataError(
            f"{folder.path}: there is nothing to show: {_nothing(units, how)}. Name other tasks or candidates."
        )
    _check_shares(sheets, len(units))
    _check_names(folder, asked)
    files = _files(sheets, Path(out), format)
    _check_places(files)
    with_key = folder.path / "human" / export.export
    write_atomically(with_key / "key.jsonl", key_text(list(export.rows.values())))
    write_json(with_key / "export.json", export.to_json())
    _write(files)
    return Exported(export.export, list(files), [len(sheet.lines) for sheet in sheets], len(units), how.block)


def _of_task(
    folder: RunFolder,
    results: Mapping[str, Any],
    task: str,
    names: Sequence[str],
    samples: int | None,
    pick: Pick,
    strata: str,
    how: Design,
    asked: QuestionsSpec,
) -> tuple[list[Unit], Prompts]:
    """The samples of a task that are shown, with their weights, answers and prompts."""
    rows = {name: {str(row["id"]): row for row in folder.samples(name, task)} for name in names}
    plain = _plain_prompts(folder, results, task)
    ids = [id_ for id_ in plain if sum(_answered(rows[name].get(id_)) for name in names) > how.pairwise]
    chosen = choose(
        len(ids),
        samples,
        np.random.default_rng([how.seed, zlib.crc32(task.encode())]),
        strata=strata_of(ids, strata, plain, rows) if pick == "stratified" else None,
        matters=interest_of(folder, results, task, ids, rows) if pick == "matters" and ids else None,
    )
    units = [Unit(task, ids[one.index], one.weight, _answers(rows, ids[one.index])) for one in chosen]
    prompts = {
        (task, unit.id): (
            _turns(plain[unit.id]["input"]),
            target_text(plain[unit.id]) if asked.reference else None,
        )
        for unit in units
    }
    return units, prompts


def _check_shares(sheets: Sequence[Sheet], samples: int) -> None:
    if not all(sheet.lines for sheet in sheets):
        many = "1 sample" if samples == 1 else f"{samples} samples"
        raise DataError(
            f"{len(sheets)} raters for {many} that can be shown: some would get nothing. Name fewer raters."
        )


def _check_names(folder: RunFolder, asked: QuestionsSpec) -> None:
    """A question's name means one question in a run: its labels are counted together."""
    for export in read_exports(folder.path / "human").values():
        known = {question.name: question for question in export.asked.questions}
        changed = [one.name for one in asked.questions if known.get(one.name, one) != one]
        if changed:
            raise DataError(
                f"Export {export.export} of this run asked {changed[0]!r} in other words or with other answers: "
                "give the new question another name."
            )


def _files(sheets: Sequence[Sheet], out: Path, format: Format) -> dict[Path, bytes]:
    makers: dict[Format, tuple[str, Callable[[Sheet], str | bytes]]] = {
        "csv": (".csv", csv_text),
        "xlsx": (".xlsx", xlsx_bytes),
        "html": (".html", html_page),
        "label-studio": (".json", label_studio_tasks),
    }
    suffix, make = makers[format]
    files = {out / f"{safe_name(sheet.study)}-{sheet.rater}{suffix}": make(sheet) for sheet in sheets}
    if format == "label-studio":
        files[out / "labeling-config.xml"] = label_studio_config(sheets[0].asked)
    return {
        path: content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
        for path, content in files.items()
    }


def _check_places(files: Mapping[Path, bytes]) -> None:
    """A sheet that lies there already may have been filled in."""
    taken = [path for path, content in files.items() if path.is_file() and path.read_bytes() != content]
    if taken:
        raise OutputFolderError(
            *(f"{path} is there already, and may hold somebody's answers." for path in taken),
            "Nothing was written: name another folder with --out, or take these files away.",
        )


def _write(files: Mapping[Path, bytes]) -> None:
    for path, content in files.items():
        try:
            write_atomically(path, content)
        except OSError as error:
            raise OutputFolderError(f"{path} cannot be written: {error.strerror or error}.") from error


def _readable(results: Mapping[str, Any]) -> list[str]:
    """Tasks whose outputs are texts that a person can rate."""
    return [task["name"] for task in results.get("tasks", []) if task.get("kind") != "perplexity"]


def _known(asked: Sequence[str], known: list[str], word: str, folder: RunFolder) -> list[str]:
    strangers = [name for name in asked if name not in known]
    if strangers:
        raise DataError(
            *(
                f"{folder.path} has no {word} named {name!r} to show; it has {', '.join(known)}.{nearest(name, known)}"
                for name in strangers
            )
        )
    return list(dict.fromkeys(asked)) or known


def _plain_prompts(folder: RunFolder, results: Mapping[str, Any], task: str) -> dict[str, Json]:
    """Sample id → a row whose prompt holds nothing that one candidate added: it would give that one away."""
    kinds = {entry["name"]: entry["kind"] for entry in results["candidates"]}
    order = sorted(kinds, key=lambda name: (kinds[name] in ("prompt", "rag"), kinds[name] != "base"))
    rows: dict[str, Json] = {}
    for name in order:
        for row in folder.samples(name, task):
            rows.setdefault(str(row["id"]), row)
    return rows


def _answered(row: Mapping[str, Any] | None) -> bool:
    return row is not None and row.get("finish") != "error"


def _answers(rows: Mapping[str, Mapping[str, Json]], id_: str) -> dict[str, str]:
    """Candidate → its answer to a sample, where it has one."""
    return {name: whole_answer(own[id_]) for name, own in rows.items() if _answered(own.get(id_))}


def _turns(prompt: Any) -> tuple[Turn, ...]:
    if isinstance(prompt, list):
        return tuple((str(turn["role"]), str(turn["content"])) for turn in prompt)
    return (("", str(prompt)),)


def _with(how: Design, **changes: Any) -> Design:
    return Design(**{**asdict(how), **changes})


def _nothing(units: Sequence[Unit], how: Design) -> str:
    if not units:
        return "no sample has answers" + (" of two candidates" if how.pairwise else "")
    return "all candidates gave the same answers"
