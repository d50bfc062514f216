"""What makes a study impossible though each key of it is well-formed: clashing names, nothing to train on, …

These checks read the file as it stands, not the finished ``Study``, so that they can tell their mistakes
beside those of its keys.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from evalkit.errors import nearest
from evalkit.specs.check_files import check_catalog_names, check_files
from evalkit.specs.check_settings import check_settings
from evalkit.specs.expand import form_name, member_name, members
from evalkit.specs.explain import Mistake
from evalkit.specs.study import Study
from evalkit.specs.yaml import Document

__all__ = ["candidate_names", "check_study"]

NEEDS_BASE = ("prompt", "train", "adapter", "rag")
MODELS = "a registry name (`evalkit list models`), a Hub id, a folder or a .gguf file"


def check_study(document: Document, roots: Sequence[Path]) -> list[Mistake]:
    """Return what is wrong with a study beyond the form of its keys.

    Args:
        document: The study as read.
        roots: Project folders whose catalog entries win.

    Raises:
        CatalogError: There is no built-in catalog.
        SpecError: The card of a trainer it names is wrong.
    """
    return [
        *_names(document),
        *_models(document),
        *_control(document),
        *_start(document),
        *_training(document),
        *_forms(document),
        *_tasks(document),
        *check_files(document),
        *check_catalog_names(document, roots),
        *check_settings(document, roots),
    ]


def candidate_names(document: Document) -> dict[str, list[str]]:
    """Name of each candidate in the study → names of its members, as they will be in results."""
    return {
        entry["name"]: _members(document, entry)
        for _, entry in _candidates(document)
        if isinstance(entry.get("name"), str)
    }


def _candidates(document: Document) -> Iterator[tuple[int, dict[str, Any]]]:
    for path, entry in document.at("candidates", "*"):
        if isinstance(entry, dict) and isinstance(path[1], int):
            yield path[1], entry


def _members(document: Document, entry: dict[str, Any]) -> list[str]:
    """Names of what an entry stands for: those of its adapters, each followed by those of its forms."""
    adapters, forms = _adapters(document, entry), entry.get("forms")
    listed = forms if entry.get("kind") in ("train", "adapter") and isinstance(forms, list) else []
    return [
        name for adapter in adapters for name in (adapter, *(form_name(adapter, form) for form in listed))
    ]


def _adapters(document: Document, entry: dict[str, Any]) -> list[str]:
    name, grid, seeds = entry["name"], entry.get("grid"), entry.get("seeds", 1)
    if entry.get("kind") != "train":
        return [name]
    if not isinstance(grid, dict) or not all(isinstance(values, list) for values in grid.values()):
        grid = None
    sizes = _data(document, entry).get("sizes")
    made = members(
        grid,
        [rows for rows in sizes if isinstance(rows, int)] if isinstance(sizes, list) else None,
        seeds if isinstance(seeds, int) and 0 < seeds <= 100 else 1,
    )
    return [member_name(name, values, rows, number) for values, rows, number in made]


def _data(document: Document, entry: dict[str, Any]) -> dict[str, Any]:
    parts = [document.data.get("data"), entry.get("data")]
    merged: dict[str, Any] = {}
    for part in parts:
        merged |= part if isinstance(part, dict) else {}
    return merged


def _names(document: Document) -> Iterator[Mistake]:
    seen: dict[str, tuple[str, int]] = {}
    for i, entry in _candidates(document):
        if not isinstance(entry.get("name"), str):
            continue
        path = ("candidates", i, "name")
        for name in _members(document, entry):
            same = _folded(name)
            if same == "base":
                yield Mistake(path, f"{name!r} is the name of the untrained model; choose another")
            elif same in seen:
                other, line = seen[same]
                twice = "is already there" if other == name else f"differs from {other!r} by case alone"
                yield Mistake(path, f"{name!r} {twice} (line {line}); choose another")
            else:
                seen[same] = name, document.line(path)


def _folded(name: str) -> str:
    """Equal for names that a file system without case or with other Unicode forms would take for one."""
    return unicodedata.normalize("NFC", name).casefold()


def _models(document: Document) -> Iterator[Mistake]:
    if document.data.get("model") is not None:
        return
    if any(nearest(key, ["model"]) for key in document.data if key not in Study.model_fields):
        return  # a misspelt 'model' is told once, as the unknown key it is
    without = [
        entry
        for _, entry in _candidates(document)
        if entry.get("kind") in NEEDS_BASE and not entry.get("model")
    ]
    if without or not document.data.get("candidates"):
        needs = (
            f"candidate {without[0].get('name')!r} ({without[0]['kind']}) needs a base"
            if without
            else "no base"
        )
        example = "model: smollm2-135m-instruct-q4_1"
        yield Mistake((), f"missing key 'model': {needs}; expected {MODELS}, for example {example}")
    if document.data.get("control") == "base":
        yield Mistake(("control",), "expected a candidate's name: without 'model' there is no base")


def _control(document: Document) -> Iterator[Mistake]:
    control = document.data.get("control")
    if (
        not isinstance(control, str)
        or control == "base"
        or (control.startswith("base[") and control.endswith("]"))
    ):
        return
    yield from _refers(document, control, ("control",), extra=("base",))


def _start(document: Document) -> Iterator[Mistake]:
    starts: dict[str, str] = {}
    for i, entry in _candidates(document):
        start, path = entry.get("start"), ("candidates", i, "start")
        if not isinstance(start, str):
            continue
        wrong = list(_refers(document, start, path))
        kinds = {other.get("name"): other.get("kind") for _, other in _candidates(document)}
        parent = next(
            (name for name, made in candidate_names(document).items() if start in (name, *made)), None
        )
        if not wrong and kinds.get(parent) not in ("train", "adapter"):
            wrong = [
                Mistake(
                    path, f"expected a candidate of kind train or adapter, {start!r} is {kinds.get(parent)}"
                )
            ]
        forms = [name for _, other in _candidates(document) for name in _forms_of(document, other)]
        if not wrong and start in forms:
            adapter = start.rpartition("[")[0]
            wrong = [Mistake(path, f"expected an adapter, {start!r} is merged; start from {adapter!r}")]
        if not wrong and parent is not None:
            starts[str(entry.get("name"))] = parent
            seen = [str(entry.get("name"))]
            while seen[-1] in starts and starts[seen[-1]] not in seen:
                seen.append(starts[seen[-1]])
            if starts.get(seen[-1]) in seen:
                wrong = [Mistake(path, f"the candidates {', '.join(map(repr, seen))} start from each other")]
        yield from wrong


def _refers(
    document: Document, name: str, path: tuple[str | int, ...], extra: tuple[str, ...] = ()
) -> Iterator[Mistake]:
    """Complain unless ``name`` is one single candidate."""
    known = candidate_names(document)
    singles = [single for made in known.values() for single in made]
    if name in singles:
        return
    if name in known:
        yield Mistake(
            path, f"{name!r} stands for {len(known[name])} candidates; name one, such as {known[name][0]!r}"
        )
        return
    everything = [*extra, *singles]
    listed = ", ".join(everything[:12]) + (", …" if len(everything) > 12 else "")
    hint = nearest(name, everything) or f" Known: {listed or 'none'}."
    yield Mistake(path, f"no candidate named {name!r}.{hint}")


def _forms_of(document: Document, entry: dict[str, Any]) -> list[str]:
    if not isinstance(entry.get("name"), str):
        return []
    adapters = _adapters(document, entry)
    return [name for name in _members(document, entry) if name not in adapters]


def _forms(document: Document) -> Iterator[Mistake]:
    """Quantising again is quantising as the base is: to 4 bits."""
    for i, entry in _candidates(document):
        forms = entry.get("forms")
        held = entry.get("quantization") or document.data.get("quantization") or "nf4"
        held = held.get("type", "nf4") if isinstance(held, dict) else held
        if isinstance(forms, list) and "requantized" in forms and held in ("int8", "none"):
            yield Mistake(
                ("candidates", i, "forms", forms.index("requantized")),
                f"'requantized' quantises merged weights as the base is, to nf4 or fp4; here it is {held}",
            )


def _training(document: Document) -> Iterator[Mistake]:
    for i, entry in _candidates(document):
        if entry.get("kind") != "train":
            continue
        if _data(document, entry).get("train") is None:
            name = entry.get("name")
            message = f"candidate {name!r} has nothing to train on: expected data.train in the study or in it"
            yield Mistake(("candidates", i), message)
        if (
            entry.get("search") is not None
            and isinstance(entry.get("name"), str)
            and len(_adapters(document, entry)) < 2
        ):
            yield Mistake(
                ("candidates", i, "search"), "expected a 'grid' to search in, got a single candidate"
            )
        if entry.get("search") is not None:
            yield from _searched(_data(document, entry), ("candidates", i, "search"))


def _searched(data: dict[str, Any], path: tuple[str | int, ...]) -> Iterator[Mistake]:
    if data.get("sizes") is not None:
        yield Mistake(
            path, "would drop points of the learning curve that 'data.sizes' asks for; keep one of them"
        )
    if data.get("validation", 0.1) is None:
        yield Mistake(
            path, "drops candidates by their loss on validation rows, and 'data.validation' is null"
        )


def _tasks(document: Document) -> Iterator[Mistake]:
    seen: dict[str, int] = {}
    for path, entry in document.at("tasks", "*"):
        name = entry.get("task") if isinstance(entry, dict) else entry
        if isinstance(name, str) and name in seen:
            yield Mistake(path, f"{name!r} is already there (line {seen[name]}); remove one")
        elif isinstance(name, str):
            seen[name] = document.line(path)
