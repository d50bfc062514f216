"""Where tasks, judges, trainers and reports are, and how Python beside them is loaded.

The four folders are content, not packages. A user's project has the same four folders; its entries win over
those of plugins, which win over the built-in ones. Built-in entries go through this same loader.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

from evalkit.errors import CatalogError, nearest
from evalkit.plugins import load_plugin, plugins

__all__ = ["KINDS", "Entry", "builtin_root", "entries", "entry_sha256", "find", "load_module"]

Kind = Literal["tasks", "judges", "trainers", "reports"]
KINDS: dict[str, str] = {
    "tasks": "task.yaml",
    "judges": "judge.yaml",
    "trainers": "trainer.yaml",
    "reports": "report.yaml",
}
"""Folder of the catalog → the card that makes a folder in it an entry."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the catalog.

    Attributes:
        kind: ``tasks``, ``judges``, ``trainers`` or ``reports``.
        name: Name of its folder.
        path: Its folder.
        origin: ``project``, ``plugin`` or ``builtin``.
    """

    kind: str
    name: str
    path: Path
    origin: str

    @property
    def card(self) -> Path:
        """Its YAML file."""
        return self.path / KINDS[self.kind]


def builtin_root() -> Path:
    """Return the folder that holds the built-in ``tasks judges trainers reports``.

    An installed wheel carries them as ``evalkit/_catalog``; a checkout has them beside ``evalkit/``.

    Raises:
        CatalogError: Neither is there; the message says where it looked.
    """
    package = Path(__file__).resolve().parent
    packaged, checkout = package / "_catalog", package.parent
    if packaged.is_dir():
        return packaged
    if _is_our_checkout(checkout):
        return checkout
    raise CatalogError(
        f"The built-in catalog is missing: looked for {packaged} and for a checkout of evalkit at {checkout}. "
        "Reinstall with: pip install --force-reinstall evalkit"
    )


def entries(kind: str, roots: Iterable[Path] = ()) -> dict[str, Entry]:
    """Return every entry of a kind by name; the first root that has a name wins.

    Args:
        kind: ``tasks``, ``judges``, ``trainers`` or ``reports``.
        roots: Project folders to look in first, such as the study's folder and the working directory.

    Raises:
        CatalogError: Unknown kind, or no built-in catalog.
    """
    if kind not in KINDS:
        raise CatalogError(
            f"No catalog kind named {kind!r}; expected one of {', '.join(KINDS)}.{nearest(kind, KINDS)}"
        )
    found: dict[str, Entry] = {}
    for origin, folder in _folders(kind, roots):
        if not folder.is_dir():
            continue
        for path in sorted(folder.iterdir()):
            if (path / KINDS[kind]).is_file() and path.name not in found:
                found[path.name] = Entry(kind, path.name, path, origin)
    return found


def find(kind: str, name: str, roots: Iterable[Path] = ()) -> Entry:
    """Return the entry of this name, from the project if it has one.

    Raises:
        CatalogError: No such entry; the message lists the nearest known name.
    """
    known = entries(kind, roots)
    if name in known:
        return known[name]
    listed = ", ".join(sorted(known)) or "none"
    raise CatalogError(f"No {kind.removesuffix('s')} named {name!r}; known: {listed}.{nearest(name, known)}")


def load_module(path: Path) -> ModuleType:
    """Import a Python file beside a catalog entry under a private name, anew if its bytes changed.

    Raises:
        CatalogError: The file is missing or raises while it is imported.
    """
    if not path.is_file():
        raise CatalogError(f"No file {path}: it is named by the card beside it.")
    name = f"_evalkit_{path.parent.name}_{path.stem}_{_file_key(path)}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise CatalogError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise CatalogError(f"{path} does not import: {type(error).__name__}: {error}") from error
    return module


def entry_sha256(entry: Entry) -> str:
    """Hash of all files of an entry that can change a result: every file but its README and its cases."""
    total = hashlib.sha256()
    for path in sorted(entry.path.rglob("*")):
        relative = path.relative_to(entry.path).as_posix()
        if path.is_file() and relative not in ("README.md", "cases.yaml") and "__pycache__" not in relative:
            total.update(relative.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _folders(kind: str, roots: Iterable[Path]) -> Iterable[tuple[str, Path]]:
    builtin = builtin_root()
    for root in roots:
        if (
            root.resolve() != builtin
        ):  # working inside a checkout of evalkit: its entries are the built-in ones
            yield "project", root.resolve() / kind
    for point in plugins(kind).values():
        yield "plugin", Path(str(load_plugin(point)))
    yield "builtin", builtin / kind


def _is_our_checkout(folder: Path) -> bool:
    pyproject = folder / "pyproject.toml"
    if not pyproject.is_file() or not all((folder / kind).is_dir() for kind in KINDS):
        return False
    with pyproject.open("rb") as file:
        return bool(tomllib.load(file).get("project", {}).get("name") == "evalkit")


def _file_key(path: Path) -> str:
    return hashlib.sha256(str(path.resolve()).encode() + path.read_bytes()).hexdigest()[:16]
