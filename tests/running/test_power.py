"""What a plan says its samples can show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import evalkit
from evalkit.running.plan import plan_study
from evalkit.running.power import task_power


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two recorded candidates on 100 questions: 50 right, and 60 right of which 40 are the same."""
    task = tmp_path / "tasks/quiz"
    task.mkdir(parents=True)
    rows = [{"id": str(i), "q": f"{i}?", "answer": "yes"} for i in range(100)]
    (task / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (task / "prompt.j2").write_text("{% block user %}{{ q }}{% endblock %}")
    (task / "task.yaml").write_text(
        "task: quiz\ndata: {test: test.jsonl}\nprompt: prompt.j2\ntarget: answer\nmetrics: [exact_match]\nid: id\n"
    )
    for name, first, last in (("old", 0, 50), ("new", 10, 70)):
        (tmp_path / f"{name}.jsonl").write_text(
            "".join(
                json.dumps({"task": "quiz", "id": str(i), "output": "yes" if first <= i < last else "no"})
                + "\n"
                for i in range(100)
            )
        )
    path = tmp_path / "study.yaml"
    path.write_text(
        "study: quiz\ncontrol: old\ntasks: [quiz]\ncandidates:\n"
        "  - {name: old, kind: replay, path: old.jsonl}\n  - {name: new, kind: replay, path: new.jsonl}\n"
    )
    return path


def test_a_guess_before_the_first_run_and_what_it_measured_after(study: Path, tmp_path: Path) -> None:
    plan = plan_study(study)
    guessed = task_power(plan, plan.tasks[0], tmp_path / "runs")
    assert guessed is not None
    # By hand: spread √(2 · ½ · ½ · ½) = 0.5, so (1.96 + 0.84) · 0.5 / √100; unpaired √½ instead.
    assert (guessed["n"], guessed["comparisons"]) == (100, 1)
    assert guessed["paired"] == pytest.approx(2.8016 * 0.05, rel=1e-3)
    assert guessed["unpaired"] == pytest.approx(2.8016 * 0.0707107, rel=1e-3)
    assert guessed["needed"]["0.05"] == 785
    assert guessed["origin"].startswith("guessed")
    run = evalkit.run(study, out=tmp_path / "runs")
    measured = task_power(plan, plan.tasks[0], tmp_path / "runs")
    assert measured is not None
    assert measured["origin"] == f"measured in {run.path.name}"
    # 30 flips in 100: spread about √(0.30 − 0.10²) = 0.54; two shares near a half: about √½.
    assert measured["paired"] == pytest.approx(2.8016 * 0.054, rel=0.05)
    assert measured["unpaired"] == pytest.approx(2.8016 * 0.0707, rel=0.05)
    told = evalkit.describe(plan)["tasks"][0]["power"]
    assert told["metric"] == "exact_match"


def test_a_damaged_run_is_passed_over(study: Path, tmp_path: Path) -> None:
    plan = plan_study(study)
    broken = tmp_path / "runs/quiz/20300101T000000Z-0"
    broken.mkdir(parents=True)
    (broken / "results.json").write_text("{")
    found = task_power(plan, plan.tasks[0], tmp_path / "runs")
    assert found is not None
    assert found["origin"].startswith("guessed")
