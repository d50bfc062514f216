"""Reading rows: JSON Lines, JSON, CSV, Parquet, and data sets of the Hugging Face Hub.

A row is the JSON object as it stands in the file: nothing is unified with other rows, so no row gains a null
that it did not have (Arrow's struct unification does that and puts ``None`` into prompts). All bad rows of a
file are reported together, each with file and line.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, TypeGuard

from evalkit.data.arrow import hub_rows, parquet_rows
from evalkit.errors import DataError, nearest
from evalkit.specs.task import HubData, PackageData

__all__ = ["SUFFIXES", "Row", "bad_rows", "packaged", "read_rows", "stream_rows"]

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Row:
    """One row and where it stands.

    Attributes:
        data: The JSON object.
        source: The file or data set.
        line: 1-based line in the file where the row starts; the row's number in Parquet and on the Hub.
        number: 1-based position among the rows of its source.
    """

    data: dict[str, Any]
    source: str
    line: int
    number: int

    @property
    def place(self) -> str:
        """``FILE:LINE``, for messages."""
        return f"{self.source}:{self.line}"


def read_rows(source: Path | HubData) -> list[Row]:
    """Read every row of a file (by its suffix) or of a split on the Hub.

    Args:
        source: A ``.jsonl`` (or ``.jsonl.gz``), ``.json`` (a list of objects), ``.csv`` (UTF-8,
            first line holds the names, all values are text) or ``.parquet`` file, or ``HubData``.

    Returns:
        At least one row, in the order of the source.

    Raises:
        DataError: The source is missing, unreadable, empty or holds bad rows: up to 20 are named with their
            lines, and how many there are.
    """
    return list(stream_rows(source))


def stream_rows(source: Path | HubData) -> Iterator[Row]:
    """Yield the rows of a source one by one, as ``read_rows`` reads them; JSON Lines without holding the file.

    Raises:
        DataError: As ``read_rows``; bad rows after the last good one, all together.
    """
    problems: list[str] = []
    number = 0
    if isinstance(source, HubData):
        name, pairs = f"{source.hf}[{source.split}]", hub_rows(source)
    else:
        name, pairs = str(source), _reader(source)(source, problems)
    try:
        for number, (line, data) in enumerate(pairs, start=1):
            yield Row(data, name, line, number)
    except (OSError, EOFError) as error:  # EOFError: a compressed file that was cut off
        raise DataError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    if problems:
        raise bad_rows(problems)
    if number == 0:
        raise DataError(f"{name} holds no rows; expected at least one.")


def bad_rows(problems: list[str]) -> DataError:
    """Return one error for all problems: the first 20, then how many more there are.

    >>> str(bad_rows(["a.jsonl:1: no"]))
    'a.jsonl:1: no'
    """
    more = len(problems) - _SHOWN
    return DataError(
        *problems[:_SHOWN], *([f"… and {more} more ({len(problems)} in all)."] if more > 0 else [])
    )


def packaged(source: PackageData) -> Path:
    """Return the path of a file that an installed package carries.

    Raises:
        DataError: The package is not installed, or has no such file; says what to type.
    """
    try:
        path = Path(str(distribution(source.package).locate_file(source.file)))
    except PackageNotFoundError:
        raise DataError(
            f"The rows are in the package {source.package!r}, which is not installed. "
            f"Type: pip install {source.package}"
        ) from None
    if not path.is_file():
        raise DataError(f"The installed package {source.package!r} has no file {source.file}.")
    return path


Pairs = Iterator[tuple[int, dict[str, Any]]]
Reader = Callable[[Path, list[str]], Pairs]


def _reader(path: Path) -> Reader:
    if path.is_dir():
        raise DataError(f"{path} is a folder; expected a file that ends in {', '.join(SUFFIXES)}.")
    if not path.is_file():
        siblings = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"No file {path}.{nearest(path.name, siblings)}")
    suffix = path.with_suffix("").suffix if path.suffix.lower() == ".gz" else path.suffix
    if suffix.lower() not in SUFFIXES or (suffix != path.suffix and suffix.lower() != ".jsonl"):
        got = path.suffix or "no suffix"
        raise DataError(f"{path}: expected a file that ends in {', '.join(SUFFIXES)}; got {got}.")
    return SUFFIXES[suffix.lower()]


def _jsonl(path: Path, problems: list[str]) -> Pairs:
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    with opened(
        path, "rb"
    ) as file:  # bytes split at \n alone: U+2028 and U+0085 may stand inside a JSON string
        for line, raw in enumerate(file, start=1):
            where = f"{path}:{line}"
            try:
                text = raw.decode("utf-8-sig" if line == 1 else "utf-8").strip()
                value = _DECODER.decode(text) if text else None
            except UnicodeDecodeError as error:
                problems.append(f"{where}: {_not_utf8(raw, error)}")
                if raw.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16: every further line would fail too
                    return
            except (ValueError, RecursionError) as error:
                problems.append(f"{where}: not JSON: {_why(error)}.")
            else:
                if text and _is_row(value, where, problems):
                    yield line, value


def _json(path: Path, problems: list[str]) -> Pairs:
    text = _read_text(path, problems)
    start = _skip(text, 0)
    if start == len(text):
        return
    if text[start] != "[":
        problems.append(f"{path}:1: expected a list of objects; for one object a line name the file .jsonl.")
        return
    line, seen = 1, 0
    try:
        for offset, value in _elements(text, start + 1):
            line, seen = line + text.count("\n", seen, offset), offset
            if _is_row(value, f"{path}:{line}", problems):
                yield line, value
    except json.JSONDecodeError as error:
        problems.append(f"{path}:{error.lineno}: not JSON: {_why(error)}.")
    except (ValueError, RecursionError) as error:
        problems.append(f"{path}: after line {line}: not JSON: {_why(error)}.")


def _elements(text: str, position: int) -> Iterator[tuple[int, Any]]:
    """Yield (offset, value) of each element of a JSON list, so that a bad one has a line."""
    position = _skip(text, position)
    more = text[position : position + 1] != "]"
    while more:
        value, end = _DECODER.raw_decode(text, position)
        yield position, value
        position = _skip(text, end)
        more = text[position : position + 1] == ","
        if more:
            position = _skip(text, position + 1)
    if text[position : position + 1] != "]":
        raise json.JSONDecodeError("expected ',' or the closing ']'", text, position)
    if text[position + 1 :].strip():
        raise json.JSONDecodeError("text after the closing ']'", text, _skip(text, position + 1))


def _csv(path: Path, problems: list[str]) -> Pairs:
    reader = csv.reader(io.StringIO(_read_text(path, problems), newline=""), strict=True)
    limit = csv.field_size_limit(2**31 - 1)  # the default of 131,072 characters is less than a long document
    names: list[str] = []
    line = 1
    try:
        for cells in reader:
            if not names:
                names = cells
                if doubled := [name for name in names if names.count(name) > 1]:
                    problems.append(f"{path}:{line}: the column {doubled[0]!r} is there twice.")
                    return
            elif cells and len(cells) != len(names):
                problems.append(
                    f"{path}:{line}: expected {len(names)} cells, as in line 1; got {len(cells)}."
                )
            elif cells:
                yield line, dict(zip(names, cells, strict=True))
            line = reader.line_num + 1
    except csv.Error as error:
        problems.append(f"{path}:{line}: not CSV: {error}.")
    finally:
        csv.field_size_limit(limit)


def _parquet(path: Path, problems: list[str]) -> Pairs:
    return parquet_rows(path)


SUFFIXES: dict[str, Reader] = {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".parquet": _parquet}
"""Suffix of a data file → its reader: (path, list that takes the problems) to (line, row) pairs."""


def _read_text(path: Path, problems: list[str]) -> str:
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        problems.append(f"{path}:{line}: {_not_utf8(raw, error)}")
        return ""


def _not_utf8(raw: bytes, error: UnicodeDecodeError) -> str:
    utf16 = raw.startswith((b"\xff\xfe", b"\xfe\xff"))
    return f"not UTF-8 ({'UTF-16' if utf16 else f'byte 0x{raw[error.start]:02x}'}); save the file as UTF-8."


def _is_row(value: Any, where: str, problems: list[str]) -> TypeGuard[dict[str, Any]]:
    if not isinstance(value, dict):
        problems.append(f"{where}: expected an object {{…}}; got {_kind(value)}.")
        return False
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        problems.append(f"{where}: holds half of a surrogate pair (such as \\ud83d alone): not a character.")
        return False
    except ValueError:
        problems.append(f"{where}: holds a number too large for JSON (such as 1e999).")
        return False
    return True


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON; write null")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
_WHITESPACE = re.compile(r"[ \t\n\r]*")


def _skip(text: str, position: int) -> int:
    found = _WHITESPACE.match(text, position)
    return found.end() if found else position


def _why(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno}"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _kind(value: Any) -> str:
    names = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
