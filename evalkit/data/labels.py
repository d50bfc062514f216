"""Labels that people gave, from a file: which item, who, what.

Same label twice is one; two different ones of the same person for the same item are a mistake that is named.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalkit.data.rows import bad_rows, read_rows
from evalkit.errors import DataError, nearest

__all__ = ["LabelTable", "column", "label_table", "numbers", "read_labels"]


@dataclass(frozen=True, slots=True)
class LabelTable:
    """Who labelled what how.

    Attributes:
        items: Names of the n items, in the order they first occur.
        raters: Names of the m raters.
        values: The k labels that occur (or that ``order`` lists), in order: numbers by size, texts by alphabet.
        codes: (n, m) position of each label in ``values``; −1 where there is none.
        ordered: The values have an order that means something: they are numbers, or ``order`` was given.
        empty: Rows without a label.
    """

    items: tuple[str, ...]
    raters: tuple[str, ...]
    values: tuple[str, ...]
    codes: NDArray[np.int64] = field(repr=False)
    ordered: bool = True
    empty: int = 0


def read_labels(
    source: Path | Iterable[Mapping[str, Any]],
    *,
    item: str = "item",
    rater: str = "rater",
    label: str = "label",
    order: Sequence[str] = (),
) -> LabelTable:
    """Read a table of labels, one a row.

    Args:
        source: A CSV, JSON Lines, JSON or Parquet file, or rows.
        item: Column with the item.
        rater: Column with the rater.
        label: Column with the label; an empty one (or NaN) is none.
        order: All labels from lowest to highest, where they are no numbers.

    Raises:
        DataError: The file is missing, lacks a column, or holds rows that contradict each other.

    >>> table = read_labels([{"item": 1, "rater": "a", "label": "no"}, {"item": 1, "rater": "b", "label": "yes"}])
    >>> table.values, table.codes.tolist()
    (('no', 'yes'), [[0, 1]])
    """
    if isinstance(source, Path):
        name = str(source)
        rows: list[tuple[str, Mapping[str, Any]]] = [(row.place, row.data) for row in read_rows(source)]
    else:
        name = "the labels"
        rows = [(f"row {number}", row) for number, row in enumerate(source, start=1)]
    if not rows:
        raise DataError("There are no labels; expected rows with item, rater and label.")
    asked = {"item": item, "rater": rater, "label": label}
    places = [column(rows[0][1], wanted, f"--{role}", name) for role, wanted in asked.items()]
    item_in, rater_in, label_in = places
    triples = [(where, row.get(item_in), row.get(rater_in), row.get(label_in)) for where, row in rows]
    return label_table(triples, order)


def column(row: Mapping[str, Any], wanted: str, option: str, where: str) -> str:
    """Return the name of a column as the file spells it: case and surrounding spaces do not count.

    Raises:
        DataError: No such column; names those there are and the option that says another.

    >>> column({"Item ": 1, "Label": 2}, "item", "--item", "x.csv")
    'Item '
    """
    spelled = {str(name).strip().casefold(): str(name) for name in reversed(list(row))}
    if wanted in row:
        return wanted
    found = spelled.get(wanted.strip().casefold())
    if found is None:
        there = ", ".join(map(repr, row))
        separated = next((sign for sign in (";", "\t") if len(row) == 1 and sign in next(iter(row))), None)
        hint = f" Its cells are separated by {separated!r}; save it with commas." if separated else ""
        raise DataError(
            f"{where}: expected a column {wanted!r}, got {there}.{hint or nearest(wanted, spelled)}"
            + (f" Type {option} NAME for another name." if option else "")
        )
    return found


def label_table(triples: Iterable[tuple[str, Any, Any, Any]], order: Sequence[str] = ()) -> LabelTable:
    """Arrange (place, item, rater, label) as a table.

    Args:
        triples: The labels, each with the place it stands at, for messages.
        order: As for ``read_labels``.

    Raises:
        DataError: An item or rater without a name, two different labels of one rater for one item, a label
            that ``order`` does not list.
    """
    problems: list[str] = []
    given: dict[tuple[str, str], tuple[str, str]] = {}
    empty = 0
    for where, *cells in triples:
        item, rater, label = (_text(cell) for cell in cells)
        if not item or not rater:
            problems.append(f"{where}: the {'item' if not item else 'rater'} is empty.")
        elif not label:
            empty += 1
        elif order and label not in order:
            problems.append(f"{where}: {label!r} is none of {', '.join(order)}.{nearest(label, order)}")
        else:
            before, old = given.setdefault((item, rater), (where, label))
            if old != label and _number(old) != _number(label):
                problems.append(
                    f"{where}: {rater!r} labelled {item!r} {label!r}, but {old!r} at {before}; keep one of them."
                )
    if problems:
        raise bad_rows(problems)
    if not given:
        raise DataError(f"There are no labels: the label of all {empty} rows is empty.")
    return _arranged(given, order, empty)


def numbers(table: LabelTable) -> list[float]:
    """Return the labels as numbers.

    Raises:
        DataError: One of them is none.
    """
    found = [_number(value) for value in table.values]
    texts = [value for value, number in zip(table.values, found, strict=True) if number is None]
    if texts:
        raise DataError(f"Expected labels that are numbers, got {texts[0]!r}.")
    return [number for number in found if number is not None]


def _arranged(
    given: Mapping[tuple[str, str], tuple[str, str]], order: Sequence[str], empty: int
) -> LabelTable:
    items = list(dict.fromkeys(item for item, _ in given))
    raters = list(dict.fromkeys(rater for _, rater in given))
    labels = {label for _, label in given.values()}
    as_numbers = {label: _number(label) for label in labels}
    numeric = not order and None not in as_numbers.values()
    if numeric:  # "1" and "1.0" are one label where all labels are numbers
        ranked = sorted({number for number in as_numbers.values() if number is not None})
        place = {label: ranked.index(number) for label, number in as_numbers.items() if number is not None}
        values = [f"{number:.15g}" if number % 1 else f"{number:.0f}" for number in ranked]
    else:
        values = list(order) or sorted(labels)
        place = {label: index for index, label in enumerate(values)}
    codes = np.full((len(items), len(raters)), -1, dtype=np.int64)
    row, col = ({name: index for index, name in enumerate(names)} for names in (items, raters))
    for (item, rater), (_, label) in given.items():
        codes[row[item], col[rater]] = place[label]
    return LabelTable(tuple(items), tuple(raters), tuple(values), codes, numeric or bool(order), empty)


def _text(cell: Any) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    text = str(cell).strip()
    return "" if text.casefold() == "nan" else text


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
