"""``evalkit check``: what is wrong is told before it costs anything."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from evalkit.catalog import builtin_root, entries
from evalkit.cli.checks import check_path
from evalkit.cli.init import write_project
from evalkit.errors import UserError

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A new project, as ``evalkit init`` makes it."""
    write_project(tmp_path / "p")
    return tmp_path / "p"


def told(path: Path) -> dict[str, list[str]]:
    return {
        what: [message.replace(f"{path}/", "") for message in messages] for what, messages in check_path(path)
    }


def test_a_new_project_is_right(project: Path) -> None:
    assert told(project) == {
        str(project / name): [] for name in ("tasks/tickets", "gates/ci.yaml", "study.yaml")
    }


@pytest.mark.parametrize("kind", ["tasks", "judges", "trainers", "reports"])
def test_every_built_in_entry_is_right(kind: str) -> None:
    for entry in entries(kind).values():
        assert told(entry.path) == {str(entry.path): []}


def test_everything_is_checked_and_told(project: Path, evalkit_command: Command) -> None:
    (project / "tasks" / "empty").mkdir()
    (project / "tasks" / "tickets" / "task.yaml").write_text("task: tickets\nmetrics: []\n")
    (project / "gates" / "ci.yaml").write_text("gate: ci\nrules: 3\n")
    (project / "study.yaml").write_text("study: tickets\nmodle: m\n")
    done = evalkit_command("check", project)
    assert done.returncode == 2
    for line in (
        f"✗ {project}/tasks/empty",
        f"{project}/tasks/empty: no task.yaml in it, so it is no entry of the catalog",
        f"{project}/tasks/tickets/task.yaml:1: missing key 'data': expected a mapping with train, validation, test,",
        f"{project}/gates/ci.yaml:2: rules: expected a list",
        f"{project}/study.yaml:2: modle: unknown key. Did you mean 'model'?",
    ):
        assert line in done.stderr


def test_one_thing_alone(project: Path, evalkit_command: Command) -> None:
    for path in ("study.yaml", "gates/ci.yaml", "tasks/tickets", "tasks/tickets/task.yaml"):
        assert evalkit_command("check", project / path, check=True).stderr.startswith("✓")


def test_what_is_nothing_to_check(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to check"):
        told(tmp_path)
    with pytest.raises(UserError, match="no such file or folder"):
        told(tmp_path / "none")
    (tmp_path / "other.yaml").write_text("a: 1\n")
    (message,) = told(tmp_path / "other.yaml")[str(tmp_path / "other.yaml")]
    assert message.startswith(
        f"{tmp_path / 'other.yaml'}:1: expected a study (with the key 'study'), a gate ('gate')"
    )


def cases(project: Path, text: str) -> list[str]:
    (project / "tasks" / "tickets" / "cases.yaml").write_text(text)
    (messages,) = told(project / "tasks" / "tickets").values()
    return messages


ROW = "row: {text: a, team: billing}"


def test_cases(project: Path) -> None:
    # exact_match is 1 for the target itself, whatever its case and stops, and 0 else.
    right = f"cases:\n  - {{{ROW}, output: Billing., expect: {{exact_match: 1}}}}\n"
    assert cases(project, right) == []
    assert cases(project, right.replace("1}", "0.5}")) == [
        "cases.yaml:2: cases[0].expect.exact_match: expected 0.5, got 1"
    ]
    assert cases(project, right.replace("1}", "{unscored: true}}")) == [
        "cases.yaml:2: cases[0].expect.exact_match: expected it unscored, got 1"
    ]
    assert cases(project, right.replace("exact_match", "exact")) == [
        "cases.yaml:2: cases[0].expect.exact: the task has no metric 'exact'. Did you mean 'exact_match'?"
    ]
    assert cases(project, right.replace("output", "ouput")) == [
        "cases.yaml:2: cases[0].ouput: unknown key. Did you mean 'output'?"
    ]
    assert cases(project, "cases: []\n")[0].startswith("cases.yaml:1: cases: expected a list")


def test_a_case_is_read_like_a_row_of_the_task(project: Path) -> None:
    (message,) = cases(project, "cases:\n  - {row: {text: a}, output: b, expect: {exact_match: 1}}\n")
    assert message.startswith("cases.yaml: case 1: has no 'team', the card's `target`")


def test_a_trainer_that_does_not_import(project: Path) -> None:
    folder = project / "trainers" / "mine"
    folder.mkdir()
    (folder / "trainer.yaml").write_text("trainer: mine\n")
    (folder / "train.py").write_text("import nothing_of_that_name\n")
    assert "does not import: ModuleNotFoundError" in told(folder)[str(folder)][0]


def test_runs_and_hidden_folders_are_passed_over(project: Path) -> None:
    for name in ("runs/x", ".hidden", "build"):
        (project / name).mkdir(parents=True)
        (project / name / "study.yaml").write_text("study: 3\n")
    assert len(told(project)) == 3


def test_the_built_in_catalog_as_a_project() -> None:
    assert all(messages == [] for messages in told(builtin_root() / "trainers" / "qlora").values())
