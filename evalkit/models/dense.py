"""De-quantised weights kept for a while: the same numbers without de-quantising in every pass."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
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
    needed = _needed(layers)
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
    spare = here and _needed(layers) <= _UNASKED * free_bytes("cpu")
    kept = layers if spare else []
    if kept and tell is not None:
        tell(_told(kept))
    with _kept(kept):
        yield


@contextmanager
def _kept(layers: list[Any]) -> Iterator[None]:
    for layer in layers:
        layer.forward = partial(_forward, _dense(layer), layer.bias)
    try:
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)


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


def _dense(layer: Any) -> torch.Tensor:
    from bitsandbytes.functional import dequantize_4bit

    weight: torch.Tensor = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    return weight.to(_dtype(layer))  # (O, I)


def _forward(weight: torch.Tensor, bias: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor:
    given = None if bias is None else bias.to(weight.dtype)
    return torch.nn.functional.linear(x.to(weight.dtype), weight, given).to(x.dtype)
