"""A file that came back, in whatever format, as lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evalkit.errors import DataError
from evalkit.human.columns import Grid, filled_lines
from evalkit.human.csv_file import csv_grid
from evalkit.human.html_file import page_lines
from evalkit.human.key import Export
from evalkit.human.label_studio import label_studio_lines
from evalkit.human.sheet import Filled
from evalkit.human.xlsx_file import xlsx_grids

__all__ = ["Read", "read_file"]

TABLES = (".csv", ".tsv", ".txt")
BOOKS = (".xlsx", ".xlsm")


@dataclass(slots=True)
class Read:
    """What a file holds.

    Attributes:
        lines: Its lines.
        notes: What was concluded on the way: a renamed column, a column that is not read.
        problems: What could not be read, with file, sheet and row.
    """

    lines: list[Filled] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_file(path: Path, exports: Mapping[str, Export]) -> Read:
    """Read a CSV, an XLSX, or a JSON of a rater's page or of Label Studio.

    Args:
        path: The file.
        exports: Every export of the run.

    Returns:
        Its lines; a file that cannot be read at all is one problem.
    """
    try:
        if not path.is_file():
            raise DataError(f"{path}: no such file.")
        if path.suffix.lower() in TABLES:
            return _grids([csv_grid(path)], exports)
        if path.suffix.lower() in BOOKS:
            return _grids(xlsx_grids(path), exports)
        if path.suffix.lower() == ".json":
            return _json(path, exports)
        known = ", ".join((*TABLES, *BOOKS, ".json"))
        raise DataError(f"{path}: expected one of {known}; save the sheet as XLSX or as CSV UTF-8.")
    except DataError as error:
        return Read(problems=error.messages)


def _grids(grids: list[Grid], exports: Mapping[str, Export]) -> Read:
    found = Read()
    for grid in grids:
        lines, notes, problems = filled_lines(grid, exports)
        found.lines += lines
        found.notes += notes
        found.problems += problems
    return found


def _json(path: Path, exports: Mapping[str, Export]) -> Read:
    try:
        content: Any = json.loads(path.read_text("utf-8-sig", "surrogatepass"))
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: expected JSON: {error}.") from error
    if isinstance(content, list):
        asked = {name: export.asked for name, export in exports.items()}
        lines, problems = label_studio_lines(content, str(path), asked)
        return Read(lines=lines, problems=problems)
    if isinstance(content, dict):
        return Read(lines=page_lines(content, str(path)))
    raise DataError(f"{path}: expected what a rater's page or Label Studio exports.")
