"""Drawing the report of a finished run again."""

from __future__ import annotations

from pathlib import Path

from evalkit.catalog import find
from evalkit.reporting.html import write_report
from evalkit.running.find import find_run

__all__ = ["find_run", "rewrite_report"]


def rewrite_report(run: str | Path, report: str | None = None) -> Path:
    """Draw the report of a finished run again and return its path.

    Args:
        run: As for ``find_run``.
        report: Name of the report; None for the one its study names. One of the working directory's
            ``reports/`` wins over a built-in one.

    Raises:
        CatalogError: No report of this name, or one whose template is wrong.
        DataError: No such run, or one without results.
    """
    folder = find_run(run)
    named = report or (folder.run().get("study") or {}).get("report") or "default"
    return write_report(folder, find("reports", str(named), [Path.cwd()]))
