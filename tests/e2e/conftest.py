"""A project of its own with a tiny random model, small enough to run a whole study in seconds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalkit.models.selftest import write_tiny_model

STUDY = """\
study: colours
model: ./tiny
quantization: none
device: cpu
seed: 3
data: {train: {task: colours}, validation: 0.2}
candidates:
  - {name: few, kind: prompt, system: Name the colour., fewshot: 2}
  - {name: r4, kind: train, settings: {rank: 4, max_steps: 6, batch_size: 4, learning_rate: 5.0e-3}}
  - {name: recorded, kind: replay, path: recorded.jsonl}
tasks: [colours, pick]
"""

TASK = """\
task: colours
data: {train: train.jsonl, test: test.jsonl, fewshot: train.jsonl}
prompt: prompt.j2
target: colour
generation: {max_new_tokens: 4}
metrics: [exact_match, {metric: f1, average: macro}]
id: id
"""

CHOICE = """\
task: pick
data: {test: test.jsonl}
kind: choice
choices: [red, green, blue]
prompt: prompt.j2
target: colour
metrics: [choice_accuracy]
id: id
"""

THINGS = {
    "red": ["blood", "a rose", "a cherry", "a fire engine", "ketchup", "a ruby"],
    "green": ["grass", "a frog", "a cucumber", "an emerald", "moss", "a leaf"],
    "blue": ["the sea", "the sky", "a sapphire", "a jay", "ink", "denim"],
}


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of hidden size 64 with a byte-level tokenizer."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    write_tiny_model(folder)
    return folder


@pytest.fixture
def project(tmp_path: Path, tiny: Path) -> Callable[..., Path]:
    """Changes to the study's text → the study file of a fresh project in the working directory."""

    def write(*changes: tuple[str, str]) -> Path:
        rows = [
            {"id": f"{colour}-{i}", "thing": thing, "colour": colour}
            for colour, things in THINGS.items()
            for i, thing in enumerate(things)
        ]
        for name, card in (("colours", TASK), ("pick", CHOICE)):
            folder = tmp_path / "tasks" / name
            write_jsonl(folder / "test.jsonl", [row for row in rows if row["id"][-1] in "45"])
            (folder / "task.yaml").write_text(card, "utf-8")
            (folder / "prompt.j2").write_text(
                "{% block user %}What colour is {{ thing }}?{% endblock %}", "utf-8"
            )
        write_jsonl(tmp_path / "tasks/colours/train.jsonl", [row for row in rows if row["id"][-1] in "0123"])
        answered = [
            {"task": task, "id": row["id"], "output": row["colour"]}
            for task in ("colours", "pick")
            for row in rows
            if row["id"][-1] in "45"
        ]
        write_jsonl(tmp_path / "recorded.jsonl", answered)
        if not (tmp_path / "tiny").exists():
            (tmp_path / "tiny").symlink_to(tiny)
        text = STUDY
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        (tmp_path / "study.yaml").write_text(text, "utf-8")
        return tmp_path / "study.yaml"

    return write
