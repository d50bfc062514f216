"""Does the answer follow the instructions on its form that a program can check? (IFEval's idea, Zhou et al. 2023)

A row's target says what was asked for, a rule and its value each, for example
``{"max_words": 50, "keywords": ["refund"], "ends_with": "Kind regards"}``:

| rule | value | followed if |
|---|---|---|
| ``min_words max_words`` | number | the answer has at least / at most so many words |
| ``min_sentences max_sentences`` | number | … sentences (ended by ``.``, ``!``, ``?`` or ``。``) |
| ``min_paragraphs max_paragraphs`` | number | … paragraphs (separated by an empty line) |
| ``keywords`` / ``forbidden`` | texts | all / none of them occur as words, in any case |
| ``case`` | ``upper`` or ``lower`` | all letters are |
| ``bullets`` | number | exactly so many lines start with ``-``, ``*`` or ``•`` |
| ``json`` | true | the whole answer is JSON |
| ``language`` | code | it is in this language (``evalkit.metrics.languages``) |
| ``starts_with`` / ``ends_with`` | text | it does, white space aside |

A row without such a target may be one of IFEval's own, with ``instruction_id_list`` and ``kwargs``
(``evalkit.metrics.ifeval``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from evalkit.errors import nearest
from evalkit.metrics.base import NO_TARGET, TextMetric, one_of
from evalkit.metrics.ifeval import ifeval_checks, sentences
from evalkit.metrics.json_answers import parse_json
from evalkit.metrics.languages import LANGUAGES, detect_language
from evalkit.records import Sample, Score, Unscored
from evalkit.signature import signature

__all__ = ["RULES", "FormatFollow"]

VERSION = 1
"""Raised whenever a rule changes, because it changes scores."""


class FormatFollow(TextMetric):
    """Share of answers that follow all instructions, or of instructions that are followed: 0–1, higher is
    better.

    Args:
        level: ``prompt`` (default): an answer counts if it follows every instruction; ``instruction``: by the
            share of its instructions that it follows, mean over samples.
        loose: Forgive what often surrounds an answer: an instruction also counts as followed if it is
            followed without the first line, without the last, without both, or without asterisks.

    >>> sample = Sample("1", "Greet me.", {"max_words": 3, "ends_with": "!"})
    >>> FormatFollow().score_text(sample, "Hello, you!"), FormatFollow().score_text(sample, "Hello, you.")
    (1.0, 0.0)
    """

    name = "format_follow"

    def __init__(self, *, level: str = "prompt", loose: bool = False) -> None:
        self.level = one_of(self.name, "level", level, ("prompt", "instruction"))
        self.loose = loose

    def score_text(self, sample: Sample, text: str) -> Score:
        """Check every instruction of the row's target; unscored where it has none or an unknown one."""
        checks = _checks(sample)
        if isinstance(checks, str):
            return Unscored(checks)
        if not checks:
            return NO_TARGET
        forms = _loosened(text) if self.loose else [text]
        followed = [any(check(form) for form in forms) for check in checks]
        return float(all(followed)) if self.level == "prompt" else sum(followed) / len(followed)

    def signature(self) -> str:
        """Name, settings and version of the rules."""
        return signature(self.name, level=self.level, loose=self.loose, rules=VERSION)


def _checks(sample: Sample) -> list[Callable[[str], bool]] | str:
    """What an answer to the sample has to follow, or why that cannot be told."""
    wanted = sample.target
    if wanted is None and {"instruction_id_list", "kwargs"} <= set(sample.row):
        return ifeval_checks(sample.row)
    if wanted is None:
        return []
    if not isinstance(wanted, dict):
        return f"the target must be an object of rules; got {type(wanted).__name__}"
    problems = [_problem(rule, value) for rule, value in wanted.items()]
    found = next((problem for problem in problems if problem is not None), None)
    return found or [partial(_follows, rule, value) for rule, value in wanted.items()]


def _follows(rule: str, value: Any, text: str) -> bool:
    return RULES[rule][1](text, value)


def _words(text: str) -> int:
    return len(text.split())


def _paragraphs(text: str) -> int:
    return len([part for part in re.split(r"\n\s*\n", text) if part.strip()])


def _bullets(text: str) -> int:
    return len(re.findall(r"^\s*(?:[-•]|\*(?!\*))\s+\S", text, re.MULTILINE))


def _occurs(word: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None


def _is_json(text: str, wanted: bool) -> bool:
    try:
        parse_json(text)
    except ValueError:
        return not wanted
    return wanted


def _is_case(text: str, case: str) -> bool:
    return text == (text.upper() if case == "upper" else text.lower())


RULES: dict[str, tuple[type, Callable[[str, Any], bool]]] = {
    "bullets": (int, lambda text, value: _bullets(text) == value),
    "case": (str, _is_case),
    "ends_with": (str, lambda text, value: text.strip().endswith(value.strip())),
    "forbidden": (list, lambda text, value: not any(_occurs(word, text) for word in value)),
    "json": (bool, _is_json),
    "keywords": (list, lambda text, value: all(_occurs(word, text) for word in value)),
    "language": (str, lambda text, value: detect_language(text) == value),
    "max_paragraphs": (int, lambda text, value: _paragraphs(text) <= value),
    "max_sentences": (int, lambda text, value: sentences(text) <= value),
    "max_words": (int, lambda text, value: _words(text) <= value),
    "min_paragraphs": (int, lambda text, value: _paragraphs(text) >= value),
    "min_sentences": (int, lambda text, value: sentences(text) >= value),
    "min_words": (int, lambda text, value: _words(text) >= value),
    "starts_with": (str, lambda text, value: text.strip().startswith(value.strip())),
}
"""Rule → the type of its value, and whether an answer follows it."""

_MENUS: dict[str, tuple[str, ...]] = {"case": ("upper", "lower"), "language": LANGUAGES}


def _problem(rule: str, value: Any) -> str | None:
    """What is wrong with an instruction, or None."""
    if rule not in RULES:
        return f"unknown rule {rule!r}; known: {', '.join(RULES)}.{nearest(rule, RULES)}"
    kind: Any = RULES[rule][0]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        return f"rule {rule!r} needs a value of type {kind.__name__}; got {value!r}"
    if kind is list and not all(isinstance(item, str) for item in value):
        return f"rule {rule!r} needs a list of texts; got {value!r}"
    menu = _MENUS.get(rule)
    return (
        f"rule {rule!r} must be one of {', '.join(menu)}; got {value!r}"
        if menu and value not in menu
        else None
    )


def _loosened(text: str) -> list[str]:
    lines = text.split("\n")
    cuts = [lines, lines[1:], lines[:-1], lines[1:-1]]
    forms = ["\n".join(cut).strip() for cut in cuts]
    return [*forms, *(form.replace("*", "") for form in forms)]
