"""Finding a finished run by what a person would type."""

from __future__ import annotations

from pathlib import Path

from evalkit.errors import DataError, nearest
from evalkit.running.folder import RunFolder

__all__ = ["find_run"]


def find_run(name: str | Path, runs: Path = Path("runs")) -> RunFolder:
    """Return a run by its folder, its study's folder, or its ID below ``runs``.

    Args:
        name: A path, or an ID such as ``20261123T174012Z-3f9a1c0e``; the start of an ID is enough.
        runs: Where IDs are looked for.

    Raises:
        DataError: There is no such run, or the start fits several.
    """
    if Path(name).exists():
        return RunFolder.open(Path(name))
    start = str(name)
    known = {file.parent.name: file.parent for file in sorted(runs.glob("*/*/run.json"))}
    fitting = [key for key in known if start and key.startswith(start)]
    if len(fitting) == 1:
        return RunFolder.open(known[fitting[0]])
    if fitting:
        raise DataError(f"{start!r} is the start of several runs: {', '.join(fitting)}. Type more of it.")
    newest = f" The newest one there is {max(known)!r}." if known else ""
    raise DataError(
        f"No run {start!r}: there is no such path, and no run of this ID in {runs.resolve()}."
        f"{nearest(start, known) or newest}"
    )
