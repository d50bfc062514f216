"""``evalkit init``: a project that works at once."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from evalkit.cli.init import TEMPLATE, write_project
from evalkit.errors import OutputFolderError
from evalkit.specs.load import load_study

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def rows(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def test_the_files(tmp_path: Path, evalkit_command: Command) -> None:
    made = evalkit_command("init", "new", check=True)
    project = tmp_path / "new"
    assert made.stdout.strip() == str(project)
    assert "evalkit run study.yaml" in made.stderr
    for folder in ("tasks", "judges", "trainers", "reports", "gates", ".github/workflows"):
        assert list((project / folder).iterdir())
    assert len(list(TEMPLATE.rglob("*.*"))) <= len([path for path in project.rglob("*") if path.is_file()])
    assert not [path for path in project.rglob("*") if "dot-" in path.name]
    assert (project / ".gitignore").read_text() == "runs/\n"


def test_nothing_is_overwritten(tmp_path: Path, evalkit_command: Command) -> None:
    (tmp_path / "study.yaml").write_text("mine")
    done = evalkit_command("init")
    assert done.returncode == 2
    assert "holds study.yaml already, and nothing is overwritten" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["study.yaml"]
    assert (tmp_path / "study.yaml").read_text() == "mine"


def test_other_files_may_be_there(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    write_project(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "study.yaml").is_file()


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputFolderError, match="cannot be written"):
        write_project(tmp_path / "file")


def test_the_study_is_small_and_right(tmp_path: Path) -> None:
    write_project(tmp_path)
    study = load_study(tmp_path / "study.yaml")
    trained = [candidate for candidate in study.candidates if candidate.kind == "train"]
    (settings,) = (candidate.settings for candidate in trained)
    n = len(rows(tmp_path / "tasks" / "tickets" / "train.jsonl"))
    assert n <= 24
    assert n * settings["epochs"] / settings["batch_size"] <= 12  # optimiser steps


def test_train_and_test_share_no_message(tmp_path: Path) -> None:
    write_project(tmp_path)
    train, test = (rows(tmp_path / "tasks" / "tickets" / f"{split}.jsonl") for split in ("train", "test"))
    assert len({row["text"] for row in train + test}) == len(train) + len(test)
    for part in (train, test):
        teams = [row["team"] for row in part]
        assert {teams.count(team) for team in teams} == {len(part) / 4}  # four teams, equally often


def test_the_workflow_runs_what_exists(tmp_path: Path, evalkit_command: Command) -> None:
    write_project(tmp_path)
    workflow = YAML(typ="safe").load(tmp_path / ".github" / "workflows" / "evalkit.yml")
    lines = [step["run"] for step in workflow["jobs"]["evalkit"]["steps"] if "run" in step]
    commands = [line.split()[1:] for line in lines if line.startswith("evalkit ")]
    assert ["run", "study.yaml"] in commands
    for command in commands:
        evalkit_command(command[0], "--help", check=True)
    evalkit_command("check", check=True)


@pytest.mark.slow
def test_the_study_runs(tmp_path: Path, evalkit_command: Command) -> None:
    write_project(tmp_path)
    done = evalkit_command("run", "study.yaml", "--limit", "6", check=True)
    folder = tmp_path / done.stdout.strip().splitlines()[-1]
    results = json.loads((folder / "results.json").read_text("utf-8"))
    assert results["status"] == "complete"
    values = {
        score["candidate"]: score["value"] for score in results["scores"] if score["metric"] == "exact_match"
    }
    assert set(values) == {"base", "few-shot", "r8"}
    assert (folder / "report.html").stat().st_size > 10_000
    assert (folder / "adapters" / "r8" / "adapter_config.json").is_file()
