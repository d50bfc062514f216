"""Attention of a packed pass: queries of many texts in one row, each seeing its own text and nothing else.

A query's keys come from several places: the runs above it that were computed before, its own part of the pass, the
keys its answer has collected. Attention over each place is computed by itself, without padding and without a mask
where none is needed, and the parts are put together by their log-sum-exp, which is exact (the identity behind flash
attention, Dao et al. 2022, and behind attention over shared prefixes, Juravsky et al. 2024, arXiv 2402.05099).

The function is registered with transformers under ``NAME``; a model that computes its attention through that
interface calls it with a layout, which knows where the keys of each query are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import torch

__all__ = [
    "NAME",
    "Layout",
    "attend",
    "configurations",
    "join",
    "packed",
    "packed_attention",
    "visible",
]

NAME = "evalkit_packed"
SCORES = 1 << 25
"""Most attention scores held at once where they are computed one by one: 128 MB in float32."""
HIDDEN = -(2.0**99)
"""Added to a score that a query must not see; finite, so that a row of nothing else stays a number."""


_layout: ContextVar[Layout | None] = ContextVar("layout", default=None)
# Not an argument of the model: some families do not hand unknown arguments down to their attention.


class Layout(Protocol):
    """Where the keys of each query of a pass are."""

    def attend(
        self, layer: int, q: Any, k: Any, v: Any, scale: float, window: int | None, softcap: float | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Attention of one layer.

        Args:
            layer: Its number.
            q: (H, G, N, D) queries: G share the keys of one head.
            k: (H, N, D) keys of the pass.
            v: (H, N, D) its values.
            scale: Factor of the scores.
            window: A query sees this many last keys, its own included; None: all.
            softcap: Bound of the scores, by tanh; None: none.

        Returns:
            (H, G, N, D) float32 outputs and (H, G, N) float32 log-sum-exp of the scores.
        """
        ...


def packed_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Any,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """The attention function that transformers calls: (1, heads, N, D) each, to (1, N, heads, D).

    Raises:
        NotImplementedError: Something is asked of it that it does not know.
    """
    unknown = [name for name in ("position_bias", "alibi") if others.get(name) is not None]
    layout = _layout.get()
    if layout is None or attention_mask is not None or unknown or len(query) != 1:
        raise NotImplementedError(f"{type(module).__name__}: attention of another kind")
    heads = key.shape[1]
    q = query[0].view(heads, -1, *query.shape[2:])  # (H, G, N, D)
    scale = float(scaling) if scaling is not None else query.shape[-1] ** -0.5
    out, total = layout.attend(
        int(module.layer_idx), q, key[0], value[0], scale, sliding_window or None, softcap
    )
    if s_aux is not None:  # a learned score that takes its share and gives nothing (gpt-oss)
        sink = s_aux.float().view(heads, -1, 1).to(total.device)
        out = out * torch.sigmoid(total - sink)[..., None]
    return out.flatten(0, 1).transpose(0, 1)[None].to(query.dtype), None


def configurations(model: Any) -> list[Any]:
    """The configurations that the model's layers read, for ``packed``."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if NAME not in ALL_ATTENTION_FUNCTIONS:
        ALL_ATTENTION_FUNCTIONS.register(NAME, packed_attention)
    found = {id(config): config for module in model.modules() if (config := getattr(module, "config", None))}
    return list(found.values())


@contextmanager
def packed(configs: Sequence[Any], layout: Layout) -> Iterator[None]:
    """Within the block the model of these configurations computes its attention by this layout."""
    before = [(config, getattr(config, "_attn_implementation_internal", None)) for config in configs]
    token = _layout.set(layout)
    try:
        for config, _ in before:
            config._attn_implementation_internal = NAME
        yield
    finally:
        _layout.reset(token)
        for config, name in before:
            config._attn_implementation_internal = name


def attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    scale: float,
    mask: torch.Tensor | None = None,
    causal: bool = False,
    softcap: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention over one set of keys, with what is needed to join it with another.

    Args:
        q: (B, G, N, D).
        k: (B, 1 or G, M, D).
        v: (B, 1 or G, M, D).
        scale: Factor of the scores.
        mask: Broadcastable to (B, G, N, M), added to the scores.
        causal: Query i sees keys 0 … i; M = N.
        softcap: See ``Layout``.

    Returns:
        (B, G, N, D) float32, (B, G, N) float32.
    """
    b, g, n, d = q.shape
    if q.device.type == "cpu" and softcap is None and v.shape[-1] == d:
        full = None if mask is None else mask.to(q.dtype).expand(b, g, n, k.shape[2])
        out, total = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q, k.expand(b, g, -1, -1), v.expand(b, g, -1, -1), 0.0, causal, attn_mask=full, scale=scale
        )
        return out.float(), total
    if causal:
        mask = visible(torch.arange(n), torch.arange(n), None).to(q.device)
    rows = max(1, SCORES // max(1, b * g * k.shape[2]))
    parts = [
        _scored(q[:, :, i : i + rows], k, v, scale, _rows(mask, i, i + rows), softcap)
        for i in range(0, n, rows)
    ]
    if len(parts) == 1:
        return parts[0]
    return torch.cat([out for out, _ in parts], dim=2), torch.cat([total for _, total in parts], dim=2)


def join(out: torch.Tensor, total: torch.Tensor, part: torch.Tensor, part_total: torch.Tensor) -> None:
    """Add a part over other keys to an attention, in place: outputs (…, N, D), log-sum-exps (…, N)."""
    both = torch.logaddexp(total, part_total)
    out.mul_((total - both).exp_()[..., None]).add_(part.mul_((part_total - both).exp_()[..., None]))
    total.copy_(both)


def visible(queries: torch.Tensor, keys: torch.Tensor, window: int | None) -> torch.Tensor:
    """(N, M) float32 mask by position: 0 where a query sees a key, ``HIDDEN`` elsewhere.

    >>> visible(torch.tensor([1, 2]), torch.tensor([0, 1, 2]), 2).tolist() == [[0, 0, HIDDEN], [HIDDEN, 0, 0]]
    True
    """
    distance = queries[:, None] - keys[None]
    seen = distance >= 0 if window is None else (distance >= 0) & (distance < window)
    return torch.zeros(seen.shape).masked_fill_(~seen, HIDDEN)


def _rows(mask: torch.Tensor | None, start: int, stop: int) -> torch.Tensor | None:
    return mask if mask is None or mask.shape[-2] == 1 else mask[..., start:stop, :]


def _scored(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    scale: float,
    mask: torch.Tensor | None,
    softcap: float | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    b, g, n, d = q.shape
    folded = k.shape[1] == 1  # the queries that share a head's keys as one matrix
    scores = torch.matmul(q.reshape(b, 1, g * n, d) if folded else q, k.transpose(-1, -2)).float().mul_(scale)
    if softcap is not None:
        scores = scores.div_(softcap).tanh_().mul_(softcap)
    if mask is not None:
        scores = scores.view(b, g, n, -1) + mask
    total = scores.view(b, g, n, -1).logsumexp(-1)  # (B, G, N)
    weights = scores.view(b, g, n, -1).sub(total[..., None]).exp_().to(v.dtype)
    out = torch.matmul(weights.reshape(b, 1, g * n, -1) if folded else weights, v)
    return out.float().view(b, g, n, -1), total
