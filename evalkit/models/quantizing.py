"""Weights in 4 or 8 bits through bitsandbytes, with the two repairs that make gradients and block sizes right."""

from __future__ import annotations

import sys
from typing import Any

from evalkit.models.compiling import compiled_when_called
from evalkit.models.quiet import quiet
from evalkit.specs.study import Quantization

__all__ = [
    "as_quantization",
    "quantization_arguments",
    "quantization_json",
    "quantize_blocks",
    "quantized_layer",
    "secure_gradients",
]

DEFAULT_BLOCK = 64
"""The block size bitsandbytes uses when transformers loads a model; others are quantised here."""


def as_quantization(value: Quantization | str) -> Quantization:
    """Accept the short form: ``"nf4"`` for ``Quantization(type="nf4")``.

    >>> as_quantization("nf4").double
    True
    """
    return value if isinstance(value, Quantization) else Quantization.model_validate({"type": value})


def quantization_json(quantization: Quantization) -> dict[str, Any]:
    """The part of a quantisation that changes the weights, as JSON values.

    >>> quantization_json(as_quantization("int8"))
    {'type': 'int8'}
    """
    if quantization.type in ("none", "int8"):
        return {"type": quantization.type}
    return quantization.model_dump()


def quantization_arguments(quantization: Quantization, dtype: Any) -> dict[str, Any]:
    """Arguments for ``from_pretrained`` that load the weights in this quantisation.

    Args:
        quantization: What to quantise to.
        dtype: torch dtype of the activations. Always given: bitsandbytes would otherwise take the dtype of
            whatever input comes first.
    """
    from transformers import BitsAndBytesConfig

    if quantization.type != "none":
        with quiet(), compiled_when_called():  # it speaks of a kernel it would like to have
            import bitsandbytes  # noqa: F401 - transformers would do it while the weights are loaded
    if quantization.type == "int8":
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
    if quantization.type == "none" or quantization.block != DEFAULT_BLOCK:
        return {}
    return {
        "quantization_config": BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=quantization.type,
            bnb_4bit_use_double_quant=quantization.double,
            bnb_4bit_compute_dtype=dtype,
        )
    }


def quantize_blocks(model: Any, quantization: Quantization, dtype: Any, device: str) -> None:
    """Quantise a full-precision model in place with a block size that transformers has no setting for.

    Does nothing for the default block size, for int8 and for no quantisation. The output head and anything tied
    to the embeddings stay in ``dtype``, as when transformers quantises.
    """
    if quantization.type in ("none", "int8") or quantization.block == DEFAULT_BLOCK:
        return
    from torch import nn
    from transformers.pytorch_utils import Conv1D
    from transformers.quantizers.base import get_keys_to_not_convert

    kept = get_keys_to_not_convert(model)
    for name, module in list(model.named_modules()):
        transposed = isinstance(module, Conv1D)  # gpt2 stores (in, out)
        if not (transposed or type(module) is nn.Linear) or any(name.endswith(key) for key in kept):
            continue
        weight = module.weight.data.T.contiguous() if transposed else module.weight.data  # (out, in)
        model.set_submodule(name, quantized_layer(weight, module.bias, quantization, dtype, device))
    model.is_loaded_in_4bit = True


def quantized_layer(
    weight: Any, bias: Any | None, quantization: Quantization, dtype: Any, device: str
) -> Any:
    """Make a 4-bit linear layer that keeps gradients (see ``secure_gradients``).

    Args:
        weight: (O, I) in full.
        bias: (O,) or None.
        quantization: nf4 or fp4.
        dtype: Of the activations.
        device: Where it goes; it is quantised there.
    """
    from bitsandbytes.nn import Linear4bit, Params4bit

    layer = Linear4bit(
        weight.shape[1],
        weight.shape[0],
        bias=bias is not None,
        compute_dtype=dtype,
        compress_statistics=quantization.double,
        quant_type=quantization.type,
        device="meta",
    )
    layer.weight = Params4bit(
        weight,
        requires_grad=False,
        blocksize=quantization.block,
        compress_statistics=quantization.double,
        quant_type=quantization.type,
        module=layer,
    )
    layer.bias = bias
    layer = layer.to(device).requires_grad_(False).eval()
    secure_gradients(layer)
    return layer


def secure_gradients(model: Any) -> int:
    """Keep every 4-bit layer on the path that has a gradient; return how many layers there are.

    On CPUs with AVX512-BF16, bitsandbytes repacks a ``Linear4bit`` in place at its first forward in eval mode and
    from then on multiplies through a kernel without autograd: the loss stays right, gradients through the base
    are missing, and nothing says so. This switch keeps the weights as they are
    (``evalkit.models.selftest`` checks that it does).
    """
    if (
        "bitsandbytes" not in sys.modules
    ):  # then no layer can be of it, and importing it takes most of a second
        return 0
    from bitsandbytes.nn import Linear4bit

    layers = [module for module in model.modules() if isinstance(module, Linear4bit)]
    for layer in layers:
        layer.support_avx512bf16_for_cpu = False
    return len(layers)
