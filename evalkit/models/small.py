"""A random model of a base's configuration, small enough to be run in a moment: what probes try things on."""

from __future__ import annotations

import copy
from collections.abc import Hashable
from typing import Any

from evalkit.models.quiet import quiet

__all__ = ["small_model"]

_WIDTH = 64
"""Of the feed-forward blocks, at most: nothing else depends on it, and most weights are there."""
_INNER = ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size")
"""What families call that width, as a whole or at the end of a longer name."""
_DROPOUTS = ("attention_dropout", "attn_pdrop", "embd_pdrop", "resid_pdrop", "hidden_dropout")


def small_model(model: Any, window: int, attention: str | None) -> Any:
    """Return a random fp32 model of the same configuration, on the CPU, in eval mode, without dropout.

    It has few layers (two, or as many as show every kind of layer that the base has), narrow feed-forward blocks,
    256 ids, and sliding windows and chunks that short texts show. What makes a family what it is stays: how
    layers are built and joined, heads, experts, norms, positions.

    Args:
        model: The base, with adapters or without.
        window: Positions that a layer with a sliding window or chunks sees.
        attention: Name of transformers' attention function; None: the one transformers takes itself.

    Raises:
        ValueError: The configuration does not allow it.
    """
    import torch
    from huggingface_hub.errors import StrictDataclassError

    try:
        config = _small_config(model, window)
    except StrictDataclassError as error:
        raise ValueError(str(error)) from error
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = type(model)._from_config(config, dtype=torch.float32, attn_implementation=attention)
    return made.eval()


def _small_config(model: Any, window: int) -> Any:
    config = copy.deepcopy(model.config)
    text = config.get_text_config()
    total = text.num_hidden_layers
    _cut(text, _layers_needed(model, total))
    for name in getattr(config, "sub_configs", {}):
        if (beside := getattr(config, name, None)) is not None and beside is not text:
            _cut(beside, 1)  # it sees pictures or sounds, which no probe has
    for name in ["vocab_size", *(name for name in vars(text) if name.startswith("vocab_size_"))]:
        setattr(text, name, 256)
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        if getattr(text, name, None) is not None:
            setattr(text, name, 0)
    for name in ("sliding_window", "attention_chunk_size"):
        if getattr(text, name, None):
            setattr(text, name, window)
    for name in _DROPOUTS:
        if hasattr(text, name):
            setattr(text, name, 0.0)
    if hasattr(text, "initializer_range"):
        text.initializer_range = 0.1  # or rounding would be all there is to see
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    return config


def _cut(config: Any, layers: int) -> None:
    """Shorten what is said layer by layer, and narrow the feed-forward blocks."""
    total = getattr(config, "num_hidden_layers", None)
    if total is not None and layers < total:
        config.num_hidden_layers = layers
        for name, value in list(vars(config).items()):
            if isinstance(value, list) and len(value) == total:
                setattr(config, name, value[:layers])
    for name, value in list(vars(config).items()):
        if name.endswith(_INNER) and isinstance(value, int | list):
            narrow = (
                [min(width, _WIDTH) for width in value] if isinstance(value, list) else min(value, _WIDTH)
            )
            setattr(config, name, narrow)


def _layers_needed(model: Any, total: int) -> int:
    """How many of the first layers hold one of every kind; 2 at least, so that one builds on another."""
    import torch

    stacks = [m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == total]
    types = getattr(model.config.get_text_config(), "layer_types", None) or [""] * total
    kinds = [(kind, *(_kind(stack[i]) for stack in stacks)) for i, kind in enumerate(types)]
    return min(total, max(2, *(kinds.index(kind) + 1 for kind in set(kinds))))


def _kind(layer: Any) -> Hashable:
    """What a layer is made of and which switches are set in it, adapters apart."""
    return tuple(
        (
            name,
            tuple(
                (key, value if isinstance(value, bool) else value is None)
                for key, value in sorted(vars(module).items())
                if (value is None or isinstance(value, bool | int)) and not hasattr(module, "base_layer")
            ),
        )
        for name, module in layer.named_modules()
        if ".base_layer" not in name and ".lora_" not in name
    )
