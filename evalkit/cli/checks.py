"""What ``evalkit check`` looks at: studies, gates and entries of the catalog, one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from evalkit.catalog import KINDS, Entry, load_module
from evalkit.cli.cases import CASES, run_cases
from evalkit.cli.judge_cases import check_judge
from evalkit.data.cards import load_card
from evalkit.errors import UserError
from evalkit.specs.load import load_gate, load_study, load_task, load_trainer
from evalkit.specs.yaml import read

__all__ = ["check_path"]

SKIPPED = ("runs", "node_modules", "__pycache__", "build", "dist")


def check_path(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Check what is at a path and yield each thing with the mistakes found in it.

    Args:
        path: A study, gate or card; the folder of a catalog entry; or a project.

    Raises:
        UserError: There is nothing to check there.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    if path.is_file():
        yield _told(str(path), _check_file(path))
        return
    kind = next((kind for kind, card in KINDS.items() if (path / card).is_file()), None)
    if kind is not None:
        yield _told(str(path), _entry_check(kind, path))
        return
    found = False
    for what, check in _project(path):
        found = True
        yield _told(what, check)
    if not found:
        raise UserError(
            f"{path}: nothing to check: no study, no gate and none of the folders {', '.join(KINDS)}"
        )


def _project(folder: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    for kind, card in KINDS.items():
        entries = folder / kind
        for entry in sorted(entries.iterdir()) if entries.is_dir() else []:
            if entry.is_dir() and not entry.name.startswith((".", "__")):
                if (entry / card).is_file():
                    yield str(entry), _entry_check(kind, entry)
                else:
                    yield str(entry), _missing_card(entry, card)
    for file in sorted([*folder.glob("*.yaml"), *folder.glob("*/*.yaml"), *folder.glob("*/*/*.yaml")]):
        inside = file.relative_to(folder).parts
        if inside[0] in KINDS or any(part.startswith(".") or part in SKIPPED for part in inside):
            continue
        if _kind_of(file) in ("study", "gate"):
            yield str(file), _check_file(file)


def _told(what: str, check: Callable[[], object]) -> tuple[str, list[str]]:
    try:
        check()
    except UserError as error:
        return what, error.messages
    return what, []


def _check_file(path: Path) -> Callable[[], object]:
    for kind, card in KINDS.items():
        if path.name == card:
            return _entry_check(kind, path.parent)
    checks: dict[str, Callable[[], object]] = {
        "study": lambda: load_study(path),
        "gate": lambda: load_gate(path),
    }
    return checks.get(_kind_of(path), lambda: _unknown(path))


def _unknown(path: Path) -> None:
    read(path)  # if it is not even YAML, that is what to say
    raise UserError(
        f"{path}:1: expected a study (with the key 'study'), a gate ('gate') or a card of the catalog"
    )


def _kind_of(path: Path) -> str:
    try:
        data = read(path).data
    except UserError:
        return ""
    return "study" if "study" in data else "gate" if "gate" in data and "rules" in data else ""


def _missing_card(entry: Path, card: str) -> Callable[[], object]:
    def check() -> None:
        raise UserError(f"{entry}: no {card} in it, so it is no entry of the catalog")

    return check


def _entry_check(kind: str, path: Path) -> Callable[[], object]:
    entry = Entry(kind, path.resolve().name, path.resolve(), "project")
    checks: dict[str, Callable[[Entry], object]] = {
        "tasks": _check_task,
        "judges": check_judge,
        "trainers": _check_trainer,
        "reports": lambda entry: read(entry.card),
    }
    return lambda: checks[kind](entry)


def _check_task(entry: Entry) -> None:
    load_task(entry.card)  # tells everything at once, and with lines
    card = load_card(str(entry.path), seed=0)
    if isinstance(card.spec.data.test, str):  # rows elsewhere are not fetched for a check
        card.read("test")
    if (entry.path / CASES).is_file():
        run_cases(card)


def _check_trainer(entry: Entry) -> None:
    load_trainer(entry.card)
    load_module(entry.path / "train.py")
