"""Searches and starts in a study: decided on validation rows, told, cached, resumed; and adapters that go on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, SupportsIndex

import pytest
from safetensors.numpy import load_file

import evalkit
from evalkit.errors import UserError
from evalkit.reporting.searches import search_tables
from evalkit.running.folder import RunFolder

Project = Callable[..., Path]
ONE = "  - {name: r4, kind: train, settings: {rank: 4, max_steps: 6, batch_size: 4, learning_rate: 5.0e-3}}\n"
SWEEP = """\
  - {name: sweep, kind: train, settings: {max_steps: 6, batch_size: 4},
     grid: {rank: [2, 4], learning_rate: [5.0e-3, 1.0e-2]}, search: {rungs: 3, keep: 0.5}}
  - {name: on, kind: train, start: r4, settings: {rank: 4, max_steps: 4, batch_size: 4}}
"""
GATE = """\
gate: ci
rules: [{task: pick, metric: choice_accuracy, at_least: 0.0}]
"""
MEMBERS = [f"sweep[rank={rank},learning_rate={rate}]" for rank in (2, 4) for rate in ("0.005", "0.01")]


class Guarded(list[Any]):
    """Test rows that may not be read while somebody trains."""

    training = False

    def __iter__(self) -> Iterator[Any]:
        self._check()
        return super().__iter__()

    def __getitem__(self, key: SupportsIndex | slice) -> Any:
        self._check()
        return super().__getitem__(key)

    def _check(self) -> None:
        if Guarded.training:
            raise AssertionError("a test row was read in a training")


class Watching:
    """Remembers trainings, and shuts the test rows while there is one."""

    def __init__(self) -> None:
        self.trainings: list[str] = []

    def stage(self, name: str, total: int | None = None, unit: str = "") -> None:
        Guarded.training = name.startswith("train ")
        if Guarded.training:
            self.trainings.append(name.removeprefix("train "))

    def advance(self, steps: int = 1, note: str = "") -> None:
        pass

    def done(self, note: str = "") -> None:
        Guarded.training = False

    def say(self, text: str) -> None:
        pass


@pytest.fixture
def study(project: Project, tmp_path: Path) -> Path:
    (tmp_path / "gate.yaml").write_text(GATE)
    return project((ONE, ONE + SWEEP), ("seed: 3\n", "seed: 3\ngate: gate.yaml\n"))


def by_name(run: evalkit.Run) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in run.results["candidates"]}


def test_a_search_drops_on_validation_rows_alone_and_says_so(study: Path, tmp_path: Path) -> None:
    described = evalkit.describe(evalkit.plan(study))
    (search,) = described["searches"]
    assert [rung["go_on"] for rung in search["at"]] == [2, 2]
    assert set(search["at"][0]["after"].values()) == {2}
    assert search["tokens_low"] == search["tokens_high"] == pytest.approx(search["tokens"] * 2 / 3, abs=1)

    plan = evalkit.plan(study)
    tasks = tuple(replace(task, samples=Guarded(task.samples)) for task in plan.tasks)
    Guarded.training = True
    with pytest.raises(AssertionError, match="a test row was read"):
        list(tasks[0].samples)
    Guarded.training = False
    watching = Watching()
    run = evalkit.run_planned(replace(plan, tasks=tasks), progress=watching)
    assert watching.trainings == [", ".join(["r4", *MEMBERS]), "on"]

    found = by_name(run)
    lost = [name for name in MEMBERS if found[name]["training"]["stopped"] == "dropped at rung 1 of 3"]
    assert len(lost) == 2
    assert {name.partition("learning_rate")[2] for name in lost} == {"=0.005]", "=0.01]"}
    assert (run.results["status"], run.failed, run.exit_code) == (
        "complete",
        {},
        0,
    )  # the gate holds for the rest
    scored = {row["candidate"] for row in run.results["scores"]}
    assert scored == {"base", "few", "recorded", "r4", "on", *MEMBERS} - set(lost)
    assert {row["candidate"] for row in run.results["comparisons"]} == scored - {"base"}
    folder = RunFolder(run.path)
    for name in lost:
        assert (found[name]["error"], found[name]["adapter_sha256"]) == (None, None)
        assert not folder.adapter_folder(name).exists()
        (standing,) = found[name]["training"]["rungs"]
        assert folder.training(name)[-1]["rungs"] == [standing]
        assert any(
            note.startswith("dropped at rung 1 of 3, after step 2 of 6") for note in found[name]["notes"]
        )
    (table,) = search_tables(run.results)
    assert [row.candidate for row in table.rows if not row.end.startswith("dropped")] == [
        row.candidate for row in table.rows[:2]
    ]
    page = run.report.read_text()
    assert "Search sweep: 3 rungs" in page
    assert page.count("dropped after step 2") == 2
    assert "Not everything could be done" not in page
    assert "so not scored" in evalkit.results_table(run.results)

    # Nothing is done twice; what a candidate is called does not count; other rows of the test split do not either.
    again = Watching()
    study.write_text(study.read_text().replace("name: sweep", "name: hunt"))
    for task in ("colours", "pick"):
        path = tmp_path / "tasks" / task / "test.jsonl"
        path.write_text(path.read_text().replace("ketchup", "tomato soup"))
    renamed = by_name(evalkit.run(study, progress=again))
    assert again.trainings == []
    for name in MEMBERS:
        other = renamed[name.replace("sweep", "hunt")]
        assert other["training"]["rungs"] == found[name]["training"]["rungs"]

    # One survivor's adapter is gone: it alone is trained again, and becomes what it was.
    kept = next(name for name in MEMBERS if name not in lost)
    weights = folder.adapter_folder(kept) / "adapter_model.safetensors"
    before = load_file(weights)
    cache = Path(evalkit.running.cache.cache_dir()) / "adapters"
    for stored in cache.iterdir():
        if (stored / "adapter" / weights.name).is_file() and (
            (stored / "adapter" / weights.name).read_bytes() == weights.read_bytes()
        ):
            shutil.rmtree(stored)
    once_more = Watching()
    healed = evalkit.run(study, progress=once_more)
    assert once_more.trainings == [kept.replace("sweep", "hunt")]
    after = load_file(RunFolder(healed.path).adapter_folder(kept.replace("sweep", "hunt")) / weights.name)
    assert all(abs(before[key] - after[key]).max() <= 1e-6 * abs(before[key]).max() + 1e-9 for key in before)


def test_kill_9_in_a_search_and_the_same_command_again(project: Project, tmp_path: Path) -> None:
    sweep = SWEEP.replace("max_steps: 6", "max_steps: 36").partition("  - {name: on")[0]
    study = project((ONE, sweep))
    names = ["base", *MEMBERS]
    whole = evalkit.run(study, out=tmp_path / "whole", only=names)
    os.environ["EVALKIT_CACHE_DIR"] = str(tmp_path / "fresh-cache")
    process = subprocess.Popen(
        [sys.executable, "-m", "evalkit", "run", str(study), "--out", str(tmp_path / "broken")]
        + [part for name in names for part in ("--only", name)],
        env={**os.environ, "PYTHONPATH": str(Path(evalkit.__file__).parents[1])},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        encoding="utf-8",
    )
    assert process.stderr is not None
    seen = next((line for line in process.stderr if line.startswith("train sweep")), None)
    assert seen is not None
    time.sleep(0.4)  # some of 144 steps are done
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    again = evalkit.run(study, out=tmp_path / "broken", only=names)
    found, wanted = by_name(again), by_name(whole)
    for name in MEMBERS:
        assert found[name]["training"]["rungs"] == wanted[name]["training"]["rungs"]
        assert found[name]["adapter_sha256"] == wanted[name]["adapter_sha256"]
    assert again.results["scores"] == whole.results["scores"]


def test_a_start_goes_on_from_the_others_adapter_and_is_known_by_its_bytes(project: Project) -> None:
    text = "  - {name: on, kind: train, start: r4, settings: {rank: 4, max_steps: 2, batch_size: 4}}\n"
    study = project((ONE, ONE + text))
    first = evalkit.run(study, only=["on"], train_only=True)  # what it starts from is done with it
    folder = RunFolder(first.path)
    assert folder.training("on")[0]["loss"] < folder.training("r4")[0]["loss"] - 0.05
    parent = load_file(folder.adapter_folder("r4") / "adapter_model.safetensors")
    child = load_file(folder.adapter_folder("on") / "adapter_model.safetensors")
    assert parent.keys() == child.keys()
    moved = max(float(abs(parent[key] - child[key]).max()) for key in parent)
    assert 0 < moved < 2e-3  # two steps of a small rate away from it, not from a new one
    again = Watching()
    evalkit.run(study, only=["on"], train_only=True, progress=again)
    assert again.trainings == []
    study.write_text(study.read_text().replace("learning_rate: 5.0e-3", "learning_rate: 4.0e-3"))
    changed = Watching()
    evalkit.run(study, only=["on"], train_only=True, progress=changed)
    assert changed.trainings == ["r4", "on"]


def test_a_start_that_fails_fails_what_starts_from_it(project: Project) -> None:
    wild = ONE.replace("learning_rate: 5.0e-3", "learning_rate: 1, alpha: 1.0e+38, warmup: 0")
    text = "  - {name: on, kind: train, start: r4, settings: {rank: 4, max_steps: 2, alpha: 1.0e+38}}\n"
    run = evalkit.run(project((ONE, wild + text)), only=["on"])
    assert set(run.failed) == {"r4", "on"}
    assert "it starts from r4, which could not be done: training stopped" in run.failed["on"]
    assert run.exit_code == 4


@pytest.mark.parametrize(
    ("more", "messages"),
    [
        ("on, kind: train, start: r4, settings: {rank: 8}", ["whose rank is 4, not 8: write rank: 4."]),
        (
            "on, kind: train, start: r4, grid: {rank: [4, 8]}",
            ["'on[rank=8]' starts from 'r4', whose rank is 4"],
        ),
        ("on, kind: train, start: r4, settings: {rank: 4, targets: mlp}", ["targets is all-linear, not mlp"]),
        ("on, kind: train, start: r4, quantization: nf4, settings: {rank: 4}", ["stands on another base"]),
        ("on, kind: train, start: r44", ["Did you mean 'r4'?"]),
        (
            "on, kind: train, grid: {rank: [2, 4]}, search: {rungs: 9}, settings: {max_steps: 4}",
            ["9 rungs need 10 optimiser steps, and it takes 3"],
        ),
        (
            "on, kind: train, grid: {rank: [2, 4]}, search: {}, data: {validation: null}",
            ["'data.validation' is null"],
        ),
        (
            "on, kind: train, grid: {rank: [2, 4]}, search: {}, data: {sizes: [5, 9]}",
            ["points of the learning curve"],
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_spent(
    project: Project, more: str, messages: list[str]
) -> None:
    with pytest.raises(UserError) as caught:
        evalkit.run(project((ONE, f"{ONE}  - {{name: {more}}}\n")))
    for message in messages:
        assert message in str(caught.value)


def test_an_adapter_from_elsewhere_is_a_start_if_it_fits(project: Project, tmp_path: Path) -> None:
    study = project((ONE, ONE))
    made = evalkit.run(study, only=["r4"], train_only=True)
    shutil.copytree(RunFolder(made.path).adapter_folder("r4"), tmp_path / "given")
    given = "  - {name: given, kind: adapter, path: given}\n"
    on = "  - {name: on, kind: train, start: given, settings: {rank: 4, max_steps: 2, batch_size: 4}}\n"
    study.write_text(study.read_text().replace(ONE, given + on))
    watching = Watching()
    run = evalkit.run(study, only=["on"], train_only=True, progress=watching)
    assert watching.trainings == ["on"]
    assert RunFolder(run.path).training("on")[0]["loss"] < RunFolder(made.path).training("r4")[0]["loss"]
    config = tmp_path / "given" / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "lora_alpha": 8}))
    with pytest.raises(UserError, match="whose alpha is 8, not 32"):
        evalkit.plan(study)
