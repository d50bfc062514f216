"""``__all__`` is complete and sorted, and everything public says what it is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path


def exported(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        target = (
            node.target
            if isinstance(node, ast.AnnAssign)
            else node.targets[0]
            if isinstance(node, ast.Assign)
            else None
        )
        if isinstance(target, ast.Name) and target.id == "__all__":
            return list(ast.literal_eval(node.value))
    return None


def defined(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
    return names


def is_command(node: ast.AST) -> bool:
    """Functions that typer takes by their decorator: nobody imports them."""
    return any("app." in ast.unparse(decorator) for decorator in getattr(node, "decorator_list", []))


def public(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    for node in tree.body:
        if isinstance(
            node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        ) and not node.name.startswith("_"):
            yield node


def by_kind(name: str) -> tuple[int, str]:
    """ruff's order of ``__all__`` (RUF022): CONSTANTS, then Classes, then functions."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2), name


def test_every_module_has_a_sorted_all(engine: dict[Path, ast.Module]) -> None:
    wrong = []
    for file, tree in engine.items():
        names = exported(tree)
        if names is None:
            wrong += [f"{file}: no __all__"] if file.name != "__init__.py" else []
        elif names != sorted(names, key=by_kind) or len(set(names)) < len(names):
            wrong.append(f"{file}: expected {sorted(set(names), key=by_kind)}")
    assert not wrong


def test_all_is_complete_and_true(engine: dict[Path, ast.Module]) -> None:
    wrong = []
    for file, tree in engine.items():
        names = set(exported(tree) or [])
        lazy = any(isinstance(node, ast.FunctionDef) and node.name == "__getattr__" for node in tree.body)
        if not lazy:  # names that load when they are used are tested by using them
            wrong += [f"{file}: {name} is not defined" for name in sorted(names - defined(tree))]
        missing = [node.name for node in public(tree) if node.name not in names and not is_command(node)]
        wrong += [f"{file}: {name} is missing from __all__" for name in missing]
    assert not wrong


def test_everything_public_has_a_docstring(shipped: dict[Path, ast.Module]) -> None:
    wrong = []
    for file, tree in shipped.items():
        if not ast.get_docstring(tree):
            wrong.append(f"{file}: the module")
        for node in public(tree):
            inner = [node]
            if isinstance(node, ast.ClassDef):
                methods = (ast.FunctionDef, ast.AsyncFunctionDef)
                inner += [
                    part for part in node.body if isinstance(part, methods) and not part.name.startswith("_")
                ]
            wrong += [f"{file}:{part.lineno} {part.name}" for part in inner if not ast.get_docstring(part)]
    assert not wrong


def test_the_public_names_load(engine: dict[Path, ast.Module]) -> None:
    import evalkit

    names = exported(engine[Path("evalkit/__init__.py")]) or []
    assert names == evalkit.__all__
    assert {"Result", "Run", "metric", "run", "score"} <= set(names)
    for name in names:
        assert getattr(evalkit, name) is not None
    assert set(names) <= set(dir(evalkit))
