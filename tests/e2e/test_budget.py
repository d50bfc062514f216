"""A study whose steps hold so many tokens: planned about right, trained, and refused where it says two things."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import evalkit
from evalkit.cli.plan import app
from evalkit.errors import UserError
from evalkit.running.folder import RunFolder

Project = Callable[..., Path]
ONE = "  - {name: r4, kind: train, settings: {rank: 4, max_steps: 6, batch_size: 4, learning_rate: 5.0e-3}}\n"
TOKENS = (
    "  - {name: r4, kind: train, settings: {rank: 4, epochs: 4, batch_tokens: 160, learning_rate: 5.0e-3}}\n"
)
SWEEP = """\
  - {name: sweep, kind: train, settings: {epochs: 4, batch_tokens: 160, learning_rate: 5.0e-3}, grid: {rank: [2, 4, 8]},
     search: {rungs: 3, keep: 0.5}}
"""


def test_the_plan_says_about_how_many_steps_there_are(project: Project) -> None:
    study = project((ONE, TOKENS + SWEEP))
    described = evalkit.describe(evalkit.plan(study))
    trained = {one["name"]: one["training"] for one in described["candidates"] if "training" in one}
    shown = CliRunner().invoke(app, [str(study)]).output
    run = evalkit.run(study)
    found = {row["name"]: row["training"] for row in run.results["candidates"] if row.get("training")}
    assert set(found) == set(trained) == {"r4", "sweep[rank=2]", "sweep[rank=4]", "sweep[rank=8]"}
    real, planned = found["r4"]["steps"], trained["r4"]
    assert planned["about"] is True
    assert real > 8
    assert planned["steps"] == pytest.approx(real, rel=0.2)
    assert f"about {planned['steps']} optimiser steps" in shown
    assert f"about {4 * planned['steps']} training steps" in shown
    assert "batch_size=None batch_tokens=160" in shown
    (search,) = described["searches"]
    assert search["about"] is True
    assert "rung 1, after about " in shown
    for row in RunFolder(run.path).training("r4"):
        assert row["tokens"] <= 160


def test_steps_of_rows_are_no_estimates(project: Project) -> None:
    described = evalkit.describe(evalkit.plan(project()))
    (training,) = [one["training"] for one in described["candidates"] if "training" in one]
    assert (training["steps"], training["about"]) == (6, False)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            "settings: {batch_size: 4, batch_tokens: 99}",
            "settings: expected either 'batch_size' or 'batch_tokens', got both",
        ),
        (
            "settings: {batch_size: 4}, grid: {batch_tokens: [99, 199]}",
            "grid.batch_tokens: expected either 'batch_size' or 'batch_tokens', got both",
        ),
        ("settings: {batch_size: null}", "settings: expected 'batch_size' or 'batch_tokens', got neither"),
        (
            "grid: {rank: [2, 4]}, search: {rungs: 15}, settings: {epochs: 1, batch_tokens: 99}",
            "15 rungs need 16 optimiser steps, and it takes at most 1",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_spent(
    project: Project, more: str, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        evalkit.run(project((ONE, f"  - {{name: on, kind: train, {more}}}\n")))
    assert message in str(caught.value)
