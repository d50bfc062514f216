"""Attention within a stream of packed rows: each stretch attends to itself and to the stretches it goes on from.

It is an attention function of its own under transformers' ``AttentionInterface``, so that the models' own code
runs around it. A dense mask over the whole stream would cost the square of the stream's length; here each
stretch pays for its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F

from evalkit.errors import EvalkitError
from evalkit.training.siblings import Grouping, attend_in_groups, can_attend_in_groups, grouped

__all__ = ["Layout", "Segment", "Stretch", "attend", "current_layout", "laid_out", "stream_attention"]

_NAME = "evalkit_stream"  # with the function's own after it
_current: list[Layout] = []  # not a context variable: CUDA's backward pass recomputes layers in other threads


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive tokens of one row, or of several rows that begin alike.

    Attributes:
        start: First index in the stream.
        stop: Index after its last.
        before: (start, stop) of the stretches that it goes on from, first one first.
    """

    start: int
    stop: int
    before: tuple[tuple[int, int], ...] = ()

    @property
    def depth(self) -> int:
        """Tokens of its rows before it: the position of its first token."""
        return sum(stop - start for start, stop in self.before)


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive tokens of one candidate: its adapter acts on them.

    Attributes:
        owner: The adapter's name on the model.
        start: First index in the stream.
        stop: Index after its last.
        seed: Of what is dropped of the adapter's inputs.
    """

    owner: str
    start: int
    stop: int
    seed: int = 0


@dataclass(frozen=True)
class Layout:
    """Who attends to whom in a stream, and whose adapter acts where.

    Attributes:
        stretches: Together they are the stream, in its order.
        segments: Likewise.
        masks: Made as layers need them.
        spans: Likewise, of ``varlen``.
    """

    stretches: tuple[Stretch, ...]
    segments: tuple[Segment, ...]
    masks: dict[tuple[Any, ...], torch.Tensor | None] = field(default_factory=dict)
    spans: dict[torch.device, Any] = field(default_factory=dict)

    @cached_property
    def grouping(self) -> Grouping:
        """The stretches as groups of siblings."""
        return grouped(self.stretches, self.segments)

    def mask(self, stretch: Stretch, window: int | None, like: torch.Tensor) -> torch.Tensor | None:
        """Who attends to whom, (L, P + L), 0 for yes and -inf for no; None: everything up to oneself, and P is 0.

        Args:
            stretch: Of length L, after P tokens.
            window: A query sees this many positions, its own included; None: all.
            like: Queries, whose type and device it is of: of booleans one such mask would be made a layer.
        """
        depth, length = stretch.depth, stretch.stop - stretch.start
        window = None if window is None or window >= depth + length else window
        key = (depth, length, window, like.dtype, like.device)
        if key not in self.masks:
            query = torch.arange(depth, depth + length, device=like.device)[:, None]
            keys = torch.arange(depth + length, device=like.device)[None, :]
            seen = keys <= query
            if window is not None:
                seen &= query - keys < window
            mask = torch.zeros(seen.shape, dtype=like.dtype, device=like.device)
            self.masks[key] = None if depth == 0 and window is None else mask.masked_fill(~seen, -math.inf)
        return self.masks[key]


@contextmanager
def stream_attention(model: Any, attention: Callable[..., Any] | None = None) -> Iterator[None]:
    """Within the block the model's layers attend as the layout says; a layout must be given for each pass.

    Args:
        model: A model of transformers.
        attention: What does it; None: ``attend``.
    """
    from transformers import AttentionInterface

    attention = attention or attend
    name = f"{_NAME}_{attention.__name__}"
    AttentionInterface.register(name, attention)
    configs = [model.config, *_sub_configs(model.config)]
    before = [config._attn_implementation_internal for config in configs]
    for config in configs:
        config._attn_implementation_internal = name
    try:
        yield
    finally:
        for config, own in zip(configs, before, strict=True):
            config._attn_implementation_internal = own


@contextmanager
def laid_out(layout: Layout | None) -> Iterator[None]:
    """Within the block passes are over a stream of this layout; None: over plain rows, nothing changes.

    With gradient checkpointing the backward pass must be within the block too, since it runs layers again.
    """
    if layout is None:
        yield
        return
    _current.append(layout)
    try:
        yield
    finally:
        _current.pop()


def current_layout() -> Layout:
    """Return the layout of the stream that is being run.

    Raises:
        EvalkitError: None was given.
    """
    if not _current:
        raise EvalkitError("a stream is run without its layout")
    return _current[-1]


def _sub_configs(config: Any) -> Sequence[Any]:
    named = (getattr(config, name, None) for name in getattr(config, "sub_configs", {}))
    return [sub for sub in named if sub is not None]


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,  # (1, H, T, D)
    key: torch.Tensor,  # (1, G, T, D), G divides H
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend as the current layout says; the signature is that of transformers' ``AttentionInterface``.

    Returns:
        (1, T, H, D) in the queries' type, computed in fp32 on a CPU; and no weights.

    Raises:
        EvalkitError: A mask is given, or rows that are no stream.
    """
    layout = current_layout()
    if attention_mask is not None or query.shape[0] != 1:
        raise EvalkitError("a stream's attention was asked for rows that are not in a stream")
    if softcap is None and s_aux is None and not dropout and can_attend_in_groups(query, value):
        return attend_in_groups(layout, query, key, value, scaling, sliding_window), None
    dtype, on_cpu = query.dtype, query.device.type == "cpu"
    if on_cpu:  # a bf16 backward pass takes four times as long there, and autocast would ask for one
        query, key, value = query.float(), key.float(), value.float()
    with torch.autocast("cpu", enabled=False) if on_cpu else nullcontext():
        pieces = _pieces(layout, query, key, value, scaling, dropout, sliding_window, softcap, s_aux)
        return torch.cat(pieces, dim=2).transpose(1, 2).to(dtype).contiguous(), None  # (1, T, H, D)


def _pieces(
    layout: Layout,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
    dropout: float,
    sliding_window: int | None,
    softcap: float | None,
    sinks: torch.Tensor | None,
) -> list[torch.Tensor]:
    """Attention of each stretch, (1, H, L, D), in their order."""
    # split and not sliced: the backward pass of a slice fills the whole stream with zeros
    lengths = [stretch.stop - stretch.start for stretch in layout.stretches]
    starts = [stretch.start for stretch in layout.stretches]
    cut = [dict(zip(starts, torch.split(states, lengths, dim=2), strict=True)) for states in (key, value)]
    pieces = []
    for stretch, q in zip(layout.stretches, torch.split(query, lengths, dim=2), strict=True):
        seen = [*(start for start, _ in stretch.before), stretch.start]
        k, v = (
            part[stretch.start] if len(seen) == 1 else torch.cat([part[start] for start in seen], dim=2)
            for part in cut
        )
        mask = layout.mask(stretch, sliding_window, query)
        if softcap is None and sinks is None:
            piece = F.scaled_dot_product_attention(
                q,
                k,
                v,
                attn_mask=mask,
                dropout_p=dropout,
                is_causal=mask is None and q.shape[2] > 1,
                scale=scaling,
                enable_gqa=q.shape[1] != k.shape[1],
            )
        else:
            piece = _in_steps(q, k, v, mask, scaling, dropout, softcap, sinks)
        pieces.append(piece)
    return pieces


def _in_steps(
    q: torch.Tensor,  # (1, H, L, D)
    k: torch.Tensor,  # (1, G, S, D)
    v: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float | None,
    dropout: float,
    softcap: float | None,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    """Attention of the families that bend the scores: a soft-cap (Gemma 2) or a sink per head (gpt-oss)."""
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    scores = torch.matmul(q, k.transpose(2, 3)) * (q.shape[-1] ** -0.5 if scaling is None else scaling)
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if mask is None:
        length = q.shape[2]
        mask = torch.full((length, length), -math.inf, dtype=q.dtype, device=q.device).triu(1)
    scores = scores + mask
    if sinks is not None:
        column = sinks.reshape(1, -1, 1, 1).expand(1, -1, q.shape[2], -1).to(scores.dtype)
        scores = torch.cat([scores, column], dim=-1)
    shares = torch.softmax(scores, dim=-1, dtype=torch.float32).to(v.dtype)
    if sinks is not None:
        shares = shares[..., :-1]
    return torch.matmul(F.dropout(shares, dropout), v)
