"""Many adapters on one base in one pass: the frozen products over all rows at once, each adapter on its own.

The tokens of a candidate stand together in the stream (``attention.Segment``), so its adapter acts on a slice:
no gathering, no scattering. mLoRA (Ye et al. 2023, arXiv:2312.02515) batches rows this way; here it also holds
that a candidate's numbers do not depend on who it is trained with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from zlib import crc32

import torch

from evalkit.errors import EvalkitError
from evalkit.training.adapters import NewAdapter
from evalkit.training.attention import Segment, current_layout

__all__ = ["joined"]


@contextmanager
def joined(adapters: Sequence[NewAdapter]) -> Iterator[None]:
    """Within the block each adapter acts on its own segments of a stream, and all of them can be trained."""
    layers = _layers(adapters)
    for adapter in adapters:
        for parameter in adapter.parameters:
            parameter.requires_grad_(True)
    slots = frozenset(adapter.slot for adapter in adapters)
    for name, layer in layers.items():
        layer.forward = partial(_forward, name, layer, crc32(name.encode()), slots)
    try:
        yield
    finally:
        for layer in layers.values():
            del layer.forward


@dataclass(frozen=True, slots=True)
class _Piece:
    """One adapter's part of one layer's pass.

    Attributes:
        start: First token.
        stop: After its last token.
        scale: alpha / rank.
        kept: (n, I) factors of the inputs, 0 for what is dropped; None: all is kept.
    """

    start: int
    stop: int
    scale: float
    kept: torch.Tensor | None


def _forward(
    name: str, layer: Any, number: int, slots: frozenset[str], x: torch.Tensor, *more: Any, **named: Any
) -> torch.Tensor:
    """A LoRA layer's forward over a stream: x is (1, T, I)."""
    segments = current_layout().segments
    if more or named or x.numel() != segments[-1].stop * x.shape[-1]:
        raise EvalkitError(f"{name} is given something else than the tokens of a stream")
    out = layer.base_layer(x)
    pieces: list[_Piece] = []
    weights: list[torch.Tensor] = []
    for segment in segments:
        if segment.owner in slots and segment.owner in layer.lora_A:
            kept = _kept(layer, segment, number, x)
            pieces.append(_Piece(segment.start, segment.stop, layer.scaling[segment.owner], kept))
            weights += [layer.lora_A[segment.owner].weight, layer.lora_B[segment.owner].weight]
    if not pieces:
        return out  # type: ignore[no-any-return]
    if out._is_view():  # bitsandbytes gives one where a layer has a bias; it cannot be added to in place
        out = out.clone()
    return _Added.apply(out, x, pieces, *weights)  # type: ignore[no-any-return,no-untyped-call]


def _kept(layer: Any, segment: Segment, number: int, x: torch.Tensor) -> torch.Tensor | None:
    """What dropout keeps: a function of seed, pass and layer alone, the same when a layer is run again."""
    rate = getattr(layer.lora_dropout[segment.owner], "p", 0.0)
    if not rate or not layer.training:
        return None
    random = torch.Generator(x.device).manual_seed((segment.seed * 1_000_003 + number) % (1 << 63))
    size = (segment.stop - segment.start, x.shape[-1])
    kept = torch.empty(size, device=x.device, dtype=x.dtype).bernoulli_(1 - rate, generator=random)
    return kept.div_(1 - rate)


class _Added(torch.autograd.Function):
    """out + (x Aᵀ) Bᵀ · scale, in place, for each piece."""

    @staticmethod
    def forward(
        ctx: Any, out: torch.Tensor, x: torch.Tensor, pieces: list[_Piece], *weights: torch.Tensor
    ) -> torch.Tensor:
        inputs, result = x.reshape(-1, x.shape[-1]), out.view(-1, out.shape[-1])  # (T, I), (T, O)
        device = out.device.type
        autocast = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if autocast else out.dtype
        low = []
        for piece, a, b in zip(pieces, weights[::2], weights[1::2], strict=True):
            low.append(_taken(inputs, piece).to(dtype) @ a.t().to(dtype))  # (n, r)
            part = result[piece.start : piece.stop]
            if out.dtype == dtype:
                part.addmm_(low[-1], b.t().to(dtype), alpha=piece.scale)
            else:  # a 4-bit layer gives back the type of its input, whatever it computes in
                part.add_(low[-1] @ b.t().to(dtype), alpha=piece.scale)
        ctx.mark_dirty(out)
        ctx.pieces, ctx.count = pieces, len(pieces)
        ctx.save_for_backward(x, *low, *weights)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        x, *rest = ctx.saved_tensors
        low, weights = rest[: ctx.count], rest[ctx.count :]
        inputs, above = x.reshape(-1, x.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
        below = None
        if ctx.needs_input_grad[1]:
            everywhere = sum(piece.stop - piece.start for piece in ctx.pieces) == len(inputs)
            below = torch.empty_like(inputs) if everywhere else torch.zeros_like(inputs)
        found: list[torch.Tensor] = []
        for piece, h, a, b in zip(ctx.pieces, low, weights[::2], weights[1::2], strict=True):
            g = above[piece.start : piece.stop]
            back = (g @ b.to(g.dtype)).mul_(piece.scale)  # (n, r)
            found.append((back.t() @ _taken(inputs, piece).to(g.dtype)).to(a.dtype))
            found.append((g.t() @ h.to(g.dtype)).mul_(piece.scale).to(b.dtype))
            if below is not None:
                sent = below[piece.start : piece.stop]
                if sent.dtype == g.dtype:
                    torch.mm(back, a.to(g.dtype), out=sent)
                else:
                    sent.copy_(back @ a.to(g.dtype))
                if piece.kept is not None:
                    sent.mul_(piece.kept)
        return gradient, None if below is None else below.view_as(x), None, *found


def _taken(inputs: torch.Tensor, piece: _Piece) -> torch.Tensor:
    taken = inputs[piece.start : piece.stop]
    return taken if piece.kept is None else taken * piece.kept


def _layers(adapters: Sequence[NewAdapter]) -> dict[str, Any]:
    from peft.tuners.lora.layer import LoraLayer

    slots = {adapter.slot for adapter in adapters}
    return {
        name: module
        for name, module in adapters[0].base.model.named_modules()
        if isinstance(module, LoraLayer) and not slots.isdisjoint(module.lora_A)
    }
