"""Expected values worked by hand from the definition in ``json_answers``: agreeing leaves over all leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import MetricError
from evalkit.metrics import Metric, get_metric
from evalkit.records import Sample, Unscored

Value = Callable[[Metric, list[tuple[Any, Any]]], float]


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ('{"a": [1, 2.5e3, "é", null, true]}', 1),
        (' \n"text"\n', 1),
        ("12", 1),
        ("", 0),
        ("{'a': 1}", 0),
        ('{"a": 1,}', 0),
        ('{"a": NaN}', 0),  # Python's parser takes it, JSON does not
        ("[Infinity]", 0),
        ('Here it is: {"a": 1}', 0),
        ('{"a": 1} {"b": 2}', 0),
        ("[" * 100_000, 0),
        ('```json\n{"a": 1}\n```', 0),  # the fence is not JSON
    ],
)
def test_json_valid(text: str, valid: float, value: Value) -> None:
    assert value(get_metric("json_valid"), [(text, None)]) == valid


@pytest.mark.parametrize(
    ("answer", "target", "f1"),
    [
        ({"a": 1, "b": "x"}, {"a": 1, "b": "x"}, 1),
        ({"b": "x", "a": 1}, {"a": 1, "b": "x"}, 1),  # the order of keys does not matter
        ({"a": 1}, {"a": 1, "b": "x"}, 2 / 3),  # P 1/1, R 1/2
        ({"a": 1.0}, {"a": 1}, 1),  # JSON has one kind of number
        ({"a": "1"}, {"a": 1}, 0),
        ({"a": True}, {"a": 1}, 0),
        ({"a": None}, {"a": False}, 0),
        ({"a": {}}, {"a": []}, 0),
        ({}, {}, 1),
        ({"a": {"b": {"c": 1, "d": 2}}}, {"a": {"b": {"c": 1, "d": 3}}}, 1 / 2),
        ({"a": {"b": 1}}, {"b": 1}, 0),  # the path counts
        ([3, 1, 2], [1, 2, 3], 1),
        ([1, 1, 2], [1, 2, 2], 2 / 3),  # one to one: 1 and 2 are paired once each
        # the items are paired 2-1 and 1-2: 2 + 1 leaves agree of 4 and 4
        ([{"x": 1, "y": 2}, {"x": 3, "y": 4}], [{"x": 3, "y": 4}, {"x": 1, "y": 5}], 3 / 4),
        ([1], {"0": 1}, 0),
        ({"a": 10**400}, {"a": 1.0}, 0),
    ],
)
def test_json_fields(answer: Any, target: Any, f1: float, value: Value) -> None:
    text = json.dumps(answer)
    assert value(get_metric("json_fields"), [(text, target)]) == pytest.approx(f1, abs=1e-12)
    assert value(get_metric("json_fields"), [(text, json.dumps(target))]) == pytest.approx(f1, abs=1e-12)


def test_precision_recall_and_ordered_lists(value: Value) -> None:
    pair = ('{"a": 1, "b": 2, "c": 3}', {"a": 1, "d": 4})
    assert value(get_metric("json_fields", measure="precision"), [pair]) == pytest.approx(1 / 3)
    assert value(get_metric("json_fields", measure="recall"), [pair]) == pytest.approx(1 / 2)
    assert value(get_metric("json_fields", lists="ordered"), [("[1, 2, 4]", [2, 1, 4, 5])]) == pytest.approx(
        2 / 7
    )


def test_an_answer_that_is_no_json_is_wrong_and_a_target_that_is_none_is_unscored(measure: Any) -> None:
    metric = get_metric("json_fields")
    scores = measure(metric, [("I think it is Ada", {"a": 1}), ("[" * 9000 + "]" * 9000, {"a": 1})]).scores
    assert scores == [0.0, 0.0]
    scores = measure(metric, [("{}", None), ("{}", "{broken")]).scores
    assert scores[0] == Unscored("the row has no target")
    assert isinstance(scores[1], Unscored)
    assert scores[1].reason.startswith("the target is no JSON: Expecting property name")


def test_one_fenced_block_is_read_and_two_are_not(value: Value) -> None:
    fenced = 'Sure!\n```json\n{"a": 1}\n```\nAnything else?'
    assert value(get_metric("json_fields"), [(fenced, {"a": 1})]) == 1
    assert value(get_metric("json_fields"), [(fenced + fenced, {"a": 1})]) == 0


def test_best_of_several_accepted_texts_and_a_list_of_words_is_one_list(value: Value) -> None:
    assert value(get_metric("json_fields"), [('{"a": 2}', ['{"a": 1}', '{"a": 2}'])]) == 1
    assert value(get_metric("json_fields"), [('["red", "blue"]', ["blue", "red"])]) == 1


def test_a_schema_limits_what_counts(tmp_path: Path, value: Value) -> None:
    schema = {
        "properties": {"name": {}, "jobs": {"items": {"properties": {"title": {}}}}},
    }
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(schema))
    answer = '{"name": "Ada", "note": "x", "jobs": [{"title": "analyst", "since": 1843}]}'
    target = {"name": "Ada", "born": 1815, "jobs": [{"title": "analyst"}]}
    for given_schema in (schema, path, str(path)):
        assert value(get_metric("json_fields", schema=given_schema), [(answer, target)]) == 1
    assert value(get_metric("json_fields"), [(answer, target)]) == pytest.approx(2 * 2 / (4 + 3))
    assert "schema:" in get_metric("json_fields", schema=schema).signature()
    with pytest.raises(MetricError, match=r"schema .*missing\.json cannot be read"):
        get_metric("json_fields", schema=tmp_path / "missing.json")


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(_json, _json)
def test_properties(first: Any, second: Any) -> None:
    metric = get_metric("json_fields")

    def score(answer: Any, target: Any) -> Any:
        return metric.score_text(Sample("1", "", {"value": target}), json.dumps({"value": answer}))  # type: ignore[attr-defined]

    assert 0 <= score(first, second) <= 1
    assert score(first, first) == 1
    assert score(first, second) == pytest.approx(score(second, first))


@pytest.mark.parametrize(
    ("schema", "answer", "valid"),
    [
        ({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}, '{"a": 1}', 1),
        ({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}, '{"a": "1"}', 0),
        ({"type": "object", "required": ["a"]}, "{}", 0),
        ({"type": "object", "additionalProperties": False}, '{"a": 1}', 0),
        ({"enum": ["red", "blue"]}, '"red"', 1),
        ({"$defs": {"n": {"type": "number"}}, "items": {"$ref": "#/$defs/n"}}, "[1, 2.5]", 1),
        ({"$defs": {"n": {"type": "number"}}, "items": {"$ref": "#/$defs/n"}}, '[1, "x"]', 0),
        ({}, "anything but JSON", 0),
        ({}, "```json\n{}\n```", 1),
        ({}, "[" * 100_000, 0),
    ],
)
def test_json_schema(schema: dict[str, Any], answer: str, valid: float, value: Value, tmp_path: Path) -> None:
    """By jsonschema, in each way of giving the schema: setting, file, target as object and as text."""
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(schema))
    assert value(get_metric("json_schema", schema=schema), [(answer, None)]) == valid
    assert value(get_metric("json_schema", schema=str(path)), [(answer, None)]) == valid
    assert value(get_metric("json_schema"), [(answer, schema)]) == valid
    assert value(get_metric("json_schema"), [(answer, json.dumps(schema))]) == valid


def test_json_schemas_that_cannot_be_used(measure: Any) -> None:
    with pytest.raises(MetricError, match="not a valid JSON Schema: 'strin' is not valid"):
        get_metric("json_schema", schema={"type": "strin"})
    scores = measure(
        get_metric("json_schema"), [("1", None), ("1", {"type": "strin"}), ("1", "{"), ("1", [1])]
    ).scores
    assert all(isinstance(score, Unscored) for score in scores)
    assert "no JSON Schema" in scores[0].reason
    away = {"$ref": "https://example.org/schema.json"}
    score = measure(get_metric("json_schema", schema=away), [("1", None)]).scores[0]
    assert isinstance(score, Unscored)  # nothing is fetched
    assert "refers to what is not in it" in score.reason
