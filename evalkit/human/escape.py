"""Any text in a spreadsheet's cell, and back: what a cell cannot hold, what a cell would run, what is too long.

- Characters that no XML or spreadsheet carries (controls, lone surrogates, U+FFFE, U+FFFF) become ``⟦U+0007⟧``.
- A text that a spreadsheet would take for a formula (it starts with ``= + - @``, a tab or a wide form of these)
  gets an apostrophe in front (OWASP, "CSV Injection"), which is taken away again.
- Excel cuts a cell at 32,767 UTF-16 units: longer text goes on in further columns, and says so.

``decode_cell(encode_cell(text)) == text`` for every text, with one exception: ``\\r\\n`` becomes ``\\n``, since
spreadsheets do not keep the difference.
"""

from __future__ import annotations

import re

__all__ = [
    "LONGEST",
    "decode_cell",
    "encode_cell",
    "join_parts",
    "mark",
    "plain_lines",
    "split_parts",
    "unmark",
]

LONGEST = 32_000
"""UTF-16 units of a part: Excel's 32,767, less the note that it goes on."""

_MORE = "⟦goes on in column"
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]"
    r"|⟦(?=U\+|goes on)|_(?=x[0-9A-Fa-f]{4}_)"  # our own marks, and OOXML's way to write a character
)
_MARK = re.compile(r"⟦U\+([0-9A-F]{4,6})⟧")
_FORMULA = re.compile("'*[=+\\-@\t\n\uff1d\uff0b\uff0d\uff20]")
_GUARDED = re.compile("'+[=+\\-@\t\n\uff1d\uff0b\uff0d\uff20]")
_NOTE = re.compile(r"⟦goes on in column [^⟧]*⟧$")


def plain_lines(text: str) -> str:
    """Windows line ends as plain ones."""
    return text.replace("\r\n", "\n")


def encode_cell(text: str) -> str:
    """Make a text safe for a cell.

    >>> encode_cell("=1+1"), encode_cell("bell\\x07")
    ("'=1+1", 'bell⟦U+0007⟧')
    """
    marked = mark(plain_lines(text))
    return f"'{marked}" if _FORMULA.match(marked) else marked


def decode_cell(cell: str) -> str:
    """Undo ``encode_cell``.

    >>> decode_cell("'=1+1"), decode_cell("bell⟦U+0007⟧")
    ('=1+1', 'bell\\x07')
    """
    bare = cell[1:] if _GUARDED.match(cell) else cell
    return unmark(bare)


def mark(text: str) -> str:
    """Write what a file cannot hold as ``⟦U+0007⟧``; formulas stay as they are.

    >>> mark("=bell\\x07")
    '=bell⟦U+0007⟧'
    """
    return _UNSAFE.sub(lambda match: f"⟦U+{ord(match[0]):04X}⟧", text)


def unmark(text: str) -> str:
    """Undo ``mark``."""
    return _MARK.sub(lambda match: chr(min(int(match[1], 16), 0x10FFFF)), text)


def split_parts(cell: str, column: str) -> list[str]:
    """Cut an encoded cell where Excel would; each part but the last says where it goes on.

    Args:
        cell: From ``encode_cell``.
        column: Name of its column; the parts are for ``COLUMN``, ``COLUMN (2)``, ``COLUMN (3)``, …

    >>> split_parts("short", "answer")
    ['short']
    >>> [len(part) for part in split_parts("x" * 40_000, "answer")]
    [32030, 8000]
    """
    cuts, start, size = [0], 0, 0
    for place, character in enumerate(cell):
        size += 2 if ord(character) > 0xFFFF else 1
        if size > LONGEST:
            cuts.append(place)
            start, size = place, 2 if ord(character) > 0xFFFF else 1
    parts = [cell[a:b] for a, b in zip(cuts, [*cuts[1:], None], strict=True)]
    if start == 0:
        return parts
    # A later part may begin like a formula too: a cell of its own, it needs a guard of its own.
    guarded = [parts[0], *(f"'{part}" if _FORMULA.match(part) else part for part in parts[1:])]
    notes = [f"{_MORE} {column} ({number})⟧" for number in range(2, len(parts) + 1)]
    return [part + note for part, note in zip(guarded, [*notes, ""], strict=True)]


def join_parts(parts: list[str]) -> str:
    """Undo ``split_parts``; what is left in columns after the last part that goes on is not read.

    >>> join_parts(split_parts("x" * 40_000, "answer")) == "x" * 40_000
    True
    """
    joined = ""
    for number, part in enumerate(parts):
        bare = part[1:] if number and _GUARDED.match(part) else part
        whole = _NOTE.sub("", bare)
        joined += whole
        if whole == bare:
            break
    return joined
