"""Several adapters of one base in one pass: the base's products over all tokens, each adapter's over its own.

As ``training.many`` trains them, after mLoRA (Ye et al. 2023, arXiv:2312.02515). Whose a token is, is said pass by
pass; keys and values are an adapter's own, so that nothing but the base's weights is shared.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from evalkit.models.loading import Base

__all__ = ["mixed", "owned_by", "why_not_mixed"]


@dataclass(frozen=True, slots=True)
class _Owned:
    """Whose the tokens of a pass are.

    Attributes:
        count: Of tokens.
        rows: Owner → the places of its tokens.
    """

    count: int
    rows: dict[str | None, slice | torch.Tensor]


_owned: ContextVar[_Owned | None] = ContextVar("owned", default=None)


def why_not_mixed(base: Base, adapters: Collection[str]) -> str | None:
    """Why these adapters cannot act side by side; None where they can: plain LoRA on linear layers.

    Args:
        base: The base, on one device, with weights that do not multiply batch by batch (int8).
        adapters: Names of loaded ones.
    """
    from peft.tuners.lora.layer import Linear
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    if base.quantization.type == "int8":
        return "a base in int8 finds its outliers batch by batch"
    if len({parameter.device for parameter in base.model.parameters()}) > 1:
        return "the base lies on several devices"
    if any(base.adapters[name].form is not None for name in adapters):
        return "a merged adapter takes the place of the base's weights"
    slots = {base.adapters[name].slot for name in adapters}
    head = base.model.get_output_embeddings()
    module: Any
    for module in base.model.modules():
        if not isinstance(module, (BaseTunerLayer, AuxiliaryTrainingWrapper)):
            continue
        if slots.isdisjoint(module._get_available_adapters()):
            continue
        if isinstance(module, AuxiliaryTrainingWrapper):
            return "an adapter has layers that were trained as a whole"
        plain = type(module) in (Linear, *_four_bit()) and slots.isdisjoint(module.lora_variant)
        if not plain or module is head:
            return "an adapter is not plain LoRA on the layers below the head"
    return None


@contextmanager
def mixed(base: Base, adapters: Collection[str]) -> Iterator[None]:
    """Within the block each of these adapters acts on the tokens it owns, and on no others, in passes that say whose.

    Args:
        base: For which ``why_not_mixed`` finds nothing.
        adapters: Names of loaded ones; all of them stay loaded.
    """
    slots = {name: base.adapters[name].slot for name in adapters}
    layers = [
        module
        for module in base.model.modules()
        if hasattr(module, "lora_A") and not module.lora_A.keys().isdisjoint(slots.values())
    ]
    for layer in layers:
        layer.forward = partial(_forward, layer, slots, layer.forward)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


@contextmanager
def owned_by(owners: Sequence[str | None], device: str) -> Iterator[None]:
    """Within the block a pass runs over tokens of these owners: names of adapters, or None for the base alone.

    Args:
        owners: One a token.
        device: Of the pass.
    """
    places: dict[str | None, list[int]] = {}
    for place, owner in enumerate(owners):
        places.setdefault(owner, []).append(place)
    token = _owned.set(_Owned(len(owners), {owner: _rows(found, device) for owner, found in places.items()}))
    try:
        yield
    finally:
        _owned.reset(token)


def _rows(places: list[int], device: str) -> slice | torch.Tensor:
    first, last = places[0], places[-1]
    if last - first + 1 == len(places):
        return slice(first, last + 1)
    return torch.tensor(places, device=device)


def _forward(
    layer: Any,
    slots: Mapping[str, str],
    alone: Callable[..., Any],
    x: torch.Tensor,
    *args: Any,
    **others: Any,
) -> torch.Tensor:
    """A LoRA layer's forward over a pass, rounded as peft's: x is (1, N, I)."""
    from peft.tuners.lora.layer import Linear

    owned = _owned.get()
    if owned is None:  # not a pass of ours
        return alone(x, *args, **others)  # type: ignore[no-any-return]
    if x.shape[:-1] != (1, owned.count):
        raise NotImplementedError(f"{type(layer).__name__}: not one row a token")
    out: torch.Tensor = layer.base_layer(x, *args, **others)
    for owner, rows in owned.rows.items():
        slot = None if owner is None else slots.get(owner)
        if slot in layer.lora_A:
            a, b = layer.lora_A[slot], layer.lora_B[slot]
            added = b(a(x[:, rows].to(a.weight.dtype))) * layer.scaling[slot]
            if not isinstance(layer, Linear):  # over 4-bit weights the product is rounded before it is added
                added = added.to(out.dtype)
            out[:, rows] = (out[:, rows] + added).to(out.dtype)
    return out


def _four_bit() -> tuple[type, ...]:
    """Peft's layer over 4-bit weights, where there can be any."""
    if "bitsandbytes" not in sys.modules:
        return ()
    from peft.tuners.lora.bnb import Linear4bit

    return (Linear4bit,)
