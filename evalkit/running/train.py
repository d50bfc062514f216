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
from evalkit.running.keys import searched_key, train_key
from evalkit.running.lineage import parent_of
from evalkit.running.plan import Plan, Planned
from evalkit.running.progress import Progress
from evalkit.running.searching import check_steps, kept_search
from evalkit.running.together import company, rivals
from evalkit.signature import digest
from evalkit.specs.study import AdapterCandidate, DataSpec, TrainCandidate
from evalkit.training.halving import Halving
from evalkit.training.job import TrainingJob
from evalkit.training.rows import Policy

__all__ = ["Trained", "check_rows", "train_candidate", "training_rows"]


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training.

    Attributes:
        path: The adapter's folder, in peft's format; None where a search dropped the candidate.
        sha256: Over the adapter's bytes (see ``adapter_sha256``).
        summary: What training took.
        notes: What the reader must know: rows dropped, settings that had no effect.
    """

    path: Path | None
    sha256: str | None
    summary: TrainingSummary
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Work:
    """A candidate to train, with its rows.

    Attributes:
        planned: The candidate.
        key: Of its adapter in the cache, the search left out.
        start: Adapter to go on from.
        train: Rows to learn.
        validation: Held-out rows.
        overlong: What happens to rows that are too long.
    """

    planned: Planned
    key: str
    start: Path | None
    train: list[Conversation]
    validation: list[Conversation]
    overlong: Policy


def train_candidate(
    planned: Planned, plan: Plan, base: LazyBase, cache: Cache, folder: RunFolder, progress: Progress
) -> Trained:
    """Train one candidate, or take its adapter from the cache; either way it stands in the run folder after.

    Others that share its pass or its search are trained with it, unless the cache has them, and are found there when
    it is their turn; the one that it starts from is trained before it. A killed training goes on at its last
    checkpoint, with the losses it would have had.

    Raises:
        CandidateError: It could not be trained (NaN loss, no row left); the others go on.
        DataError: Its rows are missing or wrong.
    """
    if planned.name not in base.failed:
        room = _Room(plan, base, cache, folder, progress)
        stored = cache.stored_folder("adapters", _key(planned, room))
        if stored is None:
            _train(company(planned, plan), room)
            stored = cache.stored_folder("adapters", _key(planned, room))
        if stored is not None:
            return _bring(planned.name, stored, folder)
    raise base.failed[planned.name]


@dataclass(frozen=True, slots=True)
class _Room:
    """Where candidates of one base are trained."""

    plan: Plan
    base: LazyBase
    cache: Cache
    folder: RunFolder
    progress: Progress


def _work(planned: Planned, room: _Room) -> _Work:
    """What a candidate is trained on.

    Raises:
        CandidateError: The one that it starts from has no adapter.
    """
    known: _Work | None = room.base.rows.get(planned.name)
    if known is not None:
        return known
    spec = planned.spec
    if not isinstance(spec, TrainCandidate):
        raise SpecError(f"candidate {planned.name!r}: expected kind train, got {planned.kind}")
    start, started = _start(planned, room)
    train, validation, overlong = training_rows(planned, room.plan, chat=room.base.has_chat_template)
    key = train_key(
        room.base.fingerprint(),
        entry_sha256(find("trainers", spec.trainer, room.plan.roots)),
        planned.settings.content(),
        [asdict(row) for row in train],
        [asdict(row) for row in validation],
        overlong,
        started,
    )
    work = room.base.rows[planned.name] = _Work(planned, key, start, train, validation, overlong)
    return work


def _start(planned: Planned, room: _Room) -> tuple[Path | None, str | None]:
    """Folder and hash of the adapter that a candidate goes on from, which is trained now if it is not there."""
    parent = parent_of(planned, room.plan)
    if parent is None:
        return None, None
    if isinstance(parent.spec, AdapterCandidate):
        return parent.spec.path, adapter_sha256(parent.spec.path)
    try:
        trained = train_candidate(parent, room.plan, room.base, room.cache, room.folder, room.progress)
    except CandidateError as error:
        raise CandidateError(f"it starts from {parent.name}, which could not be done: {error}") from error
    if trained.path is None:
        raise CandidateError(
            f"it starts from {parent.name}, which its search dropped ({trained.summary.stopped}): start from a "
            "candidate that no search can drop."
        )
    return trained.path, trained.sha256


def _key(planned: Planned, room: _Room) -> str:
    """Key of a candidate's adapter in the cache; in a search, of what becomes of it beside its rivals."""
    key, members = _work(planned, room).key, rivals(planned, room.plan)
    search = getattr(planned.spec, "search", None)
    if not members or search is None:
        return key
    others = [_work(other, room).key for other in members]
    return searched_key(key, search.model_dump(mode="json"), others)


def _train(members: Sequence[Planned], room: _Room) -> None:
    """Train those of one company that the cache does not have; why one cannot be is noted in ``base.failed``."""
    base, cache = room.base, room.cache
    group: dict[str, _Work] = {}
    for member in members:
        try:
            if member.name not in base.failed:
                group.setdefault(_key(member, room), _work(member, room))
        except CandidateError as error:
            base.failed[member.name] = error
    with ExitStack() as stack:
        works: list[tuple[str, _Work, Path]] = []
        for key in sorted(group):  # in one order: two processes never wait in a ring
            place = stack.enter_context(cache.work_folder("adapters", key))
            if cache.stored_folder("adapters", key) is None:  # no other process finished it meanwhile
                works.append((key, group[key], place))
        if not works:
            return
        works.sort(key=lambda item: list(group).index(item[0]))
        searches = _searches([work for _, work, _ in works], room)
        notes: list[list[str]] = [[] for _ in works]
        jobs = [
            _job(work, room, place, searches.get(work.planned.entry or ""), told)
            for (_, work, place), told in zip(works, notes, strict=True)
        ]
        trainer = find("trainers", getattr(works[0][1].planned.spec, "trainer", ""), room.plan.roots)
        loop = load_module(trainer.path / "train.py")
        outcomes = (
            loop.train_many(jobs) if hasattr(loop, "train_many") else [_outcome(loop, job) for job in jobs]
        )
        for (key, work, place), outcome, told in zip(works, outcomes, notes, strict=True):
            if isinstance(outcome, CandidateError):
                base.failed[work.planned.name] = outcome
                continue
            summary = json.dumps({"summary": asdict(outcome), "notes": told})
            (place / "summary.json").write_text(summary, "utf-8")
            cache.store_folder("adapters", key, place)
            base.training_seconds[work.planned.name] = outcome.seconds


def _searches(works: Sequence[_Work], room: _Room) -> dict[str, Halving]:
    """Entry of the study → its search, for those that have one."""
    found: dict[str, Halving] = {}
    for work in works:
        members = rivals(work.planned, room.plan)
        search, entry = getattr(work.planned.spec, "search", None), work.planned.entry or ""
        if members and search is not None and entry not in found:
            keys = [_work(member, room).key for member in members]
            found[entry] = kept_search(search, members, keys, room.cache)
    return found


def _outcome(loop: ModuleType, job: TrainingJob) -> TrainingSummary | CandidateError:
    """One candidate by a trainer that knows no passes."""
    try:
        summary: TrainingSummary = loop.train(job)
    except CandidateError as error:
        return error
    return summary


def _job(work: _Work, room: _Room, place: Path, search: Halving | None, notes: list[str]) -> TrainingJob:
    name = work.planned.name
    log = _Log(place / "log.jsonl", room.folder.training_file(name))

    def tell(note: str) -> None:
        notes.append(note)
        room.progress.say(f"{name}: {note}")

    return TrainingJob(
        base=room.base.load(),
        settings=work.planned.settings,
        train=work.train,
        validation=work.validation,
        overlong=work.overlong,
        folder=place,
        name=name,
        start=work.start,
        search=search,
        log=log.add,
        progress=room.progress,
        tell=tell,
    )


def _bring(name: str, stored: Path, folder: RunFolder) -> Trained:
    """Copy a finished adapter, if there is one, and its log from the cache into the run folder."""
    told = json.loads((stored / "summary.json").read_text("utf-8"))
    log = folder.training_file(name)
    log.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(stored / "log.jsonl", log)
    summary, notes = TrainingSummary(**told["summary"]), tuple(told["notes"])
    if not (stored / "adapter").is_dir():
        return Trained(None, None, summary, notes)
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
    return Trained(target, sha256, summary, notes)


def check_rows(plan: Plan) -> None:
    """Read and split the training rows once, so that what is wrong with them is told before anything is spent.

    Raises:
        SpecError: The study names no rows.
        DataError: The rows are missing or wrong, or none can be set aside for validation.
    """
    trained = [planned for planned in plan.candidates if planned.kind == "train"]
    by_data = {repr(getattr(planned.spec, "data", None)): planned for planned in trained}
    counted = {data: len(training_rows(planned, plan, chat=True)[0]) for data, planned in by_data.items()}
    for planned in trained:
        # nothing is tokenised yet: as if every row filled a step, which makes the most steps that there can be
        rows = counted[repr(getattr(planned.spec, "data", None))]
        check_steps(plan, planned, [planned.settings.batch_tokens or 1] * rows, "at most")


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
