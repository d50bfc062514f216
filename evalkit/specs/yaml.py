"""Reading YAML 1.2 with line numbers, and checking it against a spec: every mistake at once.

A mistake is one line, ``FILE:LINE: key.path: expected …, got …. Did you mean 'x'?``
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from evalkit.errors import SpecError
from evalkit.specs.explain import Mistake, PathInFile, explain
from evalkit.specs.model import Spec

__all__ = ["Document", "load", "read"]

S = TypeVar("S", bound=Spec)

TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file as plain data that still knows its lines.

    Attributes:
        path: The file.
        data: Its content: a mapping.
        lines: Path of keys and positions → line, 1-based.
        mistakes: What is wrong with it as YAML: keys given twice, tags without meaning.
    """

    path: Path
    data: dict[str, Any]
    lines: dict[PathInFile, int]
    mistakes: list[Mistake]

    def line(self, path: PathInFile) -> int:
        """Line of a key or item; of what holds it where it is not in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def at(self, *pattern: str) -> Iterator[tuple[PathInFile, Any]]:
        """Yield every (path, value) that a pattern fits; ``*`` fits any key or item."""
        yield from _at(self.data, pattern, ())

    def messages(self, mistakes: Iterable[Mistake] = ()) -> list[str]:
        """Say these mistakes and the file's own, in the order of their lines."""
        everything = [*self.mistakes, *mistakes]
        placed = [(mistake.line or self.line(mistake.path), str(mistake)) for mistake in everything]
        placed.sort(key=lambda pair: pair[0])
        return list(dict.fromkeys(f"{self.path}:{line}: {text}" for line, text in placed))

    def refuse(self, mistakes: Iterable[Mistake]) -> None:
        """Raise these mistakes and the file's own, if there are any.

        Raises:
            SpecError: One message for each.
        """
        messages = self.messages(mistakes)
        if messages:
            raise SpecError(*messages)


def load(path: Path, spec: type[S]) -> S:
    """Read a YAML file as a spec.

    Args:
        path: The file.
        spec: What it should be.

    Raises:
        SpecError: The file is missing or wrong; one message for each mistake, with file and line.
    """
    document = read(path)
    document.refuse(explain(spec, document.data))
    return spec.model_validate(document.data)


def read(path: Path) -> Document:
    """Read a YAML file whose top is a mapping.

    Raises:
        SpecError: The file is missing, is not UTF-8 text, is not YAML, or holds something else than a
            mapping.
    """
    text = _text(path)
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        raise SpecError(_syntax(path, error)) from error
    except YAMLError as error:
        raise SpecError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from error
    if root is None:
        raise SpecError(f"{path}:1: expected a mapping of keys, got an empty file")
    if not isinstance(root, MappingNode):
        came = "a list" if isinstance(root, SequenceNode) else "a single value"
        raise SpecError(f"{path}:{_line(root)}: expected a mapping of keys, got {came}")
    builder = _Builder()
    data = builder.build(root, ())
    return Document(path, data, builder.lines, builder.mistakes)


class _Builder:
    """Turns YAML nodes into plain data, noting lines and what is wrong on the way."""

    def __init__(self) -> None:
        self.lines: dict[PathInFile, int] = {}
        self.mistakes: list[Mistake] = []
        self._open: list[int] = []  # nodes being built: an alias to one of them would never end

    def build(self, node: Node, path: PathInFile) -> Any:
        self.lines.setdefault(path, _line(node))
        if id(node) in self._open:
            self._wrong(path, "this alias holds itself")
            return None
        self._open.append(id(node))
        try:
            if isinstance(node, MappingNode):
                return self._mapping(node, path)
            if isinstance(node, SequenceNode):
                return [self.build(item, (*path, i)) for i, item in enumerate(node.value)]
            return self._scalar(node, path) if isinstance(node, ScalarNode) else None
        finally:
            self._open.pop()

    def _mapping(self, node: MappingNode, path: PathInFile) -> dict[str, Any]:
        data: dict[str, Any] = {}
        merges: list[Node] = []
        for key_node, value_node in node.value:
            line = _line(key_node)
            if not isinstance(key_node, ScalarNode):
                self._wrong(path, "expected a key of plain text, got a list or a mapping", line)
            elif key_node.tag == f"{TAG}merge":
                merges += value_node.value if isinstance(value_node, SequenceNode) else [value_node]
            elif key_node.value in data:
                first = self.lines[(*path, key_node.value)]
                self._wrong(
                    (*path, key_node.value), f"this key is already on line {first}; keep one of them", line
                )
            else:
                self.lines.setdefault((*path, key_node.value), line)
                data[key_node.value] = self.build(value_node, (*path, key_node.value))
        for part in merges:  # own keys win over merged ones, and of several merges the first wins
            if isinstance(part, MappingNode):
                data = {**self.build(part, path), **data}
            else:
                self._wrong(path, "expected a mapping after <<", _line(part))
        return data

    def _scalar(self, node: ScalarNode, path: PathInFile) -> Any:
        kind, text = str(node.tag).removeprefix(TAG), node.value
        if kind in ("str", "timestamp"):  # a date is text: no key of ours is a date
            return text
        try:
            if kind == "null":
                return None
            if kind == "bool":
                return text.lower() == "true"
            if kind == "int":
                return int(text.replace("_", ""), 0 if text.lstrip("+-").startswith(("0x", "0o")) else 10)
            if kind == "float":
                return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:
            self._wrong(path, f"{text!r} is not a valid {kind}")
            return None
        self._wrong(path, f"the YAML tag {node.tag!r} has no meaning here; remove it")
        return None

    def _wrong(self, path: PathInFile, message: str, line: int | None = None) -> None:
        self.mistakes.append(Mistake(path, message, line))


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise SpecError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise SpecError(f"{path}: expected a YAML file, got a folder") from None
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise SpecError(f"{path}:{line}: expected UTF-8 text; save the file as UTF-8") from error


def _syntax(path: Path, error: MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"{path}:{mark.line + 1}" if mark else str(path)
    column = f" (column {mark.column + 1})" if mark else ""
    problem = error.problem or error.context or "unreadable"
    hint = " Indent with spaces, not tabs." if "\\t" in problem else ""
    if problem.startswith("mapping values are not allowed"):
        hint = " Check the indentation, and put text that holds ': ' in quotes."
    elif "cannot start any token" in problem and not hint:
        hint = " Put the value in quotes."
    elif "another document" in problem:
        problem, hint = "expected one document", " Remove the line '---'."
    return f"{where}: not valid YAML: {problem}{column}.{hint}"


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


def _at(value: Any, pattern: tuple[str, ...], path: PathInFile) -> Iterator[tuple[PathInFile, Any]]:
    if not pattern:
        yield path, value
        return
    first, rest = pattern[0], pattern[1:]
    items: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    for key, item in items:
        if first in ("*", key):
            yield from _at(item, rest, (*path, key))
