"""``evalkit gate``, ``evalkit baseline`` and a study's own gate: what is printed, written and returned."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

import evalkit
from evalkit.cli.init import write_project
from evalkit.errors import SpecError
from evalkit.specs.load import load_gate, load_study

Command = Callable[..., "subprocess.CompletedProcess[str]"]
Study = Callable[..., Path]

PASS = "{task: quiz, metric: exact_match, candidate: good, no_worse_than: old, margin: 0.02}"
FAIL = "{task: quiz, metric: exact_match, candidate: bad, no_worse_than: old, margin: 0.02}"
OPEN = "{task: quiz, metric: exact_match, candidate: good, at_least: 0.8}"


def policy(*rules: str, more: str = "") -> str:
    return "gate: ci\nrules:\n" + "".join(f"  - {rule}\n" for rule in rules) + more


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A study of recorded answers: of 100 questions old has 60 right, good 80, bad 40."""

    def write(gate: str | None = None) -> Path:
        task = tmp_path / "tasks" / "quiz"
        task.mkdir(parents=True, exist_ok=True)
        rows: Sequence[dict[str, str]] = [{"id": f"s{i}", "q": f"{i}?", "answer": "yes"} for i in range(100)]
        (task / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (task / "prompt.j2").write_text("{% block user %}{{ q }}{% endblock %}")
        (task / "task.yaml").write_text(
            "task: quiz\ndata: {test: test.jsonl}\nprompt: prompt.j2\ntarget: answer\n"
            "generation: {max_new_tokens: 4}\nmetrics: [exact_match]\nid: id\n"
        )
        for name, right in (("old", 60), ("good", 80), ("bad", 40)):
            (tmp_path / f"{name}.jsonl").write_text(
                "".join(
                    json.dumps({"task": "quiz", "id": row["id"], "output": "yes" if i < right else "no"})
                    + "\n"
                    for i, row in enumerate(rows)
                )
            )
        text = "study: quiz\ncandidates:\n"
        text += "".join(
            f"  - {{name: {name}, kind: replay, path: {name}.jsonl}}\n" for name in ("old", "good", "bad")
        )
        text += "tasks: [quiz]\n"
        if gate is not None:
            (tmp_path / "gate.yaml").write_text(gate)
            text += "gate: gate.yaml\n"
        (tmp_path / "study.yaml").write_text(text)
        return tmp_path / "study.yaml"

    return write


def test_the_command(study: Study, evalkit_command: Command, tmp_path: Path) -> None:
    run = evalkit.run(study())
    (tmp_path / "ci.yaml").write_text(policy(PASS, FAIL, OPEN))
    done = evalkit_command(
        "gate", "runs/quiz", "--policy", "ci.yaml", "--json", "--junit", "out/j.xml", "--markdown", "out/m.md"
    )
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told == json.loads((run.path / "gate.json").read_text())
    assert told["verdict"] == "fail"
    wanted = [
        "rule",
        "candidate",
        "task",
        "metric",
        "verdict",
        "value",
        "difference",
        "low",
        "high",
        "margin",
    ]
    for rule in told["rules"]:
        assert {*wanted, "n", "n_needed", "reason"} <= set(rule)
    assert [rule["verdict"] for rule in told["rules"]] == ["pass", "fail", "inconclusive"]
    assert "gate ci: FAIL" in done.stderr
    assert ElementTree.parse(tmp_path / "out" / "j.xml").getroot().get("failures") == "1"
    assert "gate ci: FAIL" in (tmp_path / "out" / "m.md").read_text()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (policy(PASS), 0),
        (policy(PASS, OPEN), 3),
        (policy(PASS, OPEN, more="inconclusive: pass\n"), 0),
        (policy(PASS, OPEN, more="inconclusive: fail\n"), 1),
    ],
)
def test_a_study_with_a_gate_ends_with_its_verdict(study: Study, text: str, code: int) -> None:
    run = evalkit.run(study(text))
    assert run.gate is not None
    assert run.exit_code == run.gate.exit_code == code
    assert json.loads((run.path / "gate.json").read_text())["exit_code"] == code


def test_run_prints_the_verdict_and_returns_it(study: Study, evalkit_command: Command) -> None:
    done = evalkit_command("run", study(policy(PASS, FAIL)))
    assert done.returncode == 1
    assert "gate ci: FAIL" in done.stderr
    assert Path(done.stdout.strip().splitlines()[-1], "gate.json").is_file()


def test_a_gate_that_cannot_be_asked_keeps_the_run(study: Study) -> None:
    run = evalkit.run(study(policy(PASS.replace("old", "baseline"))))
    assert run.exit_code == 2
    assert "there is none: name one with --baseline RUN" in run.gate_error[0]
    assert run.report.is_file()
    assert not (run.path / "gate.json").exists()
    evalkit.keep_baseline(run.path)
    assert evalkit.run(study(policy(PASS.replace("old", "baseline")))).exit_code in (0, 3)


def test_a_metric_the_task_lacks_is_told_before_anything_is_done(study: Study, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"gate\.yaml: rule 1: quiz has no metric named 'f1'"):
        evalkit.run(study(policy(PASS.replace("exact_match", "f1"))))
    assert not (tmp_path / "runs").exists()


def test_only_a_part_asks_no_gate_about_the_rest(study: Study) -> None:
    path = study(policy(PASS))
    assert evalkit.run(path, only=["bad"]).gate is None
    assert evalkit.run(path, only=["good"]).gate is not None  # with its control


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (policy(PASS.replace("quiz,", "quizz,")), "Did you mean 'quiz'?"),
        (policy(PASS.replace("good", "goood")), "Did you mean 'good'?"),
        (policy(PASS.replace("margin", "margn")), "Did you mean 'margin'?"),
    ],
)
def test_bad_input_is_one_line(
    study: Study, evalkit_command: Command, tmp_path: Path, text: str, message: str
) -> None:
    run = evalkit.run(study())
    (tmp_path / "ci.yaml").write_text(text)
    done = evalkit_command("gate", run.path, "--policy", "ci.yaml", "--junit", "j.xml")
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "j.xml").exists()
    assert not (run.path / "gate.json").exists()


def test_baseline_set_and_show(study: Study, evalkit_command: Command, tmp_path: Path) -> None:
    empty = evalkit_command("baseline", "show")
    assert empty.returncode == 2
    assert "evalkit baseline set RUN" in empty.stderr
    run = evalkit.run(study())
    done = evalkit_command("baseline", "set", run.path, "--name", "main", check=True)
    assert done.stdout.strip() == "baselines/main.json"
    shown = evalkit_command("baseline", "show", "main", check=True)
    assert "good  quiz  exact_match  0.8000  n 100" in shown.stdout
    (tmp_path / "ci.yaml").write_text(policy(FAIL.replace("old", "baseline")))
    gated = evalkit_command("gate", run.path, "--policy", "ci.yaml", "--baseline", "main", "--json")
    assert gated.returncode == 3, "the same run: no difference, and 100 samples cannot show 2 points"
    assert json.loads(gated.stdout)["baseline"] == "baselines/main.json"


def test_annotations_in_a_github_workflow(
    study: Study, evalkit_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = evalkit.run(study())
    (tmp_path / "ci.yaml").write_text(policy(FAIL))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    done = evalkit_command("gate", run.path, "--policy", "ci.yaml")
    assert "\n::error title=bad%3A quiz exact_match" in done.stderr


def test_the_new_projects_gate_is_valid(tmp_path: Path) -> None:
    write_project(tmp_path)
    written = load_study(tmp_path / "study.yaml")
    assert written.gate is not None
    assert {rule.task for rule in load_gate(written.gate).rules} <= {use.task for use in written.tasks}


def test_the_new_projects_workflows_call_the_gate(tmp_path: Path) -> None:
    write_project(tmp_path)
    for name in (".github/workflows/evalkit.yml", ".gitlab-ci.yml"):
        text = (tmp_path / name).read_text("utf-8")
        assert "evalkit gate runs/tickets --policy gates/ci.yaml --junit gate.xml" in text
    assert load_study(tmp_path / "study.yaml").study == "tickets"


def test_a_sequential_gate_over_a_study_and_over_its_run(
    study: Study, evalkit_command: Command, tmp_path: Path
) -> None:
    study()
    (tmp_path / "ci.yaml").write_text(policy(FAIL))
    done = evalkit_command("gate", "--sequential", "study.yaml", "--policy", "ci.yaml", "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    asked = told["sequential"]["samples"][0]
    assert asked["asked"] <= asked["of"] == 100
    assert "stopped after" in done.stderr
    assert not list((tmp_path / "runs/quiz").glob("*/results.json"))  # no full run was made
    evalkit.run(tmp_path / "study.yaml")
    again = evalkit_command("gate", "runs/quiz", "--sequential", "--policy", "ci.yaml", "--json")
    assert json.loads(again.stdout)["sequential"] == told["sequential"]
    wrong = evalkit_command("gate", "runs/quiz", "--sequential", "--self-test", "--policy", "ci.yaml")
    assert wrong.returncode == 2
    assert "do not go together" in wrong.stderr
