"""Is the final answer of a solution the right number? (GSM8K style; Cobbe et al. 2021)

The answer of a text is, in this order: what its last *marker* points at (``\\boxed{18}``, ``#### 18``, ``A:
18``, ``The answer is 18``), else its last number. Numbers are compared exactly, as fractions: ``1,234``,
``$1,234.00``, ``1234 dollars``, ``1.234e3``, ``1.234 \\times 10^{3}`` and ``2468/2`` are one, and nothing is
rounded: 0.33 is not 1/3. Where the target or the marked answer is no single number, such as ``\\boxed{2x+1}``, they
are equal as text without spaces and LaTeX layout, or as expressions by ``math-verify``.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import ClassVar

from evalkit.metrics.base import NO_TARGET, TextMetric, targets
from evalkit.metrics.math_expressions import equivalent, version
from evalkit.records import Sample, Score
from evalkit.signature import signature

__all__ = ["MathAnswer", "final_answer"]

VERSION = 2
"""Raised whenever the reading of answers changes, because it changes scores."""

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!,?\d)|\d+)(?:\.\d+)?|\.\d+"
_POWER = r"(?:[eE][+-]?\d{1,3}(?!\d)|\s*(?:\\times|\\cdot|×|\*)\s*10\s*\^\s*\{?\s*(?P<power>-?\d{1,3})\s*\}?)"
_NUMBER = re.compile(
    r"(?<![^\W_])(?<!\d[.,])(?:(?<![\w)\]])(?P<sign>[-+]))?(?:USD|EUR|Rs\.?|US)?\s?[$€£¥₹]?\s?(?P<inner>-?)"
    r"(?:\\[dt]?frac\{(?P<top>-?\d+)\}\{(?P<bottom>\d+)\}"
    r"|(?P<whole>\d+)\s+(?P<part>\d+)/(?P<of>\d+)(?![\d/])"
    rf"|(?P<digits>{_DIGITS})(?P<scale>{_POWER})?(?:\s?/\s?(?P<under>\d+(?:\.\d+)?)(?![\d/]))?)"
)
_LAYOUT = re.compile(r"\\(?:left|right|displaystyle|,|!|;|:| )|\\\$|\$(?![\d.-])|\\(?=%)|\*\*")
_TEXT = re.compile(r"\\(?:text|mathrm|textbf|mathbf|mbox)\s*\{([^{}]*)\}")
_STRONG = re.compile(r"\\(?:boxed|fbox)\s*\{|####")
_WEAK = re.compile(
    r"^\s*A\s*:|\banswer\b(?:\s+to\s+[^.\n]{0,80}?)?\s*(?:\*\*)?\s*(?:is|was|would be|:|=)(?!\s+not\b)",
    re.IGNORECASE | re.MULTILINE,
)
_CLAUSE_END = re.compile(r"\n|[.!?](?=\s|$)|\b(?:because|since)\b")
_UNIT = re.compile(r"(?:\s|[.,!%°²³]|/\s?[^\W\d_]+|[^\W\d_]{2,}|(?<=\s)[^\W\d_])*")
_WORD = re.compile(r"(?<![\\\w])(?<!\\begin\{)(?<!\\end\{)[^\W\d_]{3,}")
_LEAD = re.compile(r"\s*(?:about|approximately|around|only|[≈~:])?\s*", re.IGNORECASE)

_DOLLARS = re.compile(r"\$\$?([^$\n]+)\$|\\\(([^\n]+?)\\\)|\\\[([^\n]+?)\\\]")

_REACH = 400  # characters after a marker that can hold its answer
_MARKERS = 50  # the last markers of a text that are looked at

Answer = Fraction | str


def final_answer(text: str) -> Answer | None:
    """The final answer of a text: a number, a marked expression as bare text, or None if there is neither.

    >>> final_answer("6 * 3 = 18, so she earns $18.00 a day.\\n#### 18")
    Fraction(18, 1)
    >>> final_answer("Thus \\\\boxed{2x + 1}.")
    '2x+1'
    """
    text = _unified(text)
    for markers in (_STRONG, _WEAK):
        for place in reversed([marker.span() for marker in markers.finditer(text)][-_MARKERS:]):
            found = _marked(text[place[0] : place[1] + _REACH], place[1] - place[0])
            if found is not None:
                return found
    numbers = _numbers(text)
    return numbers[-1] if numbers else None


class MathAnswer(TextMetric):
    """Share of answers whose final number (or marked expression) is the target's: 0–1, higher is better.

    A target is a bare answer or a full solution in any of the usual forms; of several, any will do. An answer
    without any number or expression is wrong.

    >>> MathAnswer().score_text(Sample("1", "", "… so 3 * 6 = <<3*6=18>>18\\n#### 18"), "The answer is $18.00.")
    1.0
    >>> MathAnswer().score_text(Sample("1", "", "$2x + 1$"), "So it is \\\\boxed{1 + 2x}.")
    1.0
    """

    name = "math_answer"
    slow: ClassVar[bool] = True

    def score_text(self, sample: Sample, text: str) -> Score:
        """1 if the final answers are equal, else 0; unscored without a target."""
        accepted = targets(sample)
        if not accepted:
            return NO_TARGET
        found = final_answer(text)
        last_line = _bare(next((line for line in reversed(text.splitlines()) if line.strip()), ""))
        return float(any(_agrees(target, text, found, last_line) for target in accepted))

    def signature(self) -> str:
        """Name, version of the reading, and of math-verify."""
        return signature(self.name, reading=VERSION, math_verify=version())


def _target(text: str) -> Answer:
    """A target's answer: a bare one is taken whole, before any search for a number in it."""
    plain = _unified(text).strip()
    if _STRONG.search(plain) or _WEAK.search(plain):
        found = final_answer(plain)
        if found is not None:
            return found
    single = _single(plain)
    if single is None and len(_WORD.findall(plain)) > 1:  # a sentence, not an expression
        single = next(reversed(_numbers(plain)), None)
    return _bare(plain) if single is None else single


def _agrees(target: str, text: str, found: Answer | None, last_line: str) -> bool:
    wanted = _target(target)
    if isinstance(wanted, Fraction):
        # A marked answer such as \boxed{\sqrt{16}} is computed; what is written as a number is compared as one.
        return found == wanted or (
            isinstance(found, str) and equivalent(str(wanted), _expression(text), exact=True)
        )
    return wanted != "" and (
        wanted in (found, last_line) or equivalent(_expression(target), _expression(text))
    )


def _expression(text: str) -> str:
    """The expression that a text ends on, as it is written: marked, in dollars, after "answer is", or its last line."""
    text = _unified(text)
    if strong := list(_STRONG.finditer(text)):
        end = strong[-1].end()
        return _braced(text, end) if strong[-1][0].endswith("{") else text[end:].split("\n", 1)[0]
    if maths := _DOLLARS.findall(text):
        return "".join(maths[-1])
    if weak := list(_WEAK.finditer(text)):
        return _CLAUSE_END.split(text[weak[-1].end() :].lstrip(), maxsplit=1)[0]
    return next((line for line in reversed(text.splitlines()) if line.strip()), "").strip().rstrip(".")


def _unified(text: str) -> str:
    return text.replace("−", "-").replace("{,}", ",")


def _marked(text: str, width: int) -> Answer | None:
    """What the marker in the first ``width`` characters points at; None if there is nothing."""
    marker = text[:width]
    if marker.endswith("{"):
        content = _braced(text, width)
    elif marker == "####":
        content = text[width:].split("\n", 1)[0]
    else:
        return _stated(_CLAUSE_END.split(text[width:].lstrip(), maxsplit=1)[0])
    single = _single(content)
    return (_bare(content) or None) if single is None else single


def _stated(clause: str) -> Fraction | None:
    """The number that a clause after "the answer is" states: the first, or the first after the last ``=``."""
    single = _single(clause)
    if single is not None:
        return single
    numbers = _numbers(clause.rsplit("=", 1)[-1])
    return numbers[0] if numbers else None


def _numbers(text: str) -> list[Fraction]:
    return [value for match in _NUMBER.finditer(_plain(text)) if (value := _value(match)) is not None]


def _braced(text: str, start: int) -> str:
    """The text up to the brace that closes the one before ``start``; all of it if none does."""
    depth = 1
    for place in range(start, len(text)):
        depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            return text[start:place]
    return text[start:]


def _single(text: str) -> Fraction | None:
    """The value of a text that is one number with at most a unit; None if it is anything else."""
    plain = _plain(text).rsplit("=", 1)[-1].strip().strip("()[]*")
    matches = list(_NUMBER.finditer(plain))
    if len(matches) != 1:
        return None
    before, after = plain[: matches[0].start()], plain[matches[0].end() :]
    has_unit_only = _UNIT.fullmatch(after) and _LEAD.fullmatch(before)
    return _value(matches[0]) if has_unit_only else None


def _plain(text: str) -> str:
    return _LAYOUT.sub("", _TEXT.sub(r" \1", text.replace(r"\$", "")))


def _bare(text: str) -> str:
    return re.sub(r"\s+", "", _plain(text)).strip(".").replace("dfrac", "frac").replace("tfrac", "frac")


def _value(match: re.Match[str]) -> Fraction | None:
    """A number's exact value; None where it divides by zero or has more digits than any answer."""
    part = match.groupdict()
    if len(match[0]) > 300:
        return None
    try:
        if part["top"] is not None:
            value = Fraction(int(part["top"]), int(part["bottom"]))
        elif part["whole"] is not None:
            value = int(part["whole"]) + Fraction(int(part["part"]), int(part["of"]))
        else:
            value = Fraction(part["digits"].replace(",", ""))
            if part["power"] is not None:
                value *= Fraction(10) ** int(part["power"])
            elif part["scale"] is not None:
                value *= Fraction(10) ** int(part["scale"][1:])
            value /= Fraction(part["under"] or 1)
    except ZeroDivisionError:
        return None
    negative = (part["sign"] == "-") != (part["inner"] == "-")
    return -value if negative else value
