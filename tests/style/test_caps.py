"""One concept a file, one screen an idea: sizes, kept."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def lines(file: Path) -> int:
    return len((ROOT / file).read_text("utf-8").splitlines())


def functions(trees: dict[Path, ast.Module]) -> dict[str, int]:
    return {
        f"{file}:{node.lineno} {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for file, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_modules_fit_in_400_lines(shipped: dict[Path, ast.Module]) -> None:
    assert not {str(file): n for file in shipped if (n := lines(file)) > 400}


def test_the_median_module_fits_in_150_lines(engine: dict[Path, ast.Module]) -> None:
    assert statistics.median(lines(file) for file in engine if file.name != "__init__.py") <= 150


def test_functions_fit_in_80_lines(engine: dict[Path, ast.Module]) -> None:
    assert not {name: n for name, n in functions(engine).items() if n > 80}


def test_nine_of_ten_functions_fit_in_40_lines(engine: dict[Path, ast.Module]) -> None:
    assert statistics.quantiles(functions(engine).values(), n=10)[-1] <= 40
