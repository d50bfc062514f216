from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evalkit.data.labels import numbers, read_labels
from evalkit.errors import DataError


def write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_a_file_in_any_order_with_gaps(tmp_path: Path) -> None:
    file = write(
        tmp_path / "l.csv",
        "\ufeffRater, Item ,LABEL,note\nb,2,10,\na,1,9,x\nb,1,9.0,\na,2,,\nc,2,NaN,\na,1,9,again\n",
    )
    table = read_labels(file)
    assert (table.items, table.raters, table.values) == (
        ("2", "1"),
        ("b", "a"),
        ("9", "10"),
    )  # 9 < 10: numbers
    np.testing.assert_array_equal(table.codes, [[1, -1], [0, 0]])
    assert table.empty == 2
    assert numbers(table) == [9.0, 10.0]


def test_named_columns_and_an_order(tmp_path: Path) -> None:
    file = write(tmp_path / "l.csv", "q,who,verdict\n1,a,low\n1,b,high\n2,a,mid\n")
    table = read_labels(file, item="q", rater="who", label="verdict", order=["low", "mid", "high"])
    assert table.codes.tolist() == [[0, 2], [1, -1]]
    with pytest.raises(DataError, match="Expected labels that are numbers, got 'low'"):
        numbers(table)


def test_text_labels_are_told_apart_as_written() -> None:
    rows = [
        {"item": i, "rater": r, "label": label}
        for i, r, label in [(1, "a", "1"), (1, "b", "1.0"), (2, "a", "x")]
    ]
    assert read_labels(rows).values == ("1", "1.0", "x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "item,rater,lable\n1,a,2\n",
            "l.csv: expected a column 'label', got 'item', 'rater', 'lable'. Did you mean",
        ),
        ("item;rater;label\n1;a;2\n", "separated by ';'; save it with commas. Type --item NAME"),
        ("item,rater,label\n1,a,2\n1,a,3\n", "l.csv:3: 'a' labelled '1' '3', but '2' at"),
        ("item,rater,label\n,a,2\n", "l.csv:2: the item is empty."),
        ("item,rater,label\n1,,2\n", "l.csv:2: the rater is empty."),
        ("item,rater,label\n", "holds no rows"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_labels(write(tmp_path / "l.csv", text))
    assert message in str(caught.value)
    assert len(caught.value.messages) == 1


def test_an_order_is_complete(tmp_path: Path) -> None:
    file = write(tmp_path / "l.csv", "item,rater,label\n1,a,lo\n")
    with pytest.raises(DataError, match=r"'lo' is none of low, high\. Did you mean 'low'"):
        read_labels(file, order=["low", "high"])
