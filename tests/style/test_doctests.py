"""The examples in docstrings give what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def with_examples() -> list[str]:
    found = []
    for file in sorted((ROOT / "evalkit").rglob("*.py")):
        if ">>> " in file.read_text("utf-8"):
            parts = file.relative_to(ROOT).with_suffix("").parts
            found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


def test_there_are_examples() -> None:
    assert len(with_examples()) > 20


@pytest.mark.parametrize("name", with_examples())
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0
