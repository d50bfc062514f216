"""The trainer settings in a study: known names, possible values, in ``settings`` and in ``grid``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from evalkit.catalog import entries
from evalkit.specs.check_card import load_trainer
from evalkit.specs.explain import Mistake, PathInFile, explain
from evalkit.specs.trainer import QloraSettings, settings_model
from evalkit.specs.yaml import Document

__all__ = ["check_settings"]


def check_settings(document: Document, roots: Sequence[Path]) -> Iterator[Mistake]:
    """Yield a mistake for each unknown setting and each value that a setting cannot have.

    Raises:
        SpecError: The card of a trainer is wrong.
    """
    for path, entry in document.at("candidates", "*"):
        if not isinstance(entry, dict) or entry.get("kind") != "train":
            continue
        card = entries("trainers", roots).get(str(entry.get("trainer", "qlora")))
        if card is not None:  # an unknown trainer has been told already
            model = settings_model(load_trainer(card.path))
            yield from _of_candidate(model, entry, path)


def _of_candidate(model: type[QloraSettings], entry: dict[str, Any], path: PathInFile) -> Iterator[Mistake]:
    settings, grid = entry.get("settings"), entry.get("grid")
    if isinstance(settings, dict):
        yield from explain(model, settings, (*path, "settings"))
    if not isinstance(grid, dict):
        return
    sizes, named = {"batch_size", "batch_tokens"}, {*grid, *(settings if isinstance(settings, dict) else ())}
    for name, values in grid.items():
        where = (*path, "grid", name)
        if name in sizes and sizes <= named:
            yield Mistake(where, "expected either 'batch_size' or 'batch_tokens', got both")
        if isinstance(settings, dict) and name in settings:
            yield Mistake(where, "this setting is in 'settings' too; keep one of them")
        if name not in model.model_fields:
            yield from explain(model, {name: None}, (*path, "grid"))
        elif isinstance(values, list):
            for i, value in enumerate(values):
                yield from (Mistake((*where, i), m.message) for m in explain(model, {name: value}, where))
