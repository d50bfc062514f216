"""Which entry a name stands for, and how Python beside it is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from evalkit.catalog import KINDS, Entry, builtin_root, entries, entry_sha256, find, load_module
from evalkit.errors import CatalogError


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a task of its own and one that has a built-in one's name."""
    for name in ("mine", sorted(entries("tasks"))[0]):
        (tmp_path / "tasks" / name).mkdir(parents=True)
        (tmp_path / "tasks" / name / "task.yaml").write_text("")
    (tmp_path / "tasks" / "no-card").mkdir()
    return tmp_path


def test_a_checkout_is_its_own_catalog(root: Path) -> None:
    assert builtin_root() == root
    assert all((root / kind).is_dir() for kind in KINDS)


def test_the_first_root_wins(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    name = sorted(entries("tasks"))[0]
    assert entries("tasks")[name].origin == "builtin"
    assert entries("tasks", [project])[name] == Entry("tasks", name, project / "tasks" / name, "project")
    assert "mine" in entries("tasks", [project])
    assert "no-card" not in entries("tasks", [project])

    second = tmp_path_factory.mktemp("second")
    (second / "tasks" / "mine").mkdir(parents=True)
    (second / "tasks" / "mine" / "task.yaml").write_text("")
    assert find("tasks", "mine", [project, second]).path == project / "tasks" / "mine"
    assert find("tasks", "mine", [second, project]).path == second / "tasks" / "mine"


def test_in_the_checkout_entries_are_built_in(root: Path) -> None:
    assert {entry.origin for entry in entries("trainers", [root]).values()} == {"builtin"}


def test_unknown_names_and_kinds() -> None:
    with pytest.raises(
        CatalogError, match=r"No trainer named 'qlroa'; known: .*qlora.*Did you mean 'qlora'\?"
    ):
        find("trainers", "qlroa")
    with pytest.raises(CatalogError, match=r"No catalog kind named 'trainer'.*Did you mean 'trainers'\?"):
        entries("trainer")


def test_python_is_loaded_anew_when_its_bytes_change(tmp_path: Path) -> None:
    file = tmp_path / "scorer.py"
    file.write_text("VALUE = 1\n")
    first = load_module(file)
    assert load_module(file) is first
    file.write_text("VALUE = 2\n")
    assert (first.VALUE, load_module(file).VALUE) == (1, 2)
    assert load_module(file).__name__.startswith("_evalkit_")


def test_equal_files_in_two_places_are_two_modules(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "scorer.py").write_text("HERE = __file__\n")
    a, b = (load_module(tmp_path / name / "scorer.py") for name in ("a", "b"))
    assert a.HERE != b.HERE


def test_python_that_does_not_load(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"No file .*scorer\.py"):
        load_module(tmp_path / "scorer.py")
    (tmp_path / "scorer.py").write_text("1 / 0\n")
    with pytest.raises(CatalogError, match="does not import: ZeroDivisionError: division by zero"):
        load_module(tmp_path / "scorer.py")
    (tmp_path / "scorer.py").write_text("VALUE = 1\n")
    assert load_module(tmp_path / "scorer.py").VALUE == 1


def test_the_hash_of_an_entry_is_that_of_what_can_change_a_result(tmp_path: Path) -> None:
    entry = Entry("tasks", "t", tmp_path / "t", "project")
    entry.path.mkdir()
    (entry.path / "task.yaml").write_text("a")
    first = entry_sha256(entry)
    for other in ("README.md", "cases.yaml", "__pycache__/x.pyc"):
        (entry.path / other).parent.mkdir(exist_ok=True)
        (entry.path / other).write_text("b")
    assert entry_sha256(entry) == first
    (entry.path / "prompt.j2").write_text("b")
    second = entry_sha256(entry)
    assert second != first
    (entry.path / "prompt.j2").rename(entry.path / "other.j2")
    assert entry_sha256(entry) not in (first, second)
