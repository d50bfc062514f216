"""What ``evalkit list`` and ``evalkit show`` print."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path

from evalkit.catalog import KINDS, Entry, entries, find
from evalkit.cli.copy import split_name
from evalkit.errors import CatalogError, MetricError, SpecError, nearest
from evalkit.metrics import get_metric, known_metrics
from evalkit.models.registry import REGISTRY, installed, models_dir
from evalkit.specs.yaml import read

__all__ = ["describe_entry", "listing", "shown_entry"]

Row = dict[str, str]


def listing(kind: str, roots: Sequence[Path]) -> list[Row]:
    """Return name, origin and description of everything of a kind, by name.

    Args:
        kind: ``tasks``, ``judges``, ``trainers``, ``reports``, ``metrics`` or ``models``.
        roots: Project folders.

    Raises:
        CatalogError: No such kind.
    """
    if kind in KINDS:
        return [_row(entry) for _, entry in sorted(entries(kind, roots).items())]
    others: dict[str, Callable[[], list[Row]]] = {"metrics": _metrics, "models": _models}
    if kind not in others:
        kinds = [*KINDS, *others]
        raise CatalogError(f"Expected one of {', '.join(kinds)}, got {kind!r}.{nearest(kind, kinds)}")
    return others[kind]()


def shown_entry(text: str, roots: Sequence[Path]) -> str:
    """Return all there is to say about ``KIND/NAME``.

    Raises:
        CatalogError: No such entry.
    """
    kind, name = split_name(text, [*KINDS, "metrics", "models"])
    if kind == "metrics":
        return _shown_metric(name)
    if kind == "models":
        return _shown_model(name)
    entry = find(kind, name, roots)
    files = [
        path for path in sorted(entry.path.rglob("*")) if path.is_file() and "__pycache__" not in path.parts
    ]
    parts = [f"{kind}/{name} ({entry.origin})  {entry.path}", ""]
    parts += [f"  {path.relative_to(entry.path)}  {path.stat().st_size:,} bytes" for path in files]
    for path in (entry.card, entry.path / "README.md"):
        if path.is_file():
            parts += ["", f"── {path.name} ──", path.read_text(encoding="utf-8", errors="replace").rstrip()]
    return "\n".join(parts)


def describe_entry(entry: Entry) -> str:
    """Return the description in an entry's card; what is wrong with the card where it cannot be read."""
    try:
        return " ".join(str(read(entry.card).data.get("description") or "").split())
    except SpecError as error:
        return f"(its card is wrong: {error.messages[0]})"


def _row(entry: Entry) -> Row:
    return {
        "name": entry.name,
        "origin": entry.origin,
        "description": describe_entry(entry),
        "path": str(entry.path),
    }


def _metrics() -> list[Row]:
    return [_metric_row(name) for name in known_metrics()]


def _metric_row(name: str) -> Row:
    try:
        metric = get_metric(name)
    except MetricError as error:  # one that needs a setting, or weights that are not here
        return {"name": name, "origin": "", "description": error.messages[0]}
    builtin = type(metric).__module__.startswith("evalkit.metrics.")
    summary = " ".join((inspect.getdoc(type(metric)) or "").partition("\n\n")[0].split())
    if " is better" not in summary.lower():
        summary += " Higher is better." if metric.higher_is_better else " Lower is better."
    return {"name": name, "origin": "builtin" if builtin else "plugin", "description": summary.strip()}


def _shown_metric(name: str) -> str:
    try:
        metric = get_metric(name)
    except MetricError as error:
        raise CatalogError(*error.messages) from error
    low, high = metric.bounds
    direction = "higher" if metric.higher_is_better else "lower"
    head = [
        f"metrics/{name}  from {low:g} to {high:g}, {direction} is better",
        f"signature: {metric.signature()}",
    ]
    return "\n".join([*head, "", inspect.getdoc(type(metric)) or "No description."])


def _models() -> list[Row]:
    rows = []
    for name, entry in sorted(REGISTRY.items()):
        here = "here" if installed(name) else "not pulled"
        rows.append({"name": name, "origin": here, "description": entry.description})
    return rows


def _shown_model(name: str) -> str:
    if name not in REGISTRY:
        raise CatalogError(
            f"No model named {name!r} in the registry; known: {', '.join(REGISTRY)}.{nearest(name, REGISTRY)}"
        )
    entry = REGISTRY[name]
    where = models_dir() / name if installed(name) else f"not on this machine: evalkit model pull {name}"
    lines = [f"models/{name}  {entry.description}", f"licence: {entry.licence}", f"folder:  {where}"]
    lines += [f"source:  {source}" for source in entry.sources]
    lines += [f"sha256:  {file}  {sha}" for file, sha in entry.sha256.items()]
    return "\n".join(lines)
