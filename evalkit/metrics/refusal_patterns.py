"""Many wordings as one regular expression that is quick to try."""

from __future__ import annotations

import re

__all__ = ["any_of"]


def any_of(*phrases: str) -> re.Pattern[str]:
    """One pattern of all alternatives, with their common anchor in front: tried once a place, not once each."""
    parts = [part for phrase in phrases for part in _alternatives(phrase)]
    start = [part[1:] for part in parts if part.startswith("^")]
    word = [part[2:] for part in parts if part.startswith(r"\b")]
    rest = [part for part in parts if not part.startswith(("^", r"\b"))]
    groups = (("^", start), (r"\b", word), ("", rest))
    return re.compile("|".join(f"{anchor}(?:{'|'.join(some)})" for anchor, some in groups if some))


def _alternatives(phrase: str) -> list[str]:
    """Split at each ``|`` that is in no group.

    >>> _alternatives("a(?:b|c)|d")
    ['a(?:b|c)', 'd']
    """
    parts, depth = [""], 0
    for piece in re.findall(r"\\.|\[[^\]]*\]|.", phrase):
        depth += (piece == "(") - (piece == ")")
        if piece == "|" and depth == 0:
            parts.append("")
        else:
            parts[-1] += piece
    return parts
