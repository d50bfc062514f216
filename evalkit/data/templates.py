"""Jinja templates that turn a row into messages or text.

A template sees the row's fields as variables, and the row itself as ``row`` (for names that are no
identifiers: ``row["first name"]``). Blocks named ``system``, ``user`` and ``assistant`` become the messages,
in that order, without white space at their ends; an empty one is left out. A template without blocks is one
user message, taken as it is. A template cannot reach Python beyond its row: entries may come from others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import (
    FileSystemLoader,
    StrictUndefined,
    TemplateError,
    TemplateSyntaxError,
    UndefinedError,
    nodes,
)
from jinja2 import Template as Compiled
from jinja2.sandbox import ImmutableSandboxedEnvironment

from evalkit.errors import SpecError, nearest
from evalkit.records import Message

__all__ = ["Template", "is_template"]

BLOCKS = ("system", "user", "assistant")


def is_template(text: str) -> bool:
    """Whether a card's value is a template rather than the name of a field or file.

    >>> is_template("{{ question }}"), is_template("prompt.j2")
    (True, False)
    """
    return "{{" in text or "{%" in text


class Template:
    """A compiled template.

    Args:
        source: Its text, or the name of a file in ``folder``.
        folder: Where the file and what it includes are.
        name: For messages, where ``source`` is a text: such as ``task.yaml (target)``.

    Raises:
        SpecError: The file is missing, or the text is no template; the message names file and line.

    >>> Template("{{ a }}+{{ b }}?", Path("."), "sum").text({"a": 1, "b": 2}, "row 1")
    '1+2?'
    """

    def __init__(self, source: str, folder: Path, name: str = "") -> None:
        self.name = name if is_template(source) else str(folder / source)
        self.source = source if is_template(source) else _read(folder / source, folder)
        environment = ImmutableSandboxedEnvironment(
            loader=FileSystemLoader(folder), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        try:
            parsed = environment.parse(self.source)
            self._compiled: Compiled = environment.from_string(parsed)
        except TemplateSyntaxError as error:
            raise SpecError(f"{self.name}:{error.lineno}: not a Jinja template: {error.message}") from error
        self.blocks = self._check_blocks(parsed)

    def text(self, row: Mapping[str, Any], place: str) -> str:
        """Render the whole template.

        Raises:
            SpecError: It reads a field that the row does not have, or does what the row does not allow.
        """
        return self._render(None, row, place)

    def messages(self, row: Mapping[str, Any], place: str) -> list[Message]:
        """Render the blocks, or the whole as one user message.

        Raises:
            SpecError: See ``text``.
        """
        if not self.blocks:
            return [Message(role="user", content=self.text(row, place))]
        rendered = [(role, self._render(role, row, place).strip()) for role in self.blocks]
        return [Message(role=role, content=content) for role, content in rendered if content]

    def _render(self, block: str | None, row: Mapping[str, Any], place: str) -> str:
        try:
            context = self._compiled.new_context({"row": row, **row})
            render = self._compiled.blocks[block] if block else self._compiled.root_render_func
            return "".join(render(context))
        except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError) as error:
            what = str(error)
            named = re.search(r"'([^']+)' is undefined", what)
            hint = nearest(named[1], row) if isinstance(error, UndefinedError) and named else ""
            fields = ", ".join(row) or "none"
            raise SpecError(f"{self.name}: {what}; the fields of {place} are {fields}.{hint}") from error

    def _check_blocks(self, parsed: nodes.Template) -> tuple[str, ...]:
        blocks = {block.name: block.lineno for block in parsed.find_all(nodes.Block)}
        for name, line in blocks.items():
            if name not in BLOCKS:
                raise SpecError(
                    f"{self.name}:{line}: a block must be named {', '.join(BLOCKS)}; got {name!r}."
                    f"{nearest(name, BLOCKS)}"
                )
        for node in parsed.body if blocks else ():
            stray = [part for part in getattr(node, "nodes", ()) if not _is_space(part)]
            if isinstance(node, nodes.Output) and stray:
                raise SpecError(f"{self.name}:{_line(stray[0])}: text outside the blocks would be lost.")
        return tuple(name for name in BLOCKS if name in blocks)


def _is_space(node: nodes.Node) -> bool:
    return isinstance(node, nodes.TemplateData) and not node.data.strip()


def _line(node: nodes.Node) -> int:
    text = node.data if isinstance(node, nodes.TemplateData) else ""
    return node.lineno + text.removesuffix(text.lstrip()).count("\n")


def _read(path: Path, folder: Path) -> str:
    if not path.is_file():
        raise SpecError(f"No file {path}.{nearest(path.name, [item.name for item in folder.glob('*')])}")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: not UTF-8 (byte {error.start + 1}); save the file as UTF-8.") from error
