"""Reading the files a user writes, with everything in them that can be checked before anything is spent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evalkit.errors import SpecError, nearest
from evalkit.specs.check_card import load_judge, load_task, load_trainer
from evalkit.specs.check_files import absolute
from evalkit.specs.check_study import candidate_names, check_study
from evalkit.specs.explain import Mistake, explain
from evalkit.specs.gate import GatePolicy
from evalkit.specs.study import Study
from evalkit.specs.yaml import Document, load, read

__all__ = ["load_gate", "load_judge", "load_study", "load_task", "load_trainer"]


def load_study(path: str | Path) -> Study:
    """Read a study; every path in it becomes absolute, from the study's folder.

    Without ``model:`` and ``control:`` (all candidates api or replay) the first candidate is the control.

    Raises:
        SpecError: One message for each mistake: keys and values, names, missing files, unknown tasks, judges,
            trainers and settings, and those of its gate, all at once.
        CatalogError: There is no built-in catalog.
    """
    document = read(Path(path))
    roots = list(dict.fromkeys([document.path.resolve().parent, Path.cwd()]))
    mistakes = [*explain(Study, document.data), *check_study(document, roots)]
    messages = document.messages(mistakes) + _gate_messages(document)
    if messages:
        raise SpecError(*messages)
    study = Study.model_validate(absolute(document))
    if study.model is None and "control" not in study.model_fields_set and study.candidates:
        study = study.model_copy(update={"control": study.candidates[0].name})
    return study


def load_gate(path: str | Path) -> GatePolicy:
    """Read a gate policy.

    Raises:
        SpecError: One message for each mistake.
    """
    return load(Path(path), GatePolicy)


def _gate_messages(document: Document) -> list[str]:
    """What is wrong with a study's gate: found now, not after the hours it judges."""
    gate = document.data.get("gate")
    if not isinstance(gate, str):
        return []
    path = document.path.parent / Path(gate).expanduser()
    if not path.is_file():  # has been told as a missing file
        return []
    try:
        policy = read(path)
    except SpecError as error:
        return error.messages
    return policy.messages([*explain(GatePolicy, policy.data), *_strangers(document, policy)])


def _strangers(document: Document, policy: Document) -> Iterator[Mistake]:
    """Tasks and candidates that a gate names and its study does not have."""
    tasks = [use.get("task") if isinstance(use, dict) else use for _, use in document.at("tasks", "*")]
    foreign = any(
        str(task).startswith("lm_eval:") for task in tasks
    )  # what these are called is known when opened
    made = candidate_names(document)
    candidates = ["base", "baseline", *made, *(name for names in made.values() for name in names)]
    places: list[tuple[tuple[str, ...], list[Any], str]] = [
        (("rules", "*", "task"), tasks, "task"),
        (("candidate",), candidates, "candidate"),
    ]
    places += [
        (("rules", "*", key), candidates, "candidate")
        for key in ("candidate", "no_worse_than", "better_than")
    ]
    for pattern, known, word in places:
        for path, name in policy.at(*pattern):
            if foreign and word == "task":
                continue
            if isinstance(name, str) and name not in known and not name.startswith("base["):
                listed = ", ".join(str(item) for item in known) or "none"
                hint = nearest(name, [str(item) for item in known]) or f" It has: {listed}."
                yield Mistake(path, f"the study {document.path} has no {word} named {name!r}.{hint}")
