"""Rows → what is run at once: rows of similar length together, padded, or a stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from evalkit.training.attention import Layout
from evalkit.training.rows import TokenRow

__all__ = ["Batch", "Part", "collate", "micro_batches", "stream_batch"]


@dataclass(frozen=True, slots=True)
class Part:
    """One candidate's share of a batch.

    Attributes:
        owner: Its adapter's name on the model.
        tokens: (start, stop) of its tokens in the flattened batch.
        targets: (start, stop) of its supervised tokens among all of the batch.
        logical: Tokens that its rows hold.
    """

    owner: str
    tokens: tuple[int, int]
    targets: tuple[int, int]
    logical: int

    @property
    def computed(self) -> int:
        """Tokens that are run for it, padding included."""
        return self.tokens[1] - self.tokens[0]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows run at once: a stream without padding (``packing``), or rows padded on the right.

    No real token of a causal model attends to what follows it, so padded rows need neither an attention mask
    nor position ids.

    Attributes:
        input_ids: (1, T) ids of a stream, or (B, T) of rows; padding repeats the row's first id.
        position_ids: (1, T) of a stream; None for rows.
        layout: Who attends to whom in a stream; None for rows.
        positions: (N,) indices into the flattened (B·T) positions, each of which predicts a supervised token.
        targets: (N,) the supervised tokens.
        weights: (N,) factor of each token's loss.
        parts: The candidates it belongs to, in order; together they are the batch.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor | None
    layout: Layout | None
    positions: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    parts: tuple[Part, ...]

    @property
    def tokens(self) -> int:
        """Logical tokens: what the rows hold."""
        return sum(part.logical for part in self.parts)

    @property
    def computed_tokens(self) -> int:
        """B·T, padding included."""
        return self.input_ids.numel()


def micro_batches(rows: Sequence[TokenRow], size: int) -> list[list[TokenRow]]:
    """Cut rows into groups of at most ``size``, longest first, so that little padding is needed and a step
    that does not fit into memory fails at its start.
    """
    ordered = sorted(rows, key=lambda row: -len(row.ids))
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def collate(rows: Sequence[TokenRow], device: str, owner: str = "") -> Batch:
    """Pad rows of one candidate into one batch on the device."""
    longest = max(len(row.ids) for row in rows)
    padded = [[*row.ids, *[row.ids[0]] * (longest - len(row.ids))] for row in rows]
    places = [number * longest + place for number, row in enumerate(rows) for place in _predicting(row)]
    parts = (Part(owner, (0, len(rows) * longest), (0, len(places)), sum(len(row.ids) for row in rows)),)
    return _batch(rows, padded, places, parts, device)


def stream_batch(
    stream: Sequence[int],
    positions: Sequence[int],
    rows: Sequence[Sequence[TokenRow]],
    where: Sequence[Sequence[int]],
    layout: Layout,
    device: str,
) -> Batch:
    """Make the batch of a stream.

    Args:
        stream: Its ids.
        positions: Each token's position in its row.
        rows: Of each of the layout's segments.
        where: For each row, in their order: the index in the stream of each of its tokens.
        layout: Who attends to whom, and whose adapter acts where.
        device: Where to.
    """
    flat = [row for part in rows for row in part]
    places = [found[place] for found, row in zip(where, flat, strict=True) for place in _predicting(row)]
    parts: list[Part] = []
    done = 0
    for segment, part in zip(layout.segments, rows, strict=True):
        learned = sum(row.targets for row in part)
        span, logical = (segment.start, segment.stop), sum(len(row.ids) for row in part)
        parts.append(Part(segment.owner, span, (done, done + learned), logical))
        done += learned
    return _batch(flat, [stream], places, tuple(parts), device, positions, layout)


def _predicting(row: TokenRow) -> list[int]:
    """Places in a row whose state predicts a supervised token."""
    return [place - 1 for place, on in enumerate(row.supervised) if on]


def _batch(
    rows: Sequence[TokenRow],
    ids: Sequence[Sequence[int]],
    places: Sequence[int],
    parts: tuple[Part, ...],
    device: str,
    positions: Sequence[int] | None = None,
    layout: Layout | None = None,
) -> Batch:
    learned = [
        (token, row.weight) for row in rows for token, on in zip(row.ids, row.supervised, strict=True) if on
    ]
    targets, weights = zip(*learned, strict=True)
    return Batch(
        input_ids=torch.tensor(ids, dtype=torch.long, device=device),
        position_ids=None
        if positions is None
        else torch.tensor([positions], dtype=torch.long, device=device),
        layout=layout,
        positions=torch.tensor(places, dtype=torch.long, device=device),
        targets=torch.tensor(targets, dtype=torch.long, device=device),
        weights=torch.tensor(weights, dtype=torch.float32, device=device),
        parts=parts,
    )
