"""Judges of tests: made in the test's folder, asked without a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from evalkit.judging.card import Judge, open_judge

MakeJudge = Callable[..., Judge]


@pytest.fixture
def make_judge(tmp_path: Path) -> MakeJudge:
    """A judge from the lines of its card."""

    def make(card: str, prompt: str = "{{ input }}\n{{ output }}", name: str = "mine") -> Judge:
        folder = tmp_path / "judges" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "judge.yaml").write_text(f"judge: {name}\n{card}\n", "utf-8")
        (folder / "prompt.j2").write_text(prompt, "utf-8")
        return open_judge(name, [tmp_path])

    return make
