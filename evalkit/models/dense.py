"""De-quantised weights kept for a while: the same numbers without de-quantising in every pass."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from evalkit.errors import CandidateError
from evalkit.models.memory import free_bytes

__all__ = ["dense_on_cpu", "dense_weights"]

_SHARE = 0.5
"""Of the free memory that the weights may take where they are asked for; the rest is for activations."""
_UNASKED = 0.25
"""The same where nobody asked."""


@contextmanager
def dense_weights(model: Any, tell: Callable[[str], None]) -> Iterator[None]:
    """Within the block the model's frozen 4-bit layers multiply by weights that are de-quantised once.

    Args:
        model: The base.
        tell: Hears how much memory that takes.

    Raises:
        CandidateError: It would take more than half of the free memory.
    """
    layers = _quantized(model)
    needed = _needed([layer for layer in layers if not _is_dense(layer)])
    free = min((free_bytes(str(device)) for device in {layer.weight.device for layer in layers}), default=0)
    if needed > _SHARE * free:
        raise CandidateError(
            f"speed: dense-cache takes {needed / 1e9:.2f} GB, more than half of the {free / 1e9:.2f} GB that are "
            "free: write speed: auto."
        )
    tell(_told(layers) or "dense-cache: the base has no 4-bit layers; nothing is kept.")
    with _kept(layers):
        yield


@contextmanager
def dense_on_cpu(model: Any, tell: Callable[[str], None] | None = None) -> Iterator[None]:
    """Within the block a base on a CPU with memory to spare multiplies by weights that are de-quantised once.

    A pass over few tokens costs little more than to de-quantise for it. On CUDA bitsandbytes' own kernel is as fast.

    Args:
        model: The base.
        tell: Hears how much memory that takes, where it is done.
    """
    layers = _quantized(model)
    cpu = torch.device("cpu")
    here = all(layer.weight.device == cpu for layer in layers)
    needed = _needed([layer for layer in layers if not _is_dense(layer)])
    spare = here and needed <= _UNASKED * free_bytes("cpu")
    kept = layers if spare else []
    if kept and tell is not None:
        tell(_told(kept))
    with _kept(kept):
        yield


@dataclass
class _Dense:
    """A layer's forward while any block wants it so.

    Attributes:
        weight: (O, I).
        bias: (O,) or None.
        before: The layer's own attribute in whose place it stands, if it had one.
        blocks: That want it: they may lie in one another, and end in any order.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    before: Any
    blocks: int = 0

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        given = None if self.bias is None else self.bias.to(self.weight.dtype)
        return torch.nn.functional.linear(x.to(self.weight.dtype), self.weight, given).to(x.dtype)


@contextmanager
def _kept(layers: list[Any]) -> Iterator[None]:
    for layer in layers:
        if not _is_dense(layer):
            layer.forward = _Dense(_weight(layer), layer.bias, vars(layer).get("forward"))
        layer.forward.blocks += 1
    try:
        yield
    finally:
        for layer in layers:
            dense = layer.forward
            dense.blocks -= 1
            if not dense.blocks:
                del layer.forward
                if dense.before is not None:
                    layer.forward = dense.before


def _is_dense(layer: Any) -> bool:
    return isinstance(vars(layer).get("forward"), _Dense)


def _told(layers: list[Any]) -> str:
    """Says what they take; empty where there are none."""
    return f"4-bit weights are kept de-quantised: {_needed(layers) / 1e9:.2f} GB." if layers else ""


def _needed(layers: list[Any]) -> int:
    return sum(layer.in_features * layer.out_features * _dtype(layer).itemsize for layer in layers)


def _quantized(model: Any) -> list[Any]:
    if "bitsandbytes" not in sys.modules:  # then nothing can be of it, and importing it takes a second
        return []
    from bitsandbytes.nn import Linear4bit

    return [module for module in model.modules() if isinstance(module, Linear4bit)]


def _dtype(layer: Any) -> torch.dtype:
    dtype: torch.dtype = layer.compute_dtype or layer.weight.quant_state.dtype
    return dtype


def _weight(layer: Any) -> torch.Tensor:
    from bitsandbytes.functional import dequantize_4bit

    weight: torch.Tensor = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    return weight.to(_dtype(layer))  # (O, I)
