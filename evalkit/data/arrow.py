"""Rows from Arrow tables: Parquet files and data sets of the Hugging Face Hub.

A table gives every row every column, and every struct every key: what a row did not have comes back as null.
So a null, or a NaN (which is how pandas writes one), counts as an absent field.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import date, time
from pathlib import Path
from typing import Any

from evalkit.errors import DataError
from evalkit.specs.task import HubData

__all__ = ["hub_rows", "parquet_rows"]


def parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (row number from 1, row) of a Parquet file.

    Raises:
        DataError: Not a Parquet file, or a column that JSON has no form for.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except pyarrow.ArrowInvalid as error:
        raise DataError(f"{path}: not a Parquet file: {_first_line(error)}") from error
    for number, row in enumerate(table.to_pylist(), start=1):
        yield number, _present(row, f"{path}:{number}")


def hub_rows(source: HubData) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (row number from 1, row) of one split of a data set on the Hub or in its cache.

    Raises:
        DataError: No network and not in the cache, no such data set or split; says what to type.
    """
    import datasets

    name = f"{source.hf}[{source.split}]"
    try:
        table = datasets.load_dataset(source.hf, source.name, split=source.split, revision=source.revision)
    except (OSError, ValueError) as error:  # no network; no such data set; no such configuration or split
        call = ", ".join(repr(part) for part in (source.hf, source.name) if part is not None)
        raise DataError(
            f"{name} cannot be loaded: {_first_line(error)}",
            "Without a network a data set must have been fetched once before: "
            f'python -c "import datasets; datasets.load_dataset({call})". Or name a file under `data:`.',
        ) from error
    for number, row in enumerate(table, start=1):
        yield number, _present(row, f"{name}:{number}")


def _present(value: Any, where: str) -> Any:
    """Turn an Arrow value into plain JSON, leaving out what is null."""
    if isinstance(value, dict):
        return {key: _present(item, where) for key, item in value.items() if not _is_null(item)}
    if isinstance(value, list):
        return [None if _is_null(item) else _present(item, where) for item in value]
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, str | int | float | bool):
        return value
    raise DataError(f"{where}: expected text, numbers, lists or objects; got {type(value).__name__}.")


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _first_line(error: Exception) -> str:
    return (str(error) or repr(error)).splitlines()[0]
