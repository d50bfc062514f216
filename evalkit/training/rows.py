"""A tokenised training row: ids and which of them carry a loss; and what happened to rows that are too "
"long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

__all__ = ["Overlong", "Policy", "TokenRow", "fit_rows"]

Policy = Literal["drop", "truncate", "split"]


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One row as the model sees it.

    Attributes:
        ids: (T,) token ids.
        supervised: (T,) True where predicting this token carries a loss; never at position 0.
        row: Number of the row in its file, from 1.
        weight: Factor of its loss.
        raw: Raw text, which ``split`` may cut into several rows.
    """

    ids: tuple[int, ...]
    supervised: tuple[bool, ...]
    row: int
    weight: float = 1.0
    raw: bool = False

    @property
    def targets(self) -> int:
        """Number of supervised tokens."""
        return sum(self.supervised)


@dataclass(frozen=True, slots=True)
class Overlong:
    """Rows longer than ``max_length`` tokens, by what was done to them; numbers of rows in their file.

    Attributes:
        max_length: The limit, in tokens.
        dropped: Left out.
        truncated: Cut at their end; what was cut, the end token included, is not learned.
        split: Raw text that became several rows; nothing is lost.
    """

    max_length: int
    dropped: list[int] = field(default_factory=list)
    truncated: list[int] = field(default_factory=list)
    split: list[int] = field(default_factory=list)

    def messages(self) -> list[str]:
        """One line for each thing that was done, with the row numbers; empty if no row was too long.

        >>> Overlong(512, dropped=[3, 8]).messages()
        ['2 rows longer than 512 tokens were dropped: rows 3, 8']
        """
        done = {"dropped": self.dropped, "truncated": self.truncated, "split": self.split}
        return [
            f"{len(rows)} row{'s' * (len(rows) != 1)} longer than {self.max_length} tokens "
            f"{'were' if len(rows) != 1 else 'was'} {what}: row{'s' * (len(rows) != 1)} {_listed(rows)}"
            for what, rows in done.items()
            if rows
        ]


def fit_rows(rows: Sequence[TokenRow], max_length: int, policy: Policy) -> tuple[list[TokenRow], Overlong]:
    """Make every row at most ``max_length`` tokens long, and count what that took.

    ``drop`` leaves long rows out. ``truncate`` cuts their end, and drops rows that then have nothing to
    learn. ``split`` cuts raw text into several rows that overlap by one token, so that every token is still
    predicted once, and drops other long rows: half a chat is not a chat.

    Args:
        rows: Rows of any length.
        max_length: Limit in tokens, ≥ 2.
        policy: What to do with longer ones.
    """
    kept: list[TokenRow] = []
    found = Overlong(max_length)
    for row in rows:
        if len(row.ids) <= max_length:
            kept.append(row)
            continue
        pieces = _pieces(row, max_length, policy)
        kept += pieces
        done = found.dropped if not pieces else found.split if policy == "split" else found.truncated
        if row.row not in done[-1:]:  # several rows may come from one conversation
            done.append(row.row)
    return kept, found


def _pieces(row: TokenRow, max_length: int, policy: Policy) -> list[TokenRow]:
    if policy == "drop" or (policy == "split" and not row.raw):
        return []
    starts = range(0, len(row.ids) - 1, max_length - 1) if policy == "split" else [0]
    pieces = [
        replace(
            row,
            ids=row.ids[start : start + max_length],
            supervised=(False, *row.supervised[start + 1 : start + max_length]),
        )
        for start in starts
    ]
    return [piece for piece in pieces if piece.targets]


def _listed(rows: Sequence[int], most: int = 20) -> str:
    shown = ", ".join(str(row) for row in rows[:most])
    return shown if len(rows) <= most else f"{shown} and {len(rows) - most} more"
