"""How the base behaves while an adapter is trained on it, and put back after."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch

from evalkit.errors import CandidateError

__all__ = ["compute_type", "training_mode"]


@contextmanager
def training_mode(
    model: Any, dropout: float, gradient_checkpointing: bool, tell: Callable[[str], None]
) -> Iterator[None]:
    """Within the block the model is in train mode; after it, everything is as before.

    Args:
        model: The base with its adapter.
        dropout: Rate of the base's own dropout layers; adapters have their own.
        gradient_checkpointing: Compute activations twice instead of keeping them (non-reentrant, which frozen
            inputs need).
        tell: Hears where ``dropout`` has nothing to act on.
    """
    was_training = model.training
    with ExitStack() as stack:
        found = stack.enter_context(_dropout(model, dropout))
        if dropout and not found:
            tell(f"model_dropout {dropout}: this architecture has no dropout of its own; nothing is dropped.")
        if gradient_checkpointing:
            _checkpointing(model, "enable")({"use_reentrant": False})
        model.train()
        try:
            yield
        finally:
            if gradient_checkpointing:
                _checkpointing(model, "disable")()
            model.train(was_training)


def compute_type(precision: str, base_dtype: str, device: str) -> Any:
    """Return the context of forward passes: bf16 autocast, or none.

    Adapters stay fp32 either way: under autocast their products are computed in bf16, their weights and the
    optimiser's steps are not rounded.

    Args:
        precision: ``auto``, ``bf16`` or ``fp32``.
        base_dtype: What the base was loaded in: ``bf16`` or ``fp32``.
        device: Where it is.

    Raises:
        CandidateError: fp32 was asked for on a base that is loaded in bf16.
    """
    if precision == "fp32" and base_dtype == "bf16":
        raise CandidateError(
            "precision: fp32 was asked for, but the base is loaded in bf16: write dtype: fp32 beside it."
        )
    if precision == "bf16" or (precision == "auto" and base_dtype == "bf16"):
        return torch.autocast(device.partition(":")[0], dtype=torch.bfloat16)
    return nullcontext()


def _checkpointing(model: Any, what: str) -> Callable[..., None]:
    # transformers renamed it in version 5 and warns at the old name
    new, old = f"activation_checkpointing_{what}", f"gradient_checkpointing_{what}"
    method: Callable[..., None] = getattr(model, new if hasattr(model, new) else old)
    return method


@contextmanager
def _dropout(model: Any, rate: float) -> Iterator[int]:
    """Set the rate of every dropout that belongs to the base; yield how many there are."""
    changed: list[tuple[Any, str, float]] = []
    for name, module in model.named_modules():
        if "lora_" in name:
            continue
        if isinstance(module, torch.nn.Dropout):
            changed.append((module, "p", module.p))
        changed += [
            (module, key, value)
            for key, value in vars(module).items()
            if "dropout" in key
            and isinstance(value, float)  # such as self.attention_dropout, read in forward
        ]
    for module, key, _ in changed:
        setattr(module, key, rate)
    try:
        yield len(changed)
    finally:
        for module, key, value in changed:
            setattr(module, key, value)
