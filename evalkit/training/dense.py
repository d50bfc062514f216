"""De-quantised weights kept while training (``speed: dense-cache``): the same numbers without de-quantising them
twice a step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from evalkit.errors import CandidateError

__all__ = ["dense_weights", "free_memory"]

_SHARE = 0.5
"""Of the free memory that the weights may take; the rest is for activations."""


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
    needed = sum(layer.in_features * layer.out_features * _dtype(layer).itemsize for layer in layers)
    free = min((free_memory(device) for device in {layer.weight.device for layer in layers}), default=0)
    if needed > _SHARE * free:
        raise CandidateError(
            f"speed: dense-cache takes {needed / 1e9:.2f} GB, more than half of the {free / 1e9:.2f} GB that are "
            "free: write speed: auto."
        )
    if layers:
        tell(f"dense-cache: {needed / 1e9:.2f} GB of de-quantised weights, {free / 1e9:.2f} GB were free.")
    else:
        tell("dense-cache: the base has no 4-bit layers; nothing is kept.")
    for layer in layers:
        layer.forward = partial(_forward, _dense(layer), layer.bias)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def free_memory(device: torch.device) -> int:
    """Return the bytes that can still be had: of the device for CUDA, else of the machine."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    table = Path("/proc/meminfo")
    if not table.is_file():
        return 1 << 62  # not Linux: the system will say when there is none
    lines = dict(line.split(":", 1) for line in table.read_text("ascii").splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024


def _quantized(model: Any) -> list[Any]:
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
