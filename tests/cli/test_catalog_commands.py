"""``list``, ``show`` and ``copy``: the catalog from outside."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from evalkit.catalog import builtin_root, entries
from evalkit.cli.catalog_text import listing, shown_entry
from evalkit.cli.copy import copy_entry, split_name
from evalkit.errors import CatalogError, OutputFolderError
from evalkit.metrics import known_metrics
from evalkit.models.registry import REGISTRY

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.parametrize("kind", ["tasks", "trainers", "reports"])
def test_every_built_in_entry_says_what_it_is(kind: str) -> None:
    rows = listing(kind, [])
    assert [row["name"] for row in rows] == sorted(entries(kind))
    assert rows
    for row in rows:
        assert row["origin"] == "builtin"
        assert len(row["description"]) > 20
        assert "card is wrong" not in row["description"]


def test_metrics_and_models() -> None:
    metrics = listing("metrics", [])
    assert [row["name"] for row in metrics] == known_metrics()
    assert all("better" in row["description"].lower() for row in metrics if row["origin"])
    assert {row["name"] for row in listing("models", [])} == set(REGISTRY)


def test_unknown_kinds_and_names() -> None:
    with pytest.raises(CatalogError, match=r"got 'task'\. Did you mean 'tasks'\?"):
        listing("task", [])
    with pytest.raises(CatalogError, match=r"got 'task/x'\. Did you mean 'tasks'\?"):
        shown_entry("task/x", [])
    with pytest.raises(CatalogError, match=r"`evalkit list tasks` lists the names"):
        split_name("tasks", ["tasks"])
    with pytest.raises(CatalogError, match=r"Did you mean 'qlora'\?"):
        shown_entry("trainers/qlorra", [])
    with pytest.raises(CatalogError, match=r"Did you mean 'exact_match'\?"):
        shown_entry("metrics/exact_macth", [])
    with pytest.raises(CatalogError, match=r"Did you mean 'minilm'\?"):
        shown_entry("models/mini-lm", [])


def test_show() -> None:
    shown = shown_entry("trainers/qlora", [])
    assert str(builtin_root() / "trainers" / "qlora") in shown.splitlines()[0]
    assert "train.py" in shown
    assert "trainer: qlora" in shown
    assert "higher is better" in shown_entry("metrics/exact_match", [])
    assert "Apache-2.0" in shown_entry("models/minilm", [])


def test_a_copy_wins(evalkit_command: Command, tmp_path: Path) -> None:
    name = sorted(entries("tasks"))[0]
    made = evalkit_command("copy", f"tasks/{name}", ".", check=True)
    assert made.stdout.strip() == f"tasks/{name}"
    card = tmp_path / "tasks" / name / "task.yaml"
    assert card.read_bytes() == (builtin_root() / "tasks" / name / "task.yaml").read_bytes()

    rows = json.loads(evalkit_command("list", "tasks", "--json", check=True).stdout)["tasks"]
    assert {row["name"]: row["origin"] for row in rows}[name] == "project"
    assert {row["path"] for row in rows if row["name"] == name} == {str(tmp_path / "tasks" / name)}

    card.write_text("mine")
    again = evalkit_command("copy", f"tasks/{name}", ".")
    assert again.returncode == 2
    assert "is there already and is not overwritten" in again.stderr
    assert card.read_text() == "mine"


def test_a_copy_is_whole_and_clean(tmp_path: Path) -> None:
    source = entries("trainers")["qlora"]
    copied = copy_entry(source, tmp_path / "new" / "project")
    assert copied == tmp_path / "new" / "project" / "trainers" / "qlora"
    files = {path.relative_to(source.path) for path in source.path.rglob("*") if path.is_file()}
    wanted = {path for path in files if "__pycache__" not in path.parts}
    assert {path.relative_to(copied) for path in copied.rglob("*") if path.is_file()} == wanted
    assert [path.name for path in copied.parent.iterdir()] == ["qlora"]  # nothing half-written beside it


def test_a_copy_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputFolderError, match="cannot be written"):
        copy_entry(entries("trainers")["qlora"], tmp_path / "file")


def test_metrics_are_no_folders_to_copy(evalkit_command: Command) -> None:
    done = evalkit_command("copy", "metrics/f1", ".")
    assert done.returncode == 2
    assert "Expected KIND/NAME with a kind of tasks, judges, trainers, reports" in done.stderr
