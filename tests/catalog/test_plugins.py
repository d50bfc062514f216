"""What an installed package adds: seen through its real entry points."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from evalkit.catalog import entries
from evalkit.errors import CatalogError, ModelError
from evalkit.metrics import get_metric, known_metrics
from evalkit.models.registry import resolve
from evalkit.models.selftest import write_tiny_model
from evalkit.plugins import load_plugin, plugins


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package as pip would have put it there, on the import path."""
    site = tmp_path / "site"
    (site / "tasks" / "riddles").mkdir(parents=True)
    (site / "tasks" / "riddles" / "task.yaml").write_text("task: riddles\n")
    (site / "strange.py").write_text(
        "from pathlib import Path\n"
        "HERE = Path(__file__).parent\n"
        "TASKS, MODEL, LOOP = HERE / 'tasks', str(HERE / 'model'), 'loop'\n"
        "def shouts(sample, output):\n    return output.isupper()\n"
    )
    (site / "broken.py").write_text("raise RuntimeError('no licence')\n")
    info = site / "strange-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strange\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[evalkit.metrics]\nshouts = strange:shouts\nbad = broken:metric\n"
        "[evalkit.tasks]\nstrange = strange:TASKS\n"
        "[evalkit.models]\ntheirs = strange:MODEL\nloop = strange:LOOP\n"
    )
    monkeypatch.syspath_prepend(str(site))
    yield site
    for name in ("strange", "broken"):
        sys.modules.pop(name, None)
    load_plugin.cache_clear()


def test_a_metric(installed: Path) -> None:
    assert {"shouts", "bad"} <= set(known_metrics())
    assert get_metric("shouts").name == "shouts"


def test_a_task_folder(installed: Path) -> None:
    entry = entries("tasks")["riddles"]
    assert (entry.origin, entry.path) == ("plugin", installed / "tasks" / "riddles")


def test_a_model_stands_for_its_folder(installed: Path) -> None:
    write_tiny_model(installed / "model")
    model = resolve("theirs")
    assert (model.name, model.path) == ("theirs", installed / "model")
    with pytest.raises(ModelError, match=r"'loop' .*names itself"):
        resolve("loop")


def test_a_broken_one_is_named_with_its_package(installed: Path) -> None:
    with pytest.raises(
        CatalogError, match=r"evalkit.metrics:bad .*package strange.*RuntimeError: no licence"
    ):
        get_metric("bad")


def test_nobody_added_anything() -> None:
    assert "shouts" not in known_metrics()
    assert plugins("metrics").get("shouts") is None
