"""Every setting of a run with where it came from: the default, the file, a flag, a grid."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["TrainerSettings", "settings_rows", "trainer_settings"]

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TrainerSettings:
    """The trainer settings of all trained candidates, what they share apart from what they do not.

    Attributes:
        candidates: Those that have settings.
        shared: (setting, value, origin) where all agree.
        differing: (setting, one (value, origin) a candidate) where they do not.
    """

    candidates: tuple[str, ...]
    shared: tuple[tuple[str, str, str], ...]
    differing: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]


def settings_rows(study: Json, origins: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return every setting of a resolved study as (dotted key, value, origin), in the order of the file.

    Args:
        study: The resolved study.
        origins: Dotted key → ``default``, ``file`` or ``flag``; a key stands for what is below it too.

    >>> settings_rows({"seed": 17, "data": {"train": "a.jsonl"}}, {"seed": "default", "data": "file"})
    [('seed', '17', 'default'), ('data.train', 'a.jsonl', 'file')]
    """
    return [(key, _plain(value), _origin(key, origins)) for key, value in _leaves(study, "")]


def trainer_settings(results: Json) -> TrainerSettings:
    """Return the settings that candidates were trained with, and where each came from."""
    trained = [entry for entry in results.get("candidates", []) if entry.get("settings")]
    tables = [
        {
            key: (value, origin)
            for key, value, origin in settings_rows(entry["settings"], entry.get("origins") or {})
        }
        for entry in trained
    ]
    shared, differing = [], []
    for key in dict.fromkeys(key for table in tables for key in table):
        row = tuple(table.get(key, ("–", "")) for table in tables)
        if len(set(row)) == 1:
            shared.append((key, *row[0]))
        else:
            differing.append((key, row))
    return TrainerSettings(tuple(entry["name"] for entry in trained), tuple(shared), tuple(differing))


def _leaves(value: Any, prefix: str) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        return [
            leaf
            for key, item in value.items()
            for leaf in _leaves(item, f"{prefix}.{key}" if prefix else str(key))
        ]
    if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        return [
            leaf
            for index, item in enumerate(value)
            for leaf in _leaves(item, f"{prefix}.{_label(index, item)}")
        ]
    return [(prefix, value)]


def _label(index: int, item: Any) -> str:
    """Name a list's member by its name or its task where it has one, as the author thinks of it."""
    if isinstance(item, Mapping):
        for key in ("name", "task", "judge"):
            if isinstance(item.get(key), str):
                return str(item[key])
    return str(index)


def _origin(key: str, origins: Mapping[str, str]) -> str:
    while key:
        if key in origins:
            return str(origins[key])
        key = key.rpartition(".")[0]
    return ""


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.12g}"
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, Mapping):
        return "none"
    return str(value)
