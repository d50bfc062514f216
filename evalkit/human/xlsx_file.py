"""XLSX: drop-downs, a frozen head, wrapped text, an instructions sheet; only answers can be typed over."""

from __future__ import annotations

import io
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from evalkit.errors import DataError
from evalkit.human.columns import ITEM, Grid
from evalkit.human.escape import encode_cell
from evalkit.human.questions import Question
from evalkit.human.sheet import Sheet, table, text_columns

__all__ = ["xlsx_bytes", "xlsx_grids"]

LABELS, INSTRUCTIONS, LISTS = "Labels", "Instructions", "Lists"
WIDTHS = {"item": 11, "rater": 11, "task": 14, "prompt": 48, "target": 30}
ANSWER_WIDTH, QUESTION_WIDTH = 64, 22
PROMPT_LIMIT = 255
"""Characters of the hint that Excel shows at a cell."""


def xlsx_bytes(sheet: Sheet) -> bytes:
    """The sheet as a workbook."""
    from openpyxl import Workbook

    book = Workbook()
    del book[book.active.title]
    _instructions(book.create_sheet(INSTRUCTIONS), sheet)
    _labels(book.create_sheet(LABELS), sheet)
    lists = book.create_sheet(LISTS)
    lists.sheet_state = "hidden"
    for number, question in enumerate(sheet.asked.questions, 1):
        for row, (value, _) in enumerate(question.options, 1):
            # A number of a rating has to be a number: Excel does not take a typed 4 for the text "4".
            _put(lists, row, number, int(value) if question.kind == "rating" else encode_cell(value))
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def xlsx_grids(path: Path) -> list[Grid]:
    """Read the sheets of a workbook that hold item ids; all of them where none does.

    Raises:
        DataError: It is no workbook.
    """
    from openpyxl import load_workbook

    try:
        book = load_workbook(io.BytesIO(path.read_bytes()), data_only=True)  # it leaves a broken file open
    except Exception as error:  # a broken file shows anywhere in zip, XML or openpyxl, with any exception
        raise DataError(f"{path}: not readable as XLSX: {error}. Save it again as XLSX.") from error
    grids = [
        Grid(
            f"{path}, sheet {page.title}",
            [
                (number, [_text(cell) for cell in row])
                for number, row in enumerate(page.iter_rows(values_only=True), 1)
            ],
        )
        for page in book.worksheets
    ]
    filled = [
        grid for grid in grids if any(ITEM.fullmatch(cell.strip()) for _, row in grid.rows for cell in row)
    ]
    return filled or grids


def _labels(page: Any, sheet: Sheet) -> None:
    from openpyxl.styles import Alignment, Font, PatternFill, Protection
    from openpyxl.utils import get_column_letter

    columns, rows = table(sheet)
    before = 3 + len(text_columns(sheet.asked))  # item, rater, task and what is read
    asked = dict(zip(columns[before:], sheet.asked.questions, strict=False))
    wrapped = Alignment(wrap_text=True, vertical="top")
    small = Font(size=8, color="808080")
    open_ = PatternFill("solid", fgColor="FFF8E1")
    for number, name in enumerate(columns, 1):
        cell = _put(page, 1, number, name)
        cell.font, cell.alignment = Font(bold=True), wrapped
        cell.fill = PatternFill("solid", fgColor="E8EEF4")
        width = QUESTION_WIDTH if name in asked else WIDTHS.get(name, ANSWER_WIDTH)
        page.column_dimensions[get_column_letter(number)].width = width
    for place, row in enumerate(rows, 2):
        for number, (name, text) in enumerate(zip(columns, row, strict=True), 1):
            question = asked.get(name)
            whole = question is not None and question.kind == "rating" and text.isascii() and text.isdigit()
            cell = _put(page, place, number, int(text) if whole else text)
            cell.alignment = wrapped
            if name == "item":
                cell.font = small
            if question is not None or name == "rater":
                cell.protection = Protection(locked=False)
            if question is not None:
                cell.fill = open_
    for place, question in enumerate(sheet.asked.questions, 1):
        letter = get_column_letter(before + place)
        page.add_data_validation(_validation(question, place, f"{letter}2:{letter}{len(rows) + 1}"))
    page.freeze_panes = "B2"
    page.protection.sheet = True
    page.protection.formatColumns = page.protection.formatRows = page.protection.formatCells = False


def _validation(question: Question, place: int, cells: str) -> Any:
    from openpyxl.utils import get_column_letter
    from openpyxl.worksheet.datavalidation import DataValidation

    hint = question.ask
    if question.options:
        hint += "\n" + "\n".join(f"{value}: {meaning}" for value, meaning in question.options if meaning)
    settings: dict[str, Any] = {"allow_blank": True}
    if question.options:
        letter = get_column_letter(place)
        source = f"{LISTS}!${letter}$1:${letter}${len(question.options)}"
        settings |= {"type": "list", "formula1": source, "showErrorMessage": True}
        settings |= {"errorTitle": question.name[:32], "error": "Choose one of the list."}
    validation = DataValidation(**settings)
    validation.promptTitle, validation.prompt = question.name[:32], _hint(hint)
    validation.showInputMessage = True
    validation.add(cells)
    return validation


def _instructions(page: Any, sheet: Sheet) -> None:
    from openpyxl.styles import Alignment, Font

    page.column_dimensions["A"].width, page.column_dimensions["B"].width = 26, 90
    answers = "the two answers" if sheet.asked.pairwise else "the answer"
    rows: list[tuple[str, str, bool]] = [
        (f"{sheet.study}: {sheet.rater}", "", True),
        ("What to do", f"On the sheet '{LABELS}', read the prompt and {answers}, then fill in the coloured cells. "
         "A cell that you leave empty is not counted. Save the file and give it back.", False),
    ]  # fmt: skip
    if sheet.asked.instructions:
        rows.append(("Instructions", sheet.asked.instructions, False))
    for question in sheet.asked.questions:
        rows.append((question.name, question.ask, True))
        rows += [(f"    {value}", meaning, False) for value, meaning in question.options]
    for number, (first, second, bold) in enumerate(rows, 1):
        _put(page, number, 1, encode_cell(first)).font = Font(bold=bold or number == 1)
        cell = _put(page, number, 2, encode_cell(second)[:32_000])
        cell.alignment = Alignment(wrap_text=True, vertical="top")
    page.protection.sheet = True


def _put(page: Any, row: int, column: int, value: str | int) -> Any:
    """Write a cell; a text stays a text, whatever it looks like."""
    cell = page.cell(row, column)
    if value != "":
        cell.value = value
        if isinstance(value, str):
            cell.data_type = "s"
    return cell


def _hint(text: str) -> str:
    clean = encode_cell(text)
    return clean if len(clean) <= PROMPT_LIMIT else clean[: PROMPT_LIMIT - 1] + "…"


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return str(value)
