"""CSV: UTF-8 with a byte-order mark, as Excel wants it; read back from whatever a spreadsheet made of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from evalkit.errors import DataError
from evalkit.human.columns import ITEM, Grid
from evalkit.human.sheet import Sheet, table

__all__ = ["csv_grid", "csv_text"]


def csv_text(sheet: Sheet) -> str:
    """The sheet as CSV, every cell in quotes, with a byte-order mark."""
    columns, rows = table(sheet)
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return "\ufeff" + out.getvalue()


def csv_grid(path: Path) -> Grid:
    """Read a CSV or TSV file, with commas, semicolons or tabs between the cells.

    Raises:
        DataError: It is neither UTF-8 nor UTF-16, or no CSV.
    """
    text = _text(path.read_bytes(), path)
    read, wrong = [], []
    for mark in ",;\t":
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
        try:
            read.append(list(enumerate(reader, 1)))
        except csv.Error as error:
            wrong.append(f"{path}:{reader.line_num}: not readable as CSV: {error}. ")
    # A head may hold any of the marks; item ids stand alone in their cells by one of them only.
    best = max(read, key=_items, default=[])
    if wrong and not _items(best):
        raise DataError(wrong[0] + "Save it as CSV UTF-8, or as XLSX.")
    return Grid(str(path), best)


def _items(rows: Sequence[tuple[int, Sequence[str]]]) -> int:
    return sum(ITEM.fullmatch(cell.strip()) is not None for _, cells in rows for cell in cells)


def _text(raw: bytes, path: Path) -> str:
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path}:{line}: expected UTF-8 text. In Excel save it as 'CSV UTF-8', or as XLSX."
        ) from error
