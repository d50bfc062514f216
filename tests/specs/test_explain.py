"""Mistakes in words: one a mistake, at its key, without a word of pydantic's."""

from __future__ import annotations

from typing import Any

import pytest

from evalkit.specs.explain import describe, explain, shown
from evalkit.specs.gate import GatePolicy, GateRule
from evalkit.specs.judge import JudgeSpec
from evalkit.specs.study import Quantization, Study
from evalkit.specs.task import TaskSpec
from evalkit.specs.trainer import QloraSettings

TASK = {"task": "t", "data": {"test": "a.jsonl"}, "metrics": ["bleu"]}


def told(spec: Any, data: Any) -> list[str]:
    return [str(mistake) for mistake in explain(spec, data)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("nf5", "quantization: expected one of 'nf4', 'fp4', 'int8', 'none', got 'nf5'. Did you mean 'nf4'?"),
        (4, "quantization: expected one of 'nf4', 'fp4', 'int8', 'none', got 4"),
        (None, "quantization: expected one of 'nf4', 'fp4', 'int8', 'none', got nothing"),
        (
            ["nf4"],
            "quantization: expected a mapping with type, double, block, or one of 'nf4', 'fp4', 'int8', 'none', "
            "got a list of 1",
        ),
        ({"typ": "nf4"}, "quantization.typ: unknown key. Did you mean 'type'?"),
        (
            {"type": "nf5"},
            "quantization.type: expected one of 'nf4', 'fp4', 'int8', 'none', got 'nf5'. Did you mean 'nf4'?",
        ),
        ({"double": "yes"}, "quantization.double: expected true or false, got 'yes'. Write true"),
        ({"double": "off"}, "quantization.double: expected true or false, got 'off'. Write false"),
        (
            {"block": 100},
            "quantization.block: expected one of 32, 64, 128, 256, 512, 1024, 2048, 4096, got 100",
        ),
    ],
)
def test_a_union_is_told_as_one_mistake(value: Any, expected: str) -> None:
    assert told(Study, {"study": "s", "quantization": value}) == [expected]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("rank", "16", "rank: expected a whole number ≥ 1 and ≤ 1024, got '16'. Write it without quotes: 16"),
        ("rank", 8.5, "rank: expected a whole number ≥ 1 and ≤ 1024, got 8.5"),
        ("rank", True, "rank: expected a whole number ≥ 1 and ≤ 1024, got true"),
        ("rank", 0, "rank: expected a whole number ≥ 1 and ≤ 1024, got 0"),
        (
            "learning_rate",
            "2e-4",
            "learning_rate: expected a number > 0 and ≤ 1, got '2e-4'. Write it without quotes: 2e-4",
        ),
        ("learning_rate", float("nan"), "learning_rate: expected a number > 0 and ≤ 1, got nan"),
        ("alpha", float("inf"), "alpha: expected a number > 0, got inf"),
        ("targets", [], "targets: expected a list (each item: text) that is not empty, got an empty list"),
        (
            "targets",
            "all",
            "targets: expected one of 'all-linear', 'attention', 'mlp', or a list (each item: text) that is not empty, "
            "got 'all'",
        ),
        ("targets", ["q_proj", 3], 'targets[1]: expected text, got 3. Write it in quotes: "3"'),
        ("max_steps", "many", "max_steps: expected a whole number ≥ 1, got 'many'"),
        ("lerning_rate", 1, "lerning_rate: unknown key. Did you mean 'learning_rate'?"),
    ],
)
def test_values(key: str, value: Any, expected: str) -> None:
    assert told(QloraSettings, {key: value}) == [expected]


def test_right_values_are_not_complained_about() -> None:
    assert (
        told(QloraSettings, {"learning_rate": 1, "targets": ["q_proj"], "max_grad_norm": None, "epochs": 2})
        == []
    )
    assert (
        told(Study, {"study": "s", "quantization": {"type": "fp4"}, "data": {"validation": "a.jsonl"}}) == []
    )
    assert told(TaskSpec, {**TASK, "metrics": ["bleu", {"metric": "f1", "average": "micro"}]}) == []
    assert told(TaskSpec, {**TASK, "data": {"test": {"hf": "gsm8k", "split": "test"}}}) == []


def test_a_candidate_is_judged_by_its_kind_alone() -> None:
    candidates = [
        {"kind": "trian"},
        {"name": "a"},
        5,
        {"kind": "prompt", "name": "b", "rank": 8},
        {"kind": ["train"]},
    ]
    assert told(Study, {"study": "s", "candidates": candidates}) == [
        "candidates[0].kind: expected one of 'prompt', 'train', 'adapter', 'rag', 'api', 'replay', got 'trian'."
        " Did you mean 'train'?",
        "candidates[1]: missing key 'kind': expected one of 'prompt', 'train', 'adapter', 'rag', 'api', 'replay'",
        "candidates[2]: expected a mapping with 'kind' and its keys, got 5",
        "candidates[3].rank: unknown key. Known keys: name, model, quantization, dtype, kind, system, fewshot.",
        "candidates[4].kind: expected one of 'prompt', 'train', 'adapter', 'rag', 'api', 'replay', got a list of 1",
    ]


def test_short_forms() -> None:
    assert told(Study, {"study": "s", "tasks": ["a", {"task": "b", "limit": 0}, 5, {"limit": 3}]}) == [
        "tasks[1].limit: expected a whole number ≥ 1, got 0",
        "tasks[2]: expected text, or a mapping with task, limit, chat, got 5",
        "tasks[3]: missing key 'task': expected text",
    ]
    assert told(TaskSpec, {**TASK, "metrics": [3, {"average": "micro"}]}) == [
        "metrics[0]: expected text, or a mapping with metric, settings, got 3",
        "metrics[1]: missing key 'metric': expected text",
    ]


def test_of_two_mappings_the_one_that_was_meant() -> None:
    assert told(TaskSpec, {**TASK, "data": {"test": {"hf": "gsm8k", "spilt": "test"}}}) == [
        "data.test.spilt: unknown key. Did you mean 'split'?"
    ]


def test_keys_that_exclude_each_other() -> None:
    rule = {"task": "t", "metric": "m"}
    assert told(GatePolicy, {"gate": "g", "rules": []}) == [
        "rules: expected a list (each item: a mapping with task, metric, candidate, at_least, at_most, no_worse_than, "
        "margin, better_than, by) that is not empty, got an empty list"
    ]
    one_each = "expected one of at_least, at_most, no_worse_than, better_than, got"
    assert told(GateRule, rule) == [f"{one_each} none; write one rule for each"]
    assert told(GateRule, {**rule, "at_least": 0, "at_most": 1}) == [
        f"{one_each} at_least and at_most; write one rule for each"
    ]
    assert told(GateRule, {**rule, "at_least": 0.5, "margin": 0.1}) == [
        "'margin' goes with 'no_worse_than' only, got 'at_least'"
    ]
    assert told(GateRule, {**rule, "no_worse_than": "base", "margin": -1}) == [
        "margin: expected a number ≥ 0, got -1"
    ]
    assert told(JudgeSpec, {"judge": "j", "kind": "checklist"}) == [
        "expected 'questions' for kind checklist, and for no other kind"
    ]
    assert told(JudgeSpec, {"judge": "j", "kind": "pointwise", "rubric": {"9": "perfect"}}) == [
        "rubric: expected scores from 1 to 5, got 9"
    ]


@pytest.mark.parametrize(
    "name", ["a/b", "..", ".hidden", "a ", " a", "", "a\n", "a[1]", "a#2", "x" * 81, "a:b", "a\x00"]
)
def test_names_that_no_folder_can_have(name: str) -> None:
    (message,) = told(Study, {"study": name})
    assert message.startswith("study: expected a name of at most 80 characters")


@pytest.mark.parametrize("name", ["r16", "Änderung 2", "日本", "a.b-c_d", "x" * 80, "a=b,c", "a"])
def test_names_that_a_folder_can_have(name: str) -> None:
    assert told(Study, {"study": name}) == []


def test_a_number_for_a_name_says_to_quote_it() -> None:
    assert told(Study, {"study": 2024})[0].endswith('got 2024. Write it in quotes: "2024"')


def test_no_pydantic_words_anywhere() -> None:
    """Every kind of wrong value at every key of every spec: no message speaks of validation."""
    for spec in (Study, TaskSpec, QloraSettings, GatePolicy, JudgeSpec, Quantization):
        for value in (None, True, 3, -1.5, "x", [], ["x"], {}, {"x": 1}):
            for message in told(spec, dict.fromkeys(spec.model_fields, value)):
                for word in (
                    "Input should",
                    "function-",
                    "pydantic",
                    "instance",
                    "Literal",
                    "Annotated",
                    "typing",
                ):
                    assert word not in message


def test_shown_values_are_short() -> None:
    assert shown("x" * 200) == f"'{'x' * 55}…'"
    assert shown([]) == "an empty list"
    assert describe(int | None) == "a whole number"
