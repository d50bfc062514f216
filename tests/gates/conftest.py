"""Real runs of recorded answers: no model, a second each."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import evalkit
from evalkit.running.folder import RunFolder
from evalkit.running.scores import Scores, run_scores
from evalkit.specs.gate import GatePolicy

TASK = """\
task: {task}
data: {{test: test.jsonl}}
prompt: prompt.j2
target: answer
generation: {{max_new_tokens: 4}}
metrics: [exact_match, output_tokens{f1}]
primary: exact_match
id: id
{more}"""

Right = Mapping[str, Sequence[int]]


def write_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., evalkit.Run]:
    """Candidate → 1 where its answer is right → a finished run; the first candidate is the control.

    Right answers are "yes" or "no" by turns, wrong ones the other word.
    """

    def make(
        right: Right,
        *,
        name: str = "one",
        gate: str | None = None,
        more: str = "",
        prompt: str = "",
        f1: bool = False,
    ) -> evalkit.Run:
        project = tmp_path / name
        n = len(next(iter(right.values())))
        rows = [
            {"id": f"s{i}", "question": f"{i}?", "answer": "yes" if i % 2 else "no", "topic": i // 5}
            for i in range(n)
        ]
        write_jsonl(project / "tasks/quiz/test.jsonl", rows)
        (project / "tasks/quiz/task.yaml").write_text(
            TASK.format(task="quiz", more=more, f1=", {metric: f1, average: macro}" if f1 else ""), "utf-8"
        )
        (project / "tasks/quiz/prompt.j2").write_text(
            "{% block user %}" + prompt + "{{ question }}{% endblock %}", "utf-8"
        )
        for candidate, marks in right.items():
            write_jsonl(
                project / f"{candidate}.jsonl",
                [
                    {
                        "task": "quiz",
                        "id": row["id"],
                        "output": row["answer"] if mark else {"yes": "no", "no": "yes"}[row["answer"]],
                    }
                    for row, mark in zip(rows, marks, strict=True)
                    if mark is not None
                ],
            )
        entries = "".join(f"  - {{name: {c}, kind: replay, path: {c}.jsonl}}\n" for c in right)
        study = f"study: quiz\ncandidates:\n{entries}control: {next(iter(right))}\ntasks: [quiz]\n"
        if gate is not None:
            (project / "gate.yaml").write_text(gate, "utf-8")
            study += "gate: gate.yaml\n"
        (project / "study.yaml").write_text(study, "utf-8")
        return evalkit.run(project / "study.yaml", out=tmp_path / f"runs-{name}")

    return make


@pytest.fixture
def scores_of() -> Callable[[evalkit.Run], Scores]:
    return lambda run: run_scores(RunFolder(run.path))


@pytest.fixture
def policy() -> Callable[..., GatePolicy]:
    """Rules as mappings → a policy."""

    def make(*rules: Mapping[str, Any], **settings: Any) -> GatePolicy:
        filled = [{"task": "quiz", "metric": "exact_match", **rule} for rule in rules]
        return GatePolicy.model_validate({"gate": "ci", "rules": filled, **settings})

    return make
