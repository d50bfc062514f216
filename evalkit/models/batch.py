"""Sequences that a model holds in memory together: their keys and values, and the logits that follow each.

Rows are padded on the left, with explicit positions and a mask. What all rows begin with is run once, as one
row, and its keys and values are laid into every row at the place where left padding puts them, so the result is
that of the padded batch: only the work is shared.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import Any

import torch

from evalkit.models.loading import Base

__all__ = ["Batch", "SharedPrefix", "common_prefix", "log_probabilities", "run_model"]

WORTHWHILE = 16
"""Shared tokens from which a pass of its own for the prefix pays."""


def common_prefix(rows: Sequence[Sequence[int]]) -> int:
    """Length of what all rows begin with.

    >>> common_prefix([[5, 6, 7], [5, 6, 8, 9]])
    2
    """
    lists = [list(row) for row in rows]
    least, most = min(lists), max(lists)  # lexicographic: they differ first where any two do
    pairs = zip(least, most, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(least), len(most)))


class SharedPrefix:
    """The keys and values of the last prefix that was run, for the next batch that begins with it."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.cache: Any = None

    def take(self, base: Base, rows: Sequence[Sequence[int]]) -> int:
        """Make a prefix of these rows ready and return its length; 0 where sharing is not worth it.

        At least one token of every row is left over: its logits are wanted.
        """
        length = min(common_prefix(rows), min(map(len, rows)) - 1)
        fits = 0 < len(self.ids) <= length and list(rows[0][: len(self.ids)]) == self.ids
        if fits and length - len(self.ids) < WORTHWHILE:
            return len(self.ids)
        if len(rows) < 2 or length < WORTHWHILE:
            return 0
        ids = list(rows[0][:length])
        inputs = torch.tensor([ids], device=base.device)
        cache = run_model(
            base, inputs, torch.ones_like(inputs), torch.arange(length, device=base.device)[None], None
        )[1]
        if not _is_plain(cache, length):
            return 0
        self.ids, self.cache = ids, cache
        return length

    def lay_out(self, base: Base, length: int, shifts: Sequence[int]) -> Any:
        """Return a cache of ``length`` columns in which row i holds the prefix from column ``shifts[i]`` on."""
        from transformers import DynamicCache

        columns = (
            torch.arange(length, device=base.device)[None] - torch.tensor(shifts, device=base.device)[:, None]
        )
        columns = columns.clamp(min=0)  # (B, P); padding gets the first column, which the mask hides
        spread = DynamicCache(config=base.model.config)
        for index, layer in enumerate(self.cache.layers):
            at = columns.to(layer.keys.device)
            # (1, H, P, D) -> (H, B, P, D) -> (B, H, P, D)
            spread.update(layer.keys[0][:, at].transpose(0, 1), layer.values[0][:, at].transpose(0, 1), index)
        return spread


class Batch:
    """B sequences after their prompts.

    Args:
        base: The model, already switched to the adapter that answers.
        rows: B prompts as ids, each with at least one token.
        prefix: Where a shared prefix is kept between batches.

    Attributes:
        logits: (B, V) float32, what follows each row.
    """

    def __init__(self, base: Base, rows: Sequence[Sequence[int]], prefix: SharedPrefix) -> None:
        self.base = base
        longest = max(map(len, rows))
        shifts = [longest - len(row) for row in rows]
        pad = int(base.tokenizer.pad_token_id)
        ids = torch.tensor([[pad] * shift + list(row) for shift, row in zip(shifts, rows, strict=True)])
        self._mask = (
            (torch.arange(longest)[None] >= torch.tensor(shifts)[:, None]).long().to(base.device)
        )  # (B, T)
        self._lengths = torch.tensor([len(row) for row in rows], device=base.device)  # (B,)
        shared = prefix.take(base, rows)
        # With the longest row, every row's last (longest - shared) tokens are run; what is before them is prefix.
        self._cache: Any = prefix.lay_out(base, shared, shifts) if shared else None
        positions = (self._mask.cumsum(1) - 1).clamp(min=0)
        logits, self._cache = run_model(
            base, ids[:, shared:].to(base.device), self._mask, positions[:, shared:], self._cache, keep=1
        )
        self.logits = logits[:, -1].float().to(base.device)

    def __len__(self) -> int:
        return len(self._lengths)

    def append(self, tokens: Sequence[int]) -> None:
        """Add one token to every row and move ``logits`` on."""
        inputs = torch.tensor(tokens, device=self.base.device)[:, None]
        self._mask = torch.cat([self._mask, torch.ones_like(inputs)], dim=1)
        logits, self._cache = run_model(self.base, inputs, self._mask, self._lengths[:, None], self._cache)
        self._lengths = self._lengths + 1
        self.logits = logits[:, -1].float().to(self.base.device)

    def keep(self, rows: Sequence[int]) -> None:
        """Forget all rows but these."""
        chosen = torch.tensor(rows)  # on the CPU, because layers may lie on several devices
        self._cache.batch_select_indices(chosen)
        self._mask, self._lengths, self.logits = (
            self._mask[chosen],
            self._lengths[chosen],
            self.logits[chosen],
        )

    def rate(self, continuations: Sequence[Sequence[int]]) -> list[list[float]]:
        """Natural log-probability of each token of one continuation a row; the batch stays as it was.

        Args:
            continuations: B lists of ids, which may be empty.
        """
        width = max(map(len, continuations))
        if width == 0:
            return [[] for _ in continuations]
        pad = int(self.base.tokenizer.pad_token_id)
        table = torch.tensor(
            [[*row, *[pad] * (width - len(row))] for row in continuations], device=self.base.device
        )
        real = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in continuations])
        pieces = [log_probabilities(self.logits[:, None], table[:, :1])]
        if width > 1:
            mask = torch.cat([self._mask, real[:, : width - 1].to(self.base.device)], dim=1)
            positions = self._lengths[:, None] + torch.arange(width - 1, device=self.base.device)[None]
            logits, _ = run_model(self.base, table[:, :-1], mask, positions, _fork(self._cache))
            pieces.append(log_probabilities(logits, table[:, 1:]))
        values = torch.cat(pieces, dim=1).tolist()  # (B, width)
        return [row[: len(ids)] for row, ids in zip(values, continuations, strict=True)]


def log_probabilities(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Log-softmax in float32 at the given ids.

    Args:
        logits: (B, T, V).
        ids: (B, T).

    Returns:
        (B, T).
    """
    logits = logits.float()
    chosen = logits.gather(-1, ids[..., None].to(logits.device)).squeeze(-1)
    return (chosen - logits.logsumexp(-1)).to(ids.device)


def _fork(cache: Any) -> Any:
    """Copy a cache so that both can grow apart.

    Plain layers grow by concatenation, into new tensors, so they need no copy of the tensors; other kinds
    (recurrent states) are written in place and are copied whole.
    """
    branch = copy.copy(cache)
    branch.layers = [
        copy.copy(layer) if _grows_by_copy(layer) else copy.deepcopy(layer) for layer in cache.layers
    ]
    return branch


@torch.no_grad()
def run_model(
    base: Base,
    ids: torch.Tensor,
    mask: torch.Tensor,
    positions: torch.Tensor,
    cache: Any,
    keep: int = 0,
) -> tuple[torch.Tensor, Any]:
    """One forward pass.

    Not ``inference_mode``: layers may keep a tensor they make here (a cast bias, rotary frequencies), and an
    inference tensor would break a later training step.

    Args:
        ids: (B, S) new tokens.
        mask: (B, T) 1 for every real token so far, these included.
        positions: (B, S).
        cache: Keys and values of the T - S tokens before; None at the start.
        keep: Logits of only the last so many positions, where the model can; 0 for all.

    Returns:
        (B, S or keep, V) logits, and the cache that now holds T tokens.
    """
    known = _parameters(type(base.model))
    arguments = {"input_ids": ids, "attention_mask": mask, "past_key_values": cache, "use_cache": True}
    if "position_ids" in known:
        arguments["position_ids"] = positions
    if keep and "logits_to_keep" in known:
        arguments["logits_to_keep"] = keep
    output = base.model(**arguments)
    return output.logits, output.past_key_values


def _parameters(kind: type) -> frozenset[str]:
    return frozenset(inspect.signature(kind.forward).parameters)  # type: ignore[attr-defined]


def _grows_by_copy(layer: Any) -> bool:
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    return type(layer) in (DynamicLayer, DynamicSlidingWindowLayer)


def _is_plain(cache: Any, length: int) -> bool:
    """Whether every layer holds all columns of the prefix: neither a window that dropped some, nor a state."""
    return all(
        _grows_by_copy(layer) and layer.is_initialized and layer.keys.shape[-2] == length
        for layer in cache.layers
    )
