"""Imports go one way (docs/architecture.md): the layers, no cycles, none inside functions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

LAYERS = (
    {"errors", "records", "signature", "catalog", "plugins", "harness", "collecting"},
    {"specs"},
    {"data", "models", "metrics", "sandbox", "stats"},
    {"judging", "human"},
    {"training"},
    {"running"},
    {"reporting", "gates"},
    {"planning"},
    {"api"},
    {"cli"},
    {"__main__"},
)
SIDEWAYS = {("metrics", "sandbox")}  # a code metric runs what it scores
FOUNDATION = LAYERS[0]  # single modules that may use each other


def layer(room: str) -> int:
    return next(number for number, rooms in enumerate(LAYERS) if room in rooms)


def name_of(file: Path) -> str:
    parts = list(file.with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def outside_type_checking(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those below ``if TYPE_CHECKING``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield node
        yield from outside_type_checking(node)


def imported(node: ast.AST, modules: set[str]) -> Iterator[str]:
    """Our own modules that an import statement loads."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "evalkit")
    elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "evalkit":
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            yield inner if inner in modules else str(node.module)


@pytest.fixture(scope="module")
def graph(engine: dict[Path, ast.Module]) -> dict[str, set[str]]:
    modules = {name_of(file) for file in engine}
    return {
        name_of(file): {name for node in outside_type_checking(tree) for name in imported(node, modules)}
        for file, tree in engine.items()
    }


def test_every_room_has_a_layer(graph: dict[str, set[str]]) -> None:
    rooms = {room_of(module) for module in graph} - {""}
    assert rooms <= set().union(*LAYERS)


def test_imports_go_down(graph: dict[str, set[str]]) -> None:
    wrong = []
    for module, targets in graph.items():
        room = room_of(module)
        for target in targets:
            other = room_of(target)
            if not room or other == room or (room, other) in SIDEWAYS:
                continue
            lazy = (
                not other
            )  # the package itself, whose names load lazily: for commands, above everything else
            beside = bool(other) and layer(other) == layer(room) and room not in FOUNDATION
            if (lazy and room != "cli") or (other and layer(other) > layer(room)) or beside:
                wrong.append(f"{module} imports {target}")
    assert not wrong


def test_no_cycles(graph: dict[str, set[str]]) -> None:
    # A package's __init__ runs before its modules, which it may import: not a cycle of theirs.
    plain = {
        module: {t for t in targets if t != module.rpartition(".")[0]} for module, targets in graph.items()
    }
    try:
        TopologicalSorter(plain).prepare()
    except CycleError as error:
        pytest.fail(f"import cycle: {' → '.join(error.args[1])}")


def test_no_own_imports_inside_functions(engine: dict[Path, ast.Module]) -> None:
    modules = {name_of(file) for file in engine}
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    wrong = [
        f"{file}:{getattr(inner, 'lineno', 0)}"
        for file, tree in engine.items()
        for node in ast.walk(tree)
        if isinstance(node, functions)
        for inner in ast.walk(node)
        if list(imported(inner, modules))
    ]
    assert not wrong


def test_the_package_is_light(engine: dict[Path, ast.Module]) -> None:
    tree = engine[Path("evalkit/__init__.py")]
    loaded = [
        name
        for node in outside_type_checking(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        )
    ]
    assert set(loaded) <= {"__future__", "importlib", "typing"}
