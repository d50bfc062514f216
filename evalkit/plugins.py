"""What other packages add, through the entry points of an installed package.

Groups: ``evalkit.metrics`` (a ``Metric`` class or a scoring function), ``evalkit.models`` (whatever ``model:``
takes: a folder, a GGUF file, a Hub id), and ``evalkit.tasks``, ``evalkit.judges``, ``evalkit.trainers``,
``evalkit.reports`` (a folder with entries).
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from evalkit.errors import CatalogError

__all__ = ["load_plugin", "plugins"]


def plugins(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of ``evalkit.GROUP`` by name; the first package that has a name wins.

    >>> plugins("nothing")
    {}
    """
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=f"evalkit.{group}"):
        found.setdefault(point.name, point)
    return found


@cache
def load_plugin(point: EntryPoint) -> Any:
    """Import what an entry point names.

    Raises:
        CatalogError: It does not import; the message names the package to mend or remove.
    """
    try:
        return point.load()
    except Exception as error:  # a stranger's code may raise anything
        package = point.dist.name if point.dist is not None else "unknown"
        raise CatalogError(
            f"Plugin {point.group}:{point.name} ({point.value}, package {package}) does not load: "
            f"{type(error).__name__}: {error}. Mend it, or: pip uninstall {package}"
        ) from error
