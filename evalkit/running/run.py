"""One run: its folder, its lock, what it was asked, and its stages."""

from __future__ import annotations

import errno
import os
import platform
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from evalkit.catalog import entry_sha256, find
from evalkit.data.tasks import load_task_for_training
from evalkit.errors import ModelError, OutputFolderError, UserError
from evalkit.models.prices import Budget
from evalkit.models.registry import resolve
from evalkit.running.cache import Cache, damaged
from evalkit.running.done import Done
from evalkit.running.folder import RunFolder, safe_name, write_atomically
from evalkit.running.judge_run import judge_run, restore_added
from evalkit.running.judges import check_judges
from evalkit.running.plan import Plan
from evalkit.running.progress import Progress
from evalkit.running.study import run_stages
from evalkit.running.train import check_rows
from evalkit.signature import digest, file_sha256
from evalkit.specs.model import Spec
from evalkit.specs.study import DataSpec, TaskRows, TrainCandidate

__all__ = ["explained", "opened_run", "run_plan"]

PACKAGES = ("evalkit", "torch", "transformers", "peft", "bitsandbytes", "tokenizers", "numpy", "scipy")


def run_plan(
    plan: Plan, progress: Progress, *, out: Path | None = None, train_only: bool = False
) -> tuple[RunFolder, list[Done]]:
    """Run a plan in its run folder. The same plan goes on in the same folder.

    Args:
        plan: From ``plan_study``.
        progress: Told where the run is.
        out: Folder that takes the place of ``runs/`` in the working directory.
        train_only: Stop after the adapters are made.

    Raises:
        OutputFolderError: A folder cannot be written to, or the disk is full; finished work is kept.
        UserError: Another process is at work in the same run folder.
    """
    check_rows(plan)
    with opened_run(plan, out) as (cache, folder):
        judges = [] if train_only else check_judges(plan)
        budget = Budget(plan.study.budget)  # one for candidates and judges
        done = run_stages(plan, cache, folder, progress, budget=budget, train_only=train_only)
        if judges:
            judge_run(folder, judges, plan.study, cache, progress, budget=budget, tasks=plan.tasks)
        if not train_only:
            own = {judged.name for judged in judges}
            for remark in restore_added(folder, own, plan.roots, seed=plan.study.seed):
                progress.say(remark)
        return folder, done


@contextmanager
def opened_run(plan: Plan, out: Path | None = None) -> Iterator[tuple[Cache, RunFolder]]:
    """The cache and the run folder of a plan, which no other process works in meanwhile.

    Args:
        plan: From ``plan_study``.
        out: Folder that takes the place of ``runs/``.

    Raises:
        OutputFolderError: A folder cannot be written to, or the disk is full.
        UserError: Another process is at work in the same run folder.
    """
    identity = _identity(plan)
    with explained(), Cache() as cache:
        folder = RunFolder(
            _run_path((out or Path("runs")) / safe_name(plan.study.study), digest(identity)[:8])
        )
        folder.path.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(folder.path / ".lock").acquire(timeout=0):
                folder.write_run(_description(plan, identity, folder))
                write_atomically(folder.path.parent / "latest", folder.path.name + "\n")
                yield cache, folder
        except Timeout:
            raise UserError(
                f"Another evalkit is at work in {folder.path}: wait for it to end, or name another folder with --out."
            ) from None


def _run_path(study: Path, key: str) -> Path:
    """The newest folder of this key, or a new one named by the time."""
    known = sorted(study.glob(f"*-{key}")) if study.is_dir() else []
    return known[-1] if known else study / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{key}"


def _identity(plan: Plan) -> dict[str, Any]:
    """What makes this run this run: the resolved study, its inputs and the versions."""
    return {
        "study": plan.study.model_dump(mode="json", exclude={"gate", "report"}),
        "limit": plan.limit,
        "only": None if plan.only is None else list(plan.only),
        "tasks": {task.name: task.sha256 for task in plan.tasks},
        "data": _data_hashes(plan),
        "models": _model_hashes(plan),
        "trainers": _trainer_hashes(plan),
        "versions": _versions(),
    }


def _data_hashes(plan: Plan) -> dict[str, str]:
    specs: list[DataSpec | None] = [plan.study.data]
    specs += [getattr(planned.spec, "data", None) for planned in plan.candidates]
    paths = [path for spec in specs if spec is not None for path in (spec.train, spec.validation)]
    paths += [getattr(planned.spec, "path", None) for planned in plan.candidates]
    hashes = {str(path): _content_hash(path) for path in paths if isinstance(path, Path)}
    for name in {spec.train.task for spec in specs if spec is not None and isinstance(spec.train, TaskRows)}:
        card = load_task_for_training(name, plan.roots, seed=plan.study.seed)
        hashes[f"task {name}"] = digest([[sample.id, sample.row] for sample in card.read("train")])
    return hashes


def _model_hashes(plan: Plan) -> dict[str, str]:
    """Base → SHA-256 of its weights; one that is not on this machine is told when it is to be loaded."""
    names = dict.fromkeys(planned.base.model for planned in plan.candidates if planned.base is not None)
    found = {}
    for name in names:
        with suppress(ModelError):
            found[name] = resolve(name).sha256
    return found


def _trainer_hashes(plan: Plan) -> dict[str, str]:
    specs = [planned.spec for planned in plan.candidates if isinstance(planned.spec, TrainCandidate)]
    return {spec.trainer: entry_sha256(find("trainers", spec.trainer, plan.roots)) for spec in specs}


def _content_hash(path: Path) -> str:
    if path.is_dir():
        return digest([[file.name, file_sha256(file)] for file in sorted(path.iterdir()) if file.is_file()])
    return file_sha256(path)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def _description(plan: Plan, identity: dict[str, Any], folder: RunFolder) -> dict[str, Any]:
    return {
        "format": 1,
        "id": folder.path.name,
        "study": plan.study.model_dump(mode="json"),
        "path": plan.path.name,
        "limit": plan.limit,
        "only": identity["only"],
        "origins": _origins(plan),
        "versions": identity["versions"],
        "hashes": {
            "tasks": identity["tasks"],
            "data": {Path(k).name: v for k, v in identity["data"].items()},
            "models": identity["models"],
            "trainers": identity["trainers"],
        },
        "threads": torch.get_num_threads(),
        "device": sorted({planned.base.device for planned in plan.candidates if planned.base is not None}),
        "machine": {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()},
        "seeds": {"study": plan.study.seed},
    }


def _origins(plan: Plan) -> dict[str, str]:
    """Dotted key → ``file``, ``default`` or ``flag``; trainer settings stand with their candidate."""
    origins = dict(_spec_origins(plan.study, ""))
    if plan.limit is not None:
        origins["limit"] = "flag"
    if plan.only is not None:
        origins["only"] = "flag"
    return origins


def _spec_origins(spec: Spec, prefix: str) -> Iterator[tuple[str, str]]:
    """(dotted key, origin) of every setting; members of a list go by their name, as their author calls them."""
    for name in type(spec).model_fields:
        value, key = getattr(spec, name), f"{prefix}{name}"
        if isinstance(value, Spec):
            yield from _spec_origins(value, f"{key}.")
        elif isinstance(value, list) and any(isinstance(item, Spec) for item in value):
            for index, item in enumerate(value):
                named = [getattr(item, field, None) for field in ("name", "task", "judge")]
                label = next((text for text in named if isinstance(text, str)), str(index))
                yield from _spec_origins(item, f"{key}.{label}.")
        else:
            yield key, "file" if name in spec.model_fields_set else "default"


@contextmanager
def explained() -> Iterator[None]:
    """Within the block a full disk or a forbidden folder becomes one line that says what to do.

    Raises:
        OutputFolderError: Something could not be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputFolderError(
                f"No space is left on the disk ({error.filename or 'while writing'}). What is finished is kept: "
                "free some space and run the same command again."
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR):
            raise OutputFolderError(
                f"Cannot write to {error.filename or 'the run folder'}: {error.strerror}. "
                "Name a folder you may write to with --out DIR."
            ) from error
        raise
    except sqlite3.OperationalError as error:
        if "full" in str(error) or "readonly" in str(error) or "disk I/O" in str(error):
            raise OutputFolderError(
                f"The stage cache cannot be written: {error}. Free some space, or name another folder with "
                "EVALKIT_CACHE_DIR=/path/to/folder, and run the same command again."
            ) from error
        raise
    except sqlite3.DatabaseError as error:
        raise damaged(error) from error
