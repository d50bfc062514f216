"""Stage train: from a candidate's rows to the bytes of an adapter."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from evalkit.catalog import entry_sha256, find, load_module
from evalkit.data.chat import read_conversations
from evalkit.data.conversation import Conversation
from evalkit.data.splits import split_validation
from evalkit.data.tasks import load_task_for_training, training_conversations
from evalkit.errors import CandidateError, SpecError
from evalkit.models.hashing import adapter_sha256
from evalkit.records import TrainingSummary
from evalkit.running.bases import LazyBase
from evalkit.running.cache import Cache
from evalkit.running.folder import RunFolder
from evalkit.running.keys import train_key
from evalkit.running.plan import Plan, Planned
from evalkit.running.progress import Progress
from evalkit.running.together import passes
from evalkit.signature import digest
from evalkit.specs.study import DataSpec, TrainCandidate
from evalkit.training.job import TrainingJob
from evalkit.training.rows import Policy

__all__ = ["Trained", "check_rows", "train_candidate", "training_rows"]


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished adapter.

    Attributes:
        path: Its folder, in peft's format.
        sha256: Over its bytes (see ``adapter_sha256``).
        summary: What training took.
        notes: What the reader must know: rows dropped, settings that had no effect.
    """

    path: Path
    sha256: str
    summary: TrainingSummary
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Work:
    """A candidate to train, with its rows.

    Attributes:
        planned: The candidate.
        key: Of its adapter in the cache.
        train: Rows to learn.
        validation: Held-out rows.
        overlong: What happens to rows that are too long.
    """

    planned: Planned
    key: str
    train: list[Conversation]
    validation: list[Conversation]
    overlong: Policy


def train_candidate(
    planned: Planned, plan: Plan, base: LazyBase, cache: Cache, folder: RunFolder, progress: Progress
) -> Trained:
    """Train one candidate, or take its adapter from the cache; either way it stands in the run folder after.

    Others that share its pass are trained with it, unless the cache has them, and are found there when it is
    their turn. A killed training goes on at its last checkpoint, with the losses it would have had.

    Raises:
        CandidateError: It could not be trained (NaN loss, no row left); the others go on.
        DataError: Its rows are missing or wrong.
    """
    if planned.name not in base.failed:
        work = _work(planned, plan, base)
        if cache.stored_folder("adapters", work.key) is None:
            shared = next((found.members for found in passes(plan) if planned in found.members), (planned,))
            group = {work.key: work}
            for other in shared:
                if other is not planned and other.name not in base.failed:
                    beside = _work(other, plan, base)
                    group.setdefault(beside.key, beside)
            _train(list(group.values()), plan, base, cache, folder, progress)
        stored = cache.stored_folder("adapters", work.key)
        if stored is not None:
            return _bring(planned.name, stored, folder)
    raise base.failed[planned.name]


def _work(planned: Planned, plan: Plan, base: LazyBase) -> _Work:
    spec = planned.spec
    if not isinstance(spec, TrainCandidate):
        raise SpecError(f"candidate {planned.name!r}: expected kind train, got {planned.kind}")
    train, validation, overlong = training_rows(planned, plan, chat=base.has_chat_template)
    key = train_key(
        base.fingerprint(),
        entry_sha256(find("trainers", spec.trainer, plan.roots)),
        planned.settings.model_dump(mode="json"),
        [asdict(row) for row in train],
        [asdict(row) for row in validation],
        overlong,
    )
    return _Work(planned, key, train, validation, overlong)


def _train(
    group: Sequence[_Work],
    plan: Plan,
    base: LazyBase,
    cache: Cache,
    folder: RunFolder,
    progress: Progress,
) -> None:
    """Train those of one pass that the cache does not have."""
    with ExitStack() as stack:
        works: list[tuple[_Work, TrainingJob, list[str]]] = []
        for work in sorted(
            group, key=lambda work: work.key
        ):  # in one order: two processes never wait in a ring
            room = stack.enter_context(cache.work_folder("adapters", work.key))
            if cache.stored_folder("adapters", work.key) is None:  # no other process finished it meanwhile
                notes: list[str] = []
                works.append((work, _job(work, base, room, folder, progress, notes), notes))
        if not works:
            return
        works.sort(key=lambda item: group.index(item[0]))
        jobs = [job for _, job, _ in works]
        spec = group[0].planned.spec
        trainer = find("trainers", getattr(spec, "trainer", ""), plan.roots)
        loop = load_module(trainer.path / "train.py")
        outcomes = (
            loop.train_many(jobs) if hasattr(loop, "train_many") else [_outcome(loop, job) for job in jobs]
        )
        for (work, job, notes), outcome in zip(works, outcomes, strict=True):
            if isinstance(outcome, CandidateError):
                base.failed[work.planned.name] = outcome
                continue
            told = json.dumps({"summary": asdict(outcome), "notes": notes})
            (job.folder / "summary.json").write_text(told, "utf-8")
            cache.store_folder("adapters", work.key, job.folder)
            base.training_seconds[work.planned.name] = outcome.seconds


def _outcome(loop: ModuleType, job: TrainingJob) -> TrainingSummary | CandidateError:
    """One candidate by a trainer that knows no passes."""
    try:
        summary: TrainingSummary = loop.train(job)
    except CandidateError as error:
        return error
    return summary


def _job(
    work: _Work, base: LazyBase, room: Path, folder: RunFolder, progress: Progress, notes: list[str]
) -> TrainingJob:
    name = work.planned.name
    log = _Log(room / "log.jsonl", folder.training_file(name))

    def tell(note: str) -> None:
        notes.append(note)
        progress.say(f"{name}: {note}")

    return TrainingJob(
        base=base.load(),
        settings=work.planned.settings,
        train=work.train,
        validation=work.validation,
        overlong=work.overlong,
        folder=room,
        name=name,
        log=log.add,
        progress=progress,
        tell=tell,
    )


def _bring(name: str, stored: Path, folder: RunFolder) -> Trained:
    """Copy a finished adapter and its log from the cache into the run folder."""
    told = json.loads((stored / "summary.json").read_text("utf-8"))
    sha256 = adapter_sha256(stored / "adapter")
    target = folder.adapter_folder(name)
    if not target.is_dir() or adapter_sha256(target) != sha256:
        shutil.rmtree(target, ignore_errors=True)
        partial = target.with_name(f".{target.name}.tmp")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for file in (
            stored / "adapter"
        ).iterdir():  # copytree would hide a full disk behind an error of its own
            shutil.copyfile(file, partial / file.name)
        partial.replace(target)
    log = folder.training_file(name)
    log.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(stored / "log.jsonl", log)
    return Trained(target, sha256, TrainingSummary(**told["summary"]), tuple(told["notes"]))


def check_rows(plan: Plan) -> None:
    """Read and split the training rows once, so that what is wrong with them is told before anything is spent.

    Raises:
        SpecError: The study names no rows.
        DataError: The rows are missing or wrong, or none can be set aside for validation.
    """
    trained = [planned for planned in plan.candidates if planned.kind == "train"]
    by_data = {repr(getattr(planned.spec, "data", None)): planned for planned in trained}
    for planned in by_data.values():
        training_rows(planned, plan, chat=True)


def training_rows(
    planned: Planned, plan: Plan, *, chat: bool
) -> tuple[list[Conversation], list[Conversation], Policy]:
    """Return a candidate's training rows, its validation rows, and what happens to overlong ones.

    A task's test rows are not read.

    Args:
        planned: A candidate of kind ``train``.
        plan: The plan it is part of.
        chat: Whether its model has a chat template.

    Raises:
        SpecError: The study names no rows for it.
        DataError: The rows are missing or wrong.
    """
    data = getattr(planned.spec, "data", None) or plan.study.data
    if data.train is None:
        raise SpecError(
            f"{plan.path}: candidate {planned.name!r} is to be trained but the study names no rows: "
            "add data: {train: FILE.jsonl} or data: {train: {task: NAME}}."
        )
    rows = _read(data, plan, chat)
    kept, held_out = split_validation(rows, data.validation, seed=plan.study.seed)
    return _first_rows(kept, planned.rows, plan.study.seed), held_out, data.overlong


def _first_rows(rows: list[Conversation], size: int | None, seed: int) -> list[Conversation]:
    """A seeded subset in the rows' order; a smaller size is part of a larger one, as a learning curve needs."""
    if size is None or size >= len(rows):
        return rows
    drawn = sorted(range(len(rows)), key=lambda index: digest(f"{seed}:{index}"))[:size]
    return [rows[index] for index in sorted(drawn)]


def _read(data: DataSpec, plan: Plan, chat: bool) -> list[Conversation]:
    if isinstance(data.train, Path):
        return read_conversations(data.train)
    if data.train is None:
        return []
    task = load_task_for_training(data.train.task, plan.roots, seed=plan.study.seed)
    return training_conversations(task, chat=chat)


class _Log:
    """The training log, in the work folder and in the run folder, one row an optimiser step.

    After a resume the loop repeats the steps since its checkpoint: rows from that step on are replaced.
    """

    def __init__(self, *paths: Path) -> None:
        self._paths = paths
        first = paths[0]
        lines = first.read_text("utf-8").splitlines() if first.is_file() else []
        self._rows = [json.loads(line) for line in lines if line.endswith("}")]
        self._write("w", self._rows)

    def add(self, row: dict[str, Any]) -> None:
        if self._rows and row["step"] <= self._rows[-1]["step"]:
            self._rows = [old for old in self._rows if old["step"] < row["step"]]
            self._write("w", self._rows)
        self._rows.append(row)
        self._write("a", [row])

    def _write(self, mode: str, rows: Sequence[dict[str, Any]]) -> None:
        text = "".join(json.dumps(row) + "\n" for row in rows)
        for path in self._paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open(mode, encoding="utf-8") as file:
                file.write(text)
