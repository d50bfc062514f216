"""Small tasks are answered for several candidates at once: the same results, and one that breaks is alone in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import evalkit
from evalkit.errors import CandidateError
from evalkit.models.loading import Base
from evalkit.running import few, study
from evalkit.running.folder import RunFolder
from evalkit.running.progress import Silent

Project = Callable[..., Path]
SETTINGS = "max_steps: 6, batch_size: 4, learning_rate: 5.0e-2"
ONE = "{rank: 4, max_steps: 6, batch_size: 4, learning_rate: 5.0e-3}}"
MORE = f"""{{rank: 4, {SETTINGS}}}}}
  - {{name: r8, kind: train, settings: {{rank: 8, {SETTINGS}}}}}
  - {{name: dora, kind: train, settings: {{rank: 4, {SETTINGS}, dora: true}}}}"""
FP32 = ("quantization: none", "quantization: none\ndtype: fp32")


class Recording(Silent):
    """Remembers which answers were begun, recorded ones apart."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def stage(self, name: str, total: int | None = None, unit: str = "") -> None:
        if name.startswith("answer") and "recorded" not in name:
            self.stages.append(f"{name}: {total}")


def numbers(run: Any) -> dict[str, Any]:
    """What a run found, without how long it took."""
    outputs = {
        (name, task): [
            {key: value for key, value in row.items() if key not in ("seconds", "choices")} for row in rows
        ]
        for name in ("base", "few", "r4", "r8", "dora")
        for task in ("colours", "pick")
        if (rows := RunFolder(run.path).samples(name, task))
    }
    kept = {name: run.results[name] for name in ("scores", "comparisons")}
    return {**kept, "outputs": outputs}


def test_a_study_finds_the_same_with_and_without_common_passes(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = project(FP32, (ONE, MORE))
    together, alone = Recording(), Recording()
    first = evalkit.run(path, progress=together)
    monkeypatch.setattr(study, "most_answers", lambda base: 0)
    monkeypatch.setenv("EVALKIT_CACHE_DIR", str(tmp_path / "another"))
    second = evalkit.run(path, progress=alone)
    assert numbers(first) == numbers(second)
    common = ["answer 4 candidates · colours: 24", "answer 4 candidates · pick: 24"]
    assert together.stages == [*common, "answer dora · colours: 6", "answer dora · pick: 6"]
    assert len(alone.stages) == 10

    again = Recording()
    assert numbers(evalkit.run(path, progress=again)) == numbers(second)
    assert again.stages == []


def test_few_answers_that_are_left_go_together_and_many_do_not(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = project(FP32, (ONE, MORE))
    monkeypatch.setattr(few, "SHARE", 32)  # four answers on a CPU: fewer than the tasks have
    progress = Recording()
    evalkit.run(path, progress=progress)
    assert not [stage for stage in progress.stages if "candidates" in stage]


def test_in_bf16_each_answers_alone(project: Project) -> None:
    """Rounding follows what else is in a pass: a control's answers must not depend on who else is in the study."""
    progress = Recording()
    evalkit.run(project((FP32[0], FP32[1].replace("fp32", "bf16")), (ONE, MORE)), progress=progress)
    assert progress.stages
    assert not [stage for stage in progress.stages if "candidates" in stage]


def test_an_adapter_that_breaks_takes_nobody_down(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project(FP32, (ONE, MORE))
    add = Base.add_adapter
    seen: list[str] = []

    def breaking(base: Base, name: str, *rest: Any) -> tuple[str, ...]:
        seen.append(name)
        if name == "r8" and seen.count(name) > 1:  # its check went well
            raise CandidateError("r8 is gone.")
        return add(base, name, *rest)

    monkeypatch.setattr(Base, "add_adapter", breaking)
    progress = Recording()
    run = evalkit.run(path, progress=progress)
    errors = {entry["name"]: entry["error"] for entry in run.results["candidates"]}
    assert errors.pop("r8") == "r8 is gone."
    assert set(errors.values()) == {None}
    assert progress.stages[0] == "answer 3 candidates · colours: 18"


def test_layers_that_run_something_else_are_answered_for_one_after_the_other(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = project(FP32, (ONE, MORE))
    told: list[str] = []

    def refuse(*_: Any) -> Any:
        raise NotImplementedError("Linear: not one row a token")

    monkeypatch.setattr(few, "answer_together", refuse)
    progress = Recording()
    monkeypatch.setattr(progress, "say", told.append)
    run = evalkit.run(path, progress=progress)
    assert {entry["error"] for entry in run.results["candidates"]} == {None}
    assert len(progress.stages) == 12
    assert told.count("Linear: not one row a token: candidates answer one after the other.") == 1
