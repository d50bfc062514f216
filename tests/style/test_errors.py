"""Nothing fails silently, and nothing ends the process from inside the library."""

from __future__ import annotations

import ast
from pathlib import Path

ENTRY_POINTS = {
    Path("evalkit/cli/__init__.py"),  # the `evalkit` command itself
    Path("evalkit/sandbox/inside.py"),  # the program of a sandbox, and the fork it makes
}


def test_no_assert(shipped: dict[Path, ast.Module]) -> None:
    """``python -O`` removes asserts: they are no check of anything."""
    assert not [
        f"{file}:{node.lineno}"
        for file, tree in shipped.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert)
    ]


def test_no_exit(shipped: dict[Path, ast.Module]) -> None:
    assert not [
        f"{file}:{node.lineno}"
        for file, tree in shipped.items()
        if file not in ENTRY_POINTS
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("sys.exit", "exit", "quit", "os._exit")
    ]


def test_no_silent_except(shipped: dict[Path, ast.Module]) -> None:
    wrong = []
    for file, tree in shipped.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler):
                bare = node.type is None
                broad = node.type is not None and ast.unparse(node.type) in ("Exception", "BaseException")
                silent = all(isinstance(part, ast.Pass | ast.Continue) for part in node.body)
                if bare or (broad and silent):
                    wrong.append(f"{file}:{node.lineno}")
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
                suppressed = {ast.unparse(argument) for argument in node.args}
                wrong += [f"{file}:{node.lineno}"] if suppressed & {"Exception", "BaseException"} else []
    assert not wrong
