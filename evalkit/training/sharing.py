"""A prefix that the rows of a batch share is computed once, where that is exact.

The system prompt and the template around it are the same in most rows of a chat data set. They are run once
at batch 1; the keys and values, gradients and all, are repeated for the rows, which go on from there. The
gradient is that of the plain rows (relative difference below 1e-5 in fp32), because a causal model's states
in the prefix do not depend on what follows.

It is not exact under dropout (one mask would be drawn instead of one a row) and cannot be had with
gradient checkpointing (which keeps no keys and values). Whether a family of models is exact is probed on a
small random model of the same configuration.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch

from evalkit.models.quiet import quiet
from evalkit.specs.trainer import QloraSettings
from evalkit.training.batches import collate
from evalkit.training.loss import token_losses
from evalkit.training.rows import TokenRow

__all__ = ["is_exact", "sharing"]

_TOLERANCE = 1e-4  # relative, of loss and gradients in fp32; measured 2e-6 where a family is exact


def sharing(model: Any, settings: QloraSettings, tell: Callable[[str], None]) -> bool:
    """Whether a training shares prefixes; says why where it does not.

    Args:
        model: The base.
        settings: Of the training.
        tell: Hears the reason.
    """
    if settings.speed == "plain":
        return False
    if settings.dropout or settings.model_dropout:
        tell("dropout: prefixes that rows share are computed once a row, since each row draws its own.")
        return False
    if settings.gradient_checkpointing:
        tell("gradient_checkpointing: prefixes that rows share are computed once a row.")
        return False
    if not is_exact(model):
        tell(
            f"{type(model).__name__}: prefixes that rows share are computed once a row, since sharing them is "
            "not exact in this architecture."
        )
        return False
    return True


def is_exact(model: Any) -> bool:
    """Whether sharing a prefix gives the plain loss and gradients in this architecture.

    A random model of the same configuration with few layers (every kind of layer that the base has) and a
    small vocabulary is run both ways in fp32.
    """
    try:
        small = _small(model)
        plain, shared = _gradients(small, False), _gradients(small, True)
    except (ValueError, TypeError, AttributeError, NotImplementedError, RuntimeError, KeyError, IndexError):
        return False  # an architecture that cannot go on from keys and values in this way
    return all(
        bool(torch.linalg.vector_norm(a - b) <= _TOLERANCE * torch.linalg.vector_norm(a))
        for a, b in zip(plain, shared, strict=True)
    )


def _small(model: Any) -> Any:
    from transformers import AutoModelForCausalLM

    config = copy.deepcopy(model.config)
    text = config.get_text_config()
    kinds = list(getattr(text, "layer_types", None) or ["full"] * text.num_hidden_layers)
    layers = max(2, max(kinds.index(kind) for kind in set(kinds)) + 1)
    text.num_hidden_layers, text.vocab_size, text.pad_token_id = min(layers, len(kinds)), 256, None
    if getattr(text, "layer_types", None):
        text.layer_types = kinds[: text.num_hidden_layers]
    for name in ("attention_dropout", "attn_pdrop", "embd_pdrop", "resid_pdrop", "hidden_dropout"):
        if hasattr(text, name):
            setattr(text, name, 0.0)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    attention = getattr(model.config, "_attn_implementation", None)
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation=attention)


def _gradients(model: Any, share: bool) -> list[torch.Tensor]:
    """Loss and all gradients of three rows of different lengths after a common prefix of 12 tokens."""
    numbers = torch.randint(4, 250, (60,), generator=torch.Generator().manual_seed(0)).tolist()
    rows = [
        TokenRow((*numbers[:12], *numbers[start:end]), tuple(i > 14 for i in range(12 + end - start)), 1)
        for start, end in ((12, 22), (22, 37), (37, 44))
    ]
    model.zero_grad(set_to_none=True)
    device = str(next(model.parameters()).device)
    loss = token_losses(model, collate(rows, device, share=share)).mean()
    torch.autograd.backward(loss)
    return [loss.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]
