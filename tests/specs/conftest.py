from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from evalkit.errors import SpecError
from evalkit.specs.load import load_study
from evalkit.specs.study import Study

TASK = """
task: tickets
data: {train: rows.jsonl, test: rows.jsonl}
prompt: "{{ text }}"
target: team
metrics: [exact_match]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a task, training rows, an adapter, answers and documents, for studies to name."""
    (tmp_path / "tasks" / "tickets").mkdir(parents=True)
    (tmp_path / "tasks" / "tickets" / "task.yaml").write_text(TASK)
    (tmp_path / "tasks" / "tickets" / "rows.jsonl").write_text('{"text": "a", "team": "b"}\n')
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    (tmp_path / "adapters" / "prod").mkdir(parents=True)
    (tmp_path / "adapters" / "prod" / "adapter_config.json").write_text("{}")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("a")
    return tmp_path


@pytest.fixture
def write(project: Path) -> Callable[[str], Path]:
    """Write a study into the project."""

    def write(text: str) -> Path:
        (project / "study.yaml").write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
        return project / "study.yaml"

    return write


@pytest.fixture
def study(write: Callable[[str], Path]) -> Callable[[str], Study]:
    """Write a study and load it."""
    return lambda text: load_study(write(text))


@pytest.fixture
def mistakes(write: Callable[[str], Path]) -> Callable[[str], list[str]]:
    """Write a study that is wrong and return its messages, without the folder's path."""

    def mistakes(text: str) -> list[str]:
        path = write(text)
        with pytest.raises(SpecError) as caught:
            load_study(path)
        assert caught.value.exit_code == 2
        return [message.replace(f"{path.parent}/", "") for message in caught.value.messages]

    return mistakes
