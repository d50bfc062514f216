"""Stage train: from a candidate's rows to the bytes of an adapter."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evalkit.catalog import entry_sha256, find, load_module
from evalkit.data.chat import read_conversations
from evalkit.data.conversation import Conversation
from evalkit.data.splits import split_validation
from evalkit.data.tasks import load_task_for_training, training_conversations
from evalkit.errors import SpecError
from evalkit.models.hashing import adapter_sha256
from evalkit.records import TrainingSummary
from evalkit.running.bases import LazyBase
from evalkit.running.cache import Cache
from evalkit.running.folder import RunFolder
from evalkit.running.keys import train_key
from evalkit.running.plan import Plan, Planned
from evalkit.running.progress import Progress
from evalkit.signature import digest
from evalkit.specs.study import DataSpec, TrainCandidate
from evalkit.training.job import TrainingJob
from evalkit.training.rows import Policy

__all__ = ["Trained", "train_candidate", "training_rows"]


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


def train_candidate(
    planned: Planned, plan: Plan, base: LazyBase, cache: Cache, folder: RunFolder, progress: Progress
) -> Trained:
    """Train one candidate, or take its adapter from the cache; either way it stands in the run folder after.

    A killed training goes on at its last checkpoint, with the losses it would have had.

    Raises:
        CandidateError: It could not be trained (NaN loss, no row left); the others go on.
        DataError: Its rows are missing or wrong.
    """
    spec = planned.spec
    if not isinstance(spec, TrainCandidate):
        raise SpecError(f"candidate {planned.name!r}: expected kind train, got {planned.kind}")
    train, validation, overlong = training_rows(planned, plan, chat=base.has_chat_template)
    trainer = find("trainers", spec.trainer, plan.roots)
    key = train_key(
        base.fingerprint(),
        entry_sha256(trainer),
        planned.settings.model_dump(mode="json"),
        [asdict(row) for row in train],
        [asdict(row) for row in validation],
        overlong,
    )
    stored = cache.stored_folder("adapters", key)
    if stored is None:
        with cache.work_folder("adapters", key) as work:
            stored = cache.stored_folder("adapters", key)  # another process may have finished it meanwhile
            if stored is None:
                _train(
                    planned,
                    base,
                    train,
                    validation,
                    overlong,
                    work,
                    folder,
                    progress,
                    trainer.path / "train.py",
                )
                stored = cache.store_folder("adapters", key, work)
    return _bring(planned.name, stored, folder)


def _train(
    planned: Planned,
    base: LazyBase,
    train: Sequence[Conversation],
    validation: Sequence[Conversation],
    overlong: Policy,
    work: Path,
    folder: RunFolder,
    progress: Progress,
    loop: Path,
) -> None:
    log = _Log(work / "log.jsonl", folder.training_file(planned.name))
    notes: list[str] = []

    def tell(note: str) -> None:
        notes.append(note)
        progress.say(f"{planned.name}: {note}")

    job = TrainingJob(
        base=base.load(),
        settings=planned.settings,
        train=list(train),
        validation=list(validation),
        overlong=overlong,
        folder=work,
        name=planned.name,
        log=log.add,
        progress=progress,
        tell=tell,
    )
    summary: TrainingSummary = load_module(loop).train(job)
    (work / "summary.json").write_text(json.dumps({"summary": asdict(summary), "notes": notes}), "utf-8")


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
