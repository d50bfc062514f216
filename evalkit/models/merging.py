"""The forms in which an adapter is shipped: merged into its base's weights, and quantised again after that.

The layers that carry merged weights are new ones that take the place of the base's for as long as their candidate
answers; the base's own weights are not touched, so that other candidates find them as they were, to the last bit.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from evalkit.errors import CandidateError
from evalkit.models.memory import free_bytes
from evalkit.models.quantizing import quantized_layer
from evalkit.models.quiet import quiet
from evalkit.specs.study import Form, Quantization

if TYPE_CHECKING:
    import torch

__all__ = ["merged_layers", "placed"]


def merged_layers(
    model: Any, slot: str, form: Form, quantization: Quantization, dtype: torch.dtype, device: str
) -> dict[str, Any]:
    """Build the layers of a model that an adapter is merged into; the model itself stays as it is.

    ``merged``: a layer's weight, de-quantised, plus the adapter's part of it, rounded once to ``dtype``.
    ``requantized``: those weights quantised as the base is, and likewise every other 4-bit layer of it, which a model
    that is saved merged and loaded again goes through.

    Args:
        model: The base, with the adapter in its layers.
        slot: The name peft knows the adapter by.
        form: Which of the two.
        quantization: Of the base.
        dtype: Of the merged weights.
        device: Where they go.

    Returns:
        Name of a layer in the model → what takes its place.

    Raises:
        CandidateError: The adapter acts on something that cannot be merged, or there is no memory for it.
    """
    import torch

    with quiet():  # importing bitsandbytes
        parts = dict(_parts(model, slot, form))
    if form == "merged":
        needed = sum(_size(layer) for layer in parts.values()) * dtype.itemsize
        if needed > (free := free_bytes(device)):
            raise CandidateError(
                f"merged weights take {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB are free: take `forms` out, or use a "
                "machine with more memory."
            )
    with torch.no_grad():
        return {
            name: _made(part, slot, form, quantization, dtype) if _is_layer(part) else part
            for name, part in parts.items()
        }


def placed(model: Any, layers: Mapping[str, Any]) -> dict[str, Any]:
    """Put layers into a model by name; return those that they take the place of."""
    before = {name: model.get_submodule(name) for name in layers}
    for name, layer in layers.items():
        model.set_submodule(name, layer)
    return before


def _parts(model: Any, slot: str, form: Form) -> Iterator[tuple[str, Any]]:
    """What of a model has to be replaced: the outermost modules that the adapter or the quantisation is in."""
    from bitsandbytes.nn import Linear4bit
    from peft.tuners.lora.layer import LoraLayer
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    inside = "\0"
    for name, module in model.named_modules():
        if name.startswith(inside):
            continue
        if isinstance(module, AuxiliaryTrainingWrapper):  # a layer that was trained as a whole
            inside = f"{name}."
            whole = getattr(module, "modules_to_save", {})
            if slot in module._adapters and slot not in whole:
                raise CandidateError(f"{name}: an adapter with {type(module).__name__} cannot be merged.")
            if slot in whole:
                yield name, whole[slot]
        elif isinstance(module, BaseTunerLayer):
            inside = f"{name}."
            acts = any(slot in getattr(module, part, ()) for part in module.adapter_layer_names)
            if acts and not (isinstance(module, LoraLayer) and slot in module.lora_A and _is_linear(module)):
                raise CandidateError(
                    f"{name}: an adapter on {type(module.get_base_layer()).__name__} as {type(module).__name__} "
                    "cannot be merged; expected LoRA on linear layers."
                )
            if acts or (form == "requantized" and isinstance(module.get_base_layer(), Linear4bit)):
                yield name, module
        elif isinstance(module, Linear4bit) and form == "requantized":
            yield name, module


def _is_layer(part: Any) -> bool:
    """Whether it is a layer to be merged or quantised, not one that an adapter brings as a whole."""
    from bitsandbytes.nn import Linear4bit
    from peft.tuners.lora.layer import LoraLayer

    return isinstance(part, (LoraLayer, Linear4bit))


def _is_linear(module: Any) -> bool:
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    # a bias of the adapter's own: peft 0.19 scales it in a forward and not in a merge
    own_bias = any(module.lora_bias.values())
    return isinstance(module.get_base_layer(), (nn.Linear, Conv1D)) and not own_bias


def _size(layer: Any) -> int:
    """Weights of a layer, as numbers."""
    base = _base(layer)
    if hasattr(base, "in_features"):
        return int(base.in_features * base.out_features)
    return sum(parameter.numel() for parameter in base.parameters())


def _base(layer: Any) -> Any:
    return layer.get_base_layer() if hasattr(layer, "get_base_layer") else layer


def _made(layer: Any, slot: str, form: Form, quantization: Quantization, dtype: torch.dtype) -> Any:
    from bitsandbytes.nn import Linear4bit, Linear8bitLt
    from torch import nn

    base = _base(layer)
    weight = _weight(layer, slot).to(dtype)
    if isinstance(base, Linear4bit) and form == "requantized":
        return quantized_layer(weight, base.bias, quantization, dtype, str(base.weight.device))
    if isinstance(base, (Linear4bit, Linear8bitLt)):
        made: Any = nn.Linear(base.in_features, base.out_features, bias=False, device="meta")
        bias = base.bias
        made.bias = None if bias is None else nn.Parameter(bias.data.to(dtype), requires_grad=False)
    else:
        made = copy.copy(base)
        made._parameters = dict(base._parameters)  # a shallow copy shares the table that is written to
    made.weight = nn.Parameter(weight, requires_grad=False)
    return made.eval()


def _weight(layer: Any, slot: str) -> torch.Tensor:
    """A layer's weight in full, with the adapter's part of it, if it has one there."""
    from peft.utils.integrations import dequantize_bnb_weight
    from torch import nn

    base = _base(layer)
    weight: torch.Tensor = base.weight.data
    if type(base.weight) is not nn.Parameter:  # of bitsandbytes
        weight = dequantize_bnb_weight(base.weight, state=getattr(base, "state", None))
    if slot not in getattr(layer, "lora_A", ()):
        return weight
    if slot in layer.lora_variant:  # such as DoRA, which scales columns too
        merged: torch.Tensor = layer.lora_variant[slot].merge_safe(layer, slot, weight)
        return merged
    delta: torch.Tensor = layer.get_delta_weight(slot)
    return weight + delta
