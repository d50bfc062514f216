"""Sheets out and back: every format, in any order, through the programs that people use."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.errors import DataError, OutputFolderError
from evalkit.human.answers import read_answer
from evalkit.human.columns import filled_lines
from evalkit.human.csv_file import csv_grid, csv_text
from evalkit.human.escape import LONGEST
from evalkit.human.html_file import html_page
from evalkit.human.key import Export, read_exports
from evalkit.human.label_studio import label_studio_lines, label_studio_tasks
from evalkit.human.questions import Question, QuestionsSpec
from evalkit.human.records import read_labels
from evalkit.human.sheet import Line, Sheet
from evalkit.human.xlsx_file import xlsx_bytes, xlsx_grids
from evalkit.running.folder import RunFolder

ANSWERS = {"coherence": "4", "safe": "no", "fault": "rude, or cold", "remark": "=fine\n-no \x0b"}


def labels_of(run: Any) -> list[Any]:
    return read_labels(run.path / "human" / "labels.jsonl", repeats=True)


def rewrite_csv(path: Path, change: Any) -> Path:
    """Read a CSV, let ``change`` edit its rows (the head is the first), write it again."""
    rows = list(csv.reader(io.StringIO(path.read_text("utf-8-sig"), newline="")))
    rows = change(rows) or rows
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def fill(rows: list[list[str]]) -> None:
    for number, row in enumerate(rows[1:]):
        row[5:9] = [str(number % 5 + 1), "yes", "none", f"remark {number}"]


@pytest.mark.parametrize("format", ["csv", "xlsx", "label-studio"])
def test_a_filled_sheet_comes_back(mail_run, export, take, single, format) -> None:
    run = mail_run()
    made = export(run, format, single)
    path = made.files[0]
    if format == "csv":
        rewrite_csv(path, fill)
    elif format == "xlsx":
        book = openpyxl.load_workbook(path)
        for number, row in enumerate(book["Labels"].iter_rows(min_row=2)):
            for cell, said in zip(row[5:9], [number % 5 + 1, "yes", "none", f"remark {number}"], strict=True):
                cell.value = said
        book.save(path)
    else:
        path.write_text(json.dumps(annotated(json.loads(path.read_text("utf-8"))), ensure_ascii=False))
    done = take(run, path)
    assert done.problems == []
    labels = labels_of(run)
    assert len(labels) == done.new == 24 * 4
    key = {json.loads(line)["item"]: json.loads(line) for line in open_key(run)}
    for label in labels:
        assert [[label.candidate]] == key[label.item]["sides"]
        assert (label.task, label.id, label.rater) == ("mail", key[label.item]["id"], "rater-1")
    assert {label.question for label in labels} == {"coherence", "safe", "fault", "remark"}
    again = take(run, path)
    assert (again.new, again.changed, again.same, again.total) == (0, 0, done.new, done.total)


def annotated(tasks: list[Any]) -> list[Any]:
    """As Label Studio exports them (JSON)."""
    for number, task in enumerate(tasks):
        said = {"q1_coherence": number % 5 + 1, "q2_safe": "yes", "q3_fault": "none"}
        result = [
            {"from_name": name, "to_name": "answer", "type": "choices", "value": {"choices": [str(value)]}}
            for name, value in said.items()
        ]
        result.append(
            {
                "from_name": "q4_remark",
                "to_name": "answer",
                "type": "textarea",
                "value": {"text": [f"remark {number}"]},
            }
        )
        task |= {
            "id": number,
            "annotations": [{"id": 1, "completed_by": 7, "lead_time": 3.5, "result": result}],
        }
    return tasks


def open_key(run: Any) -> list[str]:
    (path,) = run.path.glob("human/*/key.jsonl")
    return [line for line in path.read_text("utf-8", "surrogatepass").split("\n") if line]


any_text = st.text(st.characters(), max_size=60) | st.text(
    st.sampled_from("'=+-@\t\r\n⟦⟧U+0041_x goesoncolumn\ud800\x00\u2028\ufeff,;\""), max_size=40
)


@settings(max_examples=150, deadline=None)
@given(prompt=any_text, answer=any_text, remark=any_text)
def test_any_text_is_the_same_after_a_round_trip(
    tmp_path_factory: pytest.TempPathFactory, prompt: str, answer: str, remark: str
) -> None:
    """All of Unicode, controls and lone surrogates too; a Windows line end comes back as a plain one."""
    text = Question(name="remark", ask="?", kind="text")
    spec = QuestionsSpec(questions=[text], reference=True)
    line = Line(
        "9f31c2ab-000-c4d5e6f7", "t", (("", prompt),), (answer,), target="=x", given={"remark": remark}
    )
    sheet, asked = Sheet("9f31c2ab", "s", "rater-1", spec, [line]), {"9f31c2ab": spec}
    exports = {"9f31c2ab": Export("9f31c2ab", spec, {}, {})}
    folder = tmp_path_factory.mktemp("sheet")
    book, table = folder / "a.xlsx", folder / "a.csv"
    book.write_bytes(xlsx_bytes(sheet))
    table.write_bytes(csv_text(sheet).encode())
    task = json.loads(label_studio_tasks(sheet))
    found = [filled_lines(grid, exports)[0] for grid in (*xlsx_grids(book), csv_grid(table))]
    found.append(label_studio_lines(task, "tasks.json", asked)[0] or [])
    for lines in found[:2]:
        if plain(remark).strip():  # nothing but blanks is no answer
            assert lines[0].values == {"remark": plain(remark)}
        assert lines[0].texts == {"prompt": plain(prompt), "target": "=x", "answer": plain(answer)}
    assert found[2][0].texts == {"prompt": prompt, "target": "=x", "answer": answer}
    page = html_page(sheet)
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert data["lines"][0]["answers"] == [answer]
    assert data["lines"][0]["given"] == {"remark": remark}


def plain(text: str) -> str:
    return text.replace("\r\n", "\n")


def test_cells_that_a_spreadsheet_would_run_are_neutralised(mail_run, export, single) -> None:
    for format in ("csv", "xlsx"):
        path = export(mail_run(), format, single).files[0]
        grid = csv_grid(path) if format == "csv" else xlsx_grids(path)[0]
        cells = [cell for _, row in grid.rows for cell in row]
        assert any("HYPERLINK" in cell for cell in cells)
        assert not [cell for cell in cells if cell[:1] in tuple("=+-@\t\r＝＋－＠")]


def test_two_megabytes_go_on_in_further_columns(mail_run, export, take, single) -> None:
    long = "é😀 line\n" * 300_000
    run = mail_run(names=("base",), n=1, text=lambda name, i: long)
    for format in ("csv", "xlsx"):
        path = export(run, format, single).files[0]
        grid = csv_grid(path) if format == "csv" else xlsx_grids(path)[0]
        cells = grid.rows[1][1]
        assert max(len(cell.encode("utf-16-le")) // 2 for cell in cells) <= 32_767
        assert "⟦goes on in column answer (2)⟧" in cells[4]
        assert len(cells) > len(long.encode("utf-16-le")) // 2 // LONGEST
        lines, _, problems = filled_lines(grid, read_exports(run.path / "human"))
        assert problems == []
        assert lines[0].texts["answer"] == long
        assert take(run, path).problems == []


def test_the_workbook_is_as_people_want_it(mail_run, export, single) -> None:
    book = openpyxl.load_workbook(export(mail_run(), "xlsx", single).files[0])
    page = book["Labels"]
    assert book.sheetnames == ["Instructions", "Labels", "Lists"]
    assert book["Lists"].sheet_state == "hidden"
    assert page.freeze_panes == "B2"
    assert page.protection.sheet
    assert [cell.protection.locked for cell in page[2]] == [
        True,
        False,
        True,
        True,
        True,
        False,
        False,
        False,
        False,
    ]
    assert all(cell.alignment.wrap_text for cell in page[2])
    lists = {str(one.sqref): one.formula1 for one in page.data_validations.dataValidation}
    assert lists["F2:F25"] == "Lists!$A$1:$A$5"
    assert [book["Lists"].cell(row, 1).value for row in range(1, 6)] == [1, 2, 3, 4, 5]
    assert [book["Lists"].cell(row, 3).value for row in range(1, 4)] == ["none", "wrong", "rude, or cold"]
    said = [cell.value for row in book["Instructions"].iter_rows() for cell in row if cell.value]
    assert "Read as the **customer** would." in said
    assert "every sentence follows" in said


@pytest.mark.skipif(shutil.which("soffice") is None, reason="no LibreOffice on this machine")
def test_through_libreoffice(mail_run, export, take, single, tmp_path) -> None:
    """Filled in, opened and saved by LibreOffice as XLSX and as CSV, read back: no text has changed."""
    run = mail_run()
    path = export(run, "xlsx", single).files[0]
    book = openpyxl.load_workbook(path)
    for number, row in enumerate(book["Labels"].iter_rows(min_row=2)):
        for cell, said in zip(row[5:9], [number % 5 + 1, "no", "wrong", "'=so"], strict=True):
            cell.value = said
    book.active = 1  # a CSV is made of the sheet in front
    book.save(path)
    for kind in ("xlsx", "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true,false,false,false,2"):
        out = tmp_path / kind[:4]
        command = ["soffice", f"-env:UserInstallation={(tmp_path / 'profile').as_uri()}", "--headless"]
        command += ["--convert-to", kind, "--outdir", str(out), str(path)]
        subprocess.run(command, check=True, capture_output=True, timeout=180)
        (converted,) = out.iterdir()
        done = take(run, converted)
        assert done.problems == []
        assert done.new == (24 * 4 if kind == "xlsx" else 0)
        assert done.same == (0 if kind == "xlsx" else 24 * 4)
    assert {label.label for label in labels_of(run) if label.question == "remark"} == {"=so"}


def test_rows_in_any_order_renamed_columns_and_strange_ones(mail_run, export, take, single) -> None:
    run = mail_run()
    path = export(run, "csv", single).files[0]

    def change(rows: list[list[str]]) -> list[list[str]]:
        fill(rows)
        head = ["Zeile", "Name", "Aufgabe", "Frage", "Antwort", "Kohärenz (1-5)", "Safe ", "Fehler", "REMARK"]
        turned = [head, *sorted(rows[1:], key=lambda row: row[4])]
        order = [8, 3, 4, 6, 0, 5, 7]
        return [[row[column] for column in order] + ["my own"] for row in turned]

    rewrite_csv(path, change)
    done = take(run, path)
    assert done.problems == []
    assert done.new == 24 * 4
    assert any("'Kohärenz (1-5)' is read as 'coherence'" in note for note in done.notes)
    assert any("'Fehler' is read as 'fault'" in note for note in done.notes)


def test_long_remarks_and_edited_answers_are_seen_under_other_heads(mail_run, export, take, single) -> None:
    run = mail_run()
    path = export(run, "csv", single).files[0]

    def change(rows: list[list[str]]) -> None:
        fill(rows)
        rows[0][3], rows[0][4], rows[0][8] = "Frage", "Antwort", "Bemerkung"
        rows[1][8] = "two\nlines"
        rows[2][8] = "long " * 100

    rewrite_csv(path, change)
    done = take(run, path)
    assert any("'Bemerkung' is read as 'remark'" in note for note in done.notes)
    assert any("'Antwort' is read as 'answer'" in note for note in done.notes)
    remarks = {label.label for label in labels_of(run) if label.question == "remark"}
    assert {"two\nlines", "long " * 100} <= remarks
    rewrite_csv(path, lambda rows: rows[3].__setitem__(4, "edited"))
    with pytest.raises(DataError, match="answer now reads 'edited'"):
        take(run, path)


@pytest.mark.parametrize("above", [None, [], ["for example"]])
def test_a_head_that_is_missing_or_stands_further_up(mail_run, export, take, single, above) -> None:
    """No line is taken for a head, and a row in between is not either."""
    run = mail_run()
    path = export(run, "csv", single).files[0]

    def change(rows: list[list[str]]) -> list[list[str]]:
        fill(rows)
        return rows[1:] if above is None else [rows[0], above, *rows[1:]]

    done = take(run, rewrite_csv(path, change))
    answered = {(label.item, label.question) for label in labels_of(run)}
    lost = above is None  # without a head nothing tells a remark from other texts
    assert done.new == len(answered) == 24 * (3 if lost else 4)
    assert lost == any("column 9, which has no head, is not read" in note for note in done.notes)


def test_choices_that_a_spreadsheet_made_numbers_of() -> None:
    versions = Question(name="version", ask="?", kind="category", choices=["1.0", "1.10", "03", "none"])
    assert [read_answer(versions, cell) for cell in ("1", "1.1", "3", "NONE", "2", "nan")] == [
        "1.0",
        "1.10",
        "03",
        "none",
        None,
        None,
    ]
    both = Question(name="version", ask="?", kind="category", choices=["1", "1.0", "01"])
    assert [read_answer(both, cell) for cell in ("1", "1.0", "1.00")] == ["1", "1.0", None]


def test_a_question_called_time_is_asked_like_any_other(mail_run, export, take) -> None:
    asked = QuestionsSpec(
        questions=[Question(name=name, ask="?", kind="rating") for name in ("time", "annotator")]
    )
    run = mail_run()
    path = export(run, "csv", asked).files[0]
    take(run, rewrite_csv(path, lambda rows: [rows[0], *([*row[:5], "3", "4"] for row in rows[1:])]))
    said = {(label.question, label.label, label.rater, label.seconds) for label in labels_of(run)}
    assert said == {("time", 3, "rater-1", None), ("annotator", 4, "rater-1", None)}


def test_an_answer_of_two_candidates_and_a_file_named_twice_count_once(
    mail_run, export, take, single
) -> None:
    run = mail_run(text=lambda name, i: f"same {i}" if i < 6 else f"{name} {i}")
    path = rewrite_csv(export(run, "csv", single).files[0], fill)
    done = take(run, path, path)
    assert (done.new, done.same, done.total) == (18 * 4, 0, 18 * 4)
    again = take(run, path)
    assert (again.new, again.changed, again.same, again.total) == (0, 0, 18 * 4, 18 * 4)


def test_long_columns_that_are_nobodys_are_named(mail_run, export, take, single) -> None:
    run = mail_run()
    path = export(run, "csv", single).files[0]
    rewrite_csv(
        path,
        lambda rows: (
            fill(rows) or [[*rows[0], "notes"], [*rows[1], "two\nlines"], *([*row, ""] for row in rows[2:])]
        ),
    )
    assert any("'notes' is not read" in note for note in take(run, path).notes)


def test_a_head_with_commas_between_semicolons_is_read(mail_run, export, take, single) -> None:
    run = mail_run()
    path = export(run, "csv", single).files[0]
    rows = list(csv.reader(io.StringIO(path.read_text("utf-8-sig"), newline="")))
    fill(rows)
    rows[0][5] = "coherence: is it clear, short, polite, right, warm, and so on, and so forth?"
    out = io.StringIO()
    csv.writer(out, delimiter=";").writerows(rows)
    path.write_text(out.getvalue(), "utf-8")
    assert take(run, path).new == 24 * 4


def test_semicolons_and_utf16_are_read(mail_run, export, take, single) -> None:
    run = mail_run()
    path = export(run, "csv", single).files[0]
    rows = list(csv.reader(io.StringIO(path.read_text("utf-8-sig"), newline="")))
    fill(rows)
    out = io.StringIO()
    csv.writer(out, delimiter=";").writerows(rows)
    path.write_bytes(out.getvalue().encode("utf-16"))
    assert take(run, path).new == 24 * 4


def test_what_is_wrong_is_named_and_nothing_is_imported(mail_run, export, take, single, tmp_path) -> None:
    run = mail_run()
    path = export(run, "csv", single).files[0]
    second = tmp_path / "second.csv"

    def spoil(rows: list[list[str]]) -> None:
        fill(rows)
        rows[1][5] = "6"
        rows[2][4] = "edited"
        rows[3][0] = "ffffffff" + rows[3][0][8:]
        rows[4][0] = rows[4][0][:-8] + "00000000"
        rows[5][6] = "perhaps"

    shutil.copy(path, second)
    rewrite_csv(path, spoil)
    rewrite_csv(second, lambda rows: fill(rows) or rows[7].__setitem__(6, "no"))
    with pytest.raises(DataError) as error:
        take(run, path, second)
    said = "\n".join(error.value.messages)
    assert f"{path}, row 2, column 'coherence': expected a whole number from 1 to 5, got '6'." in said
    assert f"{path}, row 3: the text of item" in said
    assert "answer now reads 'edited'" in said
    assert f"{path}, row 4: item 'ffffffff-002-" in said
    assert "is of another run or export" in said
    assert f"{path}, row 5: item" in said
    assert "has another hash" in said
    assert f"{path}, row 6, column 'safe': expected one of 'yes', 'no', got 'perhaps'." in said
    assert f"{second}, row 8, column 'safe': rater-1 says 'no' here and 'yes' in {path}, row 8" in said
    assert "Nothing was imported" in error.value.messages[-1]
    assert labels_of(run) == []
    done = take(run, path, accept_partial=True)
    assert len(done.problems) == 5
    assert done.new == 24 * 4 - 2 - 3 * 4


@pytest.mark.parametrize("format", ["csv", "xlsx"])
def test_a_sheet_that_was_filled_in_is_not_written_over(mail_run, export, single, tmp_path, format) -> None:
    run, out = mail_run(), tmp_path / "sheets"
    (path,) = export(run, format, single, out=out).files
    before = path.read_bytes() + b" "
    path.write_bytes(before)
    with pytest.raises(OutputFolderError, match="may hold somebody's answers"):
        export(run, format, single, out=out, seed=2)
    assert path.read_bytes() == before
    assert len(list(run.path.glob("human/*/key.jsonl"))) == 1
    if format == "csv":
        path.write_bytes(before[:-1])
        assert export(run, format, single, out=out).files == [path]  # the same sheets again


def test_a_sheet_of_another_run_is_refused(mail_run, export, take, single, tmp_path) -> None:
    run = mail_run()
    path = Path(shutil.copy(rewrite_csv(export(run, "csv", single).files[0], fill), tmp_path / "old.csv"))
    shutil.rmtree(run.path / "human")
    export(run, "csv", single, seed=5)
    with pytest.raises(DataError, match="another run or export"):
        take(run, path)


def test_the_run_that_sheets_were_made_of_is_named(mail_run, export, take, single, tmp_path) -> None:
    run = mail_run()
    path = export(run, "csv", single).files[0]
    newer = RunFolder(Path(shutil.copytree(run.path, tmp_path / "newer")))
    shutil.rmtree(newer.path / "human")
    with pytest.raises(
        DataError, match=rf"no sheets out: .+ made of {re.escape(str(run.path))}; name that run"
    ):
        take(newer, path)
    shutil.rmtree(run.path / "human")
    with pytest.raises(DataError, match="make some with `evalkit human export`"):
        take(newer, path)


def test_a_label_that_is_given_anew_replaces_the_old_one(mail_run, export, take, single) -> None:
    run = mail_run()
    path = rewrite_csv(export(run, "csv", single).files[0], fill)
    take(run, path)
    rewrite_csv(path, lambda rows: rows[1].__setitem__(6, "no"))
    done = take(run, path)
    assert (done.new, done.changed, done.total) == (0, 1, 24 * 4)


def broken_book() -> bytes:
    """A ZIP in order, with a sheet whose XML is cut off."""
    good, out = io.BytesIO(), io.BytesIO()
    openpyxl.Workbook().save(good)
    with zipfile.ZipFile(good) as book, zipfile.ZipFile(out, "w") as broken:
        for name in book.namelist():
            content = book.read(name)
            broken.writestr(name, content[: len(content) // 2] if "sheet1" in name else content)
    return out.getvalue()


def test_a_page_with_strange_answers(mail_run, export, take, single, tmp_path) -> None:
    run = mail_run()
    export(run, "html", single)
    items = [json.loads(line)["item"] for line in open_key(run)]
    path = tmp_path / "ann.json"
    rows = [
        {"item": items[0], "answers": {"safe": "yes", "remark": None}, "seconds": float("nan")},
        {"item": items[1], "answers": {"saef": "yes"}},
    ]
    path.write_text(json.dumps({"rater": "ann", "labels": rows}))
    with pytest.raises(DataError, match=r"label 2: 'saef' is no question of this export.+'safe'"):
        take(run, path)
    rows[1]["answers"] = {"safe": "no"}
    path.write_text(json.dumps({"rater": "ann", "labels": rows}))
    assert take(run, path).new == 2
    assert {(label.question, label.label, label.seconds) for label in labels_of(run)} == {
        ("safe", True, None),
        ("safe", False, None),
    }


def test_files_that_are_none_of_ours(mail_run, export, take, single, tmp_path) -> None:
    run = mail_run()
    export(run, "csv", single)
    for name, content, said in [
        ("a.ods", b"x", "expected one of .csv"),
        ("a.xlsx", b"not a workbook", "not readable as XLSX"),
        ("a.csv", "Größe".encode("latin-1"), "expected UTF-8"),
        ("b.csv", b"one,two\n1,2\n", "no column holds item ids"),
        ("a.json", b"{", "expected JSON"),
        ("b.json", b"{}", "a list 'labels'"),
        ("broken.xlsx", broken_book(), "not readable as XLSX"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=said):
            take(run, tmp_path / name)
