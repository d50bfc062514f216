"""Which of the three labels an answer gives."""

from __future__ import annotations

import re


def label(text: str) -> str | None:
    """Return the first label word, in small letters; None where there is none.

    >>> label("It is Positive!")
    'positive'
    """
    found = re.search(r"\b(positive|negative|neutral)\b", text.lower())
    return found[1] if found else None
