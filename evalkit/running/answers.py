"""What of a samples row is read as the answer: the first of several; of a conversation its last, or all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.data.dialogue import answers_as_text

__all__ = ["final_answer", "whole_answer"]


def final_answer(row: Mapping[str, Any]) -> str:
    """Return the text that metrics and pointwise judges read, before a task's ``extract:``.

    >>> final_answer({"output": ["Hello.", "Bye."], "conversation": []}), final_answer({"output": ["a", "b"]})
    ('Bye.', 'a')
    """
    output = row.get("output")
    if not isinstance(output, list):
        return str(output or "")
    place = -1 if "conversation" in row else 0
    return str(output[place]) if output else ""


def whole_answer(row: Mapping[str, Any]) -> str:
    """Return the text that people and pairwise judges read: of a conversation every answer, by its number."""
    output = row.get("output")
    if "conversation" in row and isinstance(output, list) and output:
        return answers_as_text([str(text) for text in output])
    return final_answer(row)
