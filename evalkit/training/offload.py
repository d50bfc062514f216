"""What waits in main memory while it is not needed on the device: activations, or the frozen weights.

Either way the numbers are those of a training that keeps everything on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from evalkit.errors import CandidateError

__all__ = ["offloaded_activations", "offloaded_weights"]


def offloaded_activations(offload: str, device: str) -> Any:
    """Return the context in which activations wait in main memory for the backward pass, or an empty one.

    Args:
        offload: ``none``, ``activations`` or ``weights``.
        device: On a CPU there is nothing to move.
    """
    if offload != "activations" or not device.startswith("cuda"):
        return nullcontext()
    return torch.autograd.graph.save_on_cpu(pin_memory=True)


@contextmanager
def offloaded_weights(model: Any, tell: Callable[[str], None]) -> Iterator[None]:
    """Within the block the frozen linear layers' weights are in main memory, and on the device while they multiply.

    A 4-bit weight travels as it is stored; its scales, a thirtieth of it, stay. The head and the embeddings stay too.

    Args:
        model: The base with its adapters.
        tell: Hears how much memory that frees.

    Raises:
        CandidateError: The base is in int8, whose weights bitsandbytes keeps in a layout of the device.
    """
    resting = [_rest(layer) for layer in _frozen(model)]
    size = sum(one.data.nbytes for one in resting)
    tell(f"offload weights: {size / 1e9:.2f} GB wait in main memory and visit the device twice a pass.")
    for one in resting:
        one.layer.weight.data = one.data
        one.layer.forward = partial(_forward, one)
    try:
        yield
    finally:
        for one in resting:
            one.layer.weight.data = one.data.to(one.home)
            vars(one.layer).pop("forward", None)


@dataclass(frozen=True, slots=True)
class _Resting:
    """A layer whose weight is in main memory.

    Attributes:
        layer: ``Linear`` or bitsandbytes' ``Linear4bit``.
        data: The weight as it is stored, in memory that a device can read by itself.
        home: Where it was.
        state: How to de-quantise it; None where it is not quantised.
    """

    layer: Any
    data: torch.Tensor
    home: torch.device
    state: Any

    def brought(self, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        """The weight, (O, I), on the device."""
        data = self.data.to(device, non_blocking=True)
        if self.state is None:
            return data.to(dtype)
        from bitsandbytes.functional import dequantize_4bit

        weight: torch.Tensor = dequantize_4bit(data, self.state)
        return weight.to(dtype)


def _frozen(model: Any) -> list[Any]:
    head = model.get_output_embeddings()
    found = []
    for name, module in model.named_modules():
        if not isinstance(module, torch.nn.Linear) or "lora_" in name or module is head:
            continue
        if type(module).__name__ == "Linear8bitLt":
            raise CandidateError(
                "offload: weights needs quantization nf4, fp4 or none; this base is in int8."
            )
        if not module.weight.requires_grad:
            found.append(module)
    return found


def _rest(layer: Any) -> _Resting:
    home = layer.weight.device
    data = layer.weight.data.to("cpu")
    return _Resting(
        layer,
        data.pin_memory() if home.type == "cuda" else data,
        home,
        getattr(layer.weight, "quant_state", None),
    )


def _forward(resting: _Resting, x: torch.Tensor) -> torch.Tensor:
    """As ``Linear4bit`` and ``Linear`` multiply: in the compute type, and under autocast in its type."""
    layer = resting.layer
    if resting.state is None:
        device = x.device.type
        autocast = torch.is_autocast_enabled(device)
        taken = x.to(torch.get_autocast_dtype(device) if autocast else resting.data.dtype)
    else:
        taken = x.to(layer.compute_dtype or x.dtype)
    bias = None if layer.bias is None else layer.bias.to(taken.dtype)
    out: torch.Tensor = _Product.apply(taken, resting, bias)  # type: ignore[no-untyped-call]
    return out if resting.state is None else out.to(x.dtype)


class _Product(torch.autograd.Function):
    """x Wᵀ + b, of which nothing is kept: the backward pass brings the weight again."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, resting: _Resting, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.resting = resting
        return F.linear(x, resting.brought(x.device, x.dtype), bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        return gradient @ ctx.resting.brought(gradient.device, gradient.dtype), None, None
