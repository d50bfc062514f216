"""Which column is which: in any order, renamed, with columns in between that are none of ours.

A column is known by its head; failing that by its content: item ids and texts are unmistakable, and answers are
taken where only one column of the sheet can hold a question's answers and only that question is missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from evalkit.human.answers import read_answer
from evalkit.human.escape import decode_cell, join_parts
from evalkit.human.key import Export
from evalkit.human.questions import QuestionsSpec
from evalkit.human.sheet import Filled, cell_digest, read_seconds, text_columns

__all__ = ["ITEM", "Grid", "filled_lines"]

ITEM = re.compile(r"[0-9a-f]{8}-\d+-[0-9a-f]{8}")
"""An item's id: export, number, hash."""

RATERS = ("rater", "annotator", "annotation_by")
SECONDS = ("seconds", "lead_time", "time")


@dataclass(frozen=True, slots=True)
class Grid:
    """Cells as they stand in a file.

    Attributes:
        name: The file, and its sheet: ``ann.xlsx, sheet Labels``.
        rows: (number, cells) of every row, the head first.
    """

    name: str
    rows: Sequence[tuple[int, Sequence[str]]]


@dataclass(slots=True)
class _Columns:
    """Where things stand, by column number."""

    item: int
    known: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def filled_lines(grid: Grid, exports: Mapping[str, Export]) -> tuple[list[Filled], list[str], list[str]]:
    """Read the lines of a grid.

    Args:
        grid: From a file.
        exports: Every export of the run.

    Returns:
        The lines; what was concluded (a renamed column, a column that is not read); what is wrong.
    """
    place = _item_column(grid)
    if place is None:
        return (
            [],
            [],
            [f"{grid.name}: no column holds item ids such as 9f31c2ab-017-c4d5e6f7; keep the column 'item'."],
        )
    first, item = place
    body = [(number, cells) for number, cells in grid.rows[first:] if any(cell.strip() for cell in cells)]
    export = next((_at(cells, item).strip() for _, cells in body if _at(cells, item)), "")[:8]
    spec = (exports.get(export) or next(iter(exports.values()))).asked
    heads = [
        cells for _, cells in grid.rows[:first]
    ]  # the nearest of those that name the most columns, if any
    head = max(reversed(heads), key=lambda cells: len(_known(cells, item, spec).known), default=())
    names = [
        _at(head, number) for number in range(max(len(cells) for cells in (head, *(c for _, c in body))))
    ]
    columns = _known(names, item, spec)
    _find_texts(columns, names, body, spec, exports, grid.name)
    problems = _guess(columns, names, body, spec, grid.name)
    if problems:
        return [], columns.notes, problems
    return list(_lines(grid.name, body, columns, spec, names)), columns.notes, []


def _item_column(grid: Grid) -> tuple[int, int] | None:
    """(index of the first row with one, column) of the item ids: the column with the most of them."""
    counts: dict[int, int] = {}
    first: dict[int, int] = {}
    for index, (_, cells) in enumerate(grid.rows):
        for column, cell in enumerate(cells):
            if ITEM.fullmatch(cell.strip()):
                counts[column] = counts.get(column, 0) + 1
                first.setdefault(column, index)
    if not counts:
        return None
    column = max(counts, key=lambda one: counts[one])
    return first[column], column


def _known(names: Sequence[str], item: int, spec: QuestionsSpec) -> _Columns:
    columns = _Columns(item)
    wanted = dict.fromkeys(RATERS, "rater") | dict.fromkeys(SECONDS, "seconds")
    wanted |= {_plain(name): name for name in text_columns(spec)}
    wanted |= {
        _plain(question.name): question.name for question in spec.questions
    }  # one may be called "time"
    for number, name in enumerate(names):
        key = _plain(decode_cell(name).partition(":")[0])
        part = re.fullmatch(r"(.+) \((\d+)\)", key)
        if number == item:
            continue
        if key in wanted and wanted[key] not in columns.known:
            columns.known[wanted[key]] = number
        elif part and part[1] in wanted:
            columns.known[f"{wanted[part[1]]} ({part[2]})"] = number
    return columns


def _find_texts(
    columns: _Columns,
    names: Sequence[str],
    body: Sequence[tuple[int, Sequence[str]]],
    spec: QuestionsSpec,
    exports: Mapping[str, Export],
    where: str,
) -> None:
    """Find the columns that were there to be read by what stands in them: in half of the lines what was exported."""
    shown = []
    for _, cells in body:
        item = _at(cells, columns.item).strip()
        row = exports[item[:8]].rows.get(item) if item[:8] in exports else None
        if row is not None:
            shown.append((cells, row.texts))
    for column in text_columns(spec):
        if column in columns.known:
            continue
        hits = {
            number: sum(
                cell_digest(decode_cell(_at(cells, number))) == texts.get(column) for cells, texts in shown
            )
            for number in range(len(names))
            if number != columns.item and number not in columns.known.values()
        }
        best = max(hits, key=lambda number: hits[number], default=None)
        if best is not None and hits[best] * 2 >= max(len(shown), 1):
            columns.known[column] = best
            columns.notes.append(f"{where}: {_called(names, best)} is read as {column!r}.")


def _guess(
    columns: _Columns,
    names: Sequence[str],
    body: Sequence[tuple[int, Sequence[str]]],
    spec: QuestionsSpec,
    where: str,
) -> list[str]:
    """Find the columns of questions that no head names; say what stays open."""
    own = {"task", "item", *map(_plain, text_columns(spec)), *RATERS, *SECONDS}
    free = [
        number
        for number, name in enumerate(names)
        if number != columns.item and number not in columns.known.values() and _plain(name) not in own
    ]
    texts = [number for number in free if any(_long(_at(cells, number)) for _, cells in body)]
    free = [number for number in free if number not in texts and any(_at(cells, number) for _, cells in body)]
    missing = [question for question in spec.questions if question.name not in columns.known]
    fits = {
        question.name: [
            number
            for number in free
            if question.kind != "text"
            and all(
                not _at(cells, number) or _reads(spec, question.name, _at(cells, number)) for _, cells in body
            )
        ]
        for question in missing
    }
    while single := [name for name, places in fits.items() if len(places) == 1]:
        number = fits.pop(single[0])[0]
        if any(places == [number] for places in fits.values()):  # two questions claim one column
            fits[single[0]] = []
            break
        columns.known[single[0]] = number
        free.remove(number)
        columns.notes.append(f"{where}: {_called(names, number)} is read as {single[0]!r}.")
        fits = {name: [one for one in places if one != number] for name, places in fits.items()}
    open_ = [
        name for name in fits if any(question.name == name for question in missing if question.kind != "text")
    ]
    remarks = [name for name in fits if name not in open_]
    rest = sorted(free + texts)
    if len(remarks) == 1 and len(rest) == 1 and not open_:
        columns.known[remarks[0]] = rest[0]
        columns.notes.append(f"{where}: {_called(names, rest[0])} is read as {remarks[0]!r}.")
        return []
    if open_ and free:
        listed = ", ".join(_called(names, number) for number in free)
        return [
            f"{where}: no column is named {name!r}, and it could be any of {listed}: rename it."
            for name in open_
        ]
    columns.notes += [f"{where}: {_called(names, number)} is not read." for number in rest]
    return []


def _lines(
    where: str,
    body: Sequence[tuple[int, Sequence[str]]],
    columns: _Columns,
    spec: QuestionsSpec,
    names: Sequence[str],
) -> Iterator[Filled]:
    for number, cells in body:
        values = {}
        for question in spec.questions:
            cell = _at(cells, columns.known.get(question.name))
            if cell.strip():
                values[question.name] = decode_cell(cell)
        texts = {}
        for column in text_columns(spec):
            if column in columns.known:
                parts = [_at(cells, columns.known[column])]
                while (further := f"{column} ({len(parts) + 1})") in columns.known:
                    parts.append(_at(cells, columns.known[further]))
                texts[column] = decode_cell(join_parts(parts))
        yield Filled(
            where=f"{where}, row {number}",
            item=_at(cells, columns.item).strip(),
            rater=decode_cell(_at(cells, columns.known.get("rater"))).strip(),
            values=values,
            texts=texts,
            seconds=read_seconds(_at(cells, columns.known.get("seconds"))),
        )


def _reads(spec: QuestionsSpec, name: str, cell: str) -> bool:
    question = next(question for question in spec.questions if question.name == name)
    return read_answer(question, decode_cell(cell)) is not None


def _at(cells: Sequence[str], number: int | None) -> str:
    return cells[number] if number is not None and number < len(cells) else ""


def _plain(name: str) -> str:
    return " ".join(name.split()).casefold()


def _long(cell: str) -> bool:
    return len(cell) > 300 or "\n" in cell.strip()


def _called(names: Sequence[str], number: int) -> str:
    name = names[number]
    if not name.strip():
        return f"column {number + 1}, which has no head,"
    return f"the column {name if len(name) <= 40 else name[:39] + '…'!r}"
