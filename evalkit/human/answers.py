"""What stands in a cell, as the answer to its question."""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.human.questions import Question

__all__ = ["expected", "read_answer"]

YES = frozenset({"yes", "y", "true", "1", "1.0"})
NO = frozenset({"no", "n", "false", "0", "0.0"})
SIDES = {"a": "A", "left": "A", "b": "B", "right": "B"}


def read_answer(question: Question, cell: str) -> bool | int | str | None:
    """Return the answer, or None where the cell holds none that this question allows.

    Of a pairwise question the side: ``A``, ``B``, ``tie`` or ``both bad``.

    >>> rating = Question(name="quality", ask="How good?", kind="rating")
    >>> read_answer(rating, " 4.0 "), read_answer(rating, "6")
    (4, None)
    """
    said = " ".join(cell.split()).casefold()
    if question.kind == "text":
        return cell if said else None
    if question.kind == "yes_no":
        return True if said in YES else False if said in NO else None
    if question.kind == "category":
        return _choice(question.choices, said)
    if question.kind == "pairwise":
        side = SIDES.get(said) or said.replace("_", " ")
        return side if side in [value for value, _ in question.options] else None
    return _number(question, said)


def expected(question: Question) -> str:
    """What a cell may hold, in words."""
    options = [value for value, _ in question.options]
    if question.kind == "rating":
        return f"a whole number from {options[0]} to {options[-1]}"
    return f"one of {', '.join(repr(option) for option in options)}"


def _choice(choices: Sequence[str], said: str) -> str | None:
    """The choice; where a spreadsheet has made a number of it (``1.0``, ``03``), the only one that is that number."""
    exact = next((one for one in choices if " ".join(one.split()).casefold() == said), None)
    value = _value(said)
    if exact is not None or value is None:
        return exact
    alike = [one for one in choices if _value(one) == value]
    return alike[0] if len(alike) == 1 else None


def _value(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _number(question: Question, said: str) -> int | None:
    number, dash, _ = said.partition(" – ")  # "4 – right, with small faults" is taken too
    value = _value((number if dash else said).replace(",", "."))
    return None if value is None or value not in question.steps else int(value)
