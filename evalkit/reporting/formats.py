"""Numbers as people read them: as many digits as the interval earns, units, true minus signs.

A value is shown with two significant digits of its interval's half-width, the habit of physical measurement
(GUM, JCGM 100:2008, 7.2.6): ``0.823 [0.731, 0.892]``, ``34.2 [31.0, 37.4]``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import median

__all__ = ["count", "decimals", "number", "p_value", "plural", "seconds", "signed", "size", "span"]

DASH = "–"


def decimals(widths: Iterable[float | None], values: Iterable[float | None] = ()) -> int:
    """Digits after the point for a column of values.

    Args:
        widths: Half-widths of the intervals, in the values' unit; None and 0 are skipped.
        values: The values, which decide where no interval does.

    Returns:
        0 to 4.

    >>> decimals([0.081, 0.074, None]), decimals([3.2]), decimals([], [1250.0]), decimals([], [0.5])
    (3, 1, 0, 3)
    """
    usable = [width for width in widths if width is not None and math.isfinite(width) and width > 0]
    if usable:
        return min(4, max(0, 1 - math.floor(math.log10(median(usable)))))
    sizes = [abs(value) for value in values if value is not None and math.isfinite(value)]
    largest = max(sizes, default=0.0)
    return 3 if largest < 10 else 2 if largest < 100 else 1 if largest < 1000 else 0


def number(value: float | None, digits: int) -> str:
    """Return a value with a true minus sign and thin groups of thousands; – where there is none.

    >>> number(-0.5, 2), number(12345.6, 0), number(None, 2)
    ('−0.50', '12\\u202f346', '–')
    """
    if value is None or not math.isfinite(value):
        return DASH
    text = f"{abs(value):,.{digits}f}".replace(",", "\u202f")
    negative = value < 0 and any(character in "123456789" for character in text)
    return f"−{text}" if negative else text


def signed(value: float | None, digits: int) -> str:
    """As ``number``, with a plus sign for what is above zero.

    >>> signed(0.783, 2), signed(0.0, 2)
    ('+0.78', '0.00')
    """
    text = number(value, digits)
    positive = value is not None and value > 0 and any(character in "123456789" for character in text)
    return f"+{text}" if positive else text


def span(low: float | None, high: float | None, digits: int) -> str:
    """Return an interval as ``[low, high]``, or nothing where there is none.

    >>> span(0.681, 0.872, 2), span(None, None, 2)
    ('[0.68, 0.87]', '')
    """
    if low is None or high is None:
        return ""
    return f"[{number(low, digits)}, {number(high, digits)}]"


def p_value(value: float | None) -> str:
    """Return a p-value with its relation sign: two significant digits, never ``= 0``.

    >>> p_value(0.0002), p_value(0.0134), p_value(0.5), p_value(1.0), p_value(None)
    ('< 0.001', '= 0.013', '= 0.50', '= 1', '–')
    """
    if value is None or not math.isfinite(value):
        return DASH
    if value < 0.001:
        return "< 0.001"
    if value >= 0.995:
        return "= 1"
    return f"= {value:.{1 - math.floor(math.log10(value))}f}"


def count(value: float | None) -> str:
    """Return a whole number with thin groups of thousands.

    >>> count(1234567), count(None)
    ('1\\u202f234\\u202f567', '–')
    """
    return number(value, 0)


def seconds(value: float | None) -> str:
    """Return a duration in the unit a person would use.

    >>> seconds(0.0421), seconds(12.34), seconds(75), seconds(7260), seconds(None)
    ('42 ms', '12.3 s', '1 min 15 s', '2 h 1 min', '–')
    """
    if value is None or not math.isfinite(value):
        return DASH
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 60:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(value: float | None) -> str:
    """Return bytes in binary units.

    >>> size(512), size(3_435_973_837), size(None)
    ('512 B', '3.2 GiB', '–')
    """
    if value is None or not math.isfinite(value):
        return DASH
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024 or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return DASH


def plural(amount: int, noun: str) -> str:
    """Return the amount with its noun.

    >>> plural(1, "sample"), plural(2000, "sample")
    ('1 sample', '2\\u202f000 samples')
    """
    return f"{count(amount)} {noun}" if amount == 1 else f"{count(amount)} {noun}s"
