from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def sources(*folders: str) -> dict[Path, ast.Module]:
    files = [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]
    return {file.relative_to(ROOT): ast.parse(file.read_text("utf-8"), str(file)) for file in files}


@pytest.fixture(scope="session")
def engine() -> dict[Path, ast.Module]:
    """Every module of the package, parsed."""
    found = sources("evalkit")
    if len(found) < 10:
        pytest.fail("the package was not found")
    return found


@pytest.fixture(scope="session")
def shipped(engine: dict[Path, ast.Module]) -> dict[Path, ast.Module]:
    """Every Python file in the wheel: the package and the catalog."""
    return {**engine, **sources("tasks", "judges", "trainers", "reports")}
