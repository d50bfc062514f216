"""Taking the program out of an answer."""

from __future__ import annotations

from pathlib import Path

from evalkit.data.extract import extractor

__all__ = ["code"]


def code(text: str) -> str:
    """The first code block; the whole answer where there is none, as when a base model goes on with the prompt."""
    return extractor("code_block", Path())(text) or text
