"""Taking the answer out of what a model wrote: the ``extract:`` of a task card.

``{regex: PATTERN}`` takes the first match (its first group, if it has one) · ``json`` the longest JSON object
or list · ``last_number`` the last number in plain form (``$1,250.00`` → ``1250``) · ``code_block`` the first
fenced block, to the end of the text where the fence is not closed · ``scorer.py:FUNCTION`` what a function
beside the card returns for the text (None: nothing found).

Where nothing is found the answer counts as the empty answer, so that it is wrong rather than unscored: a
model that does not give the answer in the form that was asked for has not answered.

Of a conversation, metrics read the last answer, by the same rules.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from functools import lru_cache
from pathlib import Path

from evalkit.catalog import load_module
from evalkit.data.cards import TaskCard
from evalkit.errors import CatalogError, SpecError, nearest
from evalkit.records import Output

__all__ = ["Extractor", "extract", "extractor"]

Extractor = Callable[[str], str | None]
"""Answer text → what was found in it, or None."""


def extract(task: TaskCard, output: Output) -> Output:
    """Return the output with what the task's rule finds in it; unchanged where the task has no rule.

    Of a conversation, the last answer is what metrics read.

    Raises:
        SpecError: The card's rule is none.
        CatalogError: The card's function is missing or raises.
    """
    if task.spec.kind == "conversation" and not isinstance(output.text, str):
        output = replace(output, text=output.text[-1] if output.text else "")
    rule = task.spec.extract
    if rule is None:
        return output
    find = extractor(rule if isinstance(rule, str) else tuple(rule.items()), task.entry.path)
    if isinstance(output.text, str):
        return replace(output, text=find(output.text) or "")
    return replace(output, text=[find(text) or "" for text in output.text])


@lru_cache(maxsize=64)
def extractor(rule: str | tuple[tuple[str, str], ...], folder: Path) -> Extractor:
    """Return the function of a rule.

    Args:
        rule: A name, ``FILE.py:FUNCTION``, or the pairs of ``{regex: PATTERN}``.
        folder: Of the card, where the file is.

    Raises:
        SpecError: No such rule, or no regular expression.
        CatalogError: No such function.

    >>> extractor("last_number", Path("."))("4 bags of 3 cost $1,250.00.")
    '1250'
    """
    card = folder / "task.yaml"
    if isinstance(rule, tuple):
        if [name for name, _ in rule] != ["regex"]:
            raise SpecError(f"{card}: extract: expected {{regex: PATTERN}}; got the keys {dict(rule)}.")
        return _regex(rule[0][1], card)
    if ".py:" in rule:
        return _function(rule, folder)
    if rule not in _RULES:
        known = [*_RULES, "{regex: PATTERN}", "scorer.py:FUNCTION"]
        raise SpecError(f"{card}: extract: expected {', '.join(known)}; got {rule!r}.{nearest(rule, _RULES)}")
    return _RULES[rule]


def _regex(pattern: str, card: Path) -> Extractor:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise SpecError(f"{card}: extract: {pattern!r} is no regular expression: {error}.") from error

    def find(text: str) -> str | None:
        match = compiled.search(text)
        return match[1 if compiled.groups else 0] if match else None

    return find


def _function(rule: str, folder: Path) -> Extractor:
    file, _, name = rule.partition(":")
    function = getattr(load_module(folder / file), name, None)
    if not callable(function):
        raise CatalogError(f"{folder / file} has no function {name!r}, which the card's extract names.")

    def find(text: str) -> str | None:
        try:
            found = function(text)
        except Exception as error:
            raise CatalogError(
                f"{folder / file}: {name}({text[:80]!r}) raised {type(error).__name__}: {error}"
            ) from error
        if found is None or isinstance(found, str):
            return found
        raise CatalogError(f"{folder / file}: {name} must return a text or None; got {type(found).__name__}.")

    return find


_DECODER = json.JSONDecoder()
# 1,250.50 · 1250 · .5, in any script's digits; a minus after a word, digit or closing bracket is an operator
_NUMBER = re.compile(r"(?:(?<![\w)\].])[-−])?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<!\d)\.\d+")
_FENCE = re.compile(r"^[ \t]*(```+|~~~+)[^\n]*\n(.*?)(?:^[ \t]*\1[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)


def _json(text: str) -> str | None:
    found: list[str] = []
    position = 0
    for match in re.finditer(r"[{\[]", text):
        if match.start() >= position:
            try:
                _, position = _DECODER.raw_decode(text, match.start())
            except (ValueError, RecursionError):
                continue
            found.append(text[match.start() : position])
    return max(found, key=len, default=None)


def _last_number(text: str) -> str | None:
    found = _NUMBER.findall(text)
    if not found:
        return None
    plain = format(Decimal(found[-1].replace(",", "").replace("−", "-")), "f")
    plain = plain.rstrip("0").rstrip(".") if "." in plain else plain
    return "0" if plain == "-0" else plain


def _code_block(text: str) -> str | None:
    match = _FENCE.search(text)
    return match[2] if match else None


_RULES: dict[str, Extractor] = {"json": _json, "last_number": _last_number, "code_block": _code_block}
