"""Answers taken out of text. Expected values by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from evalkit.catalog import Entry
from evalkit.data.cards import TaskCard
from evalkit.data.extract import extract, extractor
from evalkit.errors import CatalogError, SpecError
from evalkit.records import Output
from evalkit.specs.task import TaskSpec

HERE = Path(".")


def _card(folder: Path, rule: str | dict[str, str] | None) -> TaskCard:
    spec = TaskSpec.model_validate(
        {"task": "t", "data": {"test": "t.jsonl"}, "metrics": [{"metric": "exact_match"}], "extract": rule}
    )
    return TaskCard(Entry("tasks", "t", folder, "project"), spec, 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4 bags of 3 cost $1,250.00.", "1250"),
        ("10-3=7", "7"),
        ("the range is 3-5", "5"),
        ("it fell to -5", "-5"),
        ("it fell to −2.50 degrees", "-2.5"),
        ("1, 2,3", "3"),
        ("12,3456", "3456"),
        ("about .5 of it", "0.5"),
        ("version 007", "7"),
        ("-0", "0"),
        ("100", "100"),
        ("٤٢", "42"),
        ("123456789012345678901234567890.10", "123456789012345678901234567890.1"),
        ("9" * 5000, "9" * 5000),
        ("none at all", None),
        ("", None),
    ],
)
def test_last_number(text: str, expected: str | None) -> None:
    assert extractor("last_number", HERE)(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('See [1]: {"a": [1, 2]} and so on', '{"a": [1, 2]}'),
        ('```json\n[{"a": 1}, {"a": 2}]\n```', '[{"a": 1}, {"a": 2}]'),
        ("{not json} {}", "{}"),
        ("[" * 5000, None),
        ("no braces", None),
    ],
)
def test_json(text: str, expected: str | None) -> None:
    assert extractor("json", HERE)(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("So:\n```python\nx = 1\n```\nand\n```\ny\n```", "x = 1\n"),
        ("```\ncut off", "cut off"),
        ("~~~~\na\n~~~\nb\n~~~~\n", "a\n~~~\nb\n"),
        ("x = 1", None),
    ],
)
def test_code_block(text: str, expected: str | None) -> None:
    assert extractor("code_block", HERE)(text) == expected


def test_regex_takes_its_first_group_or_the_whole() -> None:
    assert extractor((("regex", r"answer: (\w+)"),), HERE)("answer: yes, answer: no") == "yes"
    assert extractor((("regex", r"\d+"),), HERE)("a 12 b 3") == "12"
    assert extractor((("regex", r"\d+"),), HERE)("a") is None
    assert extractor((("regex", r"(a)|b"),), HERE)("b") is None


def test_what_is_not_found_counts_as_the_empty_answer(tmp_path: Path) -> None:
    card = _card(tmp_path, "last_number")
    assert extract(card, Output("1", "none")).text == ""
    assert extract(card, Output("1", ["a 3", "b"])).text == ["3", ""]
    assert extract(_card(tmp_path, None), Output("1", " as it is ")).text == " as it is "


def test_a_function_beside_the_card(tmp_path: Path) -> None:
    (tmp_path / "scorer.py").write_text(
        "def last(text):\n    return text.split()[-1] if text else None\n\ndef bad(text):\n    return 3\n",
        encoding="utf-8",
    )
    card = _card(tmp_path, "scorer.py:last")
    assert extract(card, Output("1", "so it is B")).text == "B"
    assert extract(card, Output("1", "")).text == ""
    with pytest.raises(CatalogError, match=r"last\('  '\) raised IndexError"):
        extract(card, Output("1", "  "))
    with pytest.raises(CatalogError, match="bad must return a text or None; got int"):
        extract(_card(tmp_path, "scorer.py:bad"), Output("1", "x"))
    with pytest.raises(CatalogError, match="has no function 'lost'"):
        extract(_card(tmp_path, "scorer.py:lost"), Output("1", "x"))


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("last_numbr", "Did you mean 'last_number'"),
        ({"regex": "("}, "is no regular expression"),
        ({"pattern": "a"}, "expected {regex: PATTERN}"),
    ],
)
def test_an_unknown_rule_is_refused(tmp_path: Path, rule: str | dict[str, str], words: str) -> None:
    with pytest.raises(SpecError, match="extract: ") as caught:
        extract(_card(tmp_path, rule), Output("1", "x"))
    assert words in str(caught.value)
