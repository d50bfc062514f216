"""Rows → micro-batches: a seeded order per epoch, one window a step, rows of similar length together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from evalkit.training.rows import TokenRow

__all__ = ["Batch", "collate", "micro_batches", "shared_prefix", "steps_per_epoch", "window"]

SHORTEST = 8
"""Tokens of a shared prefix; below, running it on its own costs more than it saves."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows run at once, padded on the right: no real token of a causal model attends to what follows it, so
    neither an attention mask nor position ids are needed.

    Attributes:
        prefix_ids: (1, P) ids that all rows begin with, run once; None where nothing is shared.
        input_ids: (B, T) ids after the prefix; padding repeats the row's first id.
        positions: (N,) indices into the flattened (B·T) positions, each of which predicts a supervised token.
        targets: (N,) the supervised tokens.
        weights: (N,) factor of each token's loss.
        tokens: Logical tokens: what the rows hold.
    """

    prefix_ids: torch.Tensor | None
    input_ids: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    tokens: int

    @property
    def computed_tokens(self) -> int:
        """P + B·T, padding included."""
        return self.input_ids.numel() + (0 if self.prefix_ids is None else self.prefix_ids.numel())


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Optimiser steps that see every row once; the last one may see fewer rows.

    >>> steps_per_epoch(250, 16)
    16
    """
    return math.ceil(rows / batch_size)


def window(step: int, rows: int, batch_size: int, seed: int, shuffle: bool = True) -> list[int]:
    """Return the indices of the rows of one optimiser step.

    Each epoch is a new order, which depends on seed and epoch alone: a resumed training sees the same rows.

    Args:
        step: From 0, over all epochs.
        rows: Number of rows.
        batch_size: Rows per step.
        seed: Of the order.
        shuffle: False: the order of the data, in each epoch.

    >>> sorted(window(0, 5, 4, seed=1) + window(1, 5, 4, seed=1))
    [0, 1, 2, 3, 4]
    """
    epoch, place = divmod(step, steps_per_epoch(rows, batch_size))
    order = _order(rows, seed, epoch) if shuffle else range(rows)
    return list(order[place * batch_size : (place + 1) * batch_size])


def micro_batches(rows: Sequence[TokenRow], size: int) -> list[list[TokenRow]]:
    """Cut rows into groups of at most ``size``, longest first, so that little padding is needed and a step
    that does not fit into memory fails at its start.
    """
    ordered = sorted(rows, key=lambda row: -len(row.ids))
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def shared_prefix(rows: Sequence[TokenRow]) -> int:
    """Return how many first tokens all rows share and none of them learns, each row keeping one token of prompt.

    The token before the first learned one stays with its row, since its state predicts that token. 0 for one
    row, or where fewer than ``SHORTEST`` are shared.
    """
    if len(rows) < 2:
        return 0
    first, last = min(row.ids for row in rows), max(row.ids for row in rows)
    pairs = zip(first, last, strict=False)
    common = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(last)))
    length = min([common, *(row.supervised.index(True) - 1 for row in rows)])
    return length if length >= SHORTEST else 0


def collate(rows: Sequence[TokenRow], device: str, share: bool = False) -> Batch:
    """Pad rows into one batch on the device; with ``share`` what they all begin with is taken out of them."""
    start = shared_prefix(rows) if share else 0
    longest = max(len(row.ids) for row in rows) - start
    padded = [[*row.ids[start:], *[row.ids[0]] * (longest + start - len(row.ids))] for row in rows]
    places = [
        (number * longest + position - start - 1, row.ids[position], row.weight)
        for number, row in enumerate(rows)
        for position, supervised in enumerate(row.supervised)
        if supervised
    ]
    positions, targets, weights = zip(*places, strict=True)
    prefix = torch.tensor([rows[0].ids[:start]], dtype=torch.long, device=device) if start else None
    return Batch(
        prefix_ids=prefix,
        input_ids=torch.tensor(padded, dtype=torch.long, device=device),
        positions=torch.tensor(positions, dtype=torch.long, device=device),
        targets=torch.tensor(targets, dtype=torch.long, device=device),
        weights=torch.tensor(weights, dtype=torch.float32, device=device),
        tokens=sum(len(row.ids) for row in rows),
    )


@lru_cache(maxsize=8)
def _order(rows: int, seed: int, epoch: int) -> list[int]:
    return [int(index) for index in np.random.default_rng([seed, epoch]).permutation(rows)]
