"""Candidates of a study that train in one pass: planned, trained, kept apart, and cached one by one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import evalkit
from evalkit.running.folder import RunFolder

Project = Callable[..., Path]
SETTINGS = "max_steps: 6, batch_size: 4, learning_rate: 5.0e-3"
ONE = f"{{rank: 4, {SETTINGS}}}}}"
MORE = f"""{ONE}
  - {{name: r8, kind: train, settings: {{rank: 8, {SETTINGS}}}}}
  - {{name: wild, kind: train, settings: {{rank: 4, {SETTINGS}, alpha: 1.0e+38, warmup: 0}}}}
  - {{name: dora, kind: train, settings: {{rank: 4, {SETTINGS}, dora: true}}}}"""


UNLIKE = f"""{ONE}
  - {{name: r8, kind: train, settings: {{rank: 8, {SETTINGS}}}}}
  - {{name: slow, kind: train, settings: {{rank: 4, {SETTINGS}, gradient_checkpointing: true}}}}
  - {{name: dense, kind: train, settings: {{rank: 4, {SETTINGS}, speed: dense-cache}}}}
  - {{name: both, kind: train, settings: {{rank: 4, {SETTINGS}, gradient_checkpointing: true, speed: dense-cache}}}}
  - {{name: child, kind: train, start: r4, settings: {{rank: 4, {SETTINGS}}}}}"""


class Recording:
    """Remembers the stages that were begun."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def stage(self, name: str, total: int | None = None, unit: str = "") -> None:
        self.stages.append(name)

    def advance(self, steps: int = 1, note: str = "") -> None:
        pass

    def done(self, note: str = "") -> None:
        pass

    def say(self, text: str) -> None:
        pass


def test_the_plan_says_what_keeps_a_candidate_from_the_others(project: Project) -> None:
    described = evalkit.describe(evalkit.plan(project((ONE, UNLIKE))))
    every = "no other candidate has the same precision, gradient_checkpointing, offload and speed"
    assert [(found["candidates"], found["alone"]) for found in described["passes"]] == [
        (["r4", "r8"], None),
        (["slow"], every),
        (["dense"], every),
        (["both"], every),
        (["child"], "what it starts from is trained first"),
    ]
    changed = UNLIKE.replace("gradient_checkpointing: true, speed: dense-cache", "offload: activations")
    described = evalkit.describe(evalkit.plan(project((ONE, changed))))
    assert {found["candidates"][0]: found["alone"] for found in described["passes"]} == {
        "r4": None,
        "slow": "no other candidate has its gradient_checkpointing",
        "dense": "no other candidate has its speed",
        "both": "no other candidate has its offload",
        "child": "what it starts from is trained first",
    }
    assert [found["alone"] for found in evalkit.describe(evalkit.plan(project()))["passes"]] == [None]


def test_candidates_train_in_one_pass_and_are_cached_apart(project: Project, tmp_path: Path) -> None:
    study = project((ONE, MORE))
    described = evalkit.describe(evalkit.plan(study))
    assert described["passes"] == [
        {"candidates": ["r4", "r8", "wild"], "alone": None},
        {"candidates": ["dora"], "alone": "dora changes the base layers themselves"},
    ]
    progress = Recording()
    run = evalkit.run(study, progress=progress)
    assert [stage for stage in progress.stages if stage.startswith("train")] == [
        "train r4, r8, wild",
        "train dora",
    ]
    found = {row["name"]: row for row in run.results["candidates"]}
    assert "training stopped" in found["wild"]["error"]
    assert found["r4"]["error"] is None
    assert "trained in one pass with 2 others." in found["r4"]["notes"]
    folder = RunFolder(run.path)
    assert [len(folder.training(name)) for name in ("r4", "r8", "dora")] == [6, 6, 6]
    configs = [
        json.loads((run.path / "adapters" / name / "adapter_config.json").read_text())
        for name in ("r4", "r8")
    ]
    assert [config["r"] for config in configs] == [4, 8]
    spent = run.results["costs"]["seconds"]
    assert spent["r8"]["train"] == pytest.approx(found["r8"]["training"]["seconds"])

    again = Recording()
    without = study.read_text().replace("name: wild", "name: other").replace(", alpha: 1.0e+38", ", seed: 9")
    study.write_text(without)
    second = evalkit.run(study, progress=again)
    assert [stage for stage in again.stages if stage.startswith("train")] == ["train other"]
    assert second.results["status"] == "complete"
