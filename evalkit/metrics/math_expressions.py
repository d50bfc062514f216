"""Are two mathematical expressions the same? What ``math-verify`` says, asked only where it can be asked safely.

Hugging Face's ``math-verify`` reads LaTeX and plain expressions into sympy and compares them as numbers, symbols,
sets, intervals, relations and matrices. An answer of a model is untrusted: an expression that is small to write and
huge to compute (a tower of powers, the factorial of a long number) is not given to it and equals nothing.
"""

from __future__ import annotations

import importlib
import re
import threading
from functools import lru_cache
from typing import Any

from evalkit.errors import MetricError

__all__ = ["equivalent", "version"]

LONGEST = 400  # characters of one expression
WORDS = 3  # most words of an expression that are no commands of LaTeX
SECONDS = 5  # of one reading or comparison: math-verify's own limit

_WORD = re.compile(r"(?<![\\\w])(?<!begin\{)(?<!end\{)[^\W\d_]{3,}")
_HUGE = re.compile(
    r"\d{16}"  # more digits than a float holds
    r"|\d{3,}\s*!|!\s*!"  # factorials
    r"|(?:\^|\*\*)\s*\{?\s*[-(]*\s*\d{4,}"  # 10^{99999}
    r"|(?:\^|\*\*)\s*(?:\{[^{}]*|[-(]*\w+\s*)(?:\^|\*\*|!)"  # powers of powers, 2^{9!}
)


def equivalent(target: str, answer: str, *, exact: bool = False) -> bool:
    """Whether math-verify finds an answer's expression equal to the target's.

    Args:
        target: A bare expression.
        answer: Likewise.
        exact: Round nothing: for a target that is a rational number.

    Raises:
        MetricError: Called from another thread than the main one, where there can be no time limit.

    >>> equivalent("2x + 1", "1+2x"), equivalent("2x + 1", "2x - 1")
    (True, False)
    """
    if not (_is_expression(target) and _is_expression(answer)):
        return False
    if threading.current_thread() is not threading.main_thread():
        raise MetricError(
            "math_answer compares expressions in the main thread only, where it can limit their time; "
            "score in the main thread or in a process of its own."
        )
    wanted, found = _parsed(target), _parsed(answer)
    digits = {"float_rounding": 15, "numeric_precision": 15} if exact else {}
    same: bool = _library().verify(wanted, found, timeout_seconds=SECONDS, **digits)
    return same


def version() -> str:
    """Version of math-verify."""
    found: str = importlib.import_module("importlib.metadata").version("math-verify")
    return found


def _is_expression(text: str) -> bool:
    """Whether a text may be mathematics, small enough to compute; a sentence would be read as a long product."""
    prose = len(_WORD.findall(text)) > WORDS
    return bool(text.strip()) and len(text) <= LONGEST and not prose and not _HUGE.search(text)


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Any:
    """What a bare expression may be, the likeliest reading first: it is read as if it were boxed."""
    return _library().parse(f"\\boxed{{{text.strip().strip('$')}}}", parsing_timeout=SECONDS)


@lru_cache(maxsize=1)
def _library() -> Any:
    return importlib.import_module("math_verify")
