"""What is wrong with a value, in words: every mistake at once, each at the key where it is.

Pydantic judges; this module asks it about one value at a time, from the outside in, so that a mistake inside
a union is told as one mistake ("expected one of 'nf4', 'none'") and not as one per branch.
"""

from __future__ import annotations

import types
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from evalkit.errors import nearest
from evalkit.specs.model import Spec

__all__ = ["Mistake", "describe", "dotted", "explain", "shown"]

PathInFile = tuple[str | int, ...]

WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    type(None): "null",
}


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong.

    Attributes:
        path: Keys and positions from the top to the value, such as ``("candidates", 0, "settings", "rank")``.
        message: What was expected, what came, what to type next.
        line: Its line, where the path alone does not tell (the second of two equal keys).
    """

    path: PathInFile
    message: str
    line: int | None = None

    def __str__(self) -> str:
        return f"{dotted(self.path)}: {self.message}" if self.path else self.message


def explain(expected: Any, data: Any, path: PathInFile = ()) -> list[Mistake]:
    """Return every mistake that keeps ``data`` from being ``expected`` (a spec or a type); none if it is
    right.

    >>> from evalkit.specs.study import DataSpec
    >>> [str(mistake) for mistake in explain(DataSpec, {"overlong": "dorp"})]
    ["overlong: expected one of 'drop', 'truncate', 'split', got 'dorp'. Did you mean 'drop'?"]
    """
    errors = _errors(expected, data)
    if not errors:
        return []
    bare, notes = _bare(expected)
    if isinstance(bare, type) and issubclass(bare, Spec):
        return _in_spec(bare, data, path, errors)
    if _is_union(bare):
        return _in_union(expected, bare, notes, data, path)
    if get_origin(bare) is list and isinstance(data, list):
        (item,) = get_args(bare)
        found = [mistake for i, value in enumerate(data) for mistake in explain(item, value, (*path, i))]
        return found or [_leaf(expected, data, path)]
    if get_origin(bare) is dict and isinstance(data, dict):
        item = get_args(bare)[1]
        return [mistake for key, value in data.items() for mistake in explain(item, value, (*path, key))]
    return [_leaf(expected, data, path)]


def dotted(path: PathInFile) -> str:
    """Write a path as people do: ``candidates[0].settings.rank``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def shown(value: Any) -> str:
    """Show a value in a message, short.

    >>> shown({"a": 1}), shown(None), shown(True), shown("x" * 100)[:12]
    ('a mapping', 'nothing', 'true', "'xxxxxxxxxxx")
    """
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "an empty list"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]}…{text[0]}"


def describe(expected: Any, simple: bool = False) -> str:
    """Say what is expected of a value.

    Args:
        expected: A type or spec.
        simple: Leave out mappings where a single value would do.

    >>> describe(Literal["a", "b"] | list[int] | None)
    "one of 'a', 'b', or a list (each item: a whole number)"
    >>> from pydantic import Field
    >>> describe(Annotated[float, Field(gt=0, lt=1)])
    'a number > 0 and < 1'
    """
    bare, notes = _bare(expected)
    for note in notes:
        if isinstance(note, FieldInfo) and note.description:
            return note.description
    if _is_union(bare):
        branches = [part for part in _branches(bare) if part is not type(None)]
        if simple:
            branches = [part for part in branches if not _is_mapping(part)] or branches
        return ", or ".join(dict.fromkeys(describe(part) for part in branches))
    if get_origin(bare) is Literal:
        values = [shown(value) for value in get_args(bare)]
        return values[0] if len(values) == 1 else f"one of {', '.join(values)}"
    if get_origin(bare) is list:
        item = get_args(bare)[0]
        return " ".join(
            ["a list" if item is Any else f"a list (each item: {describe(item)})", *_bounds(notes)]
        )
    if get_origin(bare) is dict or bare is dict:
        return "a mapping"
    if isinstance(bare, type) and issubclass(bare, BaseModel):
        short = "text, or " if issubclass(bare, Spec) and bare.shorthand("x") != "x" else ""
        return f"{short}a mapping with {', '.join(bare.model_fields)}"
    return " ".join([WORDS.get(bare, getattr(bare, "__name__", str(bare))), *_bounds(notes)])


def _in_spec(spec: type[Spec], data: Any, path: PathInFile, errors: list[Any]) -> list[Mistake]:
    data = spec.shorthand(data)
    if not isinstance(data, dict):
        return [_leaf(spec, data, path)]
    found = []
    for key in data:
        if key not in spec.model_fields:
            hint = nearest(key, spec.model_fields) or f" Known keys: {', '.join(spec.model_fields)}."
            found.append(Mistake((*path, key), f"unknown key.{hint}"))
    for name, field in spec.model_fields.items():
        if name in data:
            found += explain(_annotation(field), data[name], (*path, name))
        elif field.is_required():
            found.append(Mistake(path, f"missing key {name!r}: expected {describe(_annotation(field))}"))
    if found:
        return found
    return [Mistake(path, error["msg"].removeprefix("Value error, ")) for error in errors]


def _in_union(expected: Any, bare: Any, notes: list[Any], data: Any, path: PathInFile) -> list[Mistake]:
    branches = _branches(bare)
    tag = next(
        (note.discriminator for note in notes if isinstance(note, FieldInfo) and note.discriminator), None
    )
    if isinstance(tag, str):
        return _in_tagged(branches, tag, data, path)
    if isinstance(data, dict):
        specs = [part for part in branches if isinstance(part, type) and issubclass(part, Spec)]
        if specs:  # the one that knows most of the keys is the one that was meant
            meant = max(specs, key=lambda spec: len(data.keys() & spec.model_fields.keys()))
            return explain(meant, data, path)
    same_kind = [part for part in branches if get_origin(_bare(part)[0]) is type(data)]
    if len(same_kind) == 1:
        return explain(same_kind[0], data, path)
    return [_leaf(expected, data, path)]


def _in_tagged(branches: list[Any], tag: str, data: Any, path: PathInFile) -> list[Mistake]:
    by_tag = {
        value: spec for spec in branches for value in get_args(_bare(spec.model_fields[tag].annotation)[0])
    }
    kinds = ", ".join(repr(value) for value in by_tag)
    if not isinstance(data, dict):
        return [Mistake(path, f"expected a mapping with {tag!r} and its keys, got {shown(data)}")]
    if tag not in data:
        return [Mistake(path, f"missing key {tag!r}: expected one of {kinds}")]
    value = data[tag]
    if not isinstance(value, str) or value not in by_tag:
        hint = nearest(value, by_tag) if isinstance(value, str) else ""
        return [Mistake((*path, tag), f"expected one of {kinds}, got {shown(value)}{hint and '.' + hint}")]
    return explain(by_tag[value], data, path)


def _leaf(expected: Any, data: Any, path: PathInFile) -> Mistake:
    simple = not isinstance(data, dict | list)
    message = f"expected {describe(expected, simple)}, got {shown(data)}"
    return Mistake(path, message + (_hint(expected, data) or ""))


def _hint(expected: Any, data: Any) -> str:
    """Say what to type, where the mistake is a common one."""
    kinds = {_bare(part)[0] for part in _branches(_bare(expected)[0])}
    wants_text = str in kinds or any(get_origin(kind) is Literal for kind in kinds)
    if isinstance(data, str):
        options = [value for kind in kinds if get_origin(kind) is Literal for value in get_args(kind)]
        close = nearest(data, [str(option) for option in options])
        if close:
            return f".{close}"
        if kinds & {int, float} and _is_number(data):
            return f". Write it without quotes: {data}"
        if bool in kinds and data.lower() in ("yes", "no", "on", "off"):
            return f". Write {'true' if data.lower() in ('yes', 'on') else 'false'}"
    elif wants_text and isinstance(data, int | float):
        return f'. Write it in quotes: "{shown(data)}"' if str in kinds else ""
    return ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _bounds(notes: list[Any]) -> list[str]:
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    limits: list[str] = []
    for note in notes:
        for item in [*getattr(note, "metadata", []), note]:
            limits += [f"{signs[key]} {_plain(getattr(item, key))}" for key in signs if _has(item, key)]
            if _has(item, "min_length") and item.min_length == 1:
                limits.append("that is not empty")
    return [" and ".join(dict.fromkeys(limits))] if limits else []


def _has(item: Any, key: str) -> bool:
    return getattr(item, key, None) is not None


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _errors(expected: Any, data: Any) -> list[Any]:
    try:
        _adapter(expected).validate_python(data)
    except ValidationError as error:
        return list(error.errors(include_url=False, include_context=False))
    return []


@cache
def _adapter(expected: Any) -> TypeAdapter[Any]:
    if isinstance(expected, type) and issubclass(expected, BaseModel):
        return TypeAdapter(expected)
    return TypeAdapter(expected, config=dict(Spec.model_config, extra="ignore"))  # type: ignore[arg-type]


def _annotation(field: FieldInfo) -> Any:
    """The field's type with its limits, as one annotation."""
    notes: list[Any] = list(field.metadata)
    if field.discriminator is not None or field.description is not None:
        notes.append(FieldInfo(discriminator=field.discriminator, description=field.description))
    annotation: Any = field.annotation
    for note in notes:
        annotation = Annotated[annotation, note]
    return annotation


def _bare(expected: Any) -> tuple[Any, list[Any]]:
    """Split an annotation into its type and its notes."""
    if get_origin(expected) is Annotated:
        inner, *notes = get_args(expected)
        return inner, notes
    return expected, []


def _is_mapping(expected: Any) -> bool:
    bare = _bare(expected)[0]
    return get_origin(bare) is dict or (isinstance(bare, type) and issubclass(bare, BaseModel))


def _is_union(bare: Any) -> bool:
    return get_origin(bare) in (Union, types.UnionType)


def _branches(bare: Any) -> list[Any]:
    return list(get_args(bare)) if _is_union(bare) else [bare]
