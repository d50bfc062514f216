"""Answers that should be JSON: do they parse, and do their fields hold what the target's hold?

An answer that is no JSON has no right field, so it scores 0; it is not left out. Only a row whose *target*
cannot be read is unscored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.errors import MetricError
from evalkit.metrics.base import NO_TARGET, TextMetric, one_of
from evalkit.records import Sample, Score, Unscored
from evalkit.signature import digest, signature

__all__ = ["JsonFields", "JsonSchema", "JsonValid", "parse_answer", "parse_json", "read_schema"]

VERSION = 1
"""Raised whenever the definition changes, because it changes scores."""


_FENCE = re.compile(r"```(?:json|JSON)?[ \t]*\n(.*?)\n?[ \t]*```", re.DOTALL)


def parse_json(text: str) -> Any:
    """Parse strict JSON (RFC 8259: no NaN, no Infinity).

    Raises:
        ValueError: It is not; with the reason.

    >>> parse_json('{"a": 1}')
    {'a': 1}
    """
    try:
        return json.loads(text, parse_constant=_reject)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def parse_answer(text: str) -> Any:
    """Parse an answer that is JSON, or that holds exactly one fenced block of it.

    Raises:
        ValueError: Neither.

    >>> parse_answer('Here it is:\\n```json\\n[1]\\n```')
    [1]
    """
    try:
        return parse_json(text)
    except ValueError:
        blocks = _FENCE.findall(text)
        if len(blocks) != 1:
            raise
        return parse_json(blocks[0])


def read_schema(metric: str, schema: Mapping[str, Any] | str | Path) -> dict[str, Any]:
    """Return a JSON Schema given as an object or as the path of a file.

    Raises:
        MetricError: No such file, or it is no JSON object.
    """
    if isinstance(schema, Mapping):
        return dict(schema)
    path = Path(schema)
    try:
        loaded = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MetricError(f"{metric}: schema {path} cannot be read: {error}") from error
    if not isinstance(loaded, dict):
        raise MetricError(f"{metric}: schema {path} must be a JSON object; got {type(loaded).__name__}.")
    return loaded


class JsonValid(TextMetric):
    """Share of answers that are JSON as a whole (white space around it aside): 0–1, higher is better.

    >>> [JsonValid().score_text(Sample("1", "?"), text) for text in ('{"a": 1}', "{'a': 1}")]
    [1.0, 0.0]
    """

    name = "json_valid"

    def score_text(self, sample: Sample, text: str) -> Score:
        """1 if the whole answer parses, else 0."""
        try:
            parse_json(text)
        except ValueError:
            return 0.0
        return 1.0

    def signature(self) -> str:
        """Name."""
        return signature(self.name, definition=VERSION)


class JsonSchema(TextMetric):
    """Share of answers that are JSON and satisfy a JSON Schema: 0–1, higher is better.

    The answer may stand in one fenced block. References to other documents are not fetched.

    Args:
        schema: As object or path; without it every row's target is its schema.

    Raises:
        MetricError: The schema cannot be read or is itself not valid.

    >>> JsonSchema(schema={"type": "object", "required": ["name"]}).score_text(Sample("1", "?"), '{"name": "Ada"}')
    1.0
    """

    name = "json_schema"

    def __init__(self, *, schema: Mapping[str, Any] | str | Path | None = None) -> None:
        self.schema = None if schema is None else read_schema(self.name, schema)
        self.validate = None
        if self.schema is not None:
            checked = _validator(self.schema)
            if isinstance(checked, Unscored):
                raise MetricError(f"json_schema: {checked.reason}")
            self.validate = checked

    def score_text(self, sample: Sample, text: str) -> Score:
        """1 if the answer satisfies the schema, else 0; unscored without a schema that can be used."""
        validate = self.validate or _row_validator(sample)
        if isinstance(validate, Unscored):
            return validate
        try:
            return validate(parse_answer(text))
        except (ValueError, RecursionError):
            return 0.0

    def signature(self) -> str:
        """Name, schema and version of jsonschema."""
        schema = "target" if self.schema is None else digest(self.schema)[:12]
        return signature(self.name, schema=schema, jsonschema=version("jsonschema"))


class JsonFields(TextMetric):
    """Agreement of an answer's fields with the target's, as precision, recall or F1 per sample: 0–1, higher
    is better.

    A field is a leaf of the JSON tree with its path: a text, number, truth value, null, or an empty object or
    list. It agrees if the target has an equal one at the same path; types count (``"1"`` is not ``1``,
    ``true`` is not ``1``; ``1`` and ``1.0`` are one number). The items of a list are paired one to one, so
    that most fields agree (``lists="unordered"``), or by position (``lists="ordered"``). The answer may stand
    in one fenced block.

    Args:
        measure: ``f1`` (default), ``precision`` (agreeing share of the answer's fields) or ``recall`` (of the
            target's). lists: ``unordered`` (default) or ``ordered``. schema: JSON Schema, as object or path:
            fields that it does not declare in ``properties`` are ignored.

    >>> sample = Sample("1", "?", {"name": "Ada", "born": 1815})
    >>> JsonFields().score_text(sample, '{"name": "Ada", "born": "1815", "died": 1852}')
    0.4
    """

    name = "json_fields"

    def __init__(
        self,
        *,
        measure: str = "f1",
        lists: str = "unordered",
        schema: Mapping[str, Any] | str | Path | None = None,
    ) -> None:
        self.measure_of = one_of(self.name, "measure", measure, ("f1", "precision", "recall"))
        self.lists = one_of(self.name, "lists", lists, ("unordered", "ordered"))
        self.schema = None if schema is None else read_schema(self.name, schema)

    def score_text(self, sample: Sample, text: str) -> Score:
        """Agreement with the target (best of several, where the target is a list of JSON texts)."""
        wanted = _wanted(sample)
        if isinstance(wanted, Unscored):
            return wanted
        try:
            answer = parse_answer(text)
            return max(self._agreement(answer, target) for target in wanted)
        except (ValueError, RecursionError):  # no JSON, or nested beyond what any target is
            return 0.0

    def signature(self) -> str:
        """Name and settings."""
        schema = None if self.schema is None else digest(self.schema)[:12]
        return signature(
            self.name, measure=self.measure_of, lists=self.lists, schema=schema, definition=VERSION
        )

    def _agreement(self, answer: Any, target: Any) -> float:
        if self.schema is not None:
            answer, target = _declared(answer, self.schema), _declared(target, self.schema)
        has, wants = _leaves(answer), _leaves(target)
        agree = _agreeing(answer, target, ordered=self.lists == "ordered")
        whole = {"f1": has + wants, "precision": 2 * has, "recall": 2 * wants}[self.measure_of]
        return 2 * agree / whole


def _validator(schema: Any) -> Callable[[Any], Score] | Unscored:
    """A function from JSON to 1 or 0, or why the schema cannot be used."""
    import jsonschema
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    try:
        kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        return Unscored(f"the schema is not a valid JSON Schema: {error.message}")
    validator = kind(schema, registry=Registry())  # an empty registry: nothing is fetched

    def validate(value: Any) -> Score:
        try:
            return float(validator.is_valid(value))
        except Unresolvable as error:
            return Unscored(f"the schema refers to what is not in it: {error}")

    return validate


def _row_validator(sample: Sample) -> Callable[[Any], Score] | Unscored:
    schema = sample.target
    if isinstance(schema, str):
        try:
            schema = parse_json(schema)
        except ValueError as error:
            return Unscored(f"the target is no JSON: {error}")
    if not isinstance(schema, dict):
        return Unscored("the row's target is no JSON Schema, and the metric was given none")
    return _validator(schema)


def _reject(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _wanted(sample: Sample) -> list[Any] | Unscored:
    """Accepted values: the target itself; a text is parsed; a list of JSON texts means any of them."""
    target = sample.target
    if target is None or target == []:
        return NO_TARGET
    several = isinstance(target, list) and all(
        isinstance(item, str) and item.lstrip()[:1] in "{[" for item in target
    )
    found = []
    for item in target if several else [target]:
        try:
            found.append(parse_json(item) if isinstance(item, str) else item)
        except ValueError as error:
            return Unscored(f"the target is no JSON: {error}")
    return found


def _declared(value: Any, schema: Mapping[str, Any]) -> Any:
    """``value`` without the fields that the schema does not declare."""
    properties = schema.get("properties")
    items = schema.get("items")
    if isinstance(value, dict) and isinstance(properties, Mapping):
        return {key: _declared(value[key], properties[key]) for key in value if key in properties}
    if isinstance(value, list) and isinstance(items, Mapping):
        return [_declared(item, items) for item in value]
    return value


def _leaves(value: Any) -> int:
    if isinstance(value, dict) and value:
        return sum(_leaves(child) for child in value.values())
    if isinstance(value, list) and value:
        return sum(_leaves(child) for child in value)
    return 1


def _agreeing(answer: Any, target: Any, *, ordered: bool) -> int:
    """Number of leaves that agree."""
    if isinstance(answer, dict) and isinstance(target, dict) and answer and target:
        return sum(_agreeing(answer[key], target[key], ordered=ordered) for key in answer if key in target)
    if isinstance(answer, list) and isinstance(target, list) and answer and target:
        if ordered:
            return sum(_agreeing(a, b, ordered=True) for a, b in zip(answer, target, strict=False))
        return _best_pairing(answer, target)
    return int(_equal(answer, target))


def _best_pairing(answer: list[Any], target: list[Any]) -> int:
    """Most leaves that can agree when items are paired one to one (Kuhn 1955, the assignment problem)."""
    from scipy.optimize import linear_sum_assignment

    gains = np.array([[_agreeing(a, b, ordered=False) for b in target] for a in answer])
    rows, columns = linear_sum_assignment(gains, maximize=True)
    return int(gains[rows, columns].sum())


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, bool) or isinstance(second, bool) or type(first) is type(second):
        return type(first) is type(second) and bool(first == second)
    numbers = isinstance(first, int | float) and isinstance(second, int | float)
    return numbers and bool(first == second)
