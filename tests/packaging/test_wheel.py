"""What is installed is what is in git, and it works where nothing of ours lies around."""

from __future__ import annotations

import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

CATALOG = ("tasks", "judges", "trainers", "reports")


def test_the_wheel_holds_what_git_holds(wheel: Path, root: Path) -> None:
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "evalkit", *CATALOG]
    named = subprocess.run(listing, cwd=root, capture_output=True, check=True, encoding="utf-8").stdout.split(
        "\0"
    )
    tracked = {name for name in named if name and (root / name).is_file()}
    wanted = {f"evalkit/_catalog/{name}" if name.split("/")[0] in CATALOG else name for name in tracked}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == wanted


def test_a_checkout_has_no_packaged_catalog(root: Path) -> None:
    """It would win over the four folders, and changes in them would have no effect."""
    assert not (root / "evalkit" / "_catalog").exists()


def test_the_wheel_carries_licence_and_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (entry_points,) = [name for name in names if name.endswith("entry_points.txt")]
        commands = archive.read(entry_points).decode()
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "evalkit = evalkit.cli:main" in commands


def test_it_runs_from_a_strangers_project(stranger: Callable[..., str], tmp_path: Path) -> None:
    """A project with Python packages named like our folders: they are neither imported nor shipped over."""
    for name in CATALOG:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the stranger was imported')\n")
    stranger("init", "new", cwd=tmp_path)
    (tmp_path / "new" / "tasks" / "tickets").rename(tmp_path / "tasks" / "tickets")

    listed = stranger("list", "tasks", cwd=tmp_path).splitlines()
    origins = {line.split()[0]: line.split()[1] for line in listed}
    assert origins.pop("tickets") == "project"
    assert origins
    assert set(origins.values()) == {"builtin"}

    shown = stranger("show", "trainers/qlora", cwd=tmp_path)
    assert "/evalkit/_catalog/trainers/qlora" in shown.splitlines()[0]
    stranger("copy", "trainers/qlora", ".", cwd=tmp_path)
    assert "project" in stranger("show", "trainers/qlora", cwd=tmp_path).splitlines()[0]
    stranger("check", "tasks/tickets", cwd=tmp_path)

    (tmp_path / "rows.jsonl").write_text('{"output": "Paris", "target": "Paris"}\n')
    assert '"value": 1.0' in stranger(
        "score", "rows.jsonl", "--metrics", "exact_match", "--json", cwd=tmp_path
    )


def test_every_built_in_entry_is_right(stranger: Callable[..., str], installed: Path, tmp_path: Path) -> None:
    (catalog,) = installed.parent.glob("lib/python*/site-packages/evalkit/_catalog")
    stranger("check", catalog, cwd=tmp_path)
